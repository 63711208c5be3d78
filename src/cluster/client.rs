//! What a process asks of the store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use prometheus::{Histogram, HistogramOpts};

use super::answer::{Beginning, Parts};
use super::script::{Call, Script};
use super::{Answer, Entered, Failure, Inspection, Link, Read, Swapped, SwitchedModes, Tokens, VERSION};

/// The upper bounds of the classes of round trips, in seconds.
const ROUND_TRIPS: [f64; 13] =
    [0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0];

/// How many keys a server looks at for one answer.
const SCANNED: u32 = 1_000;

/// The keys of one app. All of them have the same hash tag, so that they are in one slot of a Redis Cluster and one
/// script may touch several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppKeys {
    tag: String,
}

impl AppKeys {
    /// The keys of the app with this id, under `prefix`. Neither has a brace: the first one ends the tag.
    #[must_use]
    pub fn new(prefix: &str, app: &str) -> Self {
        Self { tag: format!("{{{prefix}:{app}}}") }
    }

    /// The record of the app and its members.
    #[must_use]
    pub fn members(&self) -> Vec<u8> {
        format!("{}:members", self.tag).into_bytes()
    }

    /// Where the keys of channels are published that somebody waits for.
    #[must_use]
    pub fn settled(&self) -> Vec<u8> {
        format!("{}:settled", self.tag).into_bytes()
    }

    /// A channel of a rule. A rule's name has no colon, so no two channels have the same key.
    #[must_use]
    pub fn channel(&self, rule: &str, channel: &str) -> Vec<u8> {
        format!("{}:c:{rule}:{channel}", self.tag).into_bytes()
    }
}

/// The terms on which all members of an app agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How long a lease lasts.
    pub lease: Duration,
    /// The time after which a missing member is given up.
    pub member_timeout: Duration,
    /// How long a doubt lasts.
    pub doubt_period: Duration,
    /// The number of replicas that a write has to reach.
    pub replicas: u32,
    /// The time from the decision to send something until it is sent, or is not sent at all.
    pub exchange: Duration,
}

/// One membership of a node, from an entry until its lease ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tenure {
    /// Counts the memberships of this process.
    pub number: u64,
    /// The history that was entered; empty: none yet.
    pub history: String,
    /// New with each entry: what was held under an earlier one is nobody's. 32 random digits for the process, and 16 for
    /// the number of its entry.
    pub generation: String,
}

/// A change of a node's membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// The node becomes a member.
    Enter {
        /// Whether the process has sent nothing yet.
        is_fresh: bool,
        /// The fingerprint of its rules and of all else by which it decides.
        rules: &'a str,
        /// Whether the server's clock has stepped since the node has known it, so that no lease means anything.
        has_stepped: bool,
    },
    /// The node's lease begins anew.
    Renew,
    /// The node is no longer a member. Nothing that it has sent is in flight.
    Leave,
    /// The operator says that the process of a missing member has ended: nobody waits for it any more.
    GiveUp {
        /// The member's name.
        node: &'a str,
    },
    /// The operator says that no process lives that the record does not name: a new history is not open any more.
    Close,
    /// The operator has switched the mode of a rule.
    Switch,
}

/// What is to be swapped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Swap {
    /// The [`Read::stamp`] on which it rests; empty: on none, as a settlement does.
    pub stamp: Vec<u8>,
    /// The id of a ticket for all channels of the app that is taken; empty: none.
    pub taken: String,
    /// The id of one that ends; empty: none.
    pub ended: String,
    /// Whether the app is in doubt from now on.
    pub is_unsure: bool,
    /// The channels.
    pub channels: Vec<SwappedChannel>,
}

/// One channel that is swapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwappedChannel {
    /// See [`AppKeys::channel`].
    pub key: Vec<u8>,
    /// The own version that was read; `None`: the channel was unknown.
    pub read: Option<[u8; 8]>,
    /// The new bytes; empty: it is removed.
    pub value: Vec<u8>,
    /// After how long the server forgets it, in whole milliseconds, at least one.
    pub lifetime: Duration,
    /// Whether its key is published, for those that wait for a settlement.
    pub publishes: bool,
}

/// Asks the store over one connection.
#[derive(Debug)]
pub struct Client {
    link: Link,
    /// The name of the node: one process at a time has it.
    node: String,
    terms: Terms,
    /// The version of the records that it writes.
    pub(super) version: u8,
    tokens: Tokens,
    /// The number of the last request.
    asked: AtomicU64,
    round_trips: Histogram,
}

impl Client {
    /// A client on `link`.
    #[must_use]
    pub fn new(link: Link, node: String, terms: Terms) -> Self {
        let (tokens, asked) = (Tokens::default(), AtomicU64::new(0));
        Self { link, node, terms, version: VERSION, tokens, asked, round_trips: round_trips("") }
    }

