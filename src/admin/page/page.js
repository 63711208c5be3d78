
// The operator's page. Everything that comes from conversations (channels, identities, reasons) goes into the document as text and never as markup.

// ---------------------------------------------------------------- words

// What can be decided, as /decisions names it: the kind that the filter knows, the badge, and its colour.
const news = { kind: "forwarded", badge: "Forwarded", colour: "" };
const safe = { kind: "forwarded", badge: "Forwarded to be safe", colour: "doubt" };
const dropped = { kind: "dropped", badge: "Dropped", colour: "dropped" };
const would = { kind: "would", badge: "Would be dropped", colour: "would" };
const VERDICTS = {
  forwarded_first: news, forwarded_change: news, forwarded_release: news, forwarded_no_rule: news,
  forwarded_uncertain: safe, forwarded_unreadable: safe, forwarded_exempt: safe, forwarded_inexact: safe,
  suppressed: dropped, coalesced: dropped, shadow_suppressed: would,
};
const LEGEND = [
  [news, "It is news: nothing was known of the channel, or somebody else was assigned there. It goes on to your Pusher server, and guests read it."],
  [dropped, "Guests already see just this: your Pusher server accepted the same announcement before. It goes no further, and the backend is answered with success."],
  [safe, "usher cannot be sure what guests see: another announcement is under way, the fate of the last one is unknown, or the request cannot be read exactly. What it is not sure of, it forwards."],
  [would, "The rule only observes: this would have been dropped, is counted so, and is forwarded all the same."],
];
const MODES = {
  enforce: ["Enforce", "Announcements of nobody new are dropped."],
  observe: ["Observe", "Everything is forwarded; what would have been dropped is counted."],
  off: ["Off", "The rule does nothing: everything is forwarded, and what it remembers is forgotten."],
};

