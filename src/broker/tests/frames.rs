//! Frames that a client library would not send (`threats.md` WS-06 to WS-08).

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Performs the handshake on a raw connection, and reads to the end of the 101.
pub(super) async fn handshake(stream: &mut TcpStream) {
    let request = format!(
        "GET {TARGET} HTTP/1.1\r\nHost: usher\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
}

/// A short frame whose first byte is `first`, with a mask of zeros.
pub(super) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = match payload.len() {
        short @ 0..126 => vec![0x80 | u8::try_from(short).unwrap()],
        long => [vec![0xfe], u16::try_from(long).unwrap().to_be_bytes().to_vec()].concat(),
    };
    [vec![first], length, vec![0; 4], payload.to_vec()].concat()
}

/// The close code after `bytes`.
async fn close_after(server: &Server, bytes: &[u8]) -> u16 {
    let mut stream = server.connect().await;
    handshake(&mut stream).await;
    // The server may close before all bytes are sent.
    let (mut reader, mut writer) = stream.split();
    let mut heard = Vec::new();
    let (_sent, ended) = tokio::join!(writer.write_all(bytes), reader.read_to_end(&mut heard));
    ended.unwrap();
    // The last frame: length, code and an optional reason.
    let is_close = |at: &usize| heard[*at] == 0x88 && usize::from(heard[at + 1]) == heard.len() - at - 2;
    let close =
        (0..heard.len() - 3).find(is_close).unwrap_or_else(|| panic!("no close: {}", String::from_utf8_lossy(&heard)));
    u16::from_be_bytes([heard[close + 2], heard[close + 3]])
}

#[tokio::test]
async fn frames_against_the_rules_end_the_connection() {
    let server = Server::start(&plain()).await;
    let ping = masked(0x89, b"");
    let split_utf8 = [masked(0x01, &[0xc3]), masked(0x80, b"x")].concat();
    for (what, bytes, code) in [
        ("a length of 2^64-1", b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0".to_vec(), 1009),
        ("a length of 2^63-1", b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0".to_vec(), 1009),
        ("a length of 16 MiB + 1", b"\x81\xff\0\0\0\0\x01\0\0\x01\0\0\0\0".to_vec(), 1009),
        ("a length of 64 KiB + 1", b"\x81\xff\0\0\0\0\0\x01\0\x01\0\0\0\0".to_vec(), 1009),
        ("no mask", b"\x81\x02{}".to_vec(), 1002),
        ("a reserved opcode", masked(0x83, b""), 1002),
        ("a reserved control opcode", masked(0x8b, b""), 1002),
        ("a reserved bit: compression that nobody agreed on", masked(0xc1, b"{}"), 1002),
        ("a fragmented ping", masked(0x09, b""), 1002),
        ("a ping of 126 bytes", masked(0x89, &[0; 126]), 1002),
        ("a continuation of nothing", masked(0x80, b"x"), 1002),
        ("a message inside a message", [masked(0x01, b"x"), masked(0x81, b"x")].concat(), 1002),
        ("text that is not UTF-8", masked(0x81, &[0xff]), 1007),
        ("text that is not UTF-8, in fragments", split_utf8, 1007),
        ("binary", [ping, masked(0x82, b"x")].concat(), 1003),
        ("a close of one byte", masked(0x88, &[3]), 1002),
        ("a close with a code that is not for the wire", masked(0x88, &1005_u16.to_be_bytes()), 1002),
        ("a close with a code that does not exist", masked(0x88, &999_u16.to_be_bytes()), 1002),
    ] {
        assert_eq!(close_after(&server, &bytes).await, code, "{what}");
    }
    server.quiet().await;
    assert_eq!(server.metric(r#"usher_ws_closed_total{reason="too_large"}"#), 4);
}

/// `threats.md` WS-08.
#[tokio::test]
async fn a_flood_of_fragments_is_one_large_message() {
    let server = Server::start(&plain()).await;
    let flood = [masked(0x01, b"x"), masked(0x00, b"x").repeat(1_000_000)].concat();
    assert_eq!(close_after(&server, &flood).await, 1009);
}

#[tokio::test]
async fn a_message_may_come_in_fragments() {
    let server = Server::start(&plain()).await;
    let mut stream = server.connect().await;
    handshake(&mut stream).await;
    let text = br#"{"event":"pusher:ping"}"#;
    let mut bytes = masked(0x01, &text[..5]);
    for byte in &text[5..] {
        bytes.extend(masked(0x00, &[*byte]));
        bytes.extend(masked(0x89, b"?"));
    }
    bytes.extend(masked(0x80, b""));
    bytes.extend(masked(0x88, &1000_u16.to_be_bytes()));
    stream.write_all(&bytes).await.unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await.unwrap();
    assert!(String::from_utf8_lossy(&heard).contains("pusher:pong"));
}