    /// The connection.
    #[must_use]
    pub const fn link(&self) -> &Link {
        &self.link
    }

    /// Counts how long its requests take in `round_trips`.
    pub(super) fn counted_by(self, round_trips: Histogram) -> Self {
        Self { round_trips, ..self }
    }

    /// The terms on which it asks.
    pub(super) const fn terms(&self) -> Terms {
        self.terms
    }

    /// The name of the node.
    pub(super) fn node(&self) -> &str {
        &self.node
    }

    /// Reads channels, each with the time for which it is remembered after a claim has named it.
    ///
    /// # Errors
    /// No answer came that is one.
    pub async fn read(
        &self,
        app: &AppKeys,
        tenure: &Tenure,
        channels: &[(Vec<u8>, Duration)],
    ) -> Result<Answer<Read>, Failure> {
        let keys = [app.members()].into_iter().chain(channels.iter().map(|(key, _)| key.clone())).collect();
        let remembered = channels.iter().map(|(_, remember_for)| decimal(millis(*remember_for))).collect();
        let (beginning, mut parts) = self.ask(Script::Read, keys, tenure, remembered).await?;
        let now = match beginning {
            Beginning::Done { now, .. } => now,
            Beginning::Refused(refusal) => return Ok(Answer::Refused(refusal)),
            Beginning::Conflict => return Err(Failure::Malformed),
        };
        let read = Read {
            now,
            stamp: parts.bytes()?,
            epoch: parts.epoch()?,
            doubt_left: parts.millis()?,
            open: parts.open()?,
            wide: parts.number()?,
            members: parts.pairs()?,
            channels: parts.list()?,
        };
        if read.channels.len() == channels.len() { Ok(Answer::Done(read)) } else { Err(Failure::Malformed) }
    }