const count = (n) => n.toLocaleString("en");
const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
const clock = (time) => new Date(time).toLocaleTimeString("en-GB");
const ago = (time) => {
  const seconds = Math.max(0, Math.round((Date.now() + skew - Date.parse(time)) / 1000));
  if (seconds < 120) return `${seconds} s ago`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min ago`;
  return seconds < 172800 ? `${Math.floor(seconds / 3600)} h ago` : `${Math.floor(seconds / 86400)} days ago`;
};
const words = (value) => (typeof value === "string" ? value : JSON.stringify(value));

// ---------------------------------------------------------------- the document

const $ = (id) => document.getElementById(id);

// An element of this class, holding elements and texts.
const make = (tag, name, ...content) => {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...content);
  return element;
};
// Text of strangers: its writing direction stays its own.
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

// ---------------------------------------------------------------- asking usher

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
  const headers = { ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  const response = await fetch(path, { cache: "no-store", credentials: "omit", ...options, headers });
  if (response.ok) return response;
  const { error } = await response.json().catch(() => ({}));
  throw new Refused(response.status, error ?? `usher answered ${response.status}.`);
};

// Numbers that a double does not hold stay as they were written: they are somebody's id.
const exactly = (key, value, context) =>
  (typeof value === "number" && context?.source !== undefined && String(value) !== context.source ? context.source : value);
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

const setLocked = (now) => {
  if (locked && !now) dispatchEvent(new Event("unlocked"));
  locked = now;
  $("locked").hidden = !now;
};

// Runs `ask` again and again, while somebody looks and is let in.
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
    keepToken($("token").value);
  }
  $("ask-yes").disabled = true;
  put("ask-error", "");
  try {
    const said = await asked.act();
    asked.no = () => {};
    $("ask").close();
    say(said);
    await asked.then?.();
  } catch (error) {
    put("ask-error", error instanceof Refused ? error.message : "usher did not answer.");
    if (error.status === 401) {
      keepToken("");
      wantToken(true);
      $("token").focus();
    }
  } finally {
    $("ask-yes").disabled = false;
  }
};
$("ask-yes").addEventListener("click", answer);
// At once, not when the browser comes to tell that the dialog has closed: until then what was chosen would still look chosen.
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
  text: locked ? "usher tells others of conversations only if they know it." : "usher asks for it before it changes anything.",
  yes: "Use it",
  needsToken: false,
  act: async () => {
    await request("/overview");
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

// ---------------------------------------------------------------- live decisions

const KEPT = 1000;
const SHOWN = 200;
// Newest first; a record without `decision` says how many were missed.
let records = [];
let paused = false;
let unseen = 0;
let last = "";

const fits = (record) => {
  if (!record.decision) return true;
  const [channel, rule, verdict] = [$("f-channel").value.trim().toLowerCase(), $("f-rule").value, $("f-verdict").value];
  return (!channel || record.channel.toLowerCase().includes(channel)) && (!rule || record.rule === rule) &&
    (!verdict || VERDICTS[record.decision]?.kind === verdict);
};

const row = (record) => {
  if (!record.decision) return make("li", "is-missed", `${plural(record.missed, "decision")} came faster than they could be shown here.`);
  const { badge, colour, kind } = VERDICTS[record.decision] ?? { ...safe, badge: record.decision };
  const time = make("time", "", clock(record.time));
  time.dateTime = record.time;
  time.title = record.time;
  const what = make("span", "what");
  what.append(record.identity === null ? make("span", "where", "Nobody named") : theirs("who", words(record.identity)), " ");
  what.append(make("span", "where", "on "), theirs("", record.channel === "*" ? "every channel of the app" : record.channel));
  const rule = make("span", "rule", theirs("", record.rule || "no rule"), ` · app ${record.app}`);
  return make("li", `is-${kind}`, time, make("span", `badge ${colour}`, badge), what, rule, make("span", "why", record.reason));
};

const tellCount = () => {
  const decisions = records.filter((record) => record.decision);
  const fitting = decisions.filter(fits).length;
  put("shown", decisions.length === fitting ? plural(fitting, "decision") : `${count(fitting)} of ${plural(decisions.length, "decision")}`);
  $("no-decisions").hidden = $("decisions").childElementCount > 0;
  if (!$("no-decisions").hidden && decisions.length) put("no-decisions", "No decision fits the filter.");
  put("pause", !paused ? "Pause" : unseen ? `Resume (${count(unseen)} new)` : "Resume");
};

const showAll = () => {
  unseen = 0;
  $("decisions").replaceChildren(...records.filter(fits).slice(0, SHOWN).map(row));
  tellCount();
};

// Records that have just arrived, oldest first; shown together in the next frame.
let arrived = [];
const take = (record) => {
  if (!arrived.length) setTimeout(showArrived, 50);
  arrived.push(record);
};
const showArrived = () => {
  const fresh = arrived.reverse();
  arrived = [];
  records = [...fresh, ...records].slice(0, KEPT);
  if (paused) {
    unseen += fresh.length;
    return tellCount();
  }
  const rows = fresh.filter(fits).slice(0, SHOWN).map(row);
  if (rows.length < 20) rows.forEach((each) => each.classList.add("is-new"));
  $("decisions").prepend(...rows);
  while ($("decisions").childElementCount > SHOWN) $("decisions").lastElementChild.remove();
  tellCount();
};

for (const id of ["f-channel", "f-rule", "f-verdict"]) $(id).addEventListener("input", showAll);
$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", paused);
  setState(state);
  if (paused) tellCount();
  else showAll();
});

let state = "waiting";
const setState = (now) => {
  state = now;
  $("state").dataset.state = now === "live" && paused ? "paused" : now;
  put("state", { live: paused ? "Paused" : "Live", lost: "No connection", locked: "Locked", waiting: "Connecting…" }[now]);
};

// The events of a stream, as they come.
async function* events(body, alive) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { done, value } = await reader.read();
    if (done) return;
    alive();
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const event = { name: "decision", data: "", id: "" };
      for (const line of part.split("\n")) {
        const [, field, text] = /^(\w*): ?(.*)$/.exec(line) ?? [];
        if (field === "event") event.name = text;
        else if (field === "data" || field === "id") event[field] = text;
      }
      if (event.data) yield event;
    }
  }
}

// fetch and not EventSource, which cannot send the token along.
const follow = async () => {
  for (let pause = 1000; ; pause = Math.min(pause * 2, 15000)) {
    if (locked) {
      setState("locked");
      await new Promise((go) => addEventListener("unlocked", go, { once: true }));
      pause = 1000;
    }
    const connection = new AbortController();
    let silent;
    // usher gives a sign of life every 15 s.
    const alive = () => {
      clearTimeout(silent);
      silent = setTimeout(() => connection.abort(), 45000);
    };
    alive();
    try {
      const headers = last ? { "Last-Event-ID": last } : {};
      const response = await request("/decisions/stream?backlog=200", { headers, signal: connection.signal });
      setState("live");
      for await (const event of events(response.body, alive)) {
        pause = 500;
        const data = JSON.parse(event.data, exactly);
        if (event.id) last = event.id;
        if (event.name === "hello" && data.kept === 0) put("no-decisions", "No decisions are kept: admin.decisions is 0 in the configuration.");
        else if (event.name !== "hello") take(data);
      }
    } catch (error) {
      if (error.status === 401 || error.status === 403) lock(error);
      else setState("lost");
    }
    clearTimeout(silent);
    await new Promise((go) => setTimeout(go, pause));
  }
};

// ---------------------------------------------------------------- counters

// Earlier counts of upstream's answers by duration, to tell of the last minute.
let samples = [];

// The bound below which this share of the requests was answered, drawn straight within its bucket.
const quantile = (seconds, before, share) => {
  const counts = seconds.map(([, n], index) => n - (before?.[index]?.[1] ?? 0));
  const wanted = share * counts.at(-1);
  const index = counts.findIndex((n) => n >= wanted);
  const [from, to] = [index ? seconds[index - 1][0] : 0, seconds[index][0]];
  const [below, upTo] = [index ? counts[index - 1] : 0, counts[index]];
  return from + (to - from) * (upTo > below ? (wanted - below) / (upTo - below) : 1);
};
const duration = (seconds) => (seconds < 1 ? `${(seconds * 1000).toPrecision(2)} ms` : `${seconds.toPrecision(2)} s`);

const showLatency = ({ answers, failures, seconds }) => {
  samples = [...samples.filter(({ at }) => Date.now() - at < 60000), { at: Date.now(), seconds }];
  const total = seconds.at(-1)?.[1] ?? 0;
  const before = samples[0].seconds;
  const recent = total > (before.at(-1)?.[1] ?? 0);
  put("n-latency", total ? duration(quantile(seconds, recent ? before : null, 0.5)) : "–");
  const slow = total ? `95 % within ${duration(quantile(seconds, recent ? before : null, 0.95))}, ${recent ? "last minute" : "since the start"}` : "nothing sent yet";
  put("n-latency-more", failures ? `${slow}; ${plural(failures, "failure")} of ${count(answers + failures)}` : slow);
};

const sum = (decisions, ...labels) => labels.reduce((all, label) => all + (decisions[label] ?? 0), 0);
let saved = null;

const showOverview = async () => {
  const { value: overview } = await read("/overview");
  skew = Date.parse(overview.now) - Date.now();
  tokenConfigured = overview.token_configured;
  $("key").hidden = !tokenConfigured;
  put("environment", overview.name);
  document.title = overview.name ? `usher · ${overview.name}` : "usher";
  put("version", `usher ${overview.version}, up ${ago(overview.since).replace(" ago", "")}`);
  put("since", `${new Date(overview.since).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" })}`);
  $("since").dateTime = overview.since;
  $("draining").hidden = !overview.draining;
  $("observing").hidden = !overview.observe;
  $("just-started").hidden = !overview.start_doubt_until;
  if (overview.start_doubt_until) {
    put("start-doubt-end", new Date(overview.start_doubt_until).toLocaleTimeString("en-GB"));
    $("start-doubt-end").dateTime = overview.start_doubt_until;
  }
  const all = [...overview.rules.map((rule) => rule.decisions), overview.unruled];
  const judged = all.reduce((total, decisions) => total + sum(decisions, ...Object.keys(VERDICTS)), 0);
  const suppressed = all.reduce((total, decisions) => total + sum(decisions, "suppressed", "coalesced"), 0);
  const shadow = all.reduce((total, decisions) => total + sum(decisions, "shadow_suppressed"), 0);
  put("n-judged", count(judged));
  put("n-suppressed", count(suppressed));
  put("n-suppressed-more", shadow ? `and ${count(shadow)} would be, in observe mode` : "announcements of nobody new");
  put("n-saved", count(Math.max(saved?.messages ?? 0, suppressed)));
  put("n-saved-more", saved?.observed ? "with those that rules which only observe would save"
    : saved?.audience ? "to your server and its guests" : "at least: one for each, and one for each guest there");
  put("n-percent", judged ? `${((100 * suppressed) / judged).toFixed(1)} %` : "–");
  showLatency(overview.upstream);
  showRules(overview.rules);
};

// ---------------------------------------------------------------- rules

let drawn = "";
const showRules = (rules) => {
  const several = new Set(rules.map(({ app }) => app)).size > 1;
  const shape = JSON.stringify(rules.map(({ app, rule, mode, configured }) => [app, rule, mode, configured]));
  if (shape !== drawn) {
    drawn = shape;
    const focused = document.activeElement?.closest?.(".modes")?.dataset.key;
    $("rules").replaceChildren(...rules.map((rule) => card(rule, several)));
    if (focused) $("rules").querySelector(`.modes[data-key="${CSS.escape(focused)}"] input:checked`)?.focus();
    const chosen = $("f-rule").value;
    const names = [...new Set(rules.map(({ rule }) => rule))];
    $("f-rule").replaceChildren(...["", ...names].map((name) => new Option(name || "all", name)));
    $("f-rule").value = names.includes(chosen) ? chosen : "";
  }
  $("no-rules").hidden = rules.length > 0;
  rules.forEach((rule, index) => {
    const { decisions } = rule;
    const [off, shadow] = [sum(decisions, "suppressed", "coalesced"), sum(decisions, "shadow_suppressed")];
    const seen = sum(decisions, ...Object.keys(VERDICTS));
    const parts = [`${count(seen)} judged`, `${count(off)} dropped`, shadow ? `${count(shadow)} would be` : "", `${plural(rule.channels, "channel")} remembered`];
    $("rules").children[index].querySelector(".numbers").textContent = parts.filter(Boolean).join(" · ");
  });
};

const card = ({ app, rule, event, channel, mode, configured }, several) => {
  const title = make("h3", "", theirs("", rule), several ? make("span", "faint", ` app ${app}`) : "");
  const watches = make("p", "faint", "Watches ", make("code", "", theirs("", event)), " on ", make("code", "", theirs("", channel)));
  const modes = make("fieldset", "modes");
  modes.dataset.key = JSON.stringify([app, rule]);
  modes.setAttribute("aria-label", `Mode of ${rule} of app ${app}`);
  for (const [name, [label]] of Object.entries(MODES)) {
    const input = make("input");
    Object.assign(input, { type: "radio", name: `mode ${app} ${rule}`, value: name, checked: name === mode });
    input.addEventListener("change", () => askForMode({ app, rule, from: mode, to: name }, modes));
    modes.append(make("label", "", input, make("span", "", label)));
  }
  const meaning = make("p", "", MODES[mode][1]);
  const item = make("li", "", title, watches, modes, meaning);
  if (mode !== configured) item.append(make("p", "switched", `Switched here; the configuration says ${configured}.`));
  item.append(make("p", "faint numbers"));
  return item;
};

const askForMode = ({ app, rule, from, to }, modes) => ask({
  title: `Switch to ${MODES[to][0].toLowerCase()}?`,
  text: `${rule} of app ${app} is in ${from} mode. ${MODES[to][1]} ${from === "off" ? "At first everything is forwarded, until what is under way has arrived. " : ""}It lasts until usher reloads its configuration or restarts.`,
  yes: `Switch to ${to}`,
  act: async () => {
    const body = JSON.stringify({ app, rule, mode: to });
    await request("/rules/mode", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    await showOverview().catch(() => {});
    return `${rule}: ${from} → ${to}.`;
  },
  no: () => {
    modes.querySelector(`[value="${from}"]`).checked = true;
  },
});

// ---------------------------------------------------------------- assignments

const MOST = 100;
let listed = "";

const showAssignments = async () => {
  const prefix = $("a-channel").value.trim();
  const { value: entries, cut } = await read(`/assignments?limit=${MOST}&channel=${encodeURIComponent(prefix)}`);
  if (prefix !== $("a-channel").value.trim()) return;
  put("a-count", cut ? `the first ${MOST} channels; search for others` : plural(entries.length, "channel"));
  put("no-assignments", prefix ? "Nothing is remembered of such channels." : "Nothing is remembered yet.");
  $("no-assignments").hidden = entries.length > 0;
  listed = entries;
  const focused = document.activeElement?.closest?.("#assignments li")?.dataset.key;
  const before = new Map([...$("assignments").children].map((item) => [item.dataset.key, item]));
  const items = entries.map((one) => update(before, entry(one)));
  // Buttons stay where they are, if they can: somebody may be about to press one.
  if (items.length === before.size && items.every((item, index) => item === $("assignments").children[index])) return;
  $("assignments").replaceChildren(...items);
  if (focused) items.find((item) => item.dataset.key === focused)?.querySelector("button").focus();
};

// The item that shows the same entry already, brought up to date; else the fresh one.
const update = (before, fresh) => {
  const item = before.get(fresh.dataset.key);
  if (!item) return fresh;
  for (const part of [".what", ".more"]) item.querySelector(part).replaceWith(fresh.querySelector(part));
  return item;
};

const entry = ({ app, rule, channel, identity, since, announced, suppressed, in_flight, in_doubt }) => {
  const known = identity !== null;
  const who = known ? theirs("who", words(identity)) : make("span", "badge doubt", in_doubt ? "In doubt" : in_flight ? "Being announced" : "Unknown");
  const what = make("span", "what", who, make("span", "where", " on "), theirs("", channel));
  const more = [known && since ? `announced ${ago(since)}` : "its next announcement is forwarded",
    plural(suppressed, "repeat") + " dropped", `${count(announced)} forwarded`, rule, `app ${app}`];
  const forget = button("Forget", `Forget ${channel} for ${rule}`, () => askToForget({ app, rule, channel }));
  const item = make("li", "", what, make("span", "more faint", more.join(" · ")), forget);
  item.dataset.key = JSON.stringify([app, rule, channel]);
  return item;
};

const askToForget = ({ app, rule, channel }) => {
  const place = listed.findIndex((one) => one.app === app && one.rule === rule && one.channel === channel);
  ask({
    title: "Forget this channel?",
    text: `usher forgets who serves ${channel}. The next announcement there goes through, whatever it says.`,
    yes: "Forget",
    act: async () => {
      const query = new URLSearchParams({ app, rule, channel });
      await request(`/assignments?${query}`, { method: "DELETE" });
      await showAssignments().catch(() => {});
      return `${channel} is forgotten.`;
    },
  });
  // Once the entry is gone, the keyboard goes on at the one that has taken its place.
  asked.then = () => {
    const buttons = $("assignments").querySelectorAll("button");
    (buttons[Math.min(place, buttons.length - 1)] ?? $("a-channel")).focus();
  };
};

const search = () => showAssignments().catch((error) => say(error.message));
let typing;
$("a-channel").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(search, 200);
});
$("a-refresh").addEventListener("click", search);

