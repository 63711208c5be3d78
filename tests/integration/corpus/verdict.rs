//! Compares the results of a case with its expectations, and with the invariants of all cases.

use crate::harness::{Recorded, sign};

use super::exchange::{Answer, End, Exchange};
use super::expect::{Alternatives, Ending, Expect};
use super::text::{Context, OTHER_SECRET};

/// Hop-by-hop headers: none may reach upstream (threats.md HDR-01, HDR-02).
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "proxy-authenticate",
    "proxy-authorization",
];

/// The results of one run of a case.
#[derive(Debug)]
pub struct Seen {
    pub exchange: Exchange,
    /// The requests that reached upstream.
    pub upstream: Vec<Recorded>,
    /// The line of the case's first request, as written.
    pub line: String,
    /// Upstream's authority.
    pub authority: String,
}

/// The results that must be equal in both styles.
#[derive(Debug, PartialEq, Eq)]
pub struct Summary {
    /// `refused` if the case leaves open whether a malformed request is answered: that depends on how much was read
    /// when it was found malformed.
    statuses: Vec<String>,
    decisions: Vec<String>,
    upstream: usize,
    closed: bool,
}

impl Seen {
    pub fn summary(&self, expect: &Expect) -> Summary {
        let answers = &self.exchange.answers;
        let status = |(place, wanted): (usize, &Alternatives)| match answers.get(place) {
            None => "refused".to_owned(),
            Some(answer) if answer.status >= 400 && wanted.iter().any(|value| value == "none") => "refused".to_owned(),
            Some(answer) => answer.status.to_string(),
        };
        Summary {
            statuses: expect.status.iter().enumerate().map(status).collect(),
            decisions: answers.iter().filter_map(|answer| sole(answer, "usher-decision").ok()).collect(),
            upstream: self.upstream.len(),
            closed: self.exchange.end == End::Closed,
        }
    }

    /// All violations.
    pub fn complaints(&self, expect: &Expect, context: &Context) -> Vec<String> {
        let mut found = Complaints::default();
        self.judge_answers(expect, &mut found);
        self.judge_last_answer(expect, context, &mut found);
        self.judge_upstream(expect, context, &mut found);
        for answer in &self.exchange.answers {
            judge_any_answer(answer, &mut found);
            if !answer.head.0.starts_with(b"HTTP/1.1 ") && !self.line.ends_with(" HTTP/1.0") {
                found.add(format!("not an HTTP/1.1 answer: {}", shown(&answer.head.0)));
            }
        }
        for request in &self.upstream {
            self.judge_any_request(request, &mut found);
        }
        found.0
    }

    fn judge_answers(&self, expect: &Expect, found: &mut Complaints) {
        let answers = &self.exchange.answers;
        for (place, wanted) in expect.status.iter().enumerate() {
            let status = answers.get(place).map_or_else(|| "none".to_owned(), |answer| answer.status.to_string());
            found.unless_in(&format!("status {}", place + 1), &status, wanted);
        }
        for (place, wanted) in expect.decision.iter().enumerate() {
            let decision =
                answers.get(place).map_or_else(|| Ok("no answer".to_owned()), |answer| sole(answer, "usher-decision"));
            found.unless_in(&format!("decision {}", place + 1), &decision.unwrap_or_else(|none| none), wanted);
        }
        if expect.ending != Ending::Either && (expect.ending == Ending::Closes) != (self.exchange.end == End::Closed) {
            found.add(format!("closed: expected {:?}, seen {:?}", expect.ending, self.exchange.end));
        }
        for name in &expect.answer_lacks {
            if answers.iter().any(|answer| answer.head.header(name).is_some()) {
                found.add(format!("answer-lacks: {name} is there"));
            }
        }
    }

    fn judge_last_answer(&self, expect: &Expect, context: &Context, found: &mut Complaints) {
        let Some(last) = self.exchange.answers.last() else {
            if !expect.error.is_empty() || expect.answer_body.is_some() {
                found.add("there is no answer".to_owned());
            }
            return;
        };
        if !expect.error.is_empty() {
            found.unless_in("error", &sole(last, "usher-error").unwrap_or_else(|none| none), &expect.error);
        }
        found.headers("answer-header", &expect.answer_headers, &last.head.headers(), context);
        if let Some(body) = &expect.answer_body {
            found.unless_bytes("answer-body", &last.body, context.expand(body));
        }
    }

