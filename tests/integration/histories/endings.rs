//! The ends of processes in a history, clean and unclean, and the starts after them.
//!
//! With a state directory the operator has promised that nobody else announces while the process is down. So each
//! process without one begins with the removal of what is in it, and two processes that share one never serve callers
//! at the same time.

use std::fs;
use std::thread;
use std::time::Duration;

use super::process::Process;
use super::setup::{DELAY, MAX_AGE, Settings};
use crate::harness::Usher;
use crate::harness::usher::{Signal, message};

/// The name of the file in a state directory.
const FILE: &str = "usher.state";

impl Process<'_> {
    /// Ends the process in some way, and starts another.
    pub(super) fn end_and_start(&mut self) {
        match (self.random.below(11), self.settings.lasting.state.is_some()) {
            (0, _) => self.kill(),
            (1, _) => self.kill_in_the_drain(),
            (2, _) => self.signal_twice(),
            (3, _) => self.kill_at_the_start(),
            (4 | 5, true) => self.overlap(),
            (4 | 5, false) => self.succeed(),
            (6, true) => self.restore_a_backup(),
            _ => self.restart(),
        }
    }

    fn kill(&mut self) {
        self.recorder.operate("killed");
        self.usher.signal(Signal::Kill);
        self.usher.wait_exit();
        self.start_next("killed");
        self.count("kills");
    }

    /// Also while it writes its memory.
    fn kill_in_the_drain(&mut self) {
        self.terminate();
        if self.random.chance(50) {
            self.usher.wait_log(|event| message(event).starts_with("listeners closed"));
            thread::sleep(self.random.millis(0, 40));
        } else {
            let all = self.settings.lasting.delay + self.settings.lasting.drain;
            thread::sleep(self.random.millis(0, usize::try_from(all.as_millis()).unwrap()));
        }
        self.usher.signal(Signal::Kill);
        let code = self.usher.wait_exit();
        self.recorder.operate(format!("killed while it drained, {code}"));
        self.start_next("killed while it drained");
        self.count("kills in the drain");
    }

    fn signal_twice(&mut self) {
        self.terminate();
        thread::sleep(self.random.millis(0, 300));
        self.usher.signal(Signal::Term);
        let code = self.usher.wait_exit();
        self.recorder.operate(format!("ended after a second signal, {code}"));
        self.start_next("second signal");
        self.count("second signals");
    }

    /// Ends cleanly; the next one is killed while it starts or right after that.
    fn kill_at_the_start(&mut self) {
        self.terminate();
        assert_eq!(self.usher.wait_exit(), 0);
        self.prepare();
        self.recorder.operate("one starts that is killed");
        let after = self.random.millis(0, 200);
        Usher::start_and_kill(&self.settings.toml(self.listen, self.fake.address()), after);
        self.start_next("killed at the start");
        self.count("kills at the start");
    }

    fn restart(&mut self) {
        self.terminate();
        if !self.settings.lasting.delay.is_zero() && self.random.chance(30) {
            // Applied during the delay, refused after it.
            thread::sleep(self.random.millis(0, 150));
            self.settings = self.settings.changed(&mut self.random);
            self.usher.rewrite_config(&self.settings.toml(self.listen, self.fake.address()));
            self.usher.signal(Signal::Hup);
            self.recorder.operate(format!("reloaded while it ends: {:?}", self.settings));
        }
        assert_eq!(self.usher.wait_exit(), 0);
        self.recorder.operate("ended");
        self.start_next("clean");
        self.count("restarts");
        if self.random.chance(35) {
            // What it has taken over must not be taken again by the next one.
            thread::sleep(self.random.millis(150, 600));
            self.recorder.end_start();
            self.kill();
        }
    }

    /// The new process listens on another address; callers connect to it when the old one closes their connections.
    fn succeed(&mut self) {
        let settings = self.settings.next(&mut self.random);
        self.terminate();
        self.usher.wait_log(|event| message(event).starts_with("draining"));
        let mut old = self.start_beside(settings);
        self.shared.switch_to(self.usher.gateway());
        self.note("beside the old one");
        assert_eq!(old.wait_exit(), 0);
        self.recorder.operate("the old one ended");
        self.count("successions");
    }

    /// The new process has the directory of one that still runs: it gets calls once the old one gets none.
    fn overlap(&mut self) {
        let settings = self.settings.next(&mut self.random);
        let (shared, ends_first) = (self.shared.clone(), self.random.chance(40));
        let paused = ends_first.then(|| shared.pause());
        if ends_first {
            self.terminate();
        }
        let mut old = self.start_beside(settings);
        let paused = paused.unwrap_or_else(|| shared.pause());
        shared.move_to(self.usher.gateway());
        drop(paused);
        self.note("beside the old one, one directory");
        if !ends_first {
            thread::sleep(self.random.millis(0, 300));
            let signal = self.random.pick(&[Signal::Term, Signal::Term, Signal::Kill]);
            self.recorder.operate(format!("the old one gets {signal:?}"));
            old.signal(signal);
        }
        old.wait_exit();
        self.recorder.operate("the old one ended");
        self.count("overlaps");
        if self.random.chance(50) {
            // Often before it has the lock.
            thread::sleep(self.random.millis(0, 250));
            self.recorder.end_start();
            self.kill();
        }
    }

    /// A copy of the directory is put back once it is too old. Meanwhile another process has served.
    fn restore_a_backup(&mut self) {
        self.terminate();
        assert_eq!(self.usher.wait_exit(), 0);
        let file = self.directory.path().join(FILE);
        let Ok(copy) = fs::read(&file) else { return self.start_next("clean") };
        self.start_again();
        thread::sleep(MAX_AGE + self.random.millis(1, 100));
        self.recorder.operate("killed");
        self.usher.signal(Signal::Kill);
        self.usher.wait_exit();
        fs::write(&file, copy).unwrap();
        self.recorder.operate("a backup is restored");
        self.start_again();
        self.note("a backup was restored");
        self.count("backups");
    }

    fn terminate(&mut self) {
        self.recorder.operate("told to end");
        self.usher.signal(Signal::Term);
    }

    /// The next process, once the one before is gone.
    fn start_next(&mut self, ended: &str) {
        self.settings = self.settings.next(&mut self.random);
        let lasting = &mut self.settings.lasting;
        lasting.state = self.random.chance(75).then(|| self.directory.path().to_owned());
        lasting.delay = if self.random.chance(60) { DELAY } else { Duration::ZERO };
        self.start_again();
        self.note(ended);
    }

    fn start_again(&mut self) {
        self.prepare();
        self.usher = Usher::start_with(&self.settings.toml(self.listen, self.fake.address()));
        self.recorder.operate(format!("started: {:?}", self.settings));
    }

    /// As the promise wants it.
    fn prepare(&self) {
        if self.settings.lasting.state.is_none() {
            let _none = fs::remove_file(self.directory.path().join(FILE));
        }
    }

    /// Starts another process beside the present one, and returns that one.
    fn start_beside(&mut self, settings: Settings) -> Usher {
        self.listen.set_port(if self.listen.port() == 6001 { 6002 } else { 6001 });
        self.settings = settings;
        let new = Usher::start_with(&self.settings.toml(self.listen, self.fake.address()));
        self.recorder.operate(format!("another one started: {:?}", self.settings));
        std::mem::replace(&mut self.usher, new)
    }

    /// Notes the start of the present process for the shares.
    fn note(&self, ended: &str) {
        if !self.settings.suppresses() {
            return;
        }
        let is_restored = self.usher.logs().contains("the memory of the process before is restored");
        let found = match &self.settings.lasting.state {
            None => "no state.path",
            Some(_) if is_restored => "memory restored",
            Some(_) => "nothing restored",
        };
        self.recorder.start_process(format!("{ended}, {found}"));
    }
}