    /// The next keys that begin with `beginning`, and the cursor for those after them; zero ends and begins.
    ///
    /// # Errors
    /// No answer came that is one.
    pub async fn scan(&self, cursor: u64, beginning: &[u8]) -> Result<(u64, Vec<Vec<u8>>), Failure> {
        let mut pattern = Vec::with_capacity(beginning.len() + 8);
        for byte in beginning {
            if b"*?[]\\^-".contains(byte) {
                pattern.push(b'\\');
            }
            pattern.push(*byte);
        }
        pattern.push(b'*');
        let mut command = redis::cmd("SCAN");
        command.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCANNED);
        let answer = self.link.ask(&command).await?;
        let redis::Value::Array(answer) = answer else { return Err(Failure::Malformed) };
        let mut parts = Parts::from(answer);
        Ok((parts.text()?.parse().map_err(|_| Failure::Malformed)?, parts.list()?))
    }

    /// Swaps channels, and what is held for all channels of the app. Without an answer it may have been done all the
    /// same: what is read next tells.
    ///
    /// # Errors
    /// No answer came that is one.
    pub async fn swap(&self, app: &AppKeys, tenure: &Tenure, swap: Swap) -> Result<Answer<Swapped>, Failure> {
        let Swap { stamp, taken, ended, is_unsure, channels } = swap;
        let mut keys = vec![app.members()];
        let mut arguments = vec![stamp, taken.into_bytes(), ended.into_bytes(), flag(is_unsure)];
        for SwappedChannel { key, read, value, lifetime, publishes } in channels {
            keys.push(key);
            let read = read.map_or_else(Vec::new, |own| own.to_vec());
            arguments.extend([read, value, decimal(millis(lifetime)), flag(publishes)]);
        }
        let (beginning, _) = self.ask(Script::Swap, keys, tenure, arguments).await?;
        Ok(match beginning {
            Beginning::Done { .. } => Answer::Done(Swapped::Done),
            Beginning::Conflict => Answer::Done(Swapped::Conflict),
            Beginning::Refused(refusal) => Answer::Refused(refusal),
        })
    }

    /// Changes the node's membership. `by`: the server's time by which it has to run. It counts only once
    /// [`Client::reached`] says so. `switched`: the switched modes that the process knows.
    ///
    /// # Errors
    /// No answer came that is one.
    pub async fn change(
        &self,
        app: &AppKeys,
        tenure: &Tenure,
        by: u64,
        action: Action<'_>,
        switched: &SwitchedModes,
    ) -> Result<Answer<Entered>, Failure> {
        let (name, more) = match action {
            Action::Enter { is_fresh, rules, has_stepped } => {
                ("enter", vec![flag(is_fresh), rules.into(), flag(has_stepped)])
            }
            Action::Renew => ("renew", Vec::new()),
            Action::Leave => ("leave", Vec::new()),
            Action::GiveUp { node } => ("give_up", vec![node.into()]),
            Action::Close => ("close", Vec::new()),
            Action::Switch => ("switch", Vec::new()),
        };
        let mut arguments = vec![name.into(), decimal(by), decimal(switched.number), switched.text().into_bytes()];
        arguments.extend(more);
        let (beginning, mut parts) = self.ask(Script::Member, vec![app.members()], tenure, arguments).await?;
        let (now, history) = match beginning {
            Beginning::Done { now, history } => (now, history),
            Beginning::Refused(refusal) => return Ok(Answer::Refused(refusal)),
            Beginning::Conflict => return Err(Failure::Malformed),
        };
        Ok(Answer::Done(Entered {
            now,
            history,
            lease_until: parts.number()?,
            epoch: parts.epoch()?,
            doubt_left: parts.millis()?,
            open: parts.open()?,
            open_until: parts.number()?,
            cause: parts.cause()?,
            present: parts.number()?,
            missing: parts.number()?,
            switched: parts.switched_modes()?,
        }))
    }

    /// Shows the app's record, as any process may see it. Nothing is changed, and nothing may rest on it.
    ///
    /// # Errors
    /// No answer came that is one.
    pub async fn inspect(&self, app: &AppKeys) -> Result<Inspection, Failure> {
        let (beginning, mut parts) =
            self.ask(Script::Inspect, vec![app.members()], &Tenure::default(), Vec::new()).await?;
        let Beginning::Done { now, history } = beginning else { return Err(Failure::Malformed) };
        Ok(Inspection {
            now,
            history,
            unfit: parts.unfit()?,
            epoch: parts.epoch()?,
            cause: parts.cause()?,
            doubt_left: parts.millis()?,
            open: parts.open()?,
            open_until: parts.number()?,
            members: parts.seats(now)?,
        })
    }

    /// Whether all replicas have what this connection has written, within `period`. It blocks the connection meanwhile,
    /// so it is for one that has nothing else to do.
    ///
    /// # Errors
    /// No answer came that is one.
    pub async fn reached(&self, period: Duration) -> Result<bool, Failure> {
        let replicas = self.terms.replicas;
        if replicas == 0 {
            return Ok(true);
        }
        let mut command = redis::cmd("WAIT");
        // A period of zero would be none at all.
        command.arg(replicas).arg(millis(period).max(1));
        match self.link.ask(&command).await? {
            redis::Value::Int(reached) => Ok(reached >= i64::from(replicas)),
            _ => Err(Failure::Malformed),
        }
    }

    async fn ask(
        &self,
        script: Script,
        keys: Vec<Vec<u8>>,
        Tenure { history, generation, .. }: &Tenure,
        more: Vec<Vec<u8>>,
    ) -> Result<(Beginning, Parts), Failure> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let Terms { lease, member_timeout, doubt_period, replicas, .. } = self.terms;
        let first = [
            decimal(number),
            self.node.clone().into_bytes(),
            generation.as_str().into(),
            history.as_str().into(),
            format!("{:016x}", self.tokens.number()).into_bytes(),
            decimal(millis(lease)),
            decimal(millis(member_timeout)),
            decimal(millis(doubt_period)),
            decimal(replicas.into()),
            decimal(self.version.into()),
        ];
        let call = Call::new(script, keys, first.into_iter().chain(more).collect());
        let answer = match self.measured(&call.by_hash()).await {
            Err(failure) if failure.is_unknown_script() => self.measured(&call.by_text()).await?,
            answer => answer?,
        };
        let parsed = Parts::of(answer, number);
        if parsed.is_err() {
            // Whatever is behind it on this connection may be wrong, too.
            self.link.close();
        }
        parsed
    }
}

impl Client {
    /// Sends a command, and notes how long the answer took. One that did not come in time took the whole period.
    async fn measured(&self, command: &redis::Cmd) -> Result<redis::Value, Failure> {
        let sent = Instant::now();
        let answer = self.link.ask(command).await;
        if matches!(answer, Ok(_) | Err(Failure::TimedOut(_))) {
            self.round_trips.observe(sent.elapsed().as_secs_f64());
        }
        answer
    }
}

/// The time from a request of this app until its answer, in seconds.
pub(super) fn round_trips(app: &str) -> Histogram {
    let options = HistogramOpts::new(
        "usher_cluster_round_trip_seconds",
        "Time from a request to the shared store until its answer.",
    );
    let options = options.const_label("app", app).buckets(ROUND_TRIPS.to_vec());
    Histogram::with_opts(options).expect("the name and the buckets are in order")
}

fn flag(is_set: bool) -> Vec<u8> {
    if is_set { b"1".to_vec() } else { Vec::new() }
}

fn decimal(number: u64) -> Vec<u8> {
    number.to_string().into_bytes()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
