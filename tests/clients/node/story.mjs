// The hotel story as a Node backend tells it: pusher-http-node against the port in argv.
// Usage: story.mjs PORT VARIANT. Every call must resolve; the library rejects on a status of 400 and above.
// Prints one line: how many calls it made.
import { randomUUID } from "node:crypto";
import Pusher from "pusher";

const [port, variant] = process.argv.slice(2);
const channel = "grand-room-101-chat";
const client = new Pusher({ appId: "3", key: "278d425bdf160c739803", secret: "7ad3773142a6692b25b8", host: "127.0.0.1", port, useTLS: false });
let calls = 0;

const trigger = async (...args) => {
  calls += 1;
  await client.trigger(...args);
};

const staff = (name) => ({
  staff_name: name,
  staff_role: "Réception & Conciergerie",
  staff_profile_image: variant === "images" ? `https://images.example/${name}.jpg?signature=${randomUUID()}` : null,
});

const announce = async (name) => {
  if (variant === "enveloped") {
    const meta = { event_id: randomUUID(), ts: new Date().toISOString() };
    await trigger(channel, "realtime_event", { category: "guest_chat", type: "staff_assigned", payload: staff(name), meta });
  } else if (variant === "several") {
    await trigger([channel, `grand-annex-room-${calls}-chat`], "staff-assigned", staff(name));
  } else {
    await trigger(channel, "staff-assigned", staff(name));
  }
};

const batch = async (name, number) => {
  calls += 1;
  await client.triggerBatch([
    { channel, name: "staff-assigned", data: staff(name) },
    { channel, name: "new-staff-message", data: { message: `message ${number}` } },
  ]);
};

for (const name of ["Anna Byrne", "Boris Žák", "Anna Byrne"]) {
  if (variant !== "batch") await announce(name);
  for (let number = 0; number < 20; number += 1) {
    if (variant === "batch") {
      await batch(name, number);
    } else {
      await announce(name);
      await trigger(channel, "new-staff-message", { staff_info: staff(name), message: `message ${number} <&/> “ü”` });
    }
  }
}
console.log(calls);
