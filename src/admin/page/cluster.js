
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
  // Behind a question everything stays, so that the keyboard finds the button again on which it was asked.
  if (shape === clustered || $("ask").open) return;
  clustered = shape;
  const focused = document.activeElement?.closest?.("#cluster .table, #cluster button")?.getAttribute("aria-label");
  $("cluster").replaceChildren(...apps.flatMap((app) => appParts(app, cluster.isolated)));
  if (focused) focusOn(focused);
};

// Gives the keyboard to the table or the button with this label, if it is there.
const focusOn = (label) =>
  [...$("cluster").querySelectorAll(".table, button")].find((element) => element.getAttribute("aria-label") === label)?.focus();

// What is shown of an app, as texts: what changes with each answer is left out.
const shownApp = ({ app, standing, since, open, open_until, members, store }) => ({
  app, standing, since: minute(since), open, until: open_until ? minute(open_until) : "", store,
  members: members.map((member) => [
    member.this ? `${member.node} (this usher)` : member.node,
    member.missing_for === null ? "in" : member.missing_for < 120 ? "missing" : `missing for ${Math.floor(member.missing_for / 60)} min`,
    member.rules.slice(0, 8), count(member.version)]),
  missing: members.filter((member) => member.missing_for !== null).map((member) => member.node),
});

const membersOf = (app) => `Members of app ${app}`;

const appParts = (shown, isolated) => {
  const { app, standing, since, open, until, store, members } = shown;
  const policy = { forward: " It forwards all announcements, and a handoff could be lost.", refuse: " It refuses all triggers." };
  const place = make("p", "cluster-text", make("span", `badge ${standing === "member" ? "suppressed" : "failed"}`, standing), " ",
    `${STANDINGS[standing] ?? ""}${standing === "isolated" ? policy[isolated] ?? "" : ""} Since ${since}.`);
  const openness = make("p", "cluster-text", open === null && members.length ? make("span", "badge suppressed", "suppresses") : make("span", "badge doubt", "suppresses nothing"), " ",
    open !== null ? `Open: ${OPEN[open] ?? open}${until ? `; until ${until}` : ""}.` : members.length ? "What is redundant is suppressed, once no doubt is left." : "The store does not answer.");
  const where = make("p", "faint cluster-text", "Store: ", theirs("", [store.server, store.version].filter(Boolean).join(", ") || "no connection"));
  const parts = [make("h3", "cluster-app", `App ${app}`), place, openness, where];
  if (store.problem) parts.push(make("p", "notice", theirs("", store.problem)));
  if (members.length) parts.push(table(membersOf(app), ["Member", "State", "Rules", "#Record version"], members));
  const words = operatorsWords(shown);
  if (words.length) parts.push(make("p", "cluster-words", ...words));
  return parts;
};

// ---------------------------------------------------------------- what only the operator knows

const AFTERWARDS = "Once a doubt is over (assignments.doubt_period), what is redundant is suppressed again.";

// The buttons for what can be said of this app now. usher refuses it while it is no member.
const operatorsWords = ({ app, standing, open, until, missing }) => {
  if (standing !== "member") return [];
  const close = () => askForWord({
    app,
    title: "Close the new history?",
    text: `The store of app ${app} has begun anew, so nothing is suppressed${until ? ` until ${until}` : ""}: a usher that the store does not name may still forward. To close the history now is your word that no such usher lives. If one does, a handoff can be lost. ${AFTERWARDS}`,
    yes: "Close the history",
    change: () => request(`/cluster/close?${new URLSearchParams({ app })}`, { method: "POST" }),
    done: `The new history of app ${app} is closed.`,
  });
  const giveUp = (node) => askForWord({
    app,
    title: "Give up this member?",
    text: `${node} of app ${app} is missing, so nothing is suppressed until it is back or given up. To give it up now is your word that its process has ended. If it still runs, a handoff can be lost. ${AFTERWARDS}`,
    yes: "Give it up",
    change: () => request(`/cluster/members/${encodeURIComponent(node)}?${new URLSearchParams({ app })}`, { method: "DELETE" }),
    done: `${node} is given up.`,
  });
  return [
    ...(open === "history" ? [button("Close the new history", `Close the new history of app ${app}`, close)] : []),
    ...missing.map((node) => {
      const element = button("Give up ", `Give up ${node} of app ${app}`, () => giveUp(node));
      element.append(theirs("", node));
      return element;
    }),
  ];
};

const askForWord = ({ app, title, text, yes, change, done }) => {
  ask({
    title,
    text,
    yes,
    act: async () => {
      const { open } = await (await change()).json();
      return open === null ? done : `${done} The app is still open: ${OPEN[open] ?? open}.`;
    },
  });
  // The button is gone then, and the keyboard goes on at the members.
  asked.then = async () => {
    await showCluster().catch(() => {});
    focusOn(membersOf(app));
  };
};
