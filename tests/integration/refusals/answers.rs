//! Responses with status 2xx, and what they mean for the trigger. docs/servers.md lists which server sends which.

use crate::harness::Step;

/// The meaning of a response for its trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// The trigger was accepted.
    Accepted,
    /// The trigger was refused: a single event was not applied; of several, some may have been.
    Refused,
    /// Unreadable, or a failure of the server: the trigger may have been or may still be applied.
    Nothing,
    /// The trigger was not accepted: refused or unknown.
    NotAccepted,
}

use Says::{Accepted, NotAccepted, Nothing, Refused};

/// A response, and the response that the caller has to receive.
#[derive(Debug, Clone)]
pub struct Answer {
    pub says: Says,
    pub status: u16,
    pub body: Vec<u8>,
    pub step: Step,
}

impl Answer {
    pub fn new(says: Says, status: u16, headers: &str, body: &[u8]) -> Self {
        Self { says, status, body: body.to_vec(), step: Step::says(status, headers, body) }
    }

    /// A 200 with the content type of JSON.
    pub fn ok(says: Says, body: &[u8]) -> Self {
        Self::new(says, 200, "Content-Type: application/json\r\n", body)
    }

    fn framed(says: Says, body: &[u8], step: Step) -> Self {
        Self { says, status: 200, body: body.to_vec(), step }
    }
}

const ACCEPTED: &[&str] = &[
    "{}",
    " \t\r\n{ \r\n} \t\n",
    r#"{"ok":true}"#,
    r#"{"error":null}"#,
    r#"{"error":false}"#,
    r#"{"error" : null , "code" : 0}"#,
    r#"{"code":200}"#,
    r#"{"code":"200"}"#,
    r#"{"code":399}"#,
    r#"{"code":null}"#,
    r#"{"code":"ok"}"#,
    r#"{"error":false,"code":200,"ok":true}"#,
    r#"{"channels":{"h-room-1-chat":{"subscription_count":429},"error":{"user_count":500}}}"#,
    r#"{"batch":{}}"#,
    r#"{"batch":[{},{"error":"the name of a field","code":429}]}"#,
    r#"{"event_ids":{"h-room-1-chat":"429"}}"#,
    r#"{"errors":[],"status":"queued","message":"error 429"}"#,
    r#"{"name":"staff-assigned","data":"{\"error\":\"x\",\"code\":500}","channels":["h-room-1-chat"]}"#,
    r#"{"said":"\"error\": true, \u007b \ud83d\ude00 ü","more":[1.5e3,-0,true,false,null,[[]],{"a":{}}]}"#,
];

const REFUSED: &[&str] = &[
    // soketi 1.6.1
    r#"{"error":"The received data is incorrect","code":400}"#,
    r#"{"error":"The secret authentication failed","code":401}"#,
    r#"{"error":"The app 3 could not be found.","code":404}"#,
    r#"{"error":"The event data should be less than 100 KB.","code":413}"#,
    r#"{"error":"Too many requests.","code":429}"#,
    // sockudo, usher: behind a proxy that turns every status into 200
    r#"{"error":"slow down","code":"rate_limited","status":429}"#,
    r#"{"error":"x"}"#,
    r#"{"error":""}"#,
    r#"{"error":true}"#,
    r#"{"error":0}"#,
    r#"{"error":{}}"#,
    r#"{"error":[]}"#,
    r#"{"error":{"message":"x","type":"y"}}"#,
    r#"{"ok":true,"channels":{},"error":"x"}"#,
    r#"{"error":"x","code":200}"#,
    "\r\n { \"ok\" : true ,\n \"error\" : \"x\" }\n",
    r#"{"code":400}"#,
    r#"{"code":429}"#,
    r#"{"code":499}"#,
    r#"{"code":"429"}"#,
    r#"{"error":null,"code":429}"#,
    r#"{"ok":true,"code":"400","error":false}"#,
    // A duplicate field: either may be the one that counts.
    r#"{"error":null,"error":"x"}"#,
    r#"{"error":"x","error":null}"#,
    r#"{"code":200,"code":429}"#,
    r#"{"code":"429","code":200}"#,
    // The same name, encoded differently.
    r#"{"\u0065rror":"x"}"#,
    r#"{"err\u006Fr":null,"c\u006fde":429}"#,
];

