
// The operator's page, part 7: the report, and the begin.

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

// `heads`: the names of the columns; "#" marks one of numbers. Roles are named: a narrow window shows rows as blocks, which would take them away.
const table = (title, heads, rows) => {
  const part = (tag, role, ...content) => {
    const element = make(tag, "", ...content);
    element.setAttribute("role", role);
    return element;
  };
  const columns = heads.map((name) => ({ title: name.replace("#", ""), style: name.startsWith("#") ? "number" : "" }));
  const head = part("tr", "row", ...columns.map((column) => {
    const cell = part("th", "columnheader", column.title);
    cell.scope = "col";
    cell.className = column.style;
    return cell;
  }));
  const body = rows.map((cells) => part("tr", "row", ...cells.map((cell, index) => {
    const element = part(index ? "td" : "th", index ? "cell" : "rowheader", cell instanceof Node ? cell : theirs("", String(cell)));
    element.className = columns[index].style;
    element.dataset.head = columns[index].title;
    if (!index) element.scope = "row";
    return element;
  })));
  const frame = make("div", "table", part("table", "table", make("caption", "", title), part("thead", "rowgroup", head), part("tbody", "rowgroup", ...body)));
  frame.tabIndex = 0;
  frame.setAttribute("role", "region");
  frame.setAttribute("aria-label", title);
  return frame;
};

const lines = (texts) => (texts.length ? make("div", "", ...texts.map((text) => make("div", "", text))) : "–");

const reportParts = ({ since, rules, misplaced }) => {
  const several = new Set(rules.map(({ app }) => app)).size > 1;
  const name = ({ app, rule }) => (several ? `${rule} (app ${app})` : rule);
  const span = ({ first, last }) => (first ? `${minute(first)} to ${minute(last)}` : "–");
  const top = ({ top_channels: channels }) =>
    lines(channels.slice(0, 3).map(({ channel, suppressed }) => make("span", "", theirs("", channel), make("span", "faint", ` ${count(suppressed)}`))));
  const differs = ({ differences: { on_difference: mode, compared, differing, pointers } }) => (mode === "suppress" ? "not looked at"
    : !differing ? (compared ? "nothing" : "–")
      : make("div", "", make("div", "", `${count(differing)} of ${count(compared)}`), lines(pointers.slice(0, 5).map(({ pointer, count: times }) => make("span", "", theirs("", pointer), make("span", "faint", ` ${count(times)}`))))));
  const choices = ({ would_save: { settings, announcements, channels, proposal, warning } }) => (announcements
    ? make("div", "", lines(settings.map(({ setting, suppressed, messages_saved: messages }) => make("span", "", theirs("", setting), make("span", "faint", ` ${count(suppressed)}, messages ${count(messages)}`)))),
      make("div", "faint", `of ${count(announcements)} announcements on ${count(channels)} channels`), make("div", "", proposal), ...(warning ? [make("div", "", warning)] : [])) : "–");
  const beside = rules.filter(({ bypassed }) => bypassed.count).map((rule) =>
    [name(rule), count(rule.bypassed.count), theirs("", rule.bypassed.channel), timeElement(rule.bypassed.last, ago(rule.bypassed.last))]);
  const rows = rules.map((rule) => [name(rule), rule.mode, count(rule.suppressed), count(rule.would_suppress),
    (rule.audience_known ? "" : "≥ ") + count(rule.messages_saved), count(rule.late_joiners), differs(rule), span(rule), top(rule)]);
  const parts = [];
  if (rows.length) {
    parts.push(table("What rules suppressed, or would suppress", ["Rule", "Mode", "#Suppressed", "#Would suppress", "#Messages saved", "#Late joiners", "What else differed", "First to last", "Channels with the most"], rows));
    parts.push(table("What each setting for late joiners would suppress", ["Rule", "Suppressed with each setting, and what follows"], rules.map((rule) => [name(rule), choices(rule)])));
    parts.push(make("p", "faint report-note", `Since ${minute(since)}. Late joiners: announcements suppressed after somebody new had entered the channel, who had not read the one before. What else differed: values in their data that were not those of what guests show, and that the rule neither compares nor ignores; they are dropped with the announcement unless on_difference = "forward". Enforce a rule once these numbers are what you expect.`));
  } else {
    parts.push(make("p", "empty", "No rule has anything to report yet."));
  }
  if (beside.length) {
    parts.push(table("Somebody announces beside usher", ["Rule", "#Times", "Channel of the last", "When"], beside));
    parts.push(make("p", "faint report-note", "Clients were sent announcements that usher did not forward. Their channels are in doubt for a while, so that nothing is dropped there. Find who still talks to the server behind usher."));
  }
  if (misplaced.length) {
    parts.push(table("Events on channels where the contract does not expect them",
      ["Event", "Seen on", "Channels", "Expected on", "#Times", "Last", "App"],
      misplaced.map((one) => [one.event, one.channel_family, lines(one.channels.map((channel) => theirs("", channel))), one.expected, count(one.count), timeElement(one.last, ago(one.last)), one.app])));
    parts.push(make("p", "faint report-note", "usher forwards them all the same: the contract ([[events]] in the configuration) only says where to look. The channels are those of the triggers whose records are kept."));
  }
  return parts;
};

// ---------------------------------------------------------------- begin

const refresh = () => Promise.allSettled([showOverview(), showCame(), showAssignments(), showReport(), showDiscovery(), showCluster(), load()]);

for (const [{ badge, colour }, meaning] of LEGEND) $("legend").append(make("dt", "", make("span", `badge ${colour}`, badge)), make("dd", "", meaning));
keepToken(token);
readAddress();
follow();
poll(showReport, 10000);
poll(showDiscovery, 5000);
poll(showOverview, 2000);
poll(showCame, 3000);
poll(showCluster, 3000);
poll(showAssignments, 5000);
