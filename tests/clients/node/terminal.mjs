// A guest with pusher-js in Node. Usage: terminal.mjs SETTINGS, see guest.mjs.
import Pusher from "pusher-js";
import { visit } from "./guest.mjs";
import { obey, tell } from "./lines.mjs";

const guest = visit(Pusher, JSON.parse(process.argv[2]), tell);
await obey((order, given) => guest[order](...given), () => guest.leave());
