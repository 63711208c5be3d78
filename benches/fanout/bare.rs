//! The least that a fan-out can cost: one thread that writes one frame to each socket, and does nothing else. It is no
//! Pusher server; it says just what the generator waits for.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The variable that makes this program the bare server, with the port to listen on.
pub(crate) const PORT: &str = "FANOUT_BARE_PORT";

const ESTABLISHED: &str =
    r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.1\",\"activity_timeout\":120}"}"#;
const SUBSCRIBED: &str = r#"{"event":"pusher_internal:subscription_succeeded","channel":"bench","data":"{}"}"#;

/// Serves until the process is ended.
pub(crate) fn run(port: u16) -> ! {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut subscribers = Vec::new();
    loop {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let head = head(&mut reader);
        if let Some(key) = field(&head, "sec-websocket-key: ") {
            let proof = derive_accept_key(key.as_bytes());
            let mut answer =
                format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {proof}\r\n\r\n")
                    .into_bytes();
            answer.extend([frame(ESTABLISHED), frame(SUBSCRIBED)].concat());
            stream.write_all(&answer).unwrap();
            subscribers.push(stream);
        } else if !head.is_empty() {
            publish(head, &mut reader, &mut stream, &mut subscribers);
        }
    }
}

/// Takes events from one backend until it leaves.
fn publish(
    mut request: String,
    reader: &mut BufReader<TcpStream>,
    backend: &mut TcpStream,
    subscribers: &mut Vec<TcpStream>,
) {
    while !request.is_empty() {
        let length = field(&request, "content-length: ").unwrap().parse().unwrap();
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let event = serde_json::json!({ "event": body["name"], "channel": body["channels"][0], "data": body["data"] })
            .to_string();
        let frame = frame(&event);
        backend.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}").unwrap();
        // Closed connections are skipped.
        subscribers.retain_mut(|subscriber| subscriber.write_all(&frame).is_ok());
        request = head(reader);
    }
}

/// A head in lower-case names; empty, if the other side has left.
fn head(reader: &mut BufReader<TcpStream>) -> String {
    let mut head = String::new();
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|read| read > 0) {
        if line == "\r\n" {
            return head;
        }
        let (name, value) = line.split_at(line.find(':').unwrap_or_default());
        head.push_str(&name.to_ascii_lowercase());
        head.push_str(value);
        line.clear();
    }
    String::new()
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name))
}

/// An unmasked text frame of up to 65,535 bytes (RFC 6455 5.2).
fn frame(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    let head: &[u8] = if text.len() < 126 { &[0x81, length[1]] } else { &[0x81, 126, length[0], length[1]] };
    [head, text.as_bytes()].concat()
}
