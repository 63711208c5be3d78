
// The operator's page, part 6: what comes, whether a rule names it or not.

// ---------------------------------------------------------------- discovery

let discovered = "";

const showDiscovery = async () => {
  const { value: found } = await read("/discovery?limit=20");
  $("discovery-section").hidden = !found.discover || !found.families.length;
  if ($("discovery-section").hidden) return;
  const seen = JSON.stringify(found);
  if (seen === discovered) return;
  discovered = seen;
  const focused = document.activeElement?.closest?.("#discovery .table");
  $("discovery").replaceChildren(...discoveryParts(found));
  if (focused) $("discovery").querySelector(".table")?.focus();
};

const discoveryParts = ({ families, more, left_out: leftOut, one_in: oneIn, since }) => {
  const percent = (share) => `${(share * 100).toFixed(share > 0 && share < 0.01 ? 1 : 0)} %`;
  const several = new Set(families.map(({ app }) => app)).size > 1;
  const event = ({ app, event: name, where }) => make("div", "", theirs("", name),
    ...Object.entries(where).map(([pointer, value]) => make("div", "faint", theirs("", `${pointer} = ${value}`))),
    ...(several ? [make("div", "faint", `app ${app}`)] : []));
  const differing = ({ judgement: { ignore, changing } }) => lines([
    ...ignore.map(({ pointer, reason }) => make("span", "", theirs("", pointer), make("span", "faint", ` ${reason}`))),
    ...changing.slice(0, 3).map(([pointer, share]) => make("span", "", theirs("", pointer), make("span", "faint", ` changed in ${percent(share)}`)))]);
  const saved = ({ audience_known: known, judgement: { equal_but: { calls, deliveries } } }) => `${known ? "" : "≥ "}${count(calls + deliveries)}`;
  const suggested = ({ why, judgement: { proposal } }) => (proposal
    ? make("div", "", "a rule that compares ", code(proposal.identity.map(({ pointer }) => pointer).join(", ")))
    : make("div", "faint", `Nothing: ${why}`));
  const rows = families.map((family) => [event(family), family.channel, count(family.count), percent(family.judgement.equal.share),
    percent(family.judgement.equal_but.share), differing(family), saved(family), suggested(family)]);
  const parts = [table("What comes, by event and family of channels",
    ["Event", "Channels", "#Times", "#Same as before", "#But for what may differ", "What may differ, and what changes", "#Messages in those", "What it suggests"], rows)];
  const notes = [`Samples since ${minute(since)}${oneIn > 1 ? `, at present of one channel in ${count(oneIn)}` : ""}.`,
    "Same as before: its data says what the one before on its channel said. usher suggest prints the rules, with reasons and tests."];
  if (more) notes.push(`${plural(more, "more family", "more families")}.`);
  if (leftOut) notes.push(`${plural(leftOut, "event")} of families too many to tell apart.`);
  parts.push(make("p", "faint report-note", notes.join(" ")));
  return parts;
};
