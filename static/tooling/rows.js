/* Rows of a form that can be added, moved and dropped. The order on the page is what is sent. */
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  for (const rows of document.querySelectorAll("[data-rows]")) {
    const list = rows.querySelector("[data-rows-list]");
    const template = rows.querySelector("template");
    const add = rows.querySelector("[data-rows-add]");
    let next = list.children.length;

    const changed = () => list.dispatchEvent(new Event("change", { bubbles: true }));
    const isEmpty = (row) =>
      [...row.querySelectorAll("input:not([type=hidden]), textarea")].every((box) =>
        box.type === "checkbox" ? !box.checked : !box.value && !box.placeholder.startsWith("***"),
      );

    const equip = (row) => {
      row.querySelector("[data-row-buttons]").hidden = false;
      const on = (name, act) =>
        row.querySelector(`[data-row-${name}]`)?.addEventListener("click", () => {
          act();
          changed();
        });
      on("remove", () => row.remove());
      on("up", () => row.previousElementSibling?.before(row));
      on("down", () => row.nextElementSibling?.after(row));
    };

    const append = () => {
      const key = String(next++);
      const row = template.content.firstElementChild.cloneNode(true);
      for (const box of row.querySelectorAll("[name]")) {
        box.name = box.name.replace("__row__", key);
        if (box.value === "__row__") box.value = key;
      }
      list.append(row);
      equip(row);
      return row;
    };

    for (const row of list.children) equip(row);
    // The empty row is for pages without scripts; a list of none keeps it to start with.
    if (list.children.length > 1 && isEmpty(list.lastElementChild)) list.lastElementChild.remove();
    add.hidden = false;
    add.addEventListener("click", () => {
      append().querySelector("input:not([type=hidden]), textarea, select").focus();
      changed();
    });
  }
});
