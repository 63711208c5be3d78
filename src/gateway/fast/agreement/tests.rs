//! Whatever the fast reader takes for a trigger, the general reader reads the same: over the requests of tests/corpus
//! and of libraries, and over changed ones of them.

use std::cell::{Cell, RefCell};

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestRunner;

use super::{APP, FastKind, NOW, Requests, corpus};
use crate::pusher::{App, sign_query};

/// Changed requests that are read.
const CASES: u32 = 4_000;

/// The header lines of some libraries, with `{}` for the length of the body.
const LIBRARIES: [&str; 4] = [
    "Host: usher.test\r\nUser-Agent: GuzzleHttp/7\r\nContent-Type: application/json\r\nX-Pusher-Library: pusher-http-php 7.2.7\r\nContent-Length: {}\r\n",
    "Host: 127.0.0.1:8080\r\nUser-Agent: python-requests/2.32\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\nX-Pusher-Library: pusher-http-python 3.3\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
    "content-type: application/json\r\nx-pusher-library: pusher-http-node 5.2.0\r\naccept: */*\r\ncontent-length: {}\r\nuser-agent: node-fetch\r\nhost: usher.test:80\r\nconnection: Keep-Alive\r\n",
    "Host: usher.test\r\nContent-Length: {}\r\nContent-Type: application/json; charset=utf-8\r\nAccept-Encoding: gzip\r\nA:\r\na: b\r\nX: 1\r\nA: c\r\n",
];

/// What is put into requests or in the place of a part of one.
const PIECES: [&str; 40] = [
    "\r\n",
    "\n",
    "\r",
    "\r\n ",
    "\r\n\r\n",
    "\0",
    " ",
    "  ",
    "\t",
    ":",
    "::",
    "/",
    "//",
    "/.",
    "?",
    "&",
    "=",
    "%",
    "%33",
    ";",
    "#",
    ",",
    "+",
    "0",
    "00",
    "\u{e9}",
    "\u{7f}",
    "A: b\r\n",
    "Host: other\r\n",
    "host:usher.test\r\n",
    "Content-Length: 2\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "connection: keep-alive\r\n",
    "Connection: x-pusher-library\r\n",
    "Content-Type: text/plain\r\n",
    "Content-Encoding: gzip\r\n",
    "X-Idempotency-Key: 1\r\n",
    "Expect: 100-continue\r\n",
    "&name=x",
];

fn library_requests() -> Vec<Vec<u8>> {
    let [id, key, secret] = APP;
    let app = App::new(id, key, secret);
    let body = br#"{"name":"staff-assigned","channel":"inn-room-1-chat","data":"{\"staff_name\":\"A\"}"}"#;
    let mut requests = Vec::new();
    for lines in LIBRARIES {
        let lines = lines.replace("{}", &body.len().to_string());
        for (path, signed) in [
            ("/apps/3/events", "/apps/3/events"),
            ("/apps/3/batch_events", "/apps/3/batch_events"),
            // A base path, signed and not (threats.md URI-09).
            ("/base/apps/3/events", "/apps/3/events"),
            ("/base/apps/3/events", "/base/apps/3/events"),
            // Another app's signature, an unknown app, a wrong time.
            ("/apps/4/events", "/apps/4/events"),
            ("/apps/9/events", "/apps/9/events"),
        ] {
            for time in [NOW, NOW - 599, NOW + 600] {
                let query = sign_query(&app, "POST", signed, &[], Some(body), time);
                let head = format!("POST {path}?{query} HTTP/1.1\r\n{lines}\r\n");
                requests.push([head.as_bytes(), body].concat());
            }
        }
    }
    let gets = LIBRARIES.map(|lines| lines.replace("Content-Length: {}\r\n", "").replace("content-length: {}\r\n", ""));
    for lines in gets {
        for target in [
            "/apps/3/channels?filter_by_prefix=presence-&info=user_count",
            "/",
            "/apps/3/events",
            "/apps/3/channels/a/xhr",
        ] {
            let head = format!("GET {target} HTTP/1.1\r\n{lines}");
            requests.push(format!("{head}\r\n").into_bytes());
            requests.push(format!("{head}Content-Length: 2\r\n\r\n{{}}").into_bytes());
        }
    }
    requests
}