const NOTHING: &[&str] = &[
    "",
    " \r\n",
    "null",
    "true",
    "0",
    "200",
    "[]",
    r#"[{"ok":true}]"#,
    r#""ok""#,
    r#""{}""#,
    "ok",
    "OK\n",
    "202 ACCEPTED\n",
    "<!DOCTYPE html><html><body>Welcome</body></html>",
    "{",
    r#"{"a":"#,
    r#"{"ok":true"#,
    r#"{"ok":tru}"#,
    r#"{"error":"x""#,
    r#"{"ok":true,}"#,
    r#"{"ok" true}"#,
    "{ok:true}",
    "{'ok':true}",
    "{} x",
    "{}{}",
    "{}\0",
    "\u{feff}{}",
    "{\"a\":\"\n\"}",
    r#"{"a":"\x"}"#,
    r#"{"a":01}"#,
    // The server failed, and may have applied it.
    r#"{"error":"A server error has occurred.","code":500}"#,
    r#"{"code":500}"#,
    r#"{"code":503,"error":null}"#,
    r#"{"code":"502"}"#,
    r#"{"code":4009}"#,
];

const NOT_ACCEPTED: &[&str] = &[
    r#"{"code":429.0}"#,
    r#"{"code":4.29e2}"#,
    r#"{"code":1e999}"#,
    r#"{"code":99999999999999999999999999}"#,
    r#"{"code":"99999999999999999999999999"}"#,
    r#"{"code":"0429"}"#,
    r#"{"code":429,"code":500}"#,
    r#"{"error":"\ud800"}"#,
    r#"{"error":"x"} x"#,
];

/// The largest response to a trigger that usher reads.
const LARGEST: usize = 1024 * 1024;

/// `length` bytes with this beginning and end.
fn long(start: &str, end: &str, length: usize) -> Vec<u8> {
    format!("{start}{}{end}", "x".repeat(length - start.len() - end.len())).into_bytes()
}

/// This many nested objects, the innermost empty, as the value of a field before `more`.
pub fn deep(levels: usize, more: &str) -> Vec<u8> {
    format!("{{\"a\":{}{{}}{}{more}}}", "{\"a\":".repeat(levels), "}".repeat(levels)).into_bytes()
}

