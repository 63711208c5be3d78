
// The operator's page, part 2: one trigger, as a row and as its whole record.

// ---------------------------------------------------------------- what happened to a trigger

const forwarded = { badge: "Forwarded", colour: "" };
const cautious = { badge: "Forwarded to be safe", colour: "doubt" };
const reduced = { badge: "Reduced", colour: "suppressed" };
const suppressed = { badge: "Suppressed", colour: "suppressed" };
const inFlight = { badge: "Suppressed in flight", colour: "suppressed" };
const would = { badge: "Would suppress", colour: "would" };
const unmatched = { badge: "No rule matched", colour: "unmatched" };
const refused = { badge: "Refused", colour: "refused" };
const failed = { badge: "Failed upstream", colour: "failed" };
const unclear = { badge: "Outcome unknown", colour: "doubt" };
const KINDS = { forwarded, reduced, suppressed, suppressed_in_flight: inFlight, would_suppress: would, refused, failed };
// The reasons of what is forwarded because it is news. With others it is forwarded to be safe.
const NEWS = ["nothing_known", "changed", "released"];
const LEGEND = [
  [forwarded, "It is news: nothing was known of the channel, or it showed another assignment. It goes on to your Pusher server, and guests read it."],
  [suppressed, "Guests already see just this: your Pusher server accepted the same announcement before. It goes no further, and the backend is answered with success."],
  [inFlight, "The same, after it waited for an equal announcement that was on its way and was accepted."],
  [reduced, "Some of its events or channels are suppressed; the others went on."],
  [would, "The rule only observes: this would have been suppressed, is counted so, and is forwarded all the same."],
  [cautious, "usher cannot be sure what guests see: another announcement is in flight, the outcome of the last one is in doubt, or the request cannot be read exactly. What it is not sure of, it forwards."],
  [unmatched, "No rule watches this event on this channel. It is forwarded untouched; open the row to see what keeps each rule from matching."],
  [unclear, "It was sent on, and upstream's answer does not say whether all of it was accepted."],
  [failed, "It was sent on, and upstream refused it or gave no answer. The row says with which status or cause."],
  [refused, "usher refused it: a wrong signature, an unknown app, a limit. It went nowhere."],
];

// Upstream's failure is never "Forwarded", whatever was decided before.
const kindOf = ({ decision, reason, upstream }) => {
  const outcome = upstream?.outcome ?? "accepted";
  if (decision === "refused" || decision === "failed") return KINDS[decision];
  if (outcome === "refused" || outcome === "not_sent") return failed;
  if (outcome !== "accepted") return unclear;
  if (decision !== "forwarded") return KINDS[decision] ?? { badge: decision, colour: "doubt" };
  if (reason === "no_rule" || reason === "unknown_app") return unmatched;
  return NEWS.includes(reason) ? forwarded : cautious;
};

