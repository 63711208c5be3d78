//! What a node may do, by what it has sent to the store and what was answered: a pure state machine. No clock, no I/O:
//! `now` is an argument, counted by a clock that goes on while the machine sleeps (`CLOCK_BOOTTIME`), from any origin.
//!
//! A lease is counted from before its renewal was sent, so it ends here before it ends at the server. What the server
//! may do later is bounded: every request carries the time by which it has to run there. So once the last of these is
//! over, and the lease that it may have begun, the server does not count on this node any more, and only then it
//! forwards what it knows nothing of.

#[cfg(test)]
mod simulated;

use std::time::Duration;

use super::{Answer, Entered, Refusal, Tenure, Terms, Why};

/// How long a process that has not entered yet holds back what it should claim, before `cluster.isolated` says what
/// becomes of it: a store that is down when all processes start does not stop the messages for longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A moment on the node's clock.
pub type Local = Duration;

/// What a node may do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has not entered yet, and nobody counts on it: it sends nothing.
    Outside,
    /// It claims at the store.
    Member,
    /// The server may count on it still, or already: its announcements wait.
    Silent,
    /// The server does not count on it: it forwards all announcements without claims.
    Blind,
    /// It was away for so long that the others may have given it up, or has not entered at all: `cluster.isolated` says
    /// what it does.
    Isolated,
    /// Another process has taken the place of this one: it has the same node name. It never enters again.
    Replaced,
}

impl Standing {
    /// The words for all of them.
    pub const LABELS: &'static [&'static str] = &["outside", "member", "silent", "blind", "isolated", "replaced"];

    /// The word for it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        Self::LABELS[self as usize]
    }
}

/// What is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Anything that the server answers with its time: nothing is begun by it.
    Time,
    /// An entry, to run by this time of the server.
    Enter {
        /// The time of the server.
        by: u64,
        /// Whether this process has sent nothing yet.
        is_fresh: bool,
        /// Whether the server's clock has stepped.
        has_stepped: bool,
    },
    /// A renewal, to run by this time of the server.
    Renew {
        /// The time of the server.
        by: u64,
    },
}

/// What the server's clock said when.
#[derive(Debug, Clone, Copy)]
struct Sight {
    server: u64,
    /// When the request was sent, and when the answer came: the server's clock was at `server` in between.
    sent: Local,
    came: Local,
}

/// A lease that counts.
#[derive(Debug, Clone)]
struct Lease {
    until: Local,
    history: String,
}

/// Whether this process takes its place for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Past {
    /// Nothing was sent yet: nobody has to reckon with it.
    Fresh,
    /// It has sent announcements without being a member.
    Unentered,
    /// Its last lease that counted ended then.
    Left(Local),
}

/// The membership of one node in one app.
#[derive(Debug, Clone)]
pub struct Membership {
    terms: Terms,
    /// `None`: no answer has come since the connection was lost, so an entry has to wait for one.
    sight: Option<Sight>,
    /// The last time at which the server's clock is known, over all connections: it tells a step.
    last_sight: Option<Sight>,
    has_stepped: bool,
    lease: Option<Lease>,
    past: Past,
    /// When the process began, or left.
    began: Local,
    is_replaced: bool,
    /// What is asked for now does not count, whatever is answered: the membership was lost meanwhile.
    is_void: bool,
    /// By then every lease that was asked for is over at the server.
    counted_on_until: Local,
    /// Grows whenever the standing of [`Standing::Member`] begins: what was claimed under another number is claimed again.
    tenure: u64,
}

impl Membership {
    /// A process that is no member at `now`. `is_fresh`: it has sent nothing yet.
    #[must_use]
    pub const fn new(terms: Terms, is_fresh: bool, now: Local) -> Self {
        Self {
            terms,
            sight: None,
            last_sight: None,
            has_stepped: false,
            lease: None,
            past: if is_fresh { Past::Fresh } else { Past::Unentered },
            began: now,
            is_replaced: false,
            is_void: false,
            counted_on_until: Local::ZERO,
            tenure: 0,
        }
    }

    /// What the node may do.
    #[must_use]
    pub fn standing(&self, now: Local) -> Standing {
        if self.is_replaced {
            Standing::Replaced
        } else if self.holds_lease(now) {
            Standing::Member
        } else if self.was_member_until().is_none() {
            if now < (self.began + PATIENCE).max(self.counted_on_until) {
                Standing::Outside
            } else {
                Standing::Isolated
            }
        } else if now < self.counted_on_until {
            Standing::Silent
        } else if self.is_fenced(now) {
            Standing::Isolated
        } else {
            Standing::Blind
        }
    }

    /// Whether nobody stops suppressing on the node's account: it has not entered, or the others may have given it up.
    /// Then all that it forwards may be lost on them, also what is no announcement by its own rules.
    #[must_use]
    pub fn is_fenced(&self, now: Local) -> bool {
        if self.is_replaced {
            return true;
        }
        // The server counts the member's time-out from the end of its lease, which is not before this one's. What is
        // decided just before is sent within an exchange.
        let margin = self.terms.lease + self.terms.exchange;
        let after = self.terms.member_timeout.saturating_sub(margin);
        !self.holds_lease(now) && self.was_member_until().is_none_or(|until| now >= until + after)
    }

    /// The history in which the node is a member; empty: in none.
    #[must_use]
    pub fn history(&self) -> &str {
        self.lease.as_ref().map_or("", |lease| &lease.history)
    }