fn all_requests() -> Vec<Vec<u8>> {
    let corpus = corpus::sections("request");
    assert!(corpus.len() > 300, "the corpus has more than {} requests", corpus.len());
    [corpus, library_requests()].concat()
}

/// One change of a request.
#[derive(Debug, Clone)]
enum Change {
    /// A byte is another one.
    Byte(Index, u8),
    /// A piece is put in.
    Insert(Index, &'static str),
    /// So many bytes are left out.
    Remove(Index, usize),
    /// A line stands once more, in the place of another one.
    Line(Index, Index),
    /// A letter is in the other case.
    Case(Index),
    /// What follows is cut off.
    Cut(Index),
}

impl Change {
    fn make(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        match self {
            Self::Byte(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Self::Insert(at, piece) => {
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..at, piece.bytes());
            }
            Self::Remove(at, count) => {
                let at = at.index(bytes.len());
                bytes.drain(at..(at + count).min(bytes.len()));
            }
            Self::Line(from, to) => {
                let lines: Vec<Vec<u8>> = bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
                let line = lines[from.index(lines.len())].clone();
                let place = to.index(lines.len());
                *bytes = [lines[..place].concat(), line, lines[place..].concat()].concat();
            }
            Self::Case(at) => {
                let at = at.index(bytes.len());
                bytes[at] = if bytes[at].is_ascii_lowercase() {
                    bytes[at].to_ascii_uppercase()
                } else {
                    bytes[at].to_ascii_lowercase()
                };
            }
            Self::Cut(at) => bytes.truncate(at.index(bytes.len())),
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        4 => (at(), select(b"\r\n\t :;,/?&=%+.-_0123456789aAfFgGzZ\0\x7f\xe9\"\\{}".to_vec())).prop_map(|(at, byte)| Change::Byte(at, byte)),
        4 => (at(), select(&PIECES[..])).prop_map(|(at, piece)| Change::Insert(at, piece)),
        2 => (at(), 1..4_usize).prop_map(|(at, count)| Change::Remove(at, count)),
        2 => (at(), at()).prop_map(|(from, to)| Change::Line(from, to)),
        2 => at().prop_map(Change::Case),
        1 => at().prop_map(Change::Cut),
    ]
}

#[test]
fn requests_of_the_corpus_and_of_libraries_are_read_alike() {
    let mut requests = Requests::new();
    let kinds: Vec<FastKind> = all_requests().iter().filter_map(|bytes| requests.check(bytes)).collect();
    let gets = kinds.iter().filter(|kind| **kind == FastKind::Get).count();
    let triggers = kinds.len() - gets;
    assert!(
        triggers > 150 && gets > 24,
        "{triggers} triggers and {gets} GET requests alone are read by the fast reader"
    );
}

#[test]
fn a_trigger_is_read_alike_whatever_is_changed() {
    let all = all_requests();
    let changed = (select(all), prop::collection::vec(change(), 0..4)).prop_map(|(mut bytes, changes)| {
        changes.iter().for_each(|change| change.make(&mut bytes));
        bytes
    });
    let requests = RefCell::new(Requests::new());
    let (triggers, gets) = (Cell::new(0_u32), Cell::new(0_u32));
    let mut runner = TestRunner::new(ProptestConfig::with_cases(CASES));
    let outcome = runner.run(&changed, |bytes| {
        let count = match requests.borrow_mut().check(&bytes) {
            Some(FastKind::Trigger) => &triggers,
            Some(FastKind::Get) => &gets,
            None => return Ok(()),
        };
        count.set(count.get() + 1);
        Ok(())
    });
    outcome.expect("both readers agree");
    // Else the property says nothing.
    let (triggers, gets) = (triggers.get(), gets.get());
    assert!(
        triggers > CASES / 10 && gets > CASES / 100,
        "{triggers} and {gets} of {CASES} are read by the fast reader"
    );
}
