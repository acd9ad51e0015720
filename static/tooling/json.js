/* Says below a text area whether what it holds is JSON, and writes it neatly when asked. */
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const PAUSE_MS = 250;

  const parsed = (area) => {
    try {
      return { value: JSON.parse(area.value) };
    } catch (error) {
      return { error: error.message };
    }
  };

  for (const field of document.querySelectorAll("[data-json-field]")) {
    const area = field.querySelector("textarea");
    const note = field.querySelector("[data-json-note]");
    const format = field.querySelector("[data-json-format]");
    let timer = 0;
    format.hidden = false;

    const check = () => {
      const { error } = area.value.trim() ? parsed(area) : {};
      note.textContent = error ? `${field.dataset.wrong} ${error}` : "";
      area.setAttribute("aria-invalid", String(Boolean(error)));
      format.disabled = Boolean(error);
    };

    area.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(check, PAUSE_MS);
    });
    format.addEventListener("click", () => {
      const { value, error } = parsed(area);
      if (!error) area.value = JSON.stringify(value, null, 2);
      check();
    });
    check();
  }
});
