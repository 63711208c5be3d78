
// The operator's page, part 3: the list of triggers with its filters, the stream that extends it, and the first minute.

// ---------------------------------------------------------------- filters, in the address

// The fragment of the address holds them, so that a view can be shared, and back and forward lead through the views.
const FILTERS = ["channel", "event", "decision", "reason", "status", "caller", "app", "id"];
let filters = {};

const readFields = () => Object.fromEntries(FILTERS.map((name) => [name, $(`f-${name}`).value.trim()]).filter(([, value]) => value));

// The query of a listing or stream. A failed trigger does not count as forwarded, although that was decided.
const query = (more = {}) => {
  const { id, ...wanted } = filters;
  if (wanted.decision === "forwarded") wanted.failed = "false";
  if (wanted.decision === "no_rule") {
    delete wanted.decision;
    wanted.reason ??= "no_rule";
  }
  return new URLSearchParams({ ...wanted, ...more });
};

const readAddress = () => {
  const given = new URLSearchParams(location.hash.slice(1));
  filters = Object.fromEntries(FILTERS.map((name) => [name, given.get(name)]).filter(([, value]) => value));
  for (const name of FILTERS) {
    const field = $(`f-${name}`);
    const value = filters[name] ?? "";
    if (field.value.trim() !== value) field.value = value;
  }
  if (["status", "caller", "app", "id"].some((name) => filters[name])) $("more-filters").open = true;
  $("f-clear").hidden = !Object.keys(filters).length;
};

const begin = () => {
  readAddress();
  [records, shown, more, unseen, known] = [[], STEP, false, 0, false];
  put("f-error", "");
  showAll();
  connection?.abort();
  dispatchEvent(new Event("filtered"));
};
addEventListener("popstate", begin);

// What is typed into one field is one step of the history; each choice is one.
let edited = null;
const write = (field) => {
  const address = `#${new URLSearchParams(readFields())}`;
  if (address === (location.hash || "#")) return;
  if (edited === field) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  edited = field instanceof HTMLInputElement ? field : null;
  begin();
};
let waiting;
for (const name of FILTERS) {
  const field = $(`f-${name}`);
  field.addEventListener("focus", () => {
    edited = null;
  });
  field.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => write(field), 250);
  });
}
$("f-clear").addEventListener("click", () => {
  for (const name of FILTERS) $(`f-${name}`).value = "";
  write(null);
  $("f-channel").focus();
});

// ---------------------------------------------------------------- the list

const STEP = 200;
// Newest first; a record with `missed` says how many could not be sent.
let records = [];
let shown = STEP;
// Whether older ones match, and how many were removed.
let more = false;
let removed = 0;
// Whether the list was fetched.
let known = false;
let paused = false;
let unseen = 0;

const numberOf = ({ id }) => Number(id.split("-")[1] ?? 0);
const isNewer = (one, other) => Date.parse(other.time) - Date.parse(one.time) || numberOf(other) - numberOf(one);

// Adds records to the list; returns how many are new to it.
const merge = (fresh) => {
  const before = new Set(records.map(({ id }) => id));
  const added = fresh.filter(({ id }) => !before.has(id));
  records = [...added, ...records].sort(isNewer).slice(0, Math.max(shown, STEP) + STEP);
  return added.length;
};

// Rows that are there already stay what they are: one may be open, or have the focus.
const showAll = () => {
  unseen = 0;
  const before = new Map([...$("triggers").children].map((item) => [item.dataset.id, item]));
  const fresh = before.size > 0;
  const items = records.slice(0, shown).map((record) => before.get(record.id) ?? row(record));
  const wanted = new Set(items);
  for (const item of before.values()) if (!wanted.has(item)) item.remove();
  let at = $("triggers").firstChild;
  const added = items.filter((item) => !item.parentNode);
  for (const item of items) {
    if (item === at) at = at.nextSibling;
    else $("triggers").insertBefore(item, at);
  }
  if (fresh && added.length < 20) added.forEach((item) => item.classList.add("is-new"));
  if (filters.id && items.length === 1) items[0].querySelector("details").open = true;
  tellCount();
};

const tellCount = () => {
  const triggers = records.filter(({ missed }) => !missed).length;
  const filtered = Object.keys(filters).length > 0;
  put("shown", known ? `${plural(triggers, "trigger")}${more ? " or more" : ""}${filtered ? " that match" : ""}` : "");
  $("no-triggers").hidden = records.length > 0 || !known;
  put("no-triggers", recorded?.triggers_bytes === 0 ? "No triggers are recorded: admin.triggers_bytes is 0 in the configuration."
    : filtered ? "No recorded trigger matches the filters." : "Nothing yet. Each trigger appears here when it is answered.");
  $("older").hidden = !more;
  put("removed", removed && !more && !filters.id ? `${plural(removed, "older trigger")} had to make room (admin.triggers_bytes).` : "");
  put("pause", !paused ? "Pause" : unseen ? `Resume (${count(unseen)} new)` : "Resume");
};

