//! The corpus: raw requests with expected results, one file per case (tests/corpus), sent over real sockets in one
//! write and byte by byte.
//!
//! `CORPUS=JSON-0 cargo test corpus` runs the cases whose ids begin with `JSON-0`.

mod case;
mod exchange;
mod expect;
mod text;
mod verdict;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::harness::script::After;
use crate::harness::{Client, Fake, Request, Step, Usher, sign};

use case::{Case, Memory, Part};
use exchange::{Act, FOLLOW_UP, Style, Wire};
use text::Context;
use verdict::{Seen, Summary};

/// Guards against cases that disappear unnoticed.
const FEWEST_CASES: usize = 200;

/// The number of concurrent ushers, each with its own upstream: a case may make usher forget a whole app.
const LANES: usize = 3;

#[test]
fn every_case_has_its_verdict_in_one_write_and_byte_by_byte() {
    run_all(true);
}

#[test]
fn every_case_has_its_verdict_without_the_fast_path() {
    run_all(false);
}

fn run_all(fast_path: bool) {
    let chosen = std::env::var("CORPUS").unwrap_or_default();
    let files = case::files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus"));
    let cases: Vec<Case> = files
        .iter()
        .map(|path| Case::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        .collect();
    assert!(cases.len() >= FEWEST_CASES, "only {} cases", cases.len());
    let cases: Vec<Case> = cases.into_iter().filter(|case| case.id.starts_with(&chosen)).collect();
    assert!(!cases.is_empty(), "no case's id begins with {chosen}");
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                let lane = Lane::open(fast_path);
                while let Some((number, case)) = take(&next, &cases) {
                    if let Err(failure) = lane.run_both(number, case) {
                        failures.lock().unwrap().push(failure);
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    assert!(failures.is_empty(), "{} of {} cases failed\n\n{}", failures.len(), cases.len(), failures.join("\n\n"));
}

fn take<'a>(next: &AtomicUsize, cases: &'a [Case]) -> Option<(usize, &'a Case)> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    cases.get(number).map(|case| (number, case))
}

/// One usher with its upstream; cases run on it one after another.
struct Lane {
    fake: Fake,
    usher: Usher,
    /// The response to the next request upstream, if it is not `200 {}`.
    scripted: Arc<Mutex<Option<Step>>>,
}

impl Lane {
    fn open(fast_path: bool) -> Self {
        let fake = Fake::start();
        let usher = Usher::start(&fake, |setup| {
            let [id, key, secret] = [text::OTHER_APP, text::OTHER_KEY, text::OTHER_SECRET];
            setup.more += &format!("[[apps]]\nid = \"{id}\"\nkey = \"{key}\"\nsecret = \"{secret}\"\n");
            setup.server += &format!("fast_path = {fast_path}\n");
            setup.limits += "max_body = \"256KiB\"\n";
        });
        let scripted = Arc::new(Mutex::new(None));
        let script = Arc::clone(&scripted);
        fake.otherwise(move |request| match script.lock().unwrap().take() {
            Some(step) => step,
            None if request.method() == "HEAD" => Step::answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
            None => Step::ok(),
        });
        Self { fake, usher, scripted }
    }

    /// Runs a case in both styles, which must agree.
    fn run_both(&self, number: usize, case: &Case) -> Result<(), String> {
        let whole = self.run(number, case, Style::Whole)?;
        let pieces = self.run(number, case, Style::Pieces)?;
        if whole == pieces {
            Ok(())
        } else {
            Err(format!("{}: in one write {whole:?}\n    byte by byte  {pieces:?}", case.id))
        }
    }

    fn run(&self, number: usize, case: &Case, style: Style) -> Result<Summary, String> {
        let hotel = format!("h{number}{}", if style == Style::Whole { "w" } else { "b" });
        let mut context = Context { now: sign::now(), hotel, body: Vec::new() };
        let failed = |problems: &[String]| format!("{} ({style:?}):\n    {}", case.id, problems.join("\n    "));
        let seen = self.play(case, style, &mut context).map_err(|problem| failed(&[problem]))?;
        let mut complaints = seen.complaints(&case.expect, &context);
        for (memory, known) in &case.expect.after {
            let decision = self.announce(memory, &context).map_err(|problem| failed(&[problem]))?;
            if decision != if *known { "suppressed" } else { "forwarded" } {
                complaints.push(format!(
                    "after: {} is {}known, the probe was {decision}",
                    memory.channel,
                    if *known { "not " } else { "" }
                ));
            }
        }
        if complaints.is_empty() {
            return Ok(seen.summary(&case.expect));
        }
        for answer in &seen.exchange.answers[..seen.exchange.answers.len().min(3)] {
            complaints.push(format!("answer: {}", verdict::shown(&[answer.head.0.as_slice(), &answer.body].concat())));
        }
        for request in &seen.upstream[..seen.upstream.len().min(3)] {
            complaints
                .push(format!("upstream: {}", verdict::shown(&[request.head.0.as_slice(), &request.body].concat())));
        }
        Err(failed(&complaints))
    }

    /// Announces the initial assignments of the case, writes its bytes, and collects the results.
    fn play(&self, case: &Case, style: Style, context: &mut Context) -> Result<Seen, String> {
        for memory in &case.before {
            let decision = self.announce(memory, context)?;
            if decision != "forwarded" {
                return Err(format!("before: the announcement on {} was {decision}", memory.channel));
            }
        }
        let (acts, methods, line) = acts(case, context)?;
        if let Some(script) = &case.script {
            let after = if script.closes { After::Close } else { After::Keep };
            *self.scripted.lock().unwrap() = Some(Step::Answer(context.lines(&script.answer)?, after));
        }
        let earlier = self.fake.count();
        let wire = Wire::connect(self.usher.gateway(), methods).map_err(|error| error.to_string())?;
        let exchange = wire.run(&acts, style, case.expect.status.len(), case.expect.ending);
        let unused = self.scripted.lock().unwrap().take();
        let mut upstream = self.fake.requests().split_off(earlier);
        upstream.retain(|request| request.target() != FOLLOW_UP);
        let exchange = exchange.map_err(|problem| format!("{problem}; upstream saw {} requests", upstream.len()))?;
        if case.script.is_some() {
            self.next_caller(unused)?;
        }
        Ok(Seen { exchange, upstream, line, authority: self.fake.address().to_string() })
    }

    /// After any response of upstream, the next caller gets upstream's next response and no remainder of the last one.
    fn next_caller(&self, unused: Option<Step>) -> Result<(), String> {
        if unused.is_some() {
            return Err("upstream's scripted answer was not asked for".to_owned());
        }
        let next = self.usher.client().call(&Request::new("GET", FOLLOW_UP, b""));
        if (next.status, next.text().as_str()) == (200, "{}") {
            Ok(())
        } else {
            Err(format!("the next caller got {next:?}"))
        }
    }

    /// Sends an ordinary announcement and returns usher's decision.
    fn announce(&self, memory: &Memory, context: &Context) -> Result<String, String> {
        let channel = context.channel(&memory.channel).ok_or_else(|| format!("no channel {}", memory.channel))?;
        let data = serde_json::Value::from(context.expand_text(&memory.data)?);
        let body = format!(r#"{{"name":"staff-assigned","channels":["{channel}"],"data":{data}}}"#);
        let path = format!("/apps/{}/events", memory.app);
        let (key, secret) = if memory.app == text::OTHER_APP {
            (text::OTHER_KEY, text::OTHER_SECRET)
        } else {
            (sign::KEY, sign::SECRET)
        };
        let query = sign::query_of("POST", &path, "", body.as_bytes(), key, secret, sign::now());
        let answer = Client::connect(self.usher.gateway()).call(&Request::new(
            "POST",
            &format!("{path}?{query}"),
            body.as_bytes(),
        ));
        if answer.status == 200 {
            Ok(answer.decision())
        } else {
            Err(format!("the announcement on {channel} got {answer:?}"))
        }
    }
}

/// The case's parts with their text expanded, the methods of its requests, and the first one's line. The last body
/// remains in `context`.
fn acts(case: &Case, context: &mut Context) -> Result<(Vec<Act>, Vec<String>, String), String> {
    let mut acts: Vec<Act> = Vec::new();
    let mut methods = Vec::new();
    let mut first = None;
    for part in &case.parts {
        match part {
            Part::Await(status) => acts.push(Act::Await(*status)),
            Part::HalfClose => acts.push(Act::HalfClose),
            Part::Send { body, request, times } => {
                context.body = context.joined(body)?;
                let bytes = context.lines(request)?;
                let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
                let line = String::from_utf8_lossy(line).into_owned();
                methods.extend(std::iter::repeat_n(line.split(' ').next().unwrap_or_default().to_owned(), *times));
                first.get_or_insert(line);
                match acts.last_mut() {
                    Some(Act::Write(before)) => before.extend(bytes.repeat(*times)),
                    _ => acts.push(Act::Write(bytes.repeat(*times))),
                }
            }
        }
    }
    Ok((acts, methods, first.unwrap_or_default()))
}
