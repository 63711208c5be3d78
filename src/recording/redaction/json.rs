//! Redacted JSON: everything is copied as it stands, but for values that are strings or numbers.

use std::fmt::Write as _;

use super::{AppRules, no_json};
use crate::pusher::json::{self, AllMembers};
use crate::pusher::socket_id;

/// The length in bytes above which a rule compares no value ([`crate::rules`]).
const MAX_TOKEN: usize = 1024;

/// The redaction of one body.
pub(super) struct Body<'a> {
    app: &'a AppRules<'a>,
    redacted: String,
}

/// What a value of a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// The body, or an item of a batch.
    Event,
    /// A list of events.
    Batch,
    /// The name of an event.
    Name,
    /// The name of a channel, or a list of names.
    Channels,
    /// The data of an event.
    Data,
    /// The id of a connection.
    SocketId,
    /// Anything else.
    Other,
}

impl Meaning {
    /// What the value of `key` is in a body or in an item of a batch. Some readers ignore the case of keys, and white
    /// space around them.
    fn of(key: &str) -> Self {
        let is = |name: &str| key.trim().chars().flat_map(char::to_uppercase).eq(name.chars());
        match key {
            "name" => Self::Name,
            "data" => Self::Data,
            "socket_id" => Self::SocketId,
            _ if is("CHANNEL") || is("CHANNELS") => Self::Channels,
            _ if is("BATCH") => Self::Batch,
            _ => Self::Other,
        }
    }
}

/// Pointers to values that are kept: what is left of their reference tokens.
type Kept<'k> = Vec<&'k [String]>;

impl<'a> Body<'a> {
    /// The redacted form of `body`, which is valid JSON.
    pub(super) fn redact(app: &'a AppRules<'a>, body: &str) -> String {
        let mut redaction = Self { app, redacted: String::with_capacity(body.len()) };
        redaction.value(body, Meaning::Event, &[]);
        redaction.redacted
    }

    /// Appends a value, with the white space around it. `conditions`: those of the event.
    fn value(&mut self, text: &str, meaning: Meaning, conditions: &[Vec<String>]) {
        let token = self.before(text);
        match (token.as_bytes().first(), meaning) {
            (Some(b'{'), Meaning::Event) => self.event(token),
            (Some(b'['), Meaning::Batch | Meaning::Channels) => {
                let element = if meaning == Meaning::Batch { Meaning::Event } else { Meaning::Channels };
                // A list within a list is none of names.
                self.parts(token, |this, _, _, value| {
                    let is_list = value.trim_ascii_start().starts_with('[');
                    this.value(value, if is_list { Meaning::Other } else { element }, conditions);
                });
            }
            (_, Meaning::Name) => self.redacted.push_str(token),
            (Some(b'"'), Meaning::Channels) => self.channel(token),
            (Some(b'"'), Meaning::Data) => self.data(token, conditions),
            (Some(b'"'), Meaning::SocketId) => self.socket_id(token),
            _ => self.inner(token, &Kept::new()),
        }
        self.after(text);
    }

    fn event(&mut self, token: &str) {
        let members = serde_json::from_str::<AllMembers<'_>>(token).map(|AllMembers(members)| members);
        let members = members.unwrap_or_default();
        let name = members.iter().find(|(key, _)| key == "name").and_then(|(_, name)| json::string(name));
        let conditions = name.map(|name| self.app.conditions(&name)).unwrap_or_default();
        self.parts(token, |this, key, _, value| {
            let meaning = key.and_then(json::string).map_or(Meaning::Other, |key| Meaning::of(&key));
            this.value(value, meaning, &conditions);
        });
    }

    fn channel(&mut self, token: &str) {
        match json::string(token) {
            // JSON has a NUL only as an escape, and no trigger with one in a name is read.
            Some(name) if name.contains('\0') => self.string(&format!("\0{}", self.app.key.text(token))),
            Some(name) => self.string(&self.app.channel(&name)),
            None => self.undecodable(token),
        }
    }

    /// Appends another id that is written as servers write it, if this one is.
    fn socket_id(&mut self, token: &str) {
        match json::string(token).filter(|id| socket_id(id).is_some()) {
            Some(id) => {
                let [first, second] = ["first", "second"].map(|half| self.app.key.hash(&format!("{half} {id}")));
                self.string(&format!("{first}.{second}"));
            }
            None => self.inner(token, &Kept::new()),
        }
    }

    fn data(&mut self, token: &str, conditions: &[Vec<String>]) {
        let Some(data) = json::string(token) else { return self.undecodable(token) };
        let redacted = if json::is_valid(&data) {
            let mut inner = Body { app: self.app, redacted: String::with_capacity(data.len()) };
            let kept: Kept<'_> = conditions.iter().map(Vec::as_slice).collect();
            inner.inner(&data, &kept);
            inner.redacted
        } else {
            no_json(self.app.key, &data)
        };
        self.string(&redacted);
    }

