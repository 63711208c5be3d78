// A backend with pusher-http-node: carries out calls of the library, and lets guests into private rooms. Usage: backend.mjs SETTINGS
//
// `settings`: appId, key, secret, port, encryptionMasterKeyBase64. An order is the name of a method of the library. Guests are who their auth address
// says (`?user=`) and watch whom it says (`&watch=`), and no guest may enter a channel with "forbidden" in its name.
import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import Pusher from "pusher";
import { obey, tell } from "./lines.mjs";

const client = new Pusher({ ...JSON.parse(process.argv[2]), host: "127.0.0.1", useTLS: false });

const authenticate = (path, query, form) => {
  const [socket, user, watchlist] = [form.get("socket_id"), query.get("user"), query.getAll("watch")];
  if (path === "/pusher/user-auth") return client.authenticateUser(socket, { id: user, user_info: { name: user }, watchlist });
  const channel = form.get("channel_name");
  if (channel.includes("forbidden")) return undefined;
  const who = channel.startsWith("presence-") ? { user_id: user, user_info: { name: user } } : undefined;
  return client.authorizeChannel(socket, channel, who);
};

const server = createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, "http://backend");
  const answer = authenticate(pathname, searchParams, new URLSearchParams(await text(request)));
  response.writeHead(answer ? 200 : 403, { "content-type": "application/json", "access-control-allow-origin": "*" });
  response.end(JSON.stringify(answer ?? {}));
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
tell({ auth: server.address().port });

// What the library says of a webhook that was received.
const judge = (request) => {
  const webhook = client.webhook(request);
  if (!webhook.isValid()) return { valid: false };
  return { valid: true, events: webhook.getEvents(), time: webhook.getTime().getTime() };
};

await obey(async (call, given) => {
  if (call === "webhook") return judge(...given);
  const response = await client[call](...given);
  return { status: response.status, decision: response.headers.get("usher-decision"), body: await response.json() };
});
