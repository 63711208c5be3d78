// The operator's page, part 1: words, the document, requests, and the question before each change.
//
// All parts are one module. Everything that comes from conversations (channels, identities, causes) goes into the document as text and never as markup.

// ---------------------------------------------------------------- words

const MODES = {
  enforce: ["Enforce", "Announcements that repeat what guests see are suppressed."],
  observe: ["Observe", "Everything is forwarded; what it would suppress is counted."],
  off: ["Off", "The rule does nothing: everything is forwarded, and its assignments are forgotten."],
};

const count = (n) => n.toLocaleString("en");
const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
const bytes = (n) => (n < 1024 ? plural(n, "byte") : n < 1048576 ? `${(n / 1024).toFixed(1)} KiB` : `${(n / 1048576).toFixed(1)} MiB`);

// A number that a double does not hold: its digits stay as they were written, for they are somebody's id.
class ExactNumber {
  constructor(digits) {
    this.digits = digits;
  }

  toJSON() {
    return JSON.rawJSON ? JSON.rawJSON(this.digits) : this.digits;
  }

  toString() {
    return this.digits;
  }
}
// A value for readers, and as JSON, in which 7 and "7" differ.
const words = (value) => (typeof value === "string" ? value : value instanceof ExactNumber ? value.digits : JSON.stringify(value));
const json = (value) => JSON.stringify(value);

