
// The operator's page, part 5: the shared memory of each app.

// ---------------------------------------------------------------- cluster

const STANDINGS = {
  outside: "This usher has not entered yet: its announcements wait.",
  member: "This usher is a member.",
  silent: "This usher is no member now: its announcements wait.",
  blind: "This usher does not reach the shared memory and forwards all announcements; the others suppress nothing.",
  isolated: "This usher was away for so long that the others may have given it up.",
  replaced: "Another process has the name of this usher: it refuses triggers until it is restarted.",
};
const OPEN = {
  history: "the store has begun anew, and a usher that it does not know may still forward",
  missing: "a member is missing",
  rules: "the members have different rules",
  versions: "the members run versions that write different records",
};

let clustered = "";
const showCluster = async () => {
  $("cluster-section").hidden = recorded?.cluster !== true;
  if ($("cluster-section").hidden) return;
  const { value: cluster } = await read("/cluster");
  const apps = cluster.apps.map(shownApp);
  put("cluster-node", `This usher is ${cluster.node}; the keys of the store begin with ${cluster.prefix}.`);
  const shape = JSON.stringify(apps);
  if (shape === clustered) return;
  clustered = shape;
  const focused = document.activeElement?.closest?.("#cluster .table")?.getAttribute("aria-label");
  $("cluster").replaceChildren(...apps.flatMap((app) => appParts(app, cluster.isolated)));
  if (focused) [...$("cluster").querySelectorAll(".table")].find((frame) => frame.getAttribute("aria-label") === focused)?.focus();
};

// What is shown of an app, as texts: what changes with each answer is left out.
const shownApp = ({ app, standing, since, open, open_until, members, store }) => ({
  app, standing, since: minute(since), open, until: open_until ? minute(open_until) : "", store,
  members: members.map((member) => [
    member.this ? `${member.node} (this usher)` : member.node,
    member.missing_for === null ? "in" : member.missing_for < 120 ? "missing" : `missing for ${Math.floor(member.missing_for / 60)} min`,
    member.rules.slice(0, 8), count(member.version)]),
});

const appParts = ({ app, standing, since, open, until, store, members }, isolated) => {
  const policy = { forward: " It forwards all announcements, and a handoff could be lost.", refuse: " It refuses all triggers." };
  const place = make("p", "cluster-text", make("span", `badge ${standing === "member" ? "suppressed" : "failed"}`, standing), " ",
    `${STANDINGS[standing] ?? ""}${standing === "isolated" ? policy[isolated] ?? "" : ""} Since ${since}.`);
  const openness = make("p", "cluster-text", open === null && members.length ? make("span", "badge suppressed", "suppresses") : make("span", "badge doubt", "suppresses nothing"), " ",
    open !== null ? `Open: ${OPEN[open] ?? open}${until ? `; until ${until}` : ""}.` : members.length ? "What is redundant is suppressed, once no doubt is left." : "The store does not answer.");
  const where = make("p", "faint cluster-text", "Store: ", theirs("", [store.server, store.version].filter(Boolean).join(", ") || "no connection"));
  const parts = [make("h3", "cluster-app", `App ${app}`), place, openness, where];
  if (store.problem) parts.push(make("p", "notice", theirs("", store.problem)));
  if (members.length) parts.push(table(`Members of app ${app}`, ["Member", "State", "Rules", "#Record version"], members));
  return parts;
};
