// A guest: pusher-js, and a report of everything that it hears. The same in Node and in a page.
//
// `settings`: key, port, and, for a guest who may enter private rooms, the port `auth` of a backend and the name `user` that it knows him by;
// `watchlist` are the users of whom the backend lets him know when they come and go.
// `enterBy` says how a room is entered, if not by pusher-js alone: given the pusher, a function of a channel and of a listener for its events.
const byPusher = (pusher) => (channel, hear) => pusher.subscribe(channel).bind_global(hear);

export const visit = (Pusher, { key, port, auth, user, watchlist = [] }, tell, enterBy = byPusher) => {
  const query = new URLSearchParams([["user", user], ...watchlist.map((watched) => ["watch", watched])]);
  const backend = auth ? (path) => ({ endpoint: `http://127.0.0.1:${auth}${path}?${query}`, transport: "ajax" }) : () => undefined;
  const pusher = new Pusher(key, {
    cluster: "",
    wsHost: "127.0.0.1",
    wsPort: port,
    wssPort: port,
    forceTLS: false,
    enabledTransports: ["ws"],
    channelAuthorization: backend("/pusher/auth"),
    userAuthentication: backend("/pusher/user-auth"),
  });
  const socket = () => pusher.connection.socket_id ?? null;
  pusher.connection.bind("state_change", ({ current }) => tell({ state: current, socket: socket() }));
  pusher.connection.bind("error", ({ error, data }) => tell({ refused: data ?? error?.data ?? String(error) }));
  pusher.bind("pusher:signin_success", (data) => tell({ user: true, event: "pusher:signin_success", data }));
  pusher.user.bind_global((event, data) => tell({ user: true, event, data }));
  for (const event of ["online", "offline"]) pusher.user.watchlist.bind(event, ({ user_ids: users }) => tell({ watched: event, users }));

  const enter = enterBy(pusher);
  return {
    subscribe: (channel) => void enter(channel, (event, data) => tell({ channel, event, data })),
    // Only listeners of one event are told who sent it.
    listen(channel, event) {
      pusher.channel(channel).bind(event, (data, metadata) => tell({ channel, from: metadata?.user_id ?? null, data }));
    },
    // Events as they come over the wire, before pusher-js makes anything of them.
    overhear(channel) {
      pusher.connection.bind("message", (message) => message.channel === channel && tell({ overheard: message.event, data: message.data }));
    },
    unsubscribe: (channel) => pusher.unsubscribe(channel),
    trigger: (channel, event, data) => pusher.channel(channel).trigger(event, data),
    signin: () => pusher.signin(),
    socket,
    members: (channel) => Object.keys(pusher.channel(channel).members.members).sort(),
    leave: () => pusher.disconnect(),
  };
};
