// @ts-check
/**
 * Lets who is signed in try an assistant that strangers may not talk to, or not from here.
 * Runs before the widget, which tells when it is ready.
 */
"use strict";

{
  const { assistantId, ticketsUrl, csrfToken } = JSON.parse(
    document.getElementById("access")?.textContent ?? "{}",
  );

  const ticket = async () => {
    const response = await fetch(ticketsUrl, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-CSRFToken": csrfToken },
      body: JSON.stringify({ assistant_id: assistantId }),
    });
    if (!response.ok) throw new Error(`no ticket: ${response.status}`);
    return (await response.json()).data.ticket;
  };

  if (ticketsUrl) {
    window.addEventListener("ai-video-assistant-widget", (event) => {
      /** @type {CustomEvent} */ (event).detail.useTickets(ticket);
    });
  }
}