// ---------------------------------------------------------------- report

let reported = "";
let hasReport = true;

const showReport = async () => {
  if (!hasReport) return;
  let report;
  try {
    report = (await read("/report")).value;
  } catch (error) {
    if (error.status !== 404) throw error;
    hasReport = false;
    return;
  }
  saved = { messages: report.rules.reduce((all, rule) => all + rule.messages_saved, 0), audience: report.rules.some((rule) => rule.audience_known), observed: report.rules.some((rule) => rule.would_suppress > 0) };
  if (JSON.stringify(report) === reported) return;
  reported = JSON.stringify(report);
  $("report").replaceChildren(...reportParts(report));
};

const table = (title, heads, rows) => {
  const head = make("tr", "", ...heads.map((name) => {
    const cell = make("th", name.startsWith("#") ? "number" : "", name.replace("#", ""));
    cell.scope = "col";
    return cell;
  }));
  const body = rows.map((cells) => make("tr", "", ...cells.map((cell, index) => {
    const element = make(index ? "td" : "th", heads[index].startsWith("#") ? "number" : "", cell instanceof Node ? cell : theirs("", String(cell)));
    if (!index) element.scope = "row";
    return element;
  })));
  const frame = make("div", "table", make("table", "", make("caption", "", title), make("thead", "", head), make("tbody", "", ...body)));
  frame.tabIndex = 0;
  frame.setAttribute("role", "region");
  frame.setAttribute("aria-label", title);
  return frame;
};

