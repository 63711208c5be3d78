"""The hotel story as a Django backend tells it: pusher-http-python against the host and port in argv.

Usage: story.py PORT VARIANT. Every call must return without raising; the library raises on anything but success.
Prints one line: how many calls it made.
"""
import sys
import uuid

import pusher

PORT, VARIANT = int(sys.argv[1]), sys.argv[2]
CHANNEL = "grand-room-101-chat"
client = pusher.Pusher(app_id="3", key="278d425bdf160c739803", secret="7ad3773142a6692b25b8", host="127.0.0.1", port=PORT, ssl=False)
calls = 0


def trigger(*arguments, **named):
    global calls
    calls += 1
    client.trigger(*arguments, **named)


def staff(name):
    image = None
    if VARIANT == "images":
        image = f"https://images.example/{name}.jpg?signature={uuid.uuid4()}"
    return {"staff_name": name, "staff_role": "Réception & Conciergerie", "staff_profile_image": image}


def announce(name):
    if VARIANT == "enveloped":
        data = {"category": "guest_chat", "type": "staff_assigned", "payload": staff(name), "meta": {"event_id": str(uuid.uuid4())}}
        trigger(CHANNEL, "realtime_event", data)
    elif VARIANT == "several":
        trigger([CHANNEL, f"grand-annex-room-{calls}-chat"], "staff-assigned", staff(name))
    else:
        trigger(CHANNEL, "staff-assigned", staff(name))


def message(name, number):
    trigger(CHANNEL, "new-staff-message", {"staff_info": staff(name), "message": f"message {number} <&/> “ü”"})


def batch(name, number):
    global calls
    calls += 1
    client.trigger_batch([
        {"channel": CHANNEL, "name": "staff-assigned", "data": staff(name)},
        {"channel": CHANNEL, "name": "new-staff-message", "data": {"message": f"message {number}"}},
    ])


for name, messages in (("Anna Byrne", 20), ("Boris Žák", 20), ("Anna Byrne", 20)):
    if VARIANT != "batch":
        announce(name)
    for number in range(messages):
        if VARIANT == "batch":
            batch(name, number)
        else:
            announce(name)
            message(name, number)
print(calls)
