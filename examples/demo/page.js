// The page works without this. It adds countdowns, and buttons that need no reload.
//
// Deadlines are absolute times of the server, and each answer measures this clock's offset. Polling
// is passive (`Session-Activity: passive`), so an open page keeps no session alive. Only the server
// decides that a session is over.

const ASK_EVERY = 15_000;
const PASSIVE = { "Session-Activity": "passive" };
/** The prefix that a proxy may add to every path. */
const BASE = new URL(".", import.meta.url).pathname.slice(0, -1);
const $ = (id) => document.getElementById(id);

let me = null; // the last answer of the server
let ahead = 0; // milliseconds that the server's clock is ahead of this one
let over = false;

// --- requests to the server ----------------------------------------------------------------------

/** A request. Returns `null` if the session is over, and shows that. */
async function call(method, path, { body, passive } = {}) {
  const headers = { Accept: "application/json, */*", ...(passive && PASSIVE) };
  const response = await fetch(BASE + path, { method, body, headers, cache: "no-store" });
  if (response.status === 401 && path !== "/recent") {
    const { reason } = await response.json().catch(() => ({}));
    end(reason);
    return null;
  }
  return response;
}

let asking = null;

/** Asks for the state of the session. Concurrent calls share one request. */
function ask() {
  asking ??= really_ask().catch(() => say("The server cannot be reached right now.", true)).finally(() => { asking = null; });
  return asking;
}

async function really_ask() {
  const sent = Date.now();
  const response = await fetch(`${BASE}/session/status`, { cache: "no-store" });
  // The store is unavailable, so the state is unknown.
  if (!response.ok) throw new Error(response.statusText);
  const status = await response.json();
  ahead = Date.parse(status.now) - (sent + Date.now()) / 2;
  if (!status.live || !status.authenticated) return end(status.reason);
  const changed = status.idle_expires_at !== me?.idle_expires_at || status.expires_at !== me?.expires_at;
  if (!changed) return;
  const facts = await call("GET", "/me", { passive: true });
  if (facts?.ok) show(await facts.json());
}

// --- what the page shows -------------------------------------------------------------------------

function show(facts) {
  // A login in another tab.
  if (me && me.sid !== facts.sid) return location.reload();
  me = facts;
  $("user-name").textContent = me.user;
  $("sid").textContent = me.sid;
  for (const row of document.querySelectorAll("[data-mode]")) row.hidden = row.dataset.mode !== me.mode;
  const nearer = Date.parse(me.idle_expires_at) < Date.parse(me.expires_at) ? "idle" : "absolute";
  for (const id of ["idle", "absolute"]) $(id).classList.toggle("first", id === nearer);
  moment($("kept-until"), nearer === "idle" ? me.idle_expires_at : me.expires_at);
  moment($("created"), me.created_at);
  moment($("authenticated"), me.authenticated_at);
  moment($("interacted"), me.last_interacted_at);
  moment($("idle").querySelector(".at"), me.idle_expires_at, "ends ");
  moment($("absolute").querySelector(".at"), me.expires_at, "ends ");
  tick();
}

/** A time in the reader's zone, with the day only if it is not today. */
function moment(element, iso, before = "") {
  const at = new Date(iso);
  const today = at.toDateString() === new Date().toDateString();
  const time = document.createElement("time");
  time.dateTime = iso;
  time.textContent = today
    ? at.toLocaleTimeString([], { timeStyle: "medium" })
    : at.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  element.replaceChildren(before, time);
}

const whole = {
  idle: () => Date.parse(me.idle_expires_at) - Date.parse(me.last_interacted_at),
  absolute: () => Date.parse(me.expires_at) - Date.parse(me.created_at),
};

function tick() {
  if (!me || over) return;
  let due = false;
  for (const [id, deadline] of [["idle", me.idle_expires_at], ["absolute", me.expires_at]]) {
    const left = Math.max(0, Date.parse(deadline) - (Date.now() + ahead));
    const [card, all] = [$(id), whole[id]()];
    card.querySelector(".left").replaceChildren(...countdown(left));
    card.classList.toggle("soon", left < Math.min(60_000, all / 4));
    const bar = card.querySelector("progress");
    bar.max = all;
    bar.value = left;
    due ||= left === 0;
  }
  // At zero on this clock, ask the server before showing anything.
  if (due) ask();
}

/** `6 d 23 h`, `3 h 20 min`, `14:59`. */
function countdown(millis) {
  const seconds = Math.ceil(millis / 1000);
  const parts = (pairs) => pairs.flatMap(([number, unit]) => [String(number), small(unit)]);
  if (seconds >= 86_400) return parts([[Math.floor(seconds / 86_400), "d"], [Math.floor(seconds / 3600) % 24, "h"]]);
  if (seconds >= 3600) return parts([[Math.floor(seconds / 3600), "h"], [Math.floor(seconds / 60) % 60, "min"]]);
  return [`${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`];
}

function small(text) {
  const element = document.createElement("small");
  element.textContent = text;
  return element;
}

