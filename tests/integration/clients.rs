//! The hotel story with the official libraries, pusher-http-python and pusher-http-node. A recorder between them and
//! usher records their requests, which are compared byte by byte with those that reach upstream.

use std::io::{Cursor, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use crate::harness::message::{Framing, Head};
use crate::harness::{Fake, Recorded, Usher};

/// The rule for events in an envelope.
const ENVELOPED: &str = r#"
[[rules]]
name = "realtime-staff-assigned"
event = "realtime_event"
channel = "{hotelSlug}-room-{roomNumber}-chat"
identity = ["/payload/staff_name"]
where = { "/category" = "guest_chat", "/type" = "staff_assigned" }
"#;

const CHANNEL: &str = "grand-room-101-chat";

#[derive(Debug, Clone, Copy)]
enum Library {
    Python,
    Node,
}

impl Library {
    fn tell(self, port: u16, variant: &str) -> usize {
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let (program, story) = match self {
            Self::Python => (clients.join("python/.venv/bin/python"), clients.join("python/story.py")),
            Self::Node => (PathBuf::from("node"), clients.join("node/story.mjs")),
        };
        let told = Command::new(&program).arg(story).arg(port.to_string()).arg(variant).output();
        let told = told.unwrap_or_else(|error| {
            panic!("{}: {error}; `tests/run` installs the client libraries", program.display())
        });
        assert!(told.status.success(), "{self:?} {variant}: {}", String::from_utf8_lossy(&told.stderr));
        String::from_utf8(told.stdout).unwrap().trim().parse().unwrap()
    }
}

/// A recording proxy between a client and usher.
struct Tap {
    address: SocketAddr,
    connections: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Tap {
    fn before(usher: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&connections);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let number = {
                    let mut kept = kept.lock().unwrap();
                    kept.push(Vec::new());
                    kept.len() - 1
                };
                let server = TcpStream::connect(usher).unwrap();
                let (from_server, to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || copy(from_server, to_client, |_| {}));
                let kept = Arc::clone(&kept);
                thread::spawn(move || {
                    copy(client, server, |bytes| kept.lock().unwrap()[number].extend_from_slice(bytes))
                });
            }
        });
        Self { address, connections }
    }

    /// All requests, connection by connection.
    fn requests(&self) -> Vec<(Head, Vec<u8>)> {
        let mut requests = Vec::new();
        for bytes in self.connections.lock().unwrap().iter() {
            let mut bytes = Cursor::new(bytes);
            while let Some(head) = Head::read(&mut bytes, |_| {}).unwrap() {
                let Framing::Length(length) = head.framing() else { panic!("no library sends a chunked body") };
                let mut body = vec![0; length];
                bytes.read_exact(&mut body).unwrap();
                requests.push((head, body));
            }
        }
        requests
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, mut seen: impl FnMut(&[u8])) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        seen(&buffer[..length]);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    // The other side may have closed already.
    drop(to.shutdown(Shutdown::Write));
}

/// The end-to-end part of a head: everything except hop-by-hop headers and the host.
fn end_to_end(head: &Head) -> (String, Vec<(String, String)>) {
    let hop = ["connection", "keep-alive", "host"];
    let headers =
        head.headers().into_iter().filter(|(name, _)| !hop.contains(&name.to_ascii_lowercase().as_str())).collect();
    (head.lines()[0].clone(), headers)
}

struct Told {
    calls: usize,
    sent: Vec<(Head, Vec<u8>)>,
    arrived: Vec<Recorded>,
    usher: Usher,
}

fn tell(library: Library, variant: &str) -> Told {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| setup.more = ENVELOPED.to_owned());
    let tap = Tap::before(usher.gateway());
    let calls = library.tell(tap.address.port(), variant);
    let told = Told { calls, sent: tap.requests(), arrived: fake.requests(), usher };
    assert_eq!(told.sent.len(), calls, "every call is one request");
    told
}

/// Each request that arrived equals a sent one, byte for byte, in the order of sending.
fn assert_untouched(told: &Told) {
    let mut sent = told.sent.iter();
    for arrived in &told.arrived {
        let found = sent.find(|(_, body)| *body == arrived.body);
        let (head, _) = found.unwrap_or_else(|| panic!("nobody sent {:?}", arrived.text()));
        assert_eq!(end_to_end(&arrived.head), end_to_end(head));
    }
}

fn announces(arrived: &Recorded, channel: &str) -> bool {
    let body = arrived.json();
    body["name"] != "new-staff-message"
        && body["channels"].as_array().is_some_and(|channels| channels.iter().any(|found| found == channel))
}

fn announces_only_changes(library: Library, variant: &str) {
    let told = tell(library, variant);
    assert_eq!((told.calls, told.arrived.len()), (123, 63), "{variant}: three announcements and every message");
    assert_untouched(&told);
    let announced: Vec<usize> = (0..63).filter(|&index| announces(&told.arrived[index], CHANNEL)).collect();
    assert_eq!(announced, [0, 21, 42], "{variant}: when a staff member takes over, and only then");
    assert_eq!(told.usher.admin().metric("usher_triggers_total", &["decision=\"suppressed\""]), 60.0);
}

fn batches_are_reduced(library: Library) {
    let told = tell(library, "batch");
    assert_eq!(told.arrived.len(), 60, "every batch has news: its message");
    for (index, arrived) in told.arrived.iter().enumerate() {
        assert!(arrived.is_signed(), "usher's own signature verifies");
        let names: Vec<_> =
            arrived.json()["batch"].as_array().unwrap().iter().map(|item| item["name"].clone()).collect();
        if index % 20 == 0 {
            assert_eq!(names, ["staff-assigned", "new-staff-message"]);
            assert_eq!(arrived.body, told.sent[index].1);
        } else {
            assert_eq!(names, ["new-staff-message"]);
        }
    }
}

fn several_channels_are_reduced(library: Library) {
    let told = tell(library, "several");
    assert_eq!(told.arrived.len(), told.calls, "every trigger has news: its other channel");
    let announced: Vec<&Recorded> =
        told.arrived.iter().filter(|arrived| arrived.json()["name"] == "staff-assigned").collect();
    assert_eq!(announced.len(), 63);
    for (index, arrived) in announced.iter().enumerate() {
        assert!(arrived.is_signed(), "usher's own signature verifies");
        assert_eq!(announces(arrived, CHANNEL), index % 21 == 0, "{}", arrived.text());
        assert_eq!(arrived.json()["channels"].as_array().unwrap().len(), if index % 21 == 0 { 2 } else { 1 });
    }
}

#[test]
fn python_announces_only_changes() {
    for variant in ["plain", "images", "enveloped"] {
        announces_only_changes(Library::Python, variant);
    }
}

#[test]
fn node_announces_only_changes() {
    for variant in ["plain", "images", "enveloped"] {
        announces_only_changes(Library::Node, variant);
    }
}

#[test]
fn python_batches_are_reduced() {
    batches_are_reduced(Library::Python);
}

#[test]
fn node_batches_are_reduced() {
    batches_are_reduced(Library::Node);
}

#[test]
fn python_triggers_for_several_channels_are_reduced() {
    several_channels_are_reduced(Library::Python);
}

#[test]
fn node_triggers_for_several_channels_are_reduced() {
    several_channels_are_reduced(Library::Node);
}