// A code at its beginning stays as it is written.
const sentence = (text) => {
  if (!text) return "";
  const begin = /^\w*_/.test(text) ? text[0] : text[0].toUpperCase();
  return `${begin}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
};

const causeOf = (trigger) => {
  const { why, answer, upstream } = trigger;
  const kind = kindOf(trigger);
  if (kind === refused) return `Answered ${answer.status}: ${sentence(why)}`;
  if (kind !== failed && kind !== unclear) return sentence(why);
  if (upstream?.status == null) return `No answer from upstream: ${sentence(upstream?.error ?? why)}`;
  const said = upstream.error ? `: ${sentence(upstream.error)}` : ".";
  return `Upstream answered ${upstream.status}${said}${answer.status === upstream.status ? "" : ` The caller was answered ${answer.status}.`}`;
};

// ---------------------------------------------------------------- the row

const others = (n, one) => (n > 0 ? make("span", "where", ` and ${plural(n, `more ${one}`)}`) : "");

// Whom it names, the event, and the channel; of a trigger that was not read, the request.
const whatOf = ({ method, path, events, more_events: moreEvents, rules }) => {
  const what = make("span", "what");
  if (!events.length) {
    what.append(make("span", "where", `${method} `), theirs("", path));
    return what;
  }
  const [{ event, channels, more_channels: moreChannels = 0 }] = events;
  const identity = rules.find((rule) => rule.assignment)?.assignment.identity.value;
  if (identity !== undefined) what.append(theirs("who", words(identity)), " ");
  what.append(make("span", "where", identity === undefined ? "" : "in "), theirs("", event), make("span", "where", " on "),
    theirs("", channels[0] === "*" ? "every channel of the app" : channels[0] ?? "no channel"));
  what.append(others(channels.length - 1 + moreChannels, "channel"), others(events.length - 1 + (moreEvents ?? 0), "event"));
  return what;
};

const row = (trigger) => {
  if (trigger.missed) {
    const item = make("li", "is-missed", `${plural(trigger.missed, "trigger")} came faster than they could be shown here.`);
    item.dataset.id = trigger.id;
    return item;
  }
  const { badge, colour } = kindOf(trigger);
  const names = [...new Set(trigger.rules.map(({ rule }) => rule))];
  const watching = names.length ? [theirs("", names.join(", ")), " · "] : kindOf(trigger) === refused ? [] : ["no rule · "];
  const rule = make("span", "rule", ...watching, "app ", theirs("", trigger.app));
  const summary = make("summary", "", timeElement(trigger.time, clock(trigger.time)), make("span", `badge ${colour}`, badge), whatOf(trigger), rule,
    make("span", "why", causeOf(trigger)));
  const details = make("details", "", summary);
  const item = make("li", `is-${colour || "forwarded"}`, details);
  item.dataset.id = trigger.id;
  details.addEventListener("toggle", () => {
    if (details.open && !item.querySelector(".record")) openRecord(trigger.id, details);
  });
  return item;
};

// Fetches the whole record and shows it below the row.
const openRecord = async (id, details) => {
  const place = make("div", "record", make("p", "faint", "Loading…"));
  details.append(place);
  try {
    place.replaceChildren(...recordParts((await read(`/triggers/${encodeURIComponent(id)}`)).value));
  } catch (error) {
    place.replaceChildren(make("p", "error", error instanceof Refused ? error.message : `This cannot be shown: ${error.message}`));
    // Another try when it is opened again.
    details.addEventListener("toggle", () => place.remove(), { once: true });
  }
};

// ---------------------------------------------------------------- the whole record

const terms = (...pairs) => make("dl", "terms", ...pairs.filter(([, value]) => value !== null && value !== undefined && value !== "")
  .map(([name, value]) => make("div", "", make("dt", "", name), make("dd", "", value))));
const group = (title, ...content) => make("section", "group", make("h3", "", title), ...content);
const span = (...content) => make("span", "", ...content);
const code = (text) => make("code", "", theirs("", text));
const millis = (n) => (n < 1000 ? `${Number(n.toPrecision(3))} ms` : `${(n / 1000).toPrecision(3)} s`);
// Text in which names are between backticks.
const coded = (text) => span(...text.split("`").map((part, index) => (index % 2 ? code(part) : part)));

const recordParts = (trigger) => [summaryOf(trigger), ...trigger.events.map((event, index) => eventOf(event, index, trigger)), ...rulesOf(trigger),
  ...notMatchedOf(trigger), upstreamOf(trigger)];

const summaryOf = (trigger) => {
  const { id, time, app, caller, method, path, size, decision, reason, why, inexact, answer } = trigger;
  const link = make("a", "", id);
  link.href = `#${new URLSearchParams({ id })}`;
  return group("Trigger", terms(
    ["Id", span(link, make("span", "faint", " usher-trigger in the answer, and in the log"))],
    ["Time", `${full(time)} (${time})`],
    ["App", theirs("", app)],
    ["Caller", caller],
    ["Request", span(code(`${method} ${path}`), ` ${bytes(size)}`)],
    ["Decision", span(code(decision), ", reason ", code(reason))],
    ["Why", sentence(why)],
    ["Not read exactly", inexact && code(inexact)],
    ["Answer", `${answer.status} after ${millis(answer.took_ms)}`],
  ));
};

const eventOf = ({ event, channels, more_channels: more = 0, socket_id: socket, info, data, data_size: size }, index, { events, more_events: moreEvents = 0 }) => {
  const all = events.length + moreEvents;
  const list = make("ul", "channels", ...channels.map((channel) => make("li", "", code(channel))), ...(more ? [make("li", "faint", `and ${plural(more, "more channel")}`)] : []));
  const cut = size > 2048 ? `, the first 2 KiB of ${bytes(size)}` : `, ${bytes(size)}`;
  const payload = data === undefined
    ? make("span", "faint", `not recorded (admin.payloads is "${recorded?.payloads ?? "none"}"), ${bytes(size)}`)
    : span(make("pre", "", theirs("", words(data))), make("span", "faint", `as sent${cut}`));
  return group(all > 1 ? `Event ${index + 1} of ${count(all)}` : "Event", terms(
    ["Name", code(event)],
    [channels.length + more > 1 ? "Channels" : "Channel", list],
    ["Asks", [socket ? "that one client does not receive it (socket_id)" : "", info ? "for attributes of the channels (info)" : ""].filter(Boolean).join(", ")],
    ["Data", payload],
  ));
};

// 7 and "7" differ, so values are JSON.
const assignmentOf = (assignment) => {
  if (!assignment) return null;
  const entry = ({ pointer, value }, role) => make("div", "", make("span", "faint", `${role} `), code(pointer), " = ", code(json(value)));
  return make("div", "", entry(assignment.identity, "identity"), ...assignment.context.map((each) => entry(each, "context")));
};

const rulesOf = ({ rules, more_rules: more = 0 }) => {
  const parts = rules.map(({ rule, event, channel, decision, reason, why, assignment, before, known_since: since, differs }) => group(span("Rule ", theirs("", rule)), terms(
    ["Matched", span(code(event), " on ", code(channel))],
    ["Decision", span(code(decision), ", reason ", code(reason))],
    ["Why", sentence(why)],
    ["Now", assignmentOf(assignment)],
    ["Before", assignmentOf(before) ?? (assignment ? make("span", "faint", "nothing was known") : null)],
    ["Known since", since && `${full(since)}`],
    ["What else", differs && "Something else in its data differed from what guests show: the report below counts what."],
  )));
  if (more) parts.push(make("p", "faint", `and ${plural(more, "more result")} of rules`));
  return parts;
};

const notMatchedOf = ({ not_matched: list = [] }) => (list.length ? [group("Rules that did not match", make("ul", "reasons",
  ...list.map(({ rule, event, channel, why }) => make("li", "", theirs("strong", rule), make("span", "faint", " for "), code(event), make("span", "faint", " on "), code(channel),
    ": ", coded(sentence(why))))))] : []);

const upstreamOf = ({ upstream }) => {
  if (!upstream) return group("Upstream", make("p", "", "Nothing was sent."));
  const { sent, status, took_ms: took, retries, error, outcome } = upstream;
  return group("Upstream", terms(
    ["Sent", sent === "reduced" ? "reduced: without what was suppressed" : sent],
    ["Answer", status === null ? "none" : String(status)],
    ["After", millis(took)],
    ["Sent again", retries ? plural(retries, "time") : null],
    ["Error", error && theirs("", error)],
    ["Outcome", code(outcome)],
  ));
};