/** `15 minutes`, in the same words as the server. */
function words(millis) {
  const units = [["day", 86_400_000], ["hour", 3_600_000], ["minute", 60_000], ["second", 1000], ["millisecond", 1]];
  const first = Math.max(0, units.findIndex(([, unit]) => millis >= unit));
  const said = units.slice(first, first < 3 ? first + 2 : first + 1).map(([name, unit]) => {
    const count = Math.floor(millis / unit);
    millis %= unit;
    return count && `${count} ${name}${count === 1 ? "" : "s"}`;
  });
  return said.filter(Boolean).join(" ");
}

let forget = 0;

function say(text, bad = false) {
  const news = $("news");
  news.textContent = text;
  news.classList.toggle("bad", bad);
  clearTimeout(forget);
  if (!bad) forget = setTimeout(() => { news.textContent = ""; }, 6000);
}

/** The server says that the session is over. */
function end(reason) {
  if (over || !$("signed-in")) return;
  over = true;
  globalThis.tenure?.refresh(); // removes its warning
  explain(reason === "none" ? "signed_out" : reason, me && whole);
  $("signed-in").hidden = true;
  $("signed-out").hidden = false;
  document.title = "Signed out · tower-tenure demo";
  $("why").focus();
}

function explain(reason, lasted) {
  if (lasted) {
    document.querySelector("[data-idle]").textContent = words(lasted.idle());
    document.querySelector("[data-absolute]").textContent = ` of ${words(lasted.absolute())}`;
  }
  for (const note of document.querySelectorAll("[data-reason]")) note.hidden = note.dataset.reason !== reason;
}

// --- actions -------------------------------------------------------------------------------------

/** Runs the action when the button is pressed, then asks for the state of the session. */
function on(button, act) {
  $(button).addEventListener("click", (event) => {
    event.preventDefault();
    busy($(button), act);
  });
}

async function busy(button, act) {
  if (button.ariaBusy === "true") return;
  button.ariaBusy = "true";
  try {
    const said = await act();
    if (said && !over) say(said);
    await ask();
  } catch {
    say("The server cannot be reached right now.", true);
  } finally {
    button.ariaBusy = "false";
  }
}

function start() {
  for (const element of document.querySelectorAll("[data-script]")) element.hidden = false;

  on("interact", async () => {
    const response = await call("GET", "/me");
    if (response?.ok) show(await response.json());
    return "That counted as activity.";
  });
  on("extend", async () => (await call("POST", "/session/extend"))?.ok && "Extended.");
  on("rotate", async () => (await call("POST", "/rotate"))?.ok && "The cookie holds a new token; session id and deadlines are the same.");
  on("add", async () => {
    const response = await call("POST", "/add/counter");
    if (response?.ok) $("count").textContent = await response.text();
  });
  on("recent", async () => {
    const response = await call("GET", "/recent");
    return response.ok ? await response.text() : "Refused: this needs a sign-in of the last 5 seconds. Sign in again, then be quick.";
  });

  $("data").addEventListener("submit", (event) => {
    event.preventDefault();
    const [key, value] = [$("key").value, $("value")];
    const path = `/data/${encodeURIComponent(key)}`;
    const acts = {
      save: async () => (await call("PUT", path, { body: value.value }))?.ok && `Saved “${key}”.`,
      remove: async () => {
        const response = await call("DELETE", path);
        if (response?.ok) value.value = "";
        return response?.ok && `Removed “${key}”.`;
      },
      load: async () => {
        const response = await call("GET", path);
        value.value = response?.ok ? await response.text() : "";
        return response?.ok ? `Read “${key}”.` : `There is nothing under “${key}”.`;
      },
    };
    busy(event.submitter ?? $("data").querySelector("button"), acts[event.submitter?.value ?? "save"]);
  });

  // After a logout the cookie is removed, so only this tab knows the reason.
  $("logout").addEventListener("submit", () => sessionStorage.setItem("ended", "signed_out"));

  // Events of the crate's warning script. At the end of the session this page shows the login form.
  document.addEventListener("tenure:extended", ask);
  document.addEventListener("tenure:ended", ({ detail }) => end(detail.reason));

  setInterval(tick, 1000);
  setInterval(() => document.hidden || over || ask(), ASK_EVERY);
  for (const event of ["visibilitychange", "focus", "pageshow", "online"]) {
    addEventListener(event, () => document.hidden || over || ask());
  }
  ask().then(listen);
}

/**
 * The stream of events, for as long as the session is live. Not an `EventSource`, which cannot send
 * the header for passive requests.
 */
async function listen() {
  const dot = $("stream");
  while (!over) {
    try {
      const response = await call("GET", "/events", { passive: true });
      if (!response) break;
      if (!response.ok) throw new Error(response.statusText);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = ""; ;) {
        const { done, value } = await reader.read();
        if (done) break;
        const lines = (rest + value).split("\n");
        rest = lines.pop();
        const data = lines.findLast((line) => line.startsWith("data: 2"))?.slice(6);
        dot.classList.add("on");
        dot.textContent = data ? `open, server time ${new Date(data).toLocaleTimeString()}` : "open";
      }
    } catch { /* tried again below */ }
    dot.classList.remove("on");
    dot.textContent = "closed by the server";
    await ask();
    await new Promise((later) => setTimeout(later, 2000));
  }
}

if ($("signed-in")) {
  sessionStorage.removeItem("ended");
  start();
} else if ($("signed-out") && sessionStorage.getItem("ended")) {
  explain(sessionStorage.getItem("ended"));
  sessionStorage.removeItem("ended");
}
