// Keeps a page live: it fetches itself again, and replaces the part that changes.
"use strict";

const live = () => document.getElementById("live");
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function refresh() {
  const answer = await fetch(location.href).catch(() => null);
  if (!answer || !answer.ok) return; // the server may be about to start again
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById("live");
  for (const { id } of live().querySelectorAll("details[open][id]")) page.getElementById(id)?.setAttribute("open", "");
  const focused = live().contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  live().replaceWith(document.adoptNode(fresh));
  if (focused) [...live().querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
}

async function followList() {
  for (;;) {
    const began = performance.now();
    if (!document.hidden) await refresh();
    await pause(Math.max(2000, 10 * (performance.now() - began)));
  }
}

// Events may come faster than anybody can read: one refresh shows several.
let due = null;
const soon = () => { due ??= setTimeout(() => { due = null; refresh(); }, 200); };

function followTask({ events, task }) {
  const source = new EventSource(events);
  let last = 0;
  const heard = (event) => { last = Number(event.lastEventId) || last; soon(); };
  source.addEventListener("ready", (event) => { source.close(); heard(event); });
  source.addEventListener("state", heard);
  source.addEventListener("progress", heard);
  source.onmessage = heard;
  source.onerror = () => { if (source.readyState === EventSource.CLOSED) poll(task); };
}

// For stores that keep no events.
async function poll(task) {
  let tag = "";
  for (;;) {
    const answer = await fetch(`${task}?wait=20`, { headers: { "If-None-Match": tag } }).catch(() => null);
    if (answer && answer.status !== 304) {
      tag = answer.headers.get("ETag") || "";
      await refresh();
      if (answer.status === 200) return;
    }
    await pause(500);
  }
}

const kind = live()?.dataset.refresh;
if (kind === "list") followList();
if (kind === "task") followTask(live().dataset);
