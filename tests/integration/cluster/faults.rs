//! What fails in a history.

use std::thread;
use std::time::Duration;

use super::fleet::Fleet;
use super::proxy::Way;
use crate::harness::usher::Signal;

/// A kind of fault. Each is over after a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    UsherKilled,
    UsherHalted,
    /// It ends in time, and another process takes its place at once.
    UsherRestarted,
    /// Its data is lost.
    RedisKilled,
    /// It comes back with what it has saved, which is old.
    RedisRestored,
    RedisHalted,
    RedisSleeps,
    Flushed,
    ClientsKilled,
    /// `maxmemory` is reached.
    Full,
    ScriptsFlushed,
    /// The replica is promoted; the ushers find it one after the other. Without a replica: as [`Fault::RedisKilled`].
    FailedOver,
    /// The replica is away. Without one: as [`Fault::RedisHalted`].
    ReplicaAway,
    Delayed,
    RequestsHeld,
    AnswersHeld,
    CutInARequest,
    CutInAnAnswer,
    Unreachable,
}

pub const ALL: [Fault; 19] = [
    Fault::UsherKilled,
    Fault::UsherHalted,
    Fault::UsherRestarted,
    Fault::RedisKilled,
    Fault::RedisRestored,
    Fault::RedisHalted,
    Fault::RedisSleeps,
    Fault::Flushed,
    Fault::ClientsKilled,
    Fault::Full,
    Fault::ScriptsFlushed,
    Fault::FailedOver,
    Fault::ReplicaAway,
    Fault::Delayed,
    Fault::RequestsHeld,
    Fault::AnswersHeld,
    Fault::CutInARequest,
    Fault::CutInAnAnswer,
    Fault::Unreachable,
];

impl Fault {
    /// Whether a new history may follow, which is open for longer than a return.
    pub const fn may_begin_history(self) -> bool {
        matches!(self, Self::RedisKilled | Self::RedisRestored | Self::Flushed | Self::FailedOver | Self::ReplicaAway)
    }
}

impl Fleet<'_> {
    /// Lets something fail, sometimes something else as well if `others` are given, and mends all.
    pub fn strike(&mut self, fault: Fault, others: &[Fault]) {
        self.begin(fault);
        self.pause();
        if !others.is_empty() && self.random.chance(40) {
            let other = self.random.pick(others);
            self.begin(other);
            self.pause();
        }
        self.mend();
    }

    /// Mostly short, sometimes so long that a member is given up and the others suppress again.
    fn pause(&mut self) {
        let (shortest, longest) =
            self.random.pick(&[(10, 60), (10, 300), (10, 700), (10, 700), (10, 3_000), (4_000, 6_000)]);
        thread::sleep(self.random.millis(shortest, longest));
    }

    fn begin(&mut self, fault: Fault) {
        let number = self.random.below(self.gateways.len());
        self.recorder.operate(format!("{fault:?} {number}"));
        *self.done.entry(name(fault)).or_default() += 1;
        self.may_begin_history |= fault.may_begin_history();
        match fault {
            Fault::UsherKilled => self.end_usher(number, Signal::Kill),
            Fault::UsherHalted => self.halt_usher(number),
            Fault::UsherRestarted => {
                if self.gateways[number].is_running() {
                    self.end_usher(number, Signal::Term);
                    self.gateways[number].start();
                }
            }
            Fault::RedisKilled => self.kill_redis(false),
            Fault::RedisRestored => {
                self.tell(&["SAVE"]);
                self.pause();
                self.kill_redis(true);
            }
            Fault::RedisHalted => self.halt_redis(),
            Fault::RedisSleeps => {
                let seconds = self.random.pick(&["0.05", "0.3", "0.8", "1.5"]);
                self.tell_without_answer(&["DEBUG", "SLEEP", seconds]);
            }
            Fault::Flushed => self.tell(&["FLUSHALL"]),
            Fault::ClientsKilled => self.tell(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]),
            Fault::Full => self.tell(&["CONFIG", "SET", "maxmemory", "1"]),
            Fault::ScriptsFlushed => self.tell(&["SCRIPT", "FLUSH"]),
            Fault::FailedOver => self.fail_over(),
            Fault::ReplicaAway => self.lose_replica(),
            Fault::Delayed => {
                let delay = self.random.millis(5, 150);
                let way = self.random.pick(&[Way::Requests, Way::Answers]);
                self.each_proxy(number, |proxy| proxy.delay(way, delay));
            }
            Fault::RequestsHeld => self.each_proxy(number, |proxy| proxy.hold(Way::Requests)),
            Fault::AnswersHeld => self.each_proxy(number, |proxy| proxy.hold(Way::Answers)),
            Fault::CutInARequest | Fault::CutInAnAnswer => {
                let way = if fault == Fault::CutInARequest { Way::Requests } else { Way::Answers };
                for _ in 0..5 {
                    self.each_proxy(number, |proxy| proxy.cut(way));
                    thread::sleep(Duration::from_millis(40));
                }
            }
            Fault::Unreachable => self.each_proxy(number, super::proxy::Proxy::refuse),
        }
    }
}

/// As it is counted.
const fn name(fault: Fault) -> &'static str {
    match fault {
        Fault::UsherKilled => "usher killed",
        Fault::UsherHalted => "usher halted",
        Fault::UsherRestarted => "usher restarted",
        Fault::RedisKilled => "Redis killed",
        Fault::RedisRestored => "Redis restored",
        Fault::RedisHalted => "Redis halted",
        Fault::RedisSleeps => "Redis sleeps",
        Fault::Flushed => "flushed",
        Fault::ClientsKilled => "clients killed",
        Fault::Full => "full",
        Fault::ScriptsFlushed => "scripts flushed",
        Fault::FailedOver => "failed over",
        Fault::ReplicaAway => "replica away",
        Fault::Delayed => "delayed",
        Fault::RequestsHeld => "requests held",
        Fault::AnswersHeld => "answers held",
        Fault::CutInARequest => "cut in a request",
        Fault::CutInAnAnswer => "cut in an answer",
        Fault::Unreachable => "unreachable",
    }
}