    fn judge_upstream(&self, expect: &Expect, context: &Context, found: &mut Complaints) {
        if !expect.upstream.contains(&self.upstream.len()) {
            let lines: Vec<String> = self.upstream.iter().map(Recorded::request_line).collect();
            found.add(format!("upstream: expected {:?} requests, seen {}: {lines:?}", expect.upstream, lines.len()));
        }
        let Some(first) = self.upstream.first() else { return };
        if let Some(target) = &expect.upstream_target {
            let wanted = if target == "same" {
                Ok(self.line.split(' ').nth(1).unwrap_or_default().as_bytes().to_vec())
            } else {
                context.expand(target)
            };
            found.unless_bytes("upstream-target", first.target().as_bytes(), wanted);
        }
        if let Some(body) = &expect.upstream_body {
            let wanted = if body == "same" { Ok(context.body.clone()) } else { context.expand(body) };
            found.unless_bytes("upstream-body", &first.body, wanted);
        }
        let headers = first.head.headers();
        found.headers("upstream-header", &expect.upstream_headers, &headers, context);
        for text in &expect.upstream_has {
            let wanted = context.expand(text).unwrap_or_else(String::into_bytes);
            if !first.head.0.windows(wanted.len()).any(|part| part == wanted) {
                found.add(format!("upstream-has: {} is not there: {}", shown(&wanted), shown(&first.head.0)));
            }
        }
        for name in &expect.upstream_lacks {
            if headers.iter().any(|(seen, _)| seen.eq_ignore_ascii_case(name)) {
                found.add(format!("upstream-lacks: {name} is there: {headers:?}"));
            }
        }
    }

    /// Every request upstream is framed by one Content-Length at most, names upstream as its host, and carries nothing
    /// hop-by-hop.
    fn judge_any_request(&self, request: &Recorded, found: &mut Complaints) {
        let headers = request.head.headers();
        let of = |name: &str| {
            headers
                .iter()
                .filter(|(seen, _)| seen.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.clone())
                .collect::<Vec<_>>()
        };
        if of("content-length").len() > 1 || of("host") != [self.authority.clone()] {
            found.add(format!("upstream: framing or host of {headers:?}, expected host {}", self.authority));
        }
        for name in HOP_BY_HOP.into_iter().filter(|name| !of(name).is_empty()) {
            found.add(format!("upstream: hop-by-hop header {name} was forwarded"));
        }
    }
}

/// usher's own errors have the same code in header and body (README.md "What the backend sees"), and no response
/// contains a secret.
fn judge_any_answer(answer: &Answer, found: &mut Complaints) {
    let text = [answer.head.0.clone(), answer.body.clone()].concat();
    let text = String::from_utf8_lossy(&text);
    if text.contains(sign::SECRET) || text.contains(OTHER_SECRET) {
        found.add("an answer tells a secret".to_owned());
    }
    if let Some(code) = answer.head.header("usher-error") {
        let document: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
        let sentence =
            document.as_ref().and_then(|body| body["error"].as_str()).is_some_and(|sentence| !sentence.is_empty());
        if !sentence || document.is_none_or(|body| body["code"] != code.as_str()) {
            found.add(format!("the body of the error {code} does not tell it: {text}"));
        }
    }
}

/// The value of a header that occurs once; otherwise a word for its absence or repetition.
fn sole(answer: &Answer, name: &str) -> Result<String, String> {
    let mut values =
        answer.head.headers().into_iter().filter(|(seen, _)| seen.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        (None, _) => Err("none".to_owned()),
        (Some(first), Some(second)) => Err(format!("twice ({first}, {second})")),
    }
}

#[derive(Debug, Default)]
struct Complaints(Vec<String>);

impl Complaints {
    fn add(&mut self, complaint: String) {
        self.0.push(complaint);
    }

    fn unless_in(&mut self, what: &str, seen: &str, wanted: &Alternatives) {
        if !wanted.iter().any(|value| value == seen) {
            self.add(format!("{what}: expected {}, seen {seen}", wanted.join("|")));
        }
    }

    fn unless_bytes(&mut self, what: &str, seen: &[u8], wanted: Result<Vec<u8>, String>) {
        match wanted {
            Ok(wanted) if wanted == seen => {}
            Ok(wanted) => {
                self.add(format!("{what}:\n      expected {}\n      seen     {}", shown(&wanted), shown(seen)))
            }
            Err(error) => self.add(error),
        }
    }

    /// Every expected header is present, those of one name in the expected order and number.
    fn headers(&mut self, what: &str, wanted: &[(String, String)], seen: &[(String, String)], context: &Context) {
        for (name, _) in wanted {
            let of = |headers: &[(String, String)]| -> Vec<String> {
                headers
                    .iter()
                    .filter(|(other, _)| other.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.clone())
                    .collect()
            };
            let expanded: Vec<String> = of(wanted).iter().map(|value| lossy(context.expand(value))).collect();
            if of(seen) != expanded {
                self.add(format!("{what} {name}: expected {expanded:?}, seen {:?}", of(seen)));
            }
        }
    }
}

/// As [`crate::harness::message::Head::lines`] shows bytes that are not UTF-8.
fn lossy(bytes: Result<Vec<u8>, String>) -> String {
    bytes.map_or_else(|error| error, |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Bytes for messages: escaped and truncated.
pub fn shown(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(600)];
    format!("{}{}", cut.escape_ascii(), if cut.len() < bytes.len() { "…" } else { "" })
}
