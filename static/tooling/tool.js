/* Shows of a tool's form what concerns tools of its kind. Without scripts all of it is there. */
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const category = document.querySelector("select[name=category]");
  if (!category) return;
  const request = document.querySelector(".of-query");
  const waits = document.querySelector("[name=wait_for_response]")?.closest(".field-wait_for_response");

  const show = () => {
    const isQuery = category.value === "query";
    if (request) request.hidden = !isQuery;
    if (waits) waits.hidden = isQuery;
  };

  category.addEventListener("change", show);
  show();
});
