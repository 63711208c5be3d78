//! The admin listener over real sockets.

mod access;
mod connections;
mod endpoints;
mod page;
mod stream;
mod switches;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::Value as Json;
use smallvec::smallvec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Access, Admin, EffectiveConfig, ModeSwitch, Modes, NotSwitched, RuleMode, serve};
use crate::assignment::{Assignment, Assignments, Bounds, Claim, ClaimMode, Outcome, RuleMemory, RuleSettings, Value};
use crate::clock::{Calendar, Clock, Moment};
use crate::decision::EventDecision;
use crate::metrics::Metrics;
use crate::replay::Replays;
use crate::report::Report;
use crate::rules::{LateJoiners, Mode, OnDifference, Rule, RuleSpec};
use crate::shutdown::{Drain, Phase, Tasks};
use crate::triggers::{
    AssignmentRecord, Draft, EventRecord, Finding, Head, Kind, MIN_CAPACITY, Payloads, RequestRecord, Tail, Triggers,
};

const TOKEN: &str = "the-operators-token";

/// One rule for two apps, and its current mode.
#[derive(Debug, Default)]
struct Switches(Mutex<Vec<(String, Mode)>>);

impl ModeSwitch for Switches {
    fn rules(&self) -> Vec<RuleMode> {
        let switched = self.0.lock().unwrap();
        let mode =
            |app: &str| switched.iter().rev().find(|(its, _)| its == app).map_or(Mode::Enforce, |(_, mode)| *mode);
        let rule = |app: &str| RuleMode {
            app: app.into(),
            rule: "staff-assigned".into(),
            event: "staff-assigned".into(),
            channel: "{hotel}-room-{room}-chat".into(),
            mode: mode(app),
            configured: Mode::Enforce,
            source: if mode(app) == Mode::Enforce { "file" } else { "switched" },
            definition: definition(),
        };
        vec![rule("1001"), rule("1002")]
    }

    fn observes(&self) -> bool {
        false
    }

    fn switchable(&self, app: &str, rule: &str, _mode: Mode) -> Result<Modes, NotSwitched> {
        let named = self.rules().into_iter().find(|its| (&*its.app, &*its.rule) == (app, rule));
        named.map(|its| Modes { present: its.mode, configured: its.configured }).ok_or(NotSwitched::NoSuchRule)
    }

    fn switch(&self, app: &str, rule: &str, mode: Mode) -> Result<Mode, NotSwitched> {
        let before = self.switchable(app, rule, mode)?.present;
        self.0.lock().unwrap().push((app.to_owned(), mode));
        Ok(before)
    }
}

impl EffectiveConfig for Switches {
    fn values(&self) -> Vec<Json> {
        vec![serde_json::json!({ "key": "log.level", "value": "info", "source": "default" })]
    }
}

/// A running admin listener and its data.
struct Running {
    address: SocketAddr,
    admin: Arc<Admin>,
    tasks: Tasks,
    stop: Drain,
}

impl Running {
    /// A listener on loopback, with a token.
    async fn start() -> Self {
        Self::start_on("127.0.0.1:0", Some(TOKEN)).await
    }

    async fn start_on(listen: &str, token: Option<&str>) -> Self {
        let clock = Clock::start();
        let admin = Arc::new(Admin {
            metrics: Metrics::new(),
            triggers: Arc::new(Triggers::new(MIN_CAPACITY, Payloads::None)),
            recorders: Arc::default(),
            report: Arc::new(Report::default()),
            assignments: assignments(clock),
            replays: Replays::new(clock, Duration::ZERO),
            state: "no memory outlives a process".into(),
            mode_switch: Arc::new(Switches::default()),
            config: Arc::new(Switches::default()),
            drain: Drain::default(),
            tasks: Tasks::default(),
            calendar: Calendar::new(clock),
            access: Arc::new(ArcSwap::from_pointee(Access { token: token.map(Into::into), ..Access::default() })),
        });
        let listener = TcpListener::bind(listen).await.unwrap();
        let address = SocketAddr::new([127, 0, 0, 1].into(), listener.local_addr().unwrap().port());
        let (tasks, stop) = (Tasks::default(), Drain::default());
        tasks.spawn(serve(listener, Arc::clone(&admin), tasks.clone(), stop.clone()));
        Self { address, admin, tasks, stop }
    }

    /// The answer to a request line and header lines without `Host`.
    async fn call(&self, line: &str, headers: &[&str]) -> Answer {
        let host = format!("Host: {}", self.address);
        self.call_raw(line, &[&[host.as_str()], headers].concat()).await
    }

    async fn call_raw(&self, line: &str, headers: &[&str]) -> Answer {
        self.send(line, headers, "").await
    }