// Times are in the browser's time zone and say which one it is.
const TIME = { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" };
const DATE = { day: "numeric", month: "short", year: "numeric" };
const clock = (time) => {
  const at = new Date(time);
  const today = new Date(Date.now() + skew).toDateString() === at.toDateString();
  return at.toLocaleString("en-GB", today ? TIME : { day: "numeric", month: "short", ...TIME });
};
const full = (time) => new Date(time).toLocaleString("en-GB", { ...DATE, ...TIME, fractionalSecondDigits: 3 });
const minute = (time) => new Date(time).toLocaleString("en-GB", { ...DATE, hour: "2-digit", minute: "2-digit", timeZoneName: "short" });
const ago = (time) => {
  const seconds = Math.max(0, Math.round((Date.now() + skew - Date.parse(time)) / 1000));
  if (seconds < 120) return `${seconds} s ago`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min ago`;
  return seconds < 172800 ? `${Math.floor(seconds / 3600)} h ago` : `${Math.floor(seconds / 86400)} days ago`;
};
const timeElement = (time, text) => {
  const element = make("time", "", text);
  element.dateTime = time;
  element.title = `${full(time)} (${time})`;
  return element;
};

// ---------------------------------------------------------------- the document

const $ = (id) => document.getElementById(id);

// An element of this class, holding elements and texts.
const make = (tag, name, ...content) => {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...content);
  return element;
};
// Text from outside: its writing direction stays its own.
const theirs = (name, text) => make("bdi", name, text);
const button = (text, label, act) => {
  const element = make("button", "", text);
  element.type = "button";
  if (label) element.setAttribute("aria-label", label);
  element.addEventListener("click", act);
  return element;
};
const put = (id, text) => {
  if ($(id).textContent !== text) $(id).textContent = text;
};

let silence;
const say = (text) => {
  put("said", text);
  clearTimeout(silence);
  silence = setTimeout(() => put("said", ""), 6000);
};

// ---------------------------------------------------------------- requests

let token = sessionStorage.getItem("usher-token") ?? "";
let locked = false;
let tokenConfigured = true;
// usher's clock minus ours, in milliseconds.
let skew = 0;

class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

const request = async (path, options = {}) => {
  const headers = { ...(token ? { Authorization: `Bearer ${token}` } : {}), ...options.headers };
  const response = await fetch(path, { cache: "no-store", credentials: "omit", ...options, headers });
  if (response.ok) return response;
  const { error } = await response.json().catch(() => ({}));
  throw new Refused(response.status, error ?? `usher answered ${response.status}.`);
};

// A fraction is exact only as a value of an assignment: those of usher's own figures are for arithmetic.
const isExact = (key, value, source) => String(value) !== source && (key === "value" || !/[.eE]/.test(source));
const exactly = (key, value, context) =>
  (typeof value === "number" && context?.source !== undefined && isExact(key, value, context.source) ? new ExactNumber(context.source) : value);
const read = async (path) => {
  const response = await request(path);
  return { value: JSON.parse(await response.text(), exactly), cut: response.headers.has("usher-truncated") };
};

const keepToken = (text) => {
  token = text;
  if (token) sessionStorage.setItem("usher-token", token);
  else sessionStorage.removeItem("usher-token");
  $("key").textContent = token ? "Forget token" : "Enter token";
};
// Keeps a token once usher has said that it is the right one.
const enterToken = async (text) => {
  await request("/token", { headers: { Authorization: `Bearer ${text}` } });
  keepToken(text);
};

const setLocked = (now) => {
  if (locked && !now) dispatchEvent(new Event("unlocked"));
  locked = now;
  $("locked").hidden = !now;
};

// Runs `ask` again and again while the page is visible and not locked.
const poll = async (ask, pause) => {
  for (;;) {
    if (!document.hidden && !locked) {
      try {
        await ask();
      } catch (error) {
        if (error.status === 401 || error.status === 403) lock(error);
      }
    }
    await new Promise((go) => setTimeout(go, pause));
  }
};

const lock = (error) => {
  $("unlock").hidden = error.status === 403;
  if (error.status === 403) $("locked").firstElementChild.textContent = error.message;
  setLocked(true);
};

// ---------------------------------------------------------------- the question before each change

let asked = { act: async () => {}, no: () => {} };

// Asks, and acts once the answer is yes; stays open, saying why, if usher refuses. `needsToken`: the call is one that changes something.
const ask = ({ title, text, yes, needsToken = true, act, no = () => {} }) => {
  asked = { act, no };
  put("ask-title", title);
  put("ask-text", text);
  put("ask-error", "");
  $("ask-yes").textContent = yes;
  const possible = !needsToken || tokenConfigured;
  $("ask-yes").disabled = !possible;
  if (!possible) put("ask-error", "No token is configured, so nothing can be changed: set admin.token and reload usher, or USHER_ADMIN__TOKEN and restart it.");
  wantToken(possible && (!needsToken || !token));
  $("ask").showModal();
  ($("ask-token").hidden ? $("ask-no") : $("token")).focus();
};
const wantToken = (wanted) => {
  $("ask-token").hidden = !wanted;
  $("token").value = "";
};
const answer = async () => {
  if (!$("ask-token").hidden) {
    if (!$("token").value) {
      put("ask-error", "Enter the admin token first.");
      return $("token").focus();
    }
  }
  $("ask-yes").disabled = true;
  put("ask-error", "");
  try {
    if (!$("ask-token").hidden) await enterToken($("token").value);
    const said = await asked.act();
    asked.no = () => {};
    $("ask").close();
    say(said);
    await asked.then?.();
  } catch (error) {
    put("ask-error", error instanceof Refused ? error.message : "usher did not answer.");
    if (error.status === 401) keepToken("");
    if (error.status === 401 || error.status === 403) {
      wantToken(true);
      $("token").focus();
    }
  } finally {
    $("ask-yes").disabled = false;
  }
};
$("ask-yes").addEventListener("click", answer);
// At once, and not with the event `close`: until that comes, what was chosen would still look chosen.
const decline = () => {
  asked.no();
  asked.no = () => {};
};
$("ask-no").addEventListener("click", () => {
  decline();
  $("ask").close();
});
$("ask").addEventListener("close", decline);
$("token").addEventListener("keydown", (event) => {
  if (event.key === "Enter") answer();
});

const askForToken = () => ask({
  title: "Admin token",
  text: locked ? "This listener can be reached by others, so usher shows conversations only to those who have it." : "usher asks for it before it changes anything.",
  yes: "Use it",
  needsToken: false,
  act: async () => {
    setLocked(false);
    refresh();
    return "The token is kept in this tab.";
  },
});
$("unlock").addEventListener("click", askForToken);
$("key").addEventListener("click", () => {
  if (!token) return askForToken();
  keepToken("");
  say("The token is forgotten.");
});
