//! The first law over real sockets: random histories against the fake upstream, which records what it has applied.
//!
//! Requests are sequential (`racing` and the memory's own model test cover concurrency), so nothing is in flight when a
//! call is suppressed: each announcement in it must then be the last value that upstream applied to its channel. The
//! histories must also contain drops, since a usher that forwards everything would satisfy the law trivially.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::harness::bodies::{ANNOUNCEMENT, LIBRARIES, batch, item, staff};
use crate::harness::{Client, Fake, Random, Recorded, Request, Step, Usher};

/// The number of histories, and of requests in each.
const CASES: u64 = 320;
const STEPS: usize = 14;

/// What upstream does with the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UpstreamAction {
    Accepts,
    Rejects,
    FailsUnapplied,
    FailsApplied,
    FailsAndAppliesLate,
    LosesTheAnswer,
    CutsTheAnswer,
}

impl UpstreamAction {
    fn random(random: &mut Random) -> Self {
        match random.below(20) {
            0 | 1 => Self::Rejects,
            2 => Self::FailsUnapplied,
            3 => Self::FailsApplied,
            4 => Self::FailsAndAppliesLate,
            5 => Self::LosesTheAnswer,
            6 => Self::CutsTheAnswer,
            _ => Self::Accepts,
        }
    }

    const fn applies(self) -> bool {
        !matches!(self, Self::Rejects | Self::FailsUnapplied | Self::FailsAndAppliesLate)
    }

    fn step(self) -> Step {
        match self {
            Self::Accepts => Step::ok(),
            Self::Rejects => Step::status(403),
            Self::FailsUnapplied | Self::FailsApplied | Self::FailsAndAppliesLate => Step::status(500),
            Self::LosesTheAnswer => Step::reset(),
            Self::CutsTheAnswer => Step::cut(),
        }
    }
}

/// The last value applied to each channel, as upstream parses the requests.
type Applied = Arc<Mutex<HashMap<String, String>>>;

/// The announcements of a body in their order: channel and staff.
fn announcements(body: &serde_json::Value) -> Vec<(String, String)> {
    let events = body["batch"].as_array().map_or_else(|| vec![body], |items| items.iter().collect());
    let mut found = Vec::new();
    for event in events {
        let name = event["name"].as_str().unwrap_or_default();
        let data: serde_json::Value =
            event["data"].as_str().and_then(|data| serde_json::from_str(data).ok()).unwrap_or_default();
        let told = match name {
            ANNOUNCEMENT => data["staff_name"].as_str().unwrap_or("somebody").to_owned(),
            "conversation-closed" => "nobody".to_owned(),
            _ => continue,
        };
        let channels =
            event["channels"].as_array().map_or_else(|| vec![&event["channel"]], |channels| channels.iter().collect());
        found.extend(
            channels
                .into_iter()
                .filter_map(|channel| channel.as_str())
                .map(|channel| (channel.to_owned(), told.clone())),
        );
    }
    found
}

/// One history.
struct History<'a> {
    fake: &'a Fake,
    client: Client,
    usher: &'a Usher,
    random: Random,
    channels: Vec<String>,
    applied: Applied,
    actions: Arc<Mutex<Option<UpstreamAction>>>,
    /// Requests that upstream has received and not applied yet.
    late: Vec<(String, String)>,
    told: Vec<String>,
    suppressed: usize,
}