    /// The present membership, under this generation.
    #[must_use]
    pub fn tenure(&self, generation: &str) -> Tenure {
        Tenure { number: self.tenure, history: self.history().to_owned(), generation: generation.to_owned() }
    }

    /// What to send at `now`. One request at a time: the next one follows its answer, or [`Membership::unanswered`].
    pub fn ask(&mut self, now: Local) -> Ask {
        let Some(sight) = self.sight else { return Ask::Time };
        let quarter = self.terms.lease / 4;
        let by = sight.server + millis(now.saturating_sub(sight.came) + quarter);
        // The server's clock is at `by` in a quarter of a lease at the latest.
        self.counted_on_until = self.counted_on_until.max(now + quarter + self.terms.lease);
        if self.holds_lease(now) {
            self.is_void = false;
            Ask::Renew { by }
        } else {
            self.lose(now);
            self.is_void = false;
            // After that time it may have sent something (`Standing::Isolated`).
            let is_fresh = self.past == Past::Fresh && now < self.began + PATIENCE;
            Ask::Enter { by, is_fresh, has_stepped: self.has_stepped }
        }
    }

    /// A request that was sent at `sent` is answered at `now`. `reached`: all replicas have what it has changed.
    pub fn answered(&mut self, sent: Local, now: Local, answer: &Answer<Entered>, reached: bool) {
        let server = match answer {
            Answer::Done(entered) => entered.now,
            Answer::Refused(refusal) => refusal.now,
        };
        if self.see(sent, now, server) {
            // This lease may mean anything: the next entry says so.
            return self.lose(now);
        }
        match answer {
            Answer::Done(entered) if reached && !self.is_void => {
                let until = sent + self.terms.lease;
                if !self.holds_lease(now) {
                    self.tenure += 1;
                }
                self.has_stepped = false;
                self.lease = Some(Lease { until, history: entered.history.clone() });
            }
            // The server may count on it now, but this lease does not count here.
            Answer::Done(_) => {}
            Answer::Refused(Refusal { why, .. }) => match why {
                // Not the node's fault, and nothing has changed.
                Why::Late | Why::Newer | Why::Absent | Why::Leased => {}
                Why::Generation => {
                    self.lose(now);
                    self.is_replaced = true;
                }
                Why::Role | Why::Replicas | Why::History | Why::Unknown | Why::Lease => self.lose(now),
            },
        }
    }

    /// A request of the present membership that was sent at `sent` was answered at `now`, when the server's time was
    /// `server`; `refused`: it does nothing for a member like this one.
    pub fn saw(&mut self, sent: Local, now: Local, server: u64, refused: bool) {
        if self.steps(sent, now, server) || refused {
            self.lose(now);
        }
    }

    /// The rules of the node have changed: it has to enter again.
    pub fn reenter(&mut self, now: Local) {
        self.lose(now);
    }

    /// Only the server's time was answered.
    pub fn told(&mut self, sent: Local, now: Local, server: u64) {
        if self.see(sent, now, server) {
            self.lose(now);
        }
    }

    /// No answer comes: the connection has ended, or the time is over. What was sent may run until the time that it
    /// carries. An entry waits for another answer first: a server that is halted would hold the announcements each time.
    pub const fn unanswered(&mut self) {
        self.sight = None;
    }

    /// The node has left in time, with nothing in flight: it sends nothing until it enters again, as a process that has
    /// sent nothing.
    pub fn has_left(&mut self, now: Local) {
        (self.lease, self.past, self.began) = (None, Past::Fresh, now);
    }

    /// The end of the last lease that counted.
    fn was_member_until(&self) -> Option<Local> {
        let left = if let Past::Left(left) = self.past { Some(left) } else { None };
        self.lease.as_ref().map(|lease| lease.until).or(left)
    }

    fn holds_lease(&self, now: Local) -> bool {
        self.lease.as_ref().is_some_and(|lease| now < lease.until)
    }

    /// The lease is over, here.
    fn lose(&mut self, now: Local) {
        self.is_void = true;
        if let Some(lease) = self.lease.take() {
            self.past = Past::Left(lease.until.min(now));
        }
    }

    /// When the standing changes by time alone, if it does.
    #[must_use]
    pub fn changes_at(&self, now: Local) -> Option<Local> {
        match self.standing(now) {
            Standing::Member => self.lease.as_ref().map(|lease| lease.until),
            Standing::Silent => Some(self.counted_on_until),
            Standing::Outside => Some((self.began + PATIENCE).max(self.counted_on_until)),
            Standing::Blind | Standing::Isolated | Standing::Replaced => None,
        }
    }

    /// Whether the server's clock, which was read between `sent` and `now`, has stepped since it was last known.
    fn steps(&mut self, sent: Local, now: Local, server: u64) -> bool {
        let Some(last) = self.last_sight else { return false };
        let quarter = millis(self.terms.lease / 4);
        // What has passed here since the server's clock was at `last.server`, at least and at most. The request may have
        // been sent before that answer came.
        let least = millis(sent.saturating_sub(last.came));
        let before = millis(last.came.saturating_sub(sent));
        let most = millis(now.saturating_sub(last.sent));
        let steps = server + before + quarter < last.server + least || server > last.server + most + quarter;
        self.has_stepped |= steps;
        steps
    }

    /// Looks at the server's clock, which was read between `sent` and `now`. Returns whether it has stepped.
    fn see(&mut self, sent: Local, now: Local, server: u64) -> bool {
        let steps = self.steps(sent, now, server);
        let sight = Sight { server, sent, came: now };
        (self.sight, self.last_sight) = (Some(sight), Some(sight));
        steps
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
