//! Pusher's request signature, implemented independently of usher (pusher-protocol.md 2.1).

use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::{Digest as _, Md5};
use sha2::Sha256;

pub const APP: &str = "3";
pub const KEY: &str = "278d425bdf160c739803";
pub const SECRET: &str = "7ad3773142a6692b25b8";

/// Seconds since the Unix epoch.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn md5(body: &[u8]) -> String {
    hex(&Md5::digest(body))
}

/// The signature over decoded parameters.
pub fn signature(method: &str, path: &str, parameters: &[(String, String)], secret: &str) -> String {
    let mut pairs: Vec<String> = parameters
        .iter()
        .map(|(key, value)| (key.to_lowercase(), value))
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.sort_by(|a, b| a.split('=').next().cmp(&b.split('=').next()));
    authenticate(&format!("{method}\n{path}\n{}", pairs.join("&")), secret)
}

/// The token that authorizes a connection for `text`, e.g. `1.2::user::{"id":"7"}`.
pub fn token(text: &str) -> String {
    token_of(text, KEY, SECRET)
}

/// The same by another pair.
pub fn token_of(text: &str, key: &str, secret: &str) -> String {
    format!("{key}:{}", authenticate(text, secret))
}

/// The signature of a webhook's body, which is text (pusher-protocol.md 5.2).
pub fn webhook(body: &str, secret: &str) -> String {
    authenticate(body, secret)
}

fn authenticate(text: &str, secret: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    hex(&mac.finalize().into_bytes())
}

/// The query of a signed request in Node's order; `extra` is raw (`a=b&c=d`) and must need no decoding.
pub fn query(method: &str, path: &str, extra: &str, body: &[u8]) -> String {
    query_of(method, path, extra, body, KEY, SECRET, now())
}

/// The same with given credentials and time.
pub fn query_of(method: &str, path: &str, extra: &str, body: &[u8], key: &str, secret: &str, timestamp: u64) -> String {
    let mut query = format!("auth_key={key}&auth_timestamp={timestamp}&auth_version=1.0");
    if !body.is_empty() {
        query += &format!("&body_md5={}", md5(body));
    }
    if !extra.is_empty() {
        query += &format!("&{extra}");
    }
    let signature = signature(method, path, &parameters(&query), secret);
    format!("{query}&auth_signature={signature}")
}

/// Whether a request's signature and `body_md5` are correct.
pub fn verifies(method: &str, target: &str, body: &[u8]) -> bool {
    verifies_by(method, target, body, KEY, SECRET)
}

/// The same by another pair.
pub fn verifies_by(method: &str, target: &str, body: &[u8], key: &str, secret: &str) -> bool {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (signed, own): (Vec<_>, Vec<_>) = parameters(query).into_iter().partition(|(key, _)| key != "auth_signature");
    let value = |name: &str| signed.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let body_fits = if body.is_empty() { true } else { value("body_md5") == Some(md5(body).as_str()) };
    body_fits
        && value("auth_key") == Some(key)
        && own.len() == 1
        && own[0].1 == signature(method, path, &signed, secret)
}

/// The decoded pairs of a raw query.
pub fn parameters(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(|(key, value)| (decode(key), decode(value))).collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let escaped = (*first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, escaped) {
            (_, Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (b'+', None) => bytes.push(b' '),
            (byte, None) => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn the_documented_example_has_the_documented_signature() {
    let body = br#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
    let query = query_of("POST", "/apps/3/events", "", body, KEY, SECRET, 1_353_088_179);
    assert!(
        query.ends_with("&auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"),
        "{query}"
    );
    assert!(verifies("POST", &format!("/apps/3/events?{query}"), body));
    assert!(!verifies("POST", &format!("/apps/3/events?{query}&x=1"), body));
    assert!(!verifies("POST", &format!("/apps/3/events?{query}"), b"{}"));
}