impl History<'_> {
    fn staff(&mut self) -> &'static str {
        self.random.pick(&["Anna", "Anna", "Ben"])
    }

    fn some_channels(&mut self) -> Vec<String> {
        let mut channels: Vec<String> =
            self.channels.iter().filter(|_| self.random.next().is_multiple_of(2)).cloned().collect();
        if channels.is_empty() {
            channels.push(self.channels[0].clone());
        }
        if self.random.below(2) == 0 {
            channels.reverse();
        }
        channels
    }

    /// The next request of the history.
    fn request(&mut self) -> Request {
        let library = self.random.pick(&LIBRARIES);
        let channel = self.random.pick(&self.channels.clone());
        let name = self.staff();
        let single = library.body(ANNOUNCEMENT, &[&channel], &staff(name));
        match self.random.below(16) {
            0..=6 => Request::events(&single),
            7 | 8 => {
                let channels = self.some_channels();
                Request::events(&library.body(
                    ANNOUNCEMENT,
                    &channels.iter().map(String::as_str).collect::<Vec<_>>(),
                    &staff(name),
                ))
            }
            9..=11 => {
                let count = 1 + self.random.below(4);
                let items: Vec<String> = (0..count).map(|_| self.item()).collect();
                Request::batch(&batch(&items))
            }
            12 => Request::events(&single.replacen('{', r#"{"socket_id":"1.2","#, 1)),
            13 => Request::events(&single.replacen('{', r#"{"surprise":[1],"#, 1)),
            14 => Request::events(&library.body("conversation-closed", &[&channel], "{}")),
            _ => Request::events(&library.body(ANNOUNCEMENT, &[&channel], r#"{"staff_role":"Porter"}"#)),
        }
    }

    fn item(&mut self) -> String {
        let channel = self.random.pick(&self.channels.clone());
        let name = self.staff();
        match self.random.below(5) {
            0 => item("new-staff-message", &channel, "{}"),
            1 => item("conversation-closed", &channel, "{}"),
            _ => item(ANNOUNCEMENT, &channel, &staff(name)),
        }
    }

    /// Sends one request and checks the first law.
    fn step(&mut self) -> Result<(), String> {
        let request = self.request();
        let action = UpstreamAction::random(&mut self.random);
        let body = serde_json::from_slice(&request.body).unwrap();
        let wanted = announcements(&body);
        if self.random.below(3) == 0 {
            self.applied.lock().unwrap().extend(self.late.drain(..));
        }
        let before = self.applied.lock().unwrap().clone();
        *self.actions.lock().unwrap() = Some(action);
        let count = self.fake.count();
        let response = self.client.call(&request);
        let decision = response.decision();
        self.told.push(format!("{action:?} {wanted:?} -> {} {decision}", response.status));
        let sent = self.fake.requests()[count..].to_vec();
        let arrived = sent.first().map(|seen| announcements(&seen.json())).unwrap_or_default();
        if action == UpstreamAction::FailsAndAppliesLate {
            self.late.extend(arrived.clone());
        }
        if sent.len() > 1 {
            return Err("sent more than once".to_owned());
        }
        if sent.iter().any(|seen| !seen.is_signed()) {
            return Err("wrongly signed".to_owned());
        }
        if decision == "suppressed" && !sent.is_empty() {
            return Err("said suppressed, yet forwarded".to_owned());
        }
        if response.status < 300 && decision != "suppressed" && action != UpstreamAction::Accepts {
            return Err("claims an acceptance that there was not".to_owned());
        }
        self.suppressed += wanted.len() - arrived.len();
        dropped_were_redundant(&wanted, &arrived, before)?;
        if response.header("connection").is_some_and(|connection| connection == "close") {
            self.client = self.usher.client();
        }
        Ok(())
    }
}

/// Compares the sent announcements with those that arrived: a missing one must equal the last value applied to its
/// channel at that time.
fn dropped_were_redundant(
    wanted: &[(String, String)],
    arrived: &[(String, String)],
    mut shown: HashMap<String, String>,
) -> Result<(), String> {
    let mut rest = arrived.iter().peekable();
    for (channel, told) in wanted {
        if rest.peek().is_some_and(|next| (&next.0, &next.1) == (channel, told)) {
            rest.next();
            shown.insert(channel.clone(), told.clone());
        } else if shown.get(channel) != Some(told) {
            return Err(format!("dropped {told} on {channel}, where guests see {:?}", shown.get(channel)));
        }
    }
    rest.next().map_or(Ok(()), |more| Err(format!("{more:?} arrived and was not sent")))
}

/// Responds with the configured action, and applies what the action applies.
fn upstream(fake: &Fake, applied: &Applied, actions: &Arc<Mutex<Option<UpstreamAction>>>) {
    let (applied, actions) = (Arc::clone(applied), Arc::clone(actions));
    fake.otherwise(move |request: &Recorded| {
        let action = actions.lock().unwrap().take().unwrap_or(UpstreamAction::Accepts);
        if action.applies() {
            applied.lock().unwrap().extend(announcements(&request.json()));
        }
        action.step()
    });
}

#[test]
fn no_history_drops_what_guests_do_not_see() {
    let base: u64 = std::env::var("MODEL_SEED").ok().map_or(1, |seed| seed.parse().unwrap());
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| setup.rule = "released_by = [\"conversation-closed\"]\n".to_owned());
    let (applied, actions) = (Applied::default(), Arc::default());
    upstream(&fake, &applied, &actions);
    let mut suppressed = 0;
    for case in 0..CASES {
        let seed = base.wrapping_mul(1_000_003).wrapping_add(case);
        let channels = (0..3).map(|room| format!("h{seed}-room-{room}-chat")).collect();
        let (applied, actions) = (Arc::clone(&applied), Arc::clone(&actions));
        let random = Random(seed);
        let (client, late, told) = (usher.client(), Vec::new(), Vec::new());
        let mut history = History {
            fake: &fake,
            client,
            usher: &usher,
            random,
            channels,
            applied,
            actions,
            late,
            told,
            suppressed: 0,
        };
        for _ in 0..STEPS {
            let checked = history.step();
            assert!(checked.is_ok(), "{checked:?} (MODEL_SEED={base}, case {case}):\n{}", history.told.join("\n"));
        }
        suppressed += history.suppressed;
    }
    assert!(suppressed > usize::try_from(CASES).unwrap(), "only {suppressed} announcements were dropped");
}
