
// The operator's page, part 4: counters, rules and assignments.

// ---------------------------------------------------------------- counters

// Earlier counts of upstream's answers by duration, for the figures of the last minute.
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

// The number of events with these decisions; of all of them without labels. `decisions`: counts by decision and reason.
const sum = (decisions, ...labels) => Object.entries(decisions)
  .filter(([label]) => !labels.length || labels.includes(label))
  .reduce((all, [, reasons]) => Object.values(reasons).reduce((total, n) => total + n, all), 0);
const suppressedOf = (decisions) => sum(decisions, "suppressed", "suppressed_in_flight");
let saved = null;

const showOverview = async () => {
  const { value: overview } = await read("/overview");
  skew = Date.parse(overview.now) - Date.now();
  tokenConfigured = overview.token_configured;
  $("key").hidden = !tokenConfigured;
  put("version", `usher ${overview.version}, up ${ago(overview.since).replace(" ago", "")}`);
  showName(overview.name);
  $("observing").hidden = overview.observe !== true;
  put("since", minute(overview.since));
  $("since").dateTime = overview.since;
  $("leaving").hidden = overview.phase !== "leaving";
  $("draining").hidden = overview.phase !== "draining";
  $("just-started").hidden = !overview.start_doubt_reason;
  put("start-doubt-reason", overview.start_doubt_reason ?? "");
  put("start-doubt-end", overview.start_doubt_until ? clock(overview.start_doubt_until) : "it has ended and some time has passed");
  $("start-doubt-end").dateTime = overview.start_doubt_until ?? "";
  const all = [...overview.rules.map((rule) => rule.decisions), overview.unruled];
  const total = (of) => all.reduce((sofar, decisions) => sofar + of(decisions), 0);
  const [decided, suppressed, would] = [total(sum), total(suppressedOf), total((decisions) => sum(decisions, "would_suppress"))];
  put("n-decided", count(decided));
  put("n-suppressed", count(suppressed));
  put("n-suppressed-more", would ? `and ${count(would)} would be, in observe mode` : "announcements that guests know");
  put("n-saved", count(Math.max(saved?.messages ?? 0, suppressed)));
  put("n-saved-more", saved?.observed ? "with those that rules which only observe would save"
    : saved?.audience ? "to your server and its guests" : "at least: one for each, and one for each guest there");
  put("n-percent", decided ? `${((100 * suppressed) / decided).toFixed(1)} %` : "–");
  showLatency(overview.upstream);
  showRules(overview.rules);
  showReasons(all);
  recorded = overview;
  nothingMatched = overview.rules.every((rule) => sum(rule.decisions) === 0);
};

// The reasons that the filter offers.
let reasonsShown = "";
const showReasons = (all) => {
  const reasons = [...new Set(all.flatMap((decisions) => Object.values(decisions).flatMap((counts) => Object.keys(counts))))].sort();
  if (reasons.join() === reasonsShown) return;
  reasonsShown = reasons.join();
  $("reasons").replaceChildren(...reasons.map((reason) => new Option(reason, reason)));
};

const showName = (name) => {
  document.title = name ? `usher · ${name}` : "usher";
  $("environment").hidden = !name;
  put("environment", name ?? "");
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
  }
  $("no-rules").hidden = rules.length > 0;
  rules.forEach((rule, index) => {
    const { decisions } = rule;
    const would = sum(decisions, "would_suppress");
    const parts = [`${count(sum(decisions))} decided`, `${count(suppressedOf(decisions))} suppressed`,
      would ? `${count(would)} would be` : "", `${plural(rule.channels, "channel")} remembered`];
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
    const answer = await request("/rules/mode", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    const { warnings } = await answer.json();
    await showOverview().catch(() => {});
    return [`${rule}: ${from} → ${to}.`, ...warnings.map((warning) => `Look at this: ${warning}.`)].join(" ");
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
  // Buttons stay where they are, if they can: the operator may be about to press one.
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
    `${count(suppressed)} suppressed`, `${count(announced)} forwarded`, rule, `app ${app}`];
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