const reportParts = ({ since, rules, misplaced }) => {
  const several = new Set(rules.map(({ app }) => app)).size > 1;
  const name = ({ app, rule }) => (several ? `${rule} (app ${app})` : rule);
  const day = (time) => new Date(time).toLocaleString("en-GB", { dateStyle: "short", timeStyle: "short" });
  const span = ({ first, last: end }) => (first ? `${day(first)} to ${day(end)}` : "–");
  const top = ({ top_channels: channels }) => {
    const lines = channels.slice(0, 3).map(({ channel, suppressed }) => make("div", "", theirs("", channel), make("span", "faint", ` ${count(suppressed)}`)));
    return lines.length ? make("div", "", ...lines) : "–";
  };
  const rows = rules.map((rule) => [name(rule), rule.mode, count(rule.suppressed), count(rule.would_suppress),
    (rule.audience_known ? "" : "≥ ") + count(rule.messages_saved), count(rule.late_joiners), span(rule), top(rule)]);
  const parts = [];
  if (rows.length) {
    parts.push(table("What was dropped, or would have been", ["Rule", "Mode", "#Dropped", "#Would be", "#Messages saved", "#Late joiners", "First to last", "Channels with the most"], rows));
    parts.push(make("p", "faint report-note", `Since ${new Date(since).toLocaleString("en-GB")}. Late joiners: announcements dropped after somebody new had entered the channel, who had not read the one before. Enforce a rule once these numbers are what you expect.`));
  } else {
    parts.push(make("p", "empty", "No rule has anything to report yet."));
  }
  if (misplaced.length) {
    parts.push(table("Events on channels where the contract does not expect them",
      ["Event", "Seen on", "Expected on", "#Times", "Last", "App"],
      misplaced.map((one) => [one.event, one.channel_family, words(one.expected), count(one.count), ago(one.last), one.app])));
    parts.push(make("p", "faint report-note", "usher forwards them all the same: the contract ([[events]] in the configuration) only says where to look."));
  }
  return parts;
};

// ---------------------------------------------------------------- begin

const refresh = () => Promise.allSettled([showOverview(), showAssignments(), showReport()]);

for (const [{ badge, colour }, meaning] of LEGEND) $("legend").append(make("dt", "", make("span", `badge ${colour}`, badge)), make("dd", "", meaning));
keepToken(token);
tellCount();
follow();
poll(showReport, 10000);
poll(showOverview, 2000);
poll(showAssignments, 5000);