/// Bodies that a 200 may have.
pub fn bodies() -> Vec<Answer> {
    let texts = [(Accepted, ACCEPTED), (Refused, REFUSED), (Nothing, NOTHING), (NotAccepted, NOT_ACCEPTED)];
    let texts =
        texts.into_iter().flat_map(|(says, bodies)| bodies.iter().map(move |body| (says, body.as_bytes().to_vec())));
    let others = [
        (Nothing, b"{\"a\":\"\xff\"}".to_vec()),
        (Nothing, b"{\"\xc3\":1}".to_vec()),
        (NotAccepted, b"{\"error\":\"\xff\"}".to_vec()),
        (Accepted, deep(20, "")),
        (Refused, deep(20, r#","error":"x""#)),
        (NotAccepted, deep(50_000, r#","error":"x""#)),
        (Nothing, b"{\"a\":[".repeat(50_000)),
        (Accepted, long(r#"{"a":""#, r#""}"#, LARGEST)),
        (Refused, long(r#"{"a":""#, r#"","code":429}"#, LARGEST)),
        (Refused, long(r#"{"error":""#, r#""}"#, LARGEST)),
        (Nothing, long(r#"{"a":""#, "", LARGEST)),
    ];
    texts.chain(others).map(|(says, body)| Answer::ok(says, &body)).collect()
}

/// `{"ok":true}`, compressed by gzip.
const ZIPPED: &[u8] = &[
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0xff, 0xab, 0x56, 0xca, 0xcf, 0x56, 0xb2, 0x2a, 0x29, 0x2a,
    0x4d, 0xad, 0x05, 0x00, 0x90, 0x5f, 0xd4, 0xa7, 0x0b, 0x00, 0x00, 0x00,
];

/// The same bodies with other heads and other framing.
pub fn heads() -> Vec<Answer> {
    let limited = br#"{"error":"Too many requests.","code":429}"#;
    let json = "Content-Type: application/json\r\n";
    vec![
        Answer::new(Accepted, 201, json, b"{}"),
        Answer::new(Accepted, 202, json, b"{}"),
        Answer::new(Accepted, 299, json, br#"{"ok":true}"#),
        Answer::new(Refused, 201, json, limited),
        Answer::new(Refused, 202, json, br#"{"error":"x"}"#),
        Answer::new(Nothing, 202, "", b""),
        Answer::new(Nothing, 202, "Content-Type: text/plain\r\n", b"202 ACCEPTED\n"),
        Answer { says: Nothing, status: 204, body: Vec::new(), step: Step::answer("HTTP/1.1 204 No Content\r\n\r\n") },
        // The content type is not trusted: a body without one, or with a wrong one, is parsed as well.
        Answer::new(Accepted, 200, "", b"{}"),
        Answer::new(Accepted, 200, "Content-Type: text/html; charset=latin1\r\n", b"{}"),
        Answer::new(Refused, 200, "", limited),
        Answer::new(Refused, 200, "Content-Type: text/plain\r\n", limited),
        // An encoded body is not parsed, nor is one that only claims to be encoded.
        Answer::new(Nothing, 200, "Content-Type: application/json\r\nContent-Encoding: gzip\r\n", ZIPPED),
        Answer::new(Nothing, 200, "Content-Encoding: gzip\r\n", b"{}"),
        Answer::new(Nothing, 200, "content-encoding: br\r\n", br#"{"ok":true}"#),
        Answer::framed(Accepted, b"{}", Step::chunked()),
        Answer::framed(Accepted, b"{}", Step::close_delimited()),
        Answer::framed(Accepted, b"{}", Step::http10()),
        Answer::framed(
            Refused,
            br#"{"error":"x"}"#,
            Step::answer(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{\"er\r\n9\r\nror\":\"x\"}\r\n0\r\n\r\n",
            ),
        ),
        Answer::framed(
            Refused,
            br#"{"error":"x"}"#,
            Step::answer_and_close("HTTP/1.1 200 OK\r\n\r\n{\"error\":\"x\"}"),
        ),
        Answer::framed(
            Refused,
            br#"{"code":429}"#,
            Step::answer_and_close("HTTP/1.0 200 OK\r\nContent-Length: 12\r\n\r\n{\"code\":429}"),
        ),
        Answer::framed(Nothing, b"", Step::answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
    ]
}

/// One of each kind, for slower tests.
pub fn few() -> Vec<Answer> {
    vec![
        Answer::ok(Accepted, b"{}"),
        Answer::ok(Accepted, br#"{"batch":[{},{}],"error":null}"#),
        Answer::ok(Refused, br#"{"error":"Too many requests.","code":429}"#),
        Answer::ok(Refused, br#"{"code":"400"}"#),
        Answer::ok(Refused, br#"{"error":null,"error":{}}"#),
        Answer::ok(Nothing, br#"{"error":"A server error has occurred.","code":500}"#),
        Answer::ok(Nothing, b"null"),
        Answer::ok(Nothing, b"{} x"),
        Answer::new(Nothing, 202, "", b""),
        Answer::new(Nothing, 200, "Content-Encoding: gzip\r\n", ZIPPED),
    ]
}
