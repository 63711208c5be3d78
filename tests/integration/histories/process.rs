//! usher's process in a history, and the operations on it: ending it in several ways, restarting, stopping and
//! reconfiguring it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use super::callers::{Caller, STAFF, SharedState};
use super::record::{Recorder, nanos};
use super::setup::{CHANNELS, MODES, Settings};
use super::upstream::{Applied, Upstream, UpstreamAction};
use crate::harness::admin::TOKEN;
use crate::harness::usher::{Signal, message};
use crate::harness::{Fake, Random, Request, Usher, sign};

/// The number of operations of each kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct Operations {
    pub kills: usize,
    /// Terminated, and restarted after its end.
    pub restarts: usize,
    /// Terminated, and another process started while it drained.
    pub successions: usize,
    pub halts: usize,
    pub reloads: usize,
    pub switches: usize,
}

/// The process and its configuration.
pub struct Process<'a> {
    pub fake: &'a Fake,
    pub upstream: Arc<Upstream>,
    pub shared: Arc<SharedState>,
    pub done: Operations,
    recorder: Arc<Recorder>,
    random: Random,
    settings: Settings,
    usher: Usher,
    listen: SocketAddr,
}

/// A takeover that upstream has not applied yet.
struct Stranded {
    taking_over: thread::JoinHandle<()>,
    app: &'static str,
    channel: &'static str,
    /// The staff member before the takeover.
    before: &'static str,
}

/// An address that no other process uses: the next process can listen on the same port.
fn own_address() -> IpAddr {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let [_, .., high, low] = std::process::id().to_be_bytes();
    let [.., taken] = TAKEN.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 1 + high % 254, low, taken))
}

impl<'a> Process<'a> {
    pub fn start(fake: &'a Fake, recorder: &Arc<Recorder>, seed: u64) -> Self {
        let mut random = Random(seed);
        let settings = Settings::usual(random.chance(50));
        let listen = SocketAddr::new(own_address(), 6001);
        let usher = Usher::start_with(&settings.toml(listen, fake.address()));
        recorder.operate(format!("started, fast path {}", settings.fast_path));
        Self {
            fake,
            upstream: Upstream::serve(fake, recorder, seed),
            shared: SharedState::new(recorder, usher.gateway()),
            done: Operations::default(),
            recorder: Arc::clone(recorder),
            random,
            settings,
            usher,
            listen,
        }
    }

    /// Waits, and then performs an operation.
    pub fn operate(&mut self) {
        thread::sleep(self.random.millis(20, 600));
        let stranded = self.random.chance(80).then(|| self.strand());
        match self.random.below(12) {
            // Triggers for an app that is not configured are forwarded without a memory: once the app is configured,
            // the requests in flight count for it.
            0..=7 if !self.settings.knows_guest_app => self.reload(),
            0..=2 => self.kill(),
            3 | 4 => self.restart(),
            5 | 6 => self.succeed(),
            7 => self.halt(),
            8..=10 => self.reload(),
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
        self.reload_with(Settings::usual(self.settings.fast_path));
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
        let mut caller = Caller::new(&self.shared, self.random.clone());
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
        let until = self.recorder.now() + nanos(Duration::from_millis(1_500));
        while self.recorder.now() < until {
            let call = self.recorder.begin();
            self.upstream.decide(call, UpstreamAction::Accepted);
            caller.announce(call, (app, channel), before, None);
            thread::sleep(self.random.millis(5, 15));
        }
        taking_over.join().unwrap();
    }

    fn kill(&mut self) {
        self.recorder.operate("killed");
        self.usher.signal(Signal::Kill);
        self.usher.wait_exit();
        self.start_again();
        self.done.kills += 1;
    }

    fn restart(&mut self) {
        self.recorder.operate("told to end");
        self.usher.signal(Signal::Term);
        assert_eq!(self.usher.wait_exit(), 0);
        self.recorder.operate("ended");
        self.start_again();
        self.done.restarts += 1;
    }

    /// The new process listens on another address; callers connect to it when the old one closes their connections.
    fn succeed(&mut self) {
        self.recorder.operate("told to end");
        self.usher.signal(Signal::Term);
        self.usher.wait_log(|event| message(event).starts_with("draining"));
        self.listen.set_port(if self.listen.port() == 6001 { 6002 } else { 6001 });
        let new = Usher::start_with(&self.settings.toml(self.listen, self.fake.address()));
        self.recorder.operate("another one started");
        self.shared.switch_to(new.gateway());
        let mut old = std::mem::replace(&mut self.usher, new);
        assert_eq!(old.wait_exit(), 0);
        self.recorder.operate("the old one ended");
        self.done.successions += 1;
    }

    fn start_again(&mut self) {
        self.usher = Usher::start_with(&self.settings.toml(self.listen, self.fake.address()));
        self.recorder.operate("started");
    }

    fn halt(&mut self) {
        self.recorder.operate("halted");
        self.usher.signal(Signal::Stop);
        thread::sleep(self.random.millis(50, 500));
        self.usher.signal(Signal::Continue);
        self.recorder.operate("goes on");
        self.done.halts += 1;
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
        self.done.reloads += 1;
    }

    /// Switches the mode of the rule for one app, and usually back.
    fn switch(&mut self) {
        let Some(rule) = self.settings.rule else { return };
        for mode in [self.random.pick(&MODES), "enforce"] {
            let body = format!(r#"{{"app":"{}","rule":"{}","mode":"{mode}"}}"#, sign::APP, rule.name);
            let request = Request::new("POST", "/rules/mode", body.as_bytes())
                .header("Authorization", &format!("Bearer {TOKEN}"));
            let response = self.usher.admin().send(&request.host("localhost"));
            assert_eq!(response.status, 200, "{response:?}");
            self.recorder.operate(format!("switched to {mode}"));
            self.done.switches += 1;
            thread::sleep(self.random.millis(5, 400));
        }
    }
}
