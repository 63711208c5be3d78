//! usher's process in a history, and the operations on it: stopping and reconfiguring it, and those of `endings`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::callers::{Caller, STAFF, SharedState};
use super::record::{Recorder, nanos};
use super::setup::{CHANNELS, DELAY, DRAIN, LATE, Lasting, MODES, SHORT_DRAIN, Settings, TIMEOUT, VERY_LATE};
use super::upstream::{Applied, Upstream, UpstreamAction};
use crate::harness::address::own_address;
use crate::harness::usher::{Signal, message};
use crate::harness::{Fake, Random, Usher};

/// The process and its configuration.
pub struct Process<'a> {
    pub fake: &'a Fake,
    pub upstream: Arc<Upstream>,
    pub shared: Arc<SharedState>,
    /// The number of operations of each kind.
    pub done: BTreeMap<&'static str, usize>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) random: Random,
    pub(super) settings: Settings,
    pub(super) usher: Usher,
    pub(super) listen: SocketAddr,
    /// The state directory.
    pub(super) directory: TempDir,
}

/// A takeover that upstream has not applied yet.
struct Stranded {
    taking_over: thread::JoinHandle<()>,
    app: &'static str,
    channel: &'static str,
    /// The staff member before the takeover.
    before: &'static str,
}

impl<'a> Process<'a> {
    pub fn start(fake: &'a Fake, recorder: &Arc<Recorder>, seed: u64) -> Self {
        let mut random = Random(seed);
        let directory = tempfile::tempdir().unwrap();
        let drain = if random.chance(20) { SHORT_DRAIN } else { DRAIN };
        let late = if random.chance(35) { VERY_LATE } else { LATE };
        let lasting = Lasting { delay: DELAY, drain, state: Some(directory.path().to_owned()), late };
        let upstream = Upstream::serve(fake, recorder, seed, &lasting);
        let settings = Settings::usual(random.chance(50), lasting);
        let listen = SocketAddr::new(own_address(), 6001);
        let usher = Usher::start_with(&settings.toml(listen, fake.address()));
        recorder.operate(format!("started, fast path {}", settings.fast_path));
        Self {
            fake,
            upstream,
            shared: SharedState::new(recorder, usher.gateway()),
            done: BTreeMap::new(),
            recorder: Arc::clone(recorder),
            random,
            settings,
            usher,
            listen,
            directory,
        }
    }

    pub(super) fn count(&mut self, operation: &'static str) {
        *self.done.entry(operation).or_default() += 1;
    }

    /// Waits, and then performs an operation.
    pub fn operate(&mut self) {
        thread::sleep(self.random.millis(20, 600));
        let stranded = self.random.chance(80).then(|| self.strand());
        self.recorder.end_start();
        match self.random.below(18) {
            // Triggers for an app that is not configured are forwarded without a memory: once the app is configured,
            // the requests in flight count for it.
            0..=7 if !self.settings.knows_guest_app => self.reload(),
            0..=10 => self.end_and_start(),
            11 => self.halt(),
            12..=15 => self.reload(),
            _ => self.switch(),
        }
        // A new process suppresses nothing for a while after its start; some processes end before that.
        match stranded {
            Some(stranded) => self.insist(stranded),
            None => thread::sleep(self.random.millis(20, 1_200)),
        }
    }

    /// Restores the usual settings.
    pub fn mend(&mut self) {
        self.reload_with(Settings::usual(self.settings.fast_path, self.settings.lasting.clone()));
    }

    /// Announces a takeover on a channel, which upstream applies late or never, and waits until it has arrived
    /// upstream; or until usher has all but its last byte, which is sent after the operation.
    fn strand(&mut self) -> Stranded {
        // An event that no rule watches yet, but may after a reload, has no state that another process or rule could
        // know.
        let (guests, halves) = if self.settings.knows_guest_app { (30, 40) } else { (80, 75) };
        let (app, channels) = CHANNELS[usize::from(self.random.chance(guests))];
        let channel = self.random.pick(channels);
        let before = self.random.below(STAFF.len());
        let (before, staff) = (STAFF[before], STAFF[(before + 1) % STAFF.len()]);
        self.shared.assign(channel, before);
        let pause = self.random.chance(halves).then(|| self.random.millis(20, 400));
        let call = self.recorder.begin();
        let late = UpstreamAction::Hangs(Applied::Late);
        self.upstream.decide(
            call,
            self.random.pick(&[late, late, UpstreamAction::AnswersTooLate, UpstreamAction::Cut(Applied::Late)]),
        );
        // One that has arrived upstream stays where it is while the others move to another process.
        let caller = if pause.is_some() { Caller::new } else { Caller::restless };
        let mut caller = caller(&self.shared, self.random.clone());
        let taking_over = thread::spawn(move || {
            caller.announce(call, (app, channel), staff, pause);
        });
        self.recorder.wait_call(call);
        Stranded { taking_over, app, channel, before }
    }

    /// Repeatedly announces the staff member before the takeover: once usher considers this known although the takeover
    /// is applied, guests miss the announcement.
    fn insist(&mut self, stranded: Stranded) {
        let Stranded { taking_over, app, channel, before } = stranded;
        let mut caller = Caller::new(&self.shared, self.random.clone());
        let late = TIMEOUT + self.settings.lasting.late;
        let until = self.recorder.now() + nanos(Duration::from_millis(950) + late);
        while self.recorder.now() < until {
            let call = self.recorder.begin();
            self.upstream.decide(call, UpstreamAction::Accepted);
            caller.announce(call, (app, channel), before, None);
            thread::sleep(self.random.millis(5, 15));
        }
        taking_over.join().unwrap();
    }

    fn halt(&mut self) {
        self.recorder.operate("halted");
        self.usher.signal(Signal::Stop);
        thread::sleep(self.random.millis(50, 500));
        self.usher.signal(Signal::Continue);
        self.recorder.operate("goes on");
        self.count("halts");
    }

    fn reload(&mut self) {
        let mut settings = self.settings.changed(&mut self.random);
        if self.random.chance(30) {
            settings = settings.changed(&mut self.random);
        }
        self.reload_with(settings);
    }

    fn reload_with(&mut self, settings: Settings) {
        let from = self.usher.log_lines();
        self.usher.rewrite_config(&settings.toml(self.listen, self.fake.address()));
        self.usher.signal(Signal::Hup);
        self.usher.wait_log_after(from, |event| message(event) == "the configuration was reloaded");
        self.recorder.operate(format!("reloaded: {settings:?}"));
        self.settings = settings;
        self.count("reloads");
    }

    /// Switches the mode of the rule for one app, and usually back.
    fn switch(&mut self) {
        let Some(rule) = self.settings.rule else { return };
        for mode in [self.random.pick(&MODES), "enforce"] {
            let response = self.usher.admin().switch(rule.name, mode);
            assert_eq!(response.status, 200, "{response:?}");
            self.recorder.operate(format!("switched to {mode}"));
            self.count("switches");
            thread::sleep(self.random.millis(5, 400));
        }
    }
}
