// @ts-check
/* Copies the text of the field or element that a button names: <button data-copy="id" data-copied="Copied">. */
"use strict";

document.addEventListener("click", async ({ target }) => {
  const button = target instanceof Element ? target.closest("button[data-copy]") : null;
  if (!(button instanceof HTMLButtonElement)) return;
  const field = document.getElementById(button.dataset.copy ?? "");
  if (!field) return;
  const isArea = field instanceof HTMLTextAreaElement;
  if (isArea) field.select();
  else getSelection()?.selectAllChildren(field);
  try {
    await navigator.clipboard.writeText((isArea ? field.value : field.textContent ?? "").trim());
    button.textContent = button.dataset.copied ?? "";
  } catch {
    // Browsers allow it over HTTPS and on localhost only: what is selected can be copied by hand.
    field.focus();
  }
});
