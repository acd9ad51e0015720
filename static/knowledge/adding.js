/* Sends dropped or chosen files one after another and says for each what became of it.
 *
 * The answers outlive the reload that shows the new documents in the list.
 */
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  for (const form of document.querySelectorAll("form[data-files]")) prepare(form);

  function prepare(form) {
    const zone = form.querySelector(".drop-zone");
    const input = form.querySelector("input[type=file]");
    const results = form.querySelector("[data-results]");
    const memory = `knowledge-answers:${form.elements.knowledge_base.value}`;

    for (const answer of recall(memory)) show(row(results, answer.name), answer);
    input.addEventListener("change", () => send([...input.files]));
    for (const name of ["dragover", "dragenter"]) {
      zone.addEventListener(name, (event) => {
        event.preventDefault();
        zone.classList.add("is-over");
      });
    }
    zone.addEventListener("dragleave", () => zone.classList.remove("is-over"));
    zone.addEventListener("drop", (event) => {
      event.preventDefault();
      zone.classList.remove("is-over");
      send([...event.dataTransfer.files]);
    });

    async function send(files) {
      if (!files.length) return;
      input.disabled = true;
      results.replaceChildren();
      const rows = files.map((file) => row(results, file.name));
      for (const line of rows) say(line, form.dataset.waiting);
      const answers = [];
      for (const [index, file] of files.entries()) {
        const answer = await sendOne(file, rows[index]);
        show(rows[index], answer);
        answers.push(answer);
      }
      input.disabled = false;
      input.value = "";
      if (answers.some((answer) => answer.outcome === "added")) {
        const list = form.dataset.list;
        remember(`knowledge-answers:${form.elements.knowledge_base.value}`, answers);
        if (list) location.assign(list + encodeURIComponent(form.elements.knowledge_base.value));
        else location.reload();
      }
    }

    function sendOne(file, line) {
      const refused = (message) => ({ name: file.name, outcome: "refused", message, url: "" });
      if (file.size > Number(form.dataset.maxBytes)) {
        return Promise.resolve(refused(form.dataset.tooLarge));
      }
      const body = new FormData();
      for (const name of ["csrfmiddlewaretoken", "knowledge_base"]) {
        body.append(name, form.elements[name].value);
      }
      body.append("files", file);
      return new Promise((resolve) => {
        // fetch() does not tell how much of a file was sent.
        const request = new XMLHttpRequest();
        request.open("POST", form.action);
        request.setRequestHeader("Accept", "application/json");
        request.responseType = "json";
        request.upload.addEventListener("progress", (event) => {
          const percent = Math.round((100 * event.loaded) / event.total);
          say(line, `${form.dataset.sending} ${percent} %`);
        });
        request.addEventListener("load", () =>
          resolve(request.response?.answers?.[0] ?? refused(form.dataset.lost)),
        );
        request.addEventListener("error", () => resolve(refused(form.dataset.lost)));
        request.send(body);
      });
    }
  }

  function row(results, name) {
    const line = document.createElement("li");
    const title = document.createElement("strong");
    title.textContent = name;
    const text = document.createElement("span");
    line.append(title, text);
    results.append(line);
    return line;
  }

  function say(line, text) {
    line.lastChild.textContent = text;
  }

  function show(line, answer) {
    line.dataset.outcome = answer.outcome;
    say(line, answer.message);
    if (answer.url) {
      const link = document.createElement("a");
      link.href = answer.url;
      link.textContent = line.firstChild.textContent;
      line.firstChild.replaceChildren(link);
    }
  }

  function remember(key, answers) {
    sessionStorage.setItem(key, JSON.stringify(answers));
  }

  function recall(key) {
    const stored = sessionStorage.getItem(key);
    sessionStorage.removeItem(key);
    return stored ? JSON.parse(stored) : [];
  }
});
