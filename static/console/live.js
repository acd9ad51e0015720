/* Redraws what a page shows of documents, bases, vectors, autotests and tasks while work on them is
 * open.
 *
 * An element with data-live="kind:id" is drawn by the server; as long as its drawing contains
 * [data-open], the server is asked for a new one. A hidden page asks for nothing.
 */
"use strict";

{
  const PAUSE_MS = 1500;
  const LONGEST_PAUSE_MS = 15000;
  // 100 keys fit into an address that every proxy takes.
  const MOST_KEYS = 100;
  const KNOWLEDGE = "/admin/knowledge/document/live/";
  const RUNS = "/admin/tooling/autotestrun/live/";
  const TASKS = "/admin/conversations/run/live/";
  // Who draws the kinds of keys; a page shows kinds of one of them.
  const ADDRESSES = {
    document: KNOWLEDGE, base: KNOWLEDGE, spaces: KNOWLEDGE,
    run: RUNS, cases: RUNS,
    task: TASKS, figures: TASKS, steps: TASKS, words: TASKS,
  };
  let pause = PAUSE_MS;

  const openKeys = () =>
    [...new Set(
      [...document.querySelectorAll("[data-live]")]
        .filter((element) => element.querySelector("[data-open]"))
        .map((element) => element.dataset.live),
    )].slice(0, MOST_KEYS);

  const redraw = (asked, drawings) => {
    for (const element of document.querySelectorAll("[data-live]")) {
      const drawing = drawings[element.dataset.live];
      // Buttons are only replaced when they change: one may be focused or pressed.
      if (drawing !== undefined && element.dataset.drawn !== drawing) {
        element.innerHTML = drawing;
        element.dataset.drawn = drawing;
      } else if (drawing === undefined && asked.includes(element.dataset.live)) {
        // Deleted meanwhile.
        element.querySelector("[data-open]")?.removeAttribute("data-open");
      }
    }
  };

  const refresh = async () => {
    const keys = openKeys();
    if (keys.length && !document.hidden) {
      const query = new URLSearchParams(keys.map((key) => ["key", key]));
      try {
        const response = await fetch(`${ADDRESSES[keys[0].split(":")[0]]}?${query}`, {
          headers: { Accept: "application/json" },
          redirect: "error",
        });
        if (!response.ok) throw new Error(String(response.status));
        redraw(keys, await response.json());
        pause = PAUSE_MS;
      } catch {
        // The server restarts, or the session has ended: what was drawn last stays.
        pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
      }
    }
    setTimeout(refresh, pause);
  };

  setTimeout(refresh, PAUSE_MS);
}
