// A small Pusher server of the tests: public, private and presence channels, client events, and the HTTP API of events and channels. It is written
// from Pusher's documents on the package ws and shares nothing with usher: what passes before it does not pass because both err in the same way.
// Usage: server.mjs SETTINGS (appId, key, secret). Reports {"listening": PORT}; ends with its standard input.
//
// With "echo" it sends back every frame instead, as the Autobahn cases want it.
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { buffer } from "node:stream/consumers";
import { WebSocketServer } from "ws";
import { obey, tell } from "./lines.mjs";

const app = JSON.parse(process.argv[2]);
const channels = new Map(); // name -> Map of connection -> member (null where there are no members)

const hmac = (text) => createHmac("sha256", app.secret).update(text).digest("hex");
const equal = (a, b) => a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
const frame = (event, channel, data, more = {}) => JSON.stringify({ event, ...(channel && { channel }), data, ...more });
const audience = (name) => [...(channels.get(name) ?? [])];
const publish = (name, text, except) => {
  for (const [connection] of audience(name)) if (connection.id !== except) connection.send(text);
};
const members = (name) => new Map(audience(name).map(([, member]) => [String(member.user_id), member.user_info ?? null]));

class Refusal extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

// ---------------------------------------------------------------- WebSocket

const subscribe = (connection, { channel, auth, channel_data: data }) => {
  const presence = channel.startsWith("presence-");
  if (presence || channel.startsWith("private-")) {
    const signed = [connection.id, channel, ...(presence ? [data] : [])].join(":");
    if (!equal(auth ?? "", `${app.key}:${hmac(signed)}`)) {
      const problem = { code: 4009, message: `The connection is unauthorized: ${channel}` };
      return connection.send(JSON.stringify({ event: "pusher:error", data: problem }));
    }
  }
  const member = presence ? JSON.parse(data) : null;
  const isNew = presence && !members(channel).has(String(member.user_id));
  if (!channels.has(channel)) channels.set(channel, new Map());
  channels.get(channel).set(connection, member);
  const present = presence ? members(channel) : null;
  const hash = present && { presence: { ids: [...present.keys()], hash: Object.fromEntries(present), count: present.size } };
  connection.send(frame("pusher_internal:subscription_succeeded", channel, JSON.stringify(hash ?? {})));
  if (isNew) publish(channel, frame("pusher_internal:member_added", channel, data), connection.id);
};

const unsubscribe = (connection, channel) => {
  const member = channels.get(channel)?.get(connection);
  if (!channels.get(channel)?.delete(connection)) return;
  if (member && !members(channel).has(String(member.user_id))) {
    publish(channel, frame("pusher_internal:member_removed", channel, JSON.stringify({ user_id: member.user_id })));
  }
  if (channels.get(channel).size === 0) channels.delete(channel);
};

const hear = (connection, { event, channel, data }) => {
  if (event === "pusher:ping") connection.send(frame("pusher:pong", null, {}));
  else if (event === "pusher:subscribe") subscribe(connection, data);
  else if (event === "pusher:unsubscribe") unsubscribe(connection, data.channel);
  else if (event.startsWith("client-") && /^(private|presence)-/.test(channel) && channels.get(channel)?.has(connection)) {
    const member = channels.get(channel).get(connection);
    publish(channel, frame(event, channel, data, member ? { user_id: member.user_id } : {}), connection.id);
  }
};

const welcome = (connection, request) => {
  const { pathname, searchParams } = new URL(request.url, "http://server");
  if (app.echo) return connection.on("message", (data, binary) => connection.send(data, { binary }));
  if (pathname !== `/app/${app.key}`) return connection.close(4001, `Application does not exist: ${pathname}`);
  if (searchParams.get("protocol") !== "7") return connection.close(4007, "Unsupported protocol version");
  connection.id = `${Math.floor(Math.random() * 1e9)}.${Math.floor(Math.random() * 1e9)}`;
  connection.on("message", (text) => hear(connection, JSON.parse(text)));
  connection.on("close", () => [...channels.keys()].forEach((channel) => unsubscribe(connection, channel)));
  tell({ connected: request.headers["x-forwarded-for"] ?? null, target: request.url });
  connection.send(frame("pusher:connection_established", null, JSON.stringify({ socket_id: connection.id, activity_timeout: 120 })));
};

// ---------------------------------------------------------------- HTTP API

const verify = (method, path, query, body) => {
  const signed = [...query].filter(([name]) => name !== "auth_signature").map(([name, value]) => [name.toLowerCase(), value]);
  const text = [method, path, signed.sort(([a], [b]) => (a < b ? -1 : 1)).map((pair) => pair.join("=")).join("&")].join("\n");
  if (query.get("auth_key") !== app.key) throw new Refusal(401, "Unknown auth_key");
  if (!equal(query.get("auth_signature") ?? "", hmac(text))) throw new Refusal(401, `Invalid signature: ${JSON.stringify(text)}`);
  const md5 = createHash("md5").update(body).digest("hex");
  if (body.length > 0 && query.get("body_md5") !== md5) throw new Refusal(401, "Invalid body_md5");
  if (Math.abs(Date.now() / 1000 - Number(query.get("auth_timestamp"))) > 600) throw new Refusal(401, "Timestamp expired");
};

const event = ({ name, channel, channels: several, data, socket_id: except }) => {
  if (typeof name !== "string" || typeof data !== "string") throw new Refusal(400, "Expected name and data to be strings");
  for (const target of several ?? [channel]) publish(target, frame(name, target, data), except);
};

const about = (name, info) => ({
  ...(info.includes("user_count") && name.startsWith("presence-") && { user_count: members(name).size }),
  ...(info.includes("subscription_count") && { subscription_count: audience(name).length }),
});

const api = (method, call, query, body) => {
  const info = (query.get("info") ?? "").split(",");
  const [, channel, users] = /^channels\/([^/]+)(\/users)?$/.exec(call) ?? [];
  if (method === "POST" && call === "events") return event(JSON.parse(body)), {};
  if (method === "POST" && call === "batch_events") return JSON.parse(body).batch.forEach(event), {};
  if (method !== "GET") throw new Refusal(404, "Not found");
  if (users) return { users: [...members(channel).keys()].map((id) => ({ id })) };
  if (channel) return { occupied: channels.has(channel), ...about(channel, info) };
  const prefix = query.get("filter_by_prefix") ?? "";
  const found = [...channels.keys()].filter((name) => name.startsWith(prefix));
  return { channels: Object.fromEntries(found.map((name) => [name, about(name, info)])) };
};

const server = createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, "http://server");
  const answer = (status, type, text) => response.writeHead(status, { "content-type": type }).end(text);
  try {
    const body = await buffer(request);
    const [, call] = new RegExp(`^/apps/${app.appId}/(.+)$`).exec(pathname) ?? [];
    if (!call) throw new Refusal(404, "Not found");
    verify(request.method, pathname, searchParams, body);
    answer(200, "application/json", JSON.stringify(api(request.method, call, searchParams, body)));
  } catch (refusal) {
    answer(refusal.status ?? 400, "text/plain", `${refusal.message}\n`);
  }
});
const sockets = new WebSocketServer({ server, maxPayload: 64 << 20, skipUTF8Validation: false });
sockets.on("connection", (connection, request) => {
  connection.on("error", () => {}); // it closes by itself with the code of the fault
  welcome(connection, request);
});
server.listen(0, "127.0.0.1", () => tell({ listening: server.address().port }));
await obey(async (order) => {
  // All connections are closed, as by a server that restarts.
  if (order === "hang-up") for (const connection of sockets.clients) connection.close(4200, "Please reconnect");
});