// Fetches the newest records; what came before `before` if it is given.
const load = async (before) => {
  const asked = filters;
  try {
    if (asked.id) {
      const { value } = await read(`/triggers/${encodeURIComponent(asked.id)}`);
      if (asked !== filters) return;
      merge([value]);
    } else {
      const { value } = await read(`/triggers?${query({ limit: STEP, ...(before ? { before } : {}) })}`);
      if (asked !== filters) return;
      if (before || !known) more = value.more;
      if (before) shown += STEP;
      removed = value.missed;
      merge(value.triggers);
    }
    known = true;
    showAll();
  } catch (error) {
    if (asked !== filters) return;
    if (error.status === 401 || error.status === 403) lock(error);
    else put("f-error", error instanceof Refused ? error.message : "");
  }
};
$("older").addEventListener("click", () => load(records.at(-1)?.id));

// Records that have just arrived; shown together in the next frame.
let arrived = [];
const take = (record) => {
  if (filters.id) return;
  if (!arrived.length) setTimeout(showArrived, 50);
  arrived.push({ of: filters, record });
};
const showArrived = () => {
  const added = merge(arrived.filter(({ of }) => of === filters).map(({ record }) => record));
  arrived = [];
  if (paused) unseen += added;
  if (paused) tellCount();
  else if (added) showAll();
};

$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", paused);
  setState(state);
  if (paused) tellCount();
  else showAll();
});
$("skip").addEventListener("click", (event) => {
  // The fragment of the address is for the filters.
  event.preventDefault();
  $("live").scrollIntoView();
  $("live").focus();
});

// ---------------------------------------------------------------- the stream

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
      const event = { name: "trigger", data: "" };
      for (const line of part.split("\n")) {
        const [, field, text] = /^(\w*): ?(.*)$/.exec(line) ?? [];
        if (field === "event") event.name = text;
        else if (field === "data") event.data = text;
      }
      if (event.data) yield event;
    }
  }
}

let connection = null;
let missedSoFar = 0;
const receive = (event) => {
  const data = JSON.parse(event.data, exactly);
  if (event.name === "hello") load();
  else if (event.name === "missed") take({ id: `missed-${++missedSoFar}`, time: new Date(Date.now() + skew).toISOString(), missed: data.missed });
  else take(data);
};

// fetch and not EventSource, which cannot send the token along. Each connection begins with the list, so nothing between two is lost.
const follow = async () => {
  for (let pause = 1000; ; pause = Math.min(pause * 2, 15000)) {
    if (locked) {
      setState("locked");
      await new Promise((go) => addEventListener("unlocked", go, { once: true }));
      pause = 1000;
    }
    const of = filters;
    connection = new AbortController();
    let silent;
    // usher gives a sign of life every 15 s.
    const alive = () => {
      clearTimeout(silent);
      silent = setTimeout(() => connection.abort(), 45000);
    };
    alive();
    try {
      const response = await request(`/triggers/stream?${query()}`, { signal: connection.signal });
      setState("live");
      for await (const event of events(response.body, alive)) {
        if (of !== filters) break;
        pause = 500;
        receive(event);
      }
    } catch (error) {
      if (error.status === 401 || error.status === 403) lock(error);
      else if (error.status === 400) put("f-error", error.message);
      else if (error.status === 503) await load();
      if (of === filters && !locked) setState("lost");
    }
    clearTimeout(silent);
    connection.abort();
    if (of === filters) await Promise.race([new Promise((go) => setTimeout(go, pause)), new Promise((go) => addEventListener("filtered", go, { once: true }))]);
    else pause = 500;
  }
};

// ---------------------------------------------------------------- the first minute

// The last overview, and whether no rule has matched since usher started.
let recorded = null;
let nothingMatched = false;

const showCame = async () => {
  $("came-section").hidden = !nothingMatched;
  if (!nothingMatched) return;
  const { value: { events: came, more: others } } = await read("/events?limit=20");
  const item = ({ app, event, channel, count: times, last, nearest }) => {
    const what = make("p", "what", code(event), make("span", "where", " on "), code(channel),
      make("span", "faint", ` ${plural(times, "time")}, last `), timeElement(last, ago(last)), make("span", "faint", ` · app ${app}`));
    const why = nearest
      ? make("p", "nearest", "Nearest rule: ", theirs("strong", nearest.rule), ". ", coded(sentence(nearest.why)))
      : make("p", "nearest", "The app has no rules.");
    return make("li", "", what, why);
  };
  $("came").replaceChildren(...came.map(item));
  put("came-text", came.length ? "No rule has matched since usher started. This came, and this keeps the nearest rule from matching:"
    : "Nothing has come yet that could be read. Point your backend's Pusher host and port at usher and send an event; a refused trigger is in the list below.");
  put("came-more", others ? `and ${plural(others, "more pair")} of event and channel` : "");
};