    async fn call_with_body(&self, line: &str, headers: &[&str], body: &str) -> Answer {
        let host = format!("Host: {}", self.address);
        self.send(line, &[&[host.as_str()], headers].concat(), body).await
    }

    async fn send(&self, line: &str, headers: &[&str], body: &str) -> Answer {
        let lines: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream
            .write_all(format!("{line} HTTP/1.1\r\nConnection: close\r\n{lines}\r\n{body}").as_bytes())
            .await
            .unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        Answer::parse(&String::from_utf8(bytes).unwrap())
    }

    async fn get(&self, target: &str) -> Answer {
        self.call(&format!("GET {target}"), &[]).await
    }

    /// Records a trigger with one event on `channel`.
    fn decided(&self, channel: &str, identity: Option<&str>, decision: EventDecision) {
        let triggers = &self.admin.triggers;
        let assignment = identity.map(|identity| AssignmentRecord {
            pointer: "/staff_id",
            identity,
            context: smallvec![("/conversation_id", "123")],
        });
        let head: Head<'_> = Head {
            request: RequestRecord {
                number: triggers.next_id().number(),
                at: 0,
                app: "1001",
                caller: [10, 0, 0, 7].into(),
                method: "POST",
                path: "/apps/1001/events",
                size: 300,
            },
            inexact: None,
            events: smallvec![EventRecord {
                name: "staff-assigned",
                channels: smallvec![channel],
                all_channels: 1,
                excludes_socket: false,
                asks_info: false,
                data: None,
                data_size: 80,
            }],
            all_events: 1,
            findings: smallvec![Finding {
                event: 0,
                channel: 0,
                rule: "staff-assigned",
                decision,
                assignment,
                before: None,
                known_since: None,
                differs: false,
            }],
            all_findings: 1,
            filtered: smallvec![],
            decision: Some(decision),
        };
        let tail = Tail { took: 1500, status: 200, ..Tail::default() };
        triggers.push(Draft::new(Kind::Watched, |_| head.clone()), &tail);
    }

    fn memory(&self, app: &str) -> Arc<RuleMemory> {
        self.admin.assignments.rules().into_iter().find(|rule| &*rule.app == app).unwrap().memory
    }
}

/// An answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {text:?}"));
        Self { status: head[9..12].parse().unwrap(), head: head.to_owned(), body: body.to_owned() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut values = self
            .head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .filter(|(its_name, _)| its_name.eq_ignore_ascii_case(name));
        values.next().map(|(_, value)| value)
    }

    fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }

    /// The status and the error's code, which is in the body and in a header.
    fn error(&self) -> (u16, String) {
        let (body, header) = (self.json(), self.header("usher-error"));
        assert_eq!(body["code"].as_str(), header);
        assert!(body["error"].as_str().is_some_and(|error| error.ends_with(['.', ':'])), "{body}");
        assert_eq!(self.header("content-type"), Some("application/json"));
        (self.status, header.unwrap().to_owned())
    }
}

/// The rule.
fn definition() -> Rule {
    Rule::new(RuleSpec {
        name: "staff-assigned".into(),
        event: "staff-assigned".into(),
        channel: "{hotel}-room-{room}-chat".into(),
        identity: vec!["/staff_id".into()],
        context: vec!["/conversation_id".into()],
        filter: Vec::new(),
        ignore: Vec::new(),
        on_difference: OnDifference::Count,
        released_by: Vec::new(),
        remember_for: Duration::from_hours(24),
        late_joiners: LateJoiners::Ignore,
        refresh_after: None,
        detect_bypass: false,
        mode: Mode::Enforce,
        apps: Vec::new(),
    })
    .unwrap()
}

/// The assignments of one rule for two apps.
fn assignments(clock: Clock) -> Arc<Assignments> {
    let bounds = Bounds {
        max_channels: 100_000,
        max_waiters_per_channel: 8,
        max_waiters: 8,
        doubt_period: Duration::from_secs(30),
        start_doubt: Duration::ZERO,
    };
    let assignments = Assignments::new(clock, bounds);
    let settings = |app: &str| RuleSettings {
        app: app.into(),
        rule: "staff-assigned".into(),
        definition: [1; 32],
        remember_for: Duration::from_secs(3600),
        refresh_after: None,
    };
    assignments.configure(&["1001".into(), "1002".into()], &[settings("1001"), settings("1002")]);
    assignments
}

/// Makes an announcement on `channel` and settles it with `outcome`.
fn announce(memory: &Arc<RuleMemory>, channel: &str, identity: &str, context: &[&str], outcome: Outcome) {
    let assignment = Assignment::new(0, identity, context);
    let claim = memory.claim(channel, &Value::One(assignment), ClaimMode::MayWait, Moment::from_millis(0));
    let Claim::Reserved { reservation, .. } = claim else { panic!("{claim:?}") };
    reservation.settle(outcome);
}
