"""A backend with pusher-http-python: carries out calls of the library, and lets guests into private rooms. Usage: backend.py SETTINGS

`settings`: app_id, key, secret, port, encryption_master_key_base64. An order is the name of a method of the library, in JSON lines as lines.mjs
describes them. Guests are who their auth address says (`?user=`) and watch whom it says (`&watch=`), and no guest may enter a channel with
"forbidden" in its name.
"""
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pusher

client = pusher.Pusher(host="127.0.0.1", ssl=False, **json.loads(sys.argv[1]))


def tell(report):
    print(json.dumps(report), flush=True)


def authenticate(path, query, form):
    user = query["user"][0]
    who = {"id": user, "user_info": {"name": user}, "watchlist": query.get("watch", [])}
    if path == "/pusher/user-auth":
        return client.authenticate_user(form["socket_id"][0], who)
    channel = form["channel_name"][0]
    if "forbidden" in channel:
        return None
    member = {"user_id": user, "user_info": {"name": user}} if channel.startswith("presence-") else None
    return client.authenticate(channel, form["socket_id"][0], member)


class Auth(BaseHTTPRequestHandler):
    def do_POST(self):
        url = urlsplit(self.path)
        form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        answer = authenticate(url.path, parse_qs(url.query), form)
        body = json.dumps(answer or {}, default=bytes.decode).encode()  # the library gives out shared_secret as bytes
        self.send_response(200 if answer else 403)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("access-control-allow-origin", "*")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Auth)
threading.Thread(target=server.serve_forever, daemon=True).start()
tell({"auth": server.server_address[1]})

for line in sys.stdin:
    order = json.loads(line)
    try:
        value = getattr(client, order["order"])(*order["with"])
        tell({"number": order["number"], "value": value})
    except Exception as error:  # whatever the library raises is the answer
        tell({"number": order["number"], "error": f"{type(error).__name__}: {error}"})