    /// Appends a value of no meaning of its own, with the white space around it. `kept`: what is kept in it.
    fn inner(&mut self, text: &str, kept: &Kept<'_>) {
        let token = self.before(text);
        match token.as_bytes().first() {
            Some(b'{' | b'[') => self.parts(token, |this, key, index, value| {
                let key = key.and_then(json::string);
                let is_next = |token: &String| match &key {
                    Some(key) => **key == **token,
                    None => index.to_string() == *token,
                };
                let below = kept.iter().filter_map(|tokens| tokens.split_first());
                let below = below.filter(|(token, _)| is_next(token)).map(|(_, rest)| rest).collect();
                this.inner(value, &below);
            }),
            _ if kept.iter().any(|tokens| tokens.is_empty()) => self.redacted.push_str(token),
            Some(b'"') if token != "\"\"" => match json::string(token) {
                Some(_) => self.hashed_string(token, ""),
                None => self.undecodable(token),
            },
            Some(b'-' | b'0'..=b'9') => self.number(token),
            _ => self.redacted.push_str(token),
        }
        self.after(text);
    }

    /// Appends the object or array in `token`; `part` appends the value of each member or element, of which it gets the
    /// token of its key, its index and its text with white space.
    fn parts(&mut self, token: &str, mut part: impl FnMut(&mut Self, Option<&str>, usize, &str)) {
        let is_object = token.starts_with('{');
        let end = token.len() - 1;
        let mut at = 1;
        self.redacted.push_str(&token[..1]);
        let mut index = 0;
        let is_empty = at + spaces(&token[at..]) == end;
        while at < end && !is_empty {
            let mut key = None;
            if is_object {
                let start = at + spaces(&token[at..]);
                let key_end = start + value_length(&token[start..]);
                let colon = key_end + spaces(&token[key_end..]) + 1;
                self.redacted.push_str(&token[at..colon]);
                key = Some(&token[start..key_end]);
                at = colon;
            }
            let start = at + spaces(&token[at..]);
            let mut stop = start + value_length(&token[start..]);
            stop += spaces(&token[stop..]);
            part(self, key, index, &token[at..stop]);
            at = stop;
            if at < end {
                // The comma.
                self.redacted.push_str(&token[at..=at]);
                at += 1;
            }
            index += 1;
        }
        self.redacted.push_str(&token[at..]);
    }

    /// Appends the white space before a value; returns the value's token.
    fn before<'t>(&mut self, text: &'t str) -> &'t str {
        self.redacted.push_str(&text[..spaces(text)]);
        text.trim_ascii()
    }

    fn after(&mut self, text: &str) {
        self.redacted.push_str(&text[text.trim_ascii_end().len()..]);
    }

    fn string(&mut self, text: &str) {
        let text = serde_json::to_string(text).expect("a string is written as JSON");
        self.redacted.push_str(&text);
    }

    /// A string that does not decode stays one.
    fn undecodable(&mut self, token: &str) {
        self.hashed_string(token, "\\ud800");
    }

    fn hashed_string(&mut self, token: &str, before: &str) {
        let hash = self.app.key.text(token);
        write!(self.redacted, "\"{before}{hash}{}\"", filler(token)).expect("a string takes any text");
    }

    /// A whole number of at most 53 bits, which every reader reads exactly.
    fn number(&mut self, token: &str) {
        let number = self.app.key.hash(token) >> 11;
        write!(self.redacted, "{}{}", number.max(1), filler(token)).expect("a string takes any text");
    }
}

/// What makes the hash of a value that no rule compares, because of its length, as long.
fn filler(token: &str) -> String {
    if token.len() > MAX_TOKEN { "0".repeat(MAX_TOKEN) } else { String::new() }
}

/// The length of the white space at the beginning of `text`.
fn spaces(text: &str) -> usize {
    text.len() - text.trim_ascii_start().len()
}

/// The length of the valid JSON value at the beginning of `text`.
fn value_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = string_end(bytes, at),
            b'{' | b'[' => (depth, at) = (depth + 1, at + 1),
            b'}' | b']' => (depth, at) = (depth.saturating_sub(1), at + 1),
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth > 0 => {
                at += 1;
                continue;
            }
            _ => at += scalar_length(&bytes[at..]),
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The index behind the string that begins at `at`.
fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The length of the number or literal at the beginning of `bytes`; at least one, so that every step goes on.
fn scalar_length(bytes: &[u8]) -> usize {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
    bytes.iter().take_while(|byte| is_part(byte)).count().max(1)
}
