//! The claims of one decision on a shared memory.

use std::time::Duration;

use super::ask::{Ask, Request};
use super::round::{Answered, Carried, Held, Judged, Round, RoundKey, Stage};
use super::tickets::{ChannelTicket, SharedTickets, Written};
use super::waiters::Awaited;
use super::{Shared, here};
use crate::assignment::machine::{Comparison, Occasion, TicketId};
use crate::assignment::{Announced, Before, ClaimMode, Claimed, Shown, Uncertainty, Waiter};
use crate::clock::Moment;
use crate::cluster::{Isolated, Position, Standing, Swap, SwappedChannel, Tenure};

/// The most channels that a request claims one by one, each for one rule. One that names more claims all channels of
/// the app, so that no request keeps the store busy for long.
const MAX_CHANNELS: usize = 256;

/// How often others may be faster before a request claims all channels of the app.
const MAX_CONFLICTS: u32 = 16;

/// The longest time that a request waits for the store.
const MAX_WAIT: Duration = Duration::from_secs(40);

/// How often a request looks at the store that waits for another node's announcement.
const POLL: Duration = Duration::from_millis(100);

/// Whether claims may be made.
#[derive(Debug)]
pub enum Prepared {
    /// They may.
    Ready,
    /// Not before this is answered; nothing is held.
    Wait(Box<Ask>),
    /// They may not: the request has to be refused.
    Denied(Denied),
}

/// Why a request may not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The others may have given this process up.
    #[error(
        "this usher has not reached the shared memory for so long that the others may have given it up, and cluster.isolated = \"refuse\""
    )]
    Isolated,
    /// Another process has its name.
    #[error("another process has taken the place of this usher in the cluster: cluster.node has to differ")]
    Replaced,
    /// The store did not answer in time.
    #[error("the shared memory gave no answer that can be used within 40s")]
    TimedOut,
}

impl Denied {
    /// The cause in snake_case.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Isolated => "cluster_isolated",
            Self::Replaced => "cluster_replaced",
            Self::TimedOut => "cluster_timeout",
        }
    }
}

/// The claims of one decision.
#[derive(Debug)]
pub(in crate::assignment) struct SharedClaims<'a> {
    shared: &'a Shared,
    /// The time here.
    now: Moment,
    carried: Option<Box<Round>>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing is claimed yet.
    Unprepared,
    /// Without the store: why nothing is known.
    Untracked(Uncertainty),
    /// Channels that were read are compared with what is claimed.
    Judging(Judging),
    /// The claims were made: what they were answered is told again.
    Holding { tickets: SharedTickets, judged: std::vec::IntoIter<Judged>, told: usize },
}

#[derive(Debug, Default)]
struct Judging {
    tenure: Tenure,
    /// `None`: no channel is claimed by itself.
    answered: Option<Answered>,
    judged: Vec<Judged>,
    tickets: Vec<(usize, TicketId)>,
    takes_all: bool,
}

impl<'a> SharedClaims<'a> {
    pub(in crate::assignment) fn new(shared: &'a Shared, now: Moment, carried: Carried) -> Self {
        Self { shared, now, carried: carried.0, state: State::Unprepared }
    }

    /// Whether nothing is held.
    pub(in crate::assignment) const fn is_empty(&self) -> bool {
        match &self.state {
            State::Unprepared | State::Untracked(_) => true,
            State::Judging(judging) => judging.tickets.is_empty() && !judging.takes_all,
            State::Holding { told, .. } => *told == 0,
        }
    }

    /// Prepares claims of the `named` channels, each for the rule of a number, or of all channels of the app.
    pub(in crate::assignment) fn prepare<'c>(
        &mut self,
        named: impl Iterator<Item = (usize, &'c str)>,
        claims_all: bool,
    ) -> Prepared {
        let mut named = named.peekable();
        let is_announcement = claims_all || named.peek().is_some();
        let store = &self.shared.app.store;
        let Position { standing, is_fenced, tenure } = store.position(&self.shared.fingerprint);
        let refuses = store.isolated() == Isolated::Refuse;
        if !is_announcement && !(is_fenced && (refuses || standing == Standing::Replaced)) {
            return Prepared::Ready;
        }
        match (standing, tenure) {
            (Standing::Member, Some(tenure)) => self.prepare_as_member(tenure, named, claims_all),
            (Standing::Blind, _) => self.untracked(Uncertainty::Unreached),
            (Standing::Isolated, _) if !refuses => self.untracked(Uncertainty::Isolated),
            (Standing::Isolated, _) => Prepared::Denied(Denied::Isolated),
            (Standing::Replaced, _) => Prepared::Denied(Denied::Replaced),
            (Standing::Silent | Standing::Outside | Standing::Member, _) => {
                self.begin(named, claims_all);
                self.ask(Request::Standing)
            }
        }
    }

    fn untracked(&mut self, cause: Uncertainty) -> Prepared {
        self.state = State::Untracked(cause);
        Prepared::Ready
    }

    fn prepare_as_member<'c>(
        &mut self,
        tenure: Tenure,
        named: impl Iterator<Item = (usize, &'c str)>,
        claims_all: bool,
    ) -> Prepared {
        if let Some(round) = &mut self.carried {
            match std::mem::replace(&mut round.stage, Stage::Unanswered) {
                Stage::Held(Held { tenure: held, tickets, judged }) if held == tenure => {
                    self.state = State::Holding { tickets, judged: judged.into_iter(), told: 0 };
                    return Prepared::Ready;
                }
                Stage::Answered(answered) if answered.tenure == tenure => {
                    self.state = State::Judging(Judging::new(tenure, Some(answered)));
                    return Prepared::Ready;
                }
                // Of an earlier membership: what was held is given back, and claimed again.
                Stage::Held(_) | Stage::Answered(_) | Stage::Unanswered => {}
            }
        }
        self.begin(named, claims_all);
        if self.carried.as_ref().is_some_and(|round| round.claims_all) {
            self.state = State::Judging(Judging::new(tenure, None));
            return Prepared::Ready;
        }
        self.ask(Request::Read(tenure))
    }

    /// Makes sure that there is a round, for the channels that are named under these rules.
    fn begin<'c>(&mut self, named: impl Iterator<Item = (usize, &'c str)>, claims_all: bool) {
        let keys = self.keys(named);
        let claims_all = claims_all || keys.is_none();
        let keys = keys.unwrap_or_default();
        match &mut self.carried {
            Some(round) => {
                round.keys = keys.into();
                round.claims_all |= claims_all;
            }
            None => self.carried = Some(Box::new(Round::new(keys.into(), claims_all))),
        }
    }

    fn ask(&mut self, request: Request) -> Prepared {
        let Some(round) = self.carried.take() else { return Prepared::Denied(Denied::TimedOut) };
        if round.began.elapsed() >= MAX_WAIT {
            return Prepared::Denied(Denied::TimedOut);
        }
        Prepared::Wait(Box::new(Ask::new(self.shared, round, request)))
    }

    /// The channels that are claimed, each once; `None`: too many.
    fn keys<'c>(&self, named: impl Iterator<Item = (usize, &'c str)>) -> Option<Vec<RoundKey>> {
        let mut keys: Vec<RoundKey> = Vec::new();
        for (rule, channel) in named {
            if keys.iter().any(|key| key.rule == rule && key.channel == channel) {
                continue;
            }
            if keys.len() == MAX_CHANNELS {
                return None;
            }
            let settings = self.shared.rules.get(rule)?;
            keys.push(RoundKey {
                rule,
                channel: channel.to_owned(),
                key: self.shared.app.keys().channel(&settings.name, channel),
                remember_for: settings.remember_for,
                refresh_after: settings.refresh_after,
            });
        }
        Some(keys)
    }

    /// Claims `channel` for what is announced there.
    pub(in crate::assignment) fn claim(
        &mut self,
        rule: usize,
        channel: &str,
        announced: Announced<'_>,
        mode: ClaimMode,
    ) -> Claimed {
        match &mut self.state {
            State::Untracked(cause) => {
                Claimed::Held { before: Before::Uncertain(*cause), redundant: false, shown: None, renewal: None }
            }
            State::Holding { judged, told, .. } => {
                *told += 1;
                // The decision is the same as the one that was made with these answers.
                debug_assert!(judged.len() > 0, "a claim is made again that was not made before");
                judged.next().map_or(Claimed::HeldAll(Uncertainty::Full), Judged::claimed)
            }
            State::Judging(judging) => {
                let index = self.carried.as_ref().and_then(|round| round.index(rule, channel));
                let claim = Claim { index, announced, mode, now: self.now };
                judging.claim(self.shared, self.carried.as_deref(), claim)
            }
            State::Unprepared => {
                debug_assert!(false, "a claim is made that was not prepared");
                Claimed::HeldAll(Uncertainty::Full)
            }
        }
    }

    /// Claims all channels of the app.
    pub(in crate::assignment) fn claim_all(&mut self) {
        if let State::Judging(judging) = &mut self.state {
            judging.takes_all = true;
        }
    }

    /// What has to be answered before the request may go on with what it has claimed; `None`: nothing.
    pub(in crate::assignment) fn commit(&mut self) -> Option<Box<Ask>> {
        let State::Judging(judging) = &mut self.state else { return None };
        if judging.tickets.is_empty() && !judging.takes_all {
            return None;
        }
        let Judging { tenure, answered, judged, tickets, takes_all } = std::mem::take(judging);
        let mut round = self.carried.take()?;
        let app = &self.shared.app;
        let wide = takes_all.then(|| round.wide_id.get_or_insert_with(|| app.tokens.text()).clone());
        let (stamp, channels, written) =
            answered.map_or_else(Default::default, |answered| self.written(&round, answered, &tenure.generation));
        let held: Vec<_> = tickets
            .into_iter()
            .map(|(index, id)| {
                let RoundKey { key, remember_for, .. } = &round.keys[index];
                let written =
                    written.iter().find(|(its, _)| *its == index).map(|(_, written)| Box::new(written.clone()));
                ChannelTicket { key: key.clone(), remember_for: *remember_for, id, written }
            })
            .collect();
        let swap = Swap { stamp, taken: wide.clone().unwrap_or_default(), channels, ..Swap::default() };
        let tickets = SharedTickets::new(app.clone(), held, wide);
        let request = Request::Swap { tenure, swap, tickets, judged };
        Some(Box::new(Ask::new(self.shared, round, request)))
    }

    /// What the swap rests on; the channels that it changes; and these as they are then, by their indices among the keys.
    fn written(
        &self,
        round: &Round,
        answered: Answered,
        generation: &str,
    ) -> (Vec<u8>, Vec<SwappedChannel>, Vec<(usize, Written)>) {
        let Answered { now, stamp, channels, .. } = answered;
        let changed = round.keys.iter().zip(channels).enumerate().filter_map(|(index, (key, channel))| {
            let mut channel = channel.ok().filter(|channel| channel.has_changed)?;
            let version = self.shared.app.tokens.number();
            let swapped = channel.swapped((&key.key, key.remember_for), now, version, false);
            let written = Written { channel, now, asked: round.began, generation: generation.to_owned() };
            Some((swapped, (index, written)))
        });
        let (channels, written) = changed.unzip();
        (stamp, channels, written)
    }

    /// The tickets that are held, of a request that is sent now.
    pub(in crate::assignment) fn into_tickets(self) -> Option<Box<SharedTickets>> {
        let State::Holding { mut tickets, .. } = self.state else { return None };
        tickets.send();
        Some(Box::new(tickets))
    }
}

/// One claim on a channel, by its index among the keys.
struct Claim<'v> {
    index: Option<usize>,
    announced: Announced<'v>,
    mode: ClaimMode,
    /// The time here.
    now: Moment,
}

impl Judging {
    const fn new(tenure: Tenure, answered: Option<Answered>) -> Self {
        Self { tenure, answered, judged: Vec::new(), tickets: Vec::new(), takes_all: false }
    }

    fn claim(&mut self, shared: &Shared, round: Option<&Round>, claim: Claim<'_>) -> Claimed {
        let Claim { index, announced, mode, now } = claim;
        let (Some(answered), Some(index), Some(round)) = (&mut self.answered, index, round) else {
            return self.hold_all(Uncertainty::AppInFlight);
        };
        let Ok(channel) = &mut answered.channels[index] else { return self.hold_all(Uncertainty::InDoubt) };
        let at_server = answered.now;
        let occasion = Occasion::new(at_server, round.keys[index].refresh_after);
        let compared = channel.channel.compare(announced, occasion, answered.snapshot);
        let local = |shown: Shown| Shown { since: here(shown.since, at_server, now), ..shown };
        let comparison = match (compared, mode) {
            (Comparison::Redundant(shown), ClaimMode::MayWait | ClaimMode::MustNotWait) => {
                let shown = local(shown);
                self.judged.push(Judged::Redundant(shown));
                return Claimed::Redundant(shown);
            }
            // Nothing becomes known while the app is open: there is nothing to wait for.
            (Comparison::InFlight(_), _) if answered.is_open => Comparison::Open,
            (Comparison::InFlight(leader), ClaimMode::MayWait) => {
                let app = &shared.app;
                if let Some(permit) = app.context.wait()
                    && let Some(settled) =
                        app.waiters.add(&round.keys[index].key, app.context.bounds.max_waiters_per_channel)
                {
                    let key = &round.keys[index];
                    // Its settlement by this process wakes the waiter by itself.
                    let is_own = channel.is_held_by(leader, app.store.node(), &self.tenure.generation);
                    let is_known = is_own || channel.awaited;
                    let awaited = (!is_known).then(|| Awaited::new(app, &self.tenure, key, channel, at_server));
                    return Claimed::Wait(Waiter::polling(settled, permit, POLL, awaited));
                }
                compared
            }
            _ => compared,
        };
        channel.see(at_server);
        let id = shared.app.tokens.number();
        let renews = comparison.renews(mode);
        let before = channel.channel.claim(id, announced, renews, occasion, answered.snapshot);
        let until = at_server.after(shared.app.ticket_period);
        channel.hold(id, shared.app.store.node(), &self.tenure.generation, until);
        self.tickets.push((index, id));
        let before = if answered.is_open { Before::Uncertain(Uncertainty::Open) } else { before };
        let (redundant, shown, renewal) =
            (comparison.is_redundant(), comparison.shown().map(local), comparison.renewal());
        self.judged.push(Judged::Held { before: before.clone(), redundant, shown, renewal });
        Claimed::Held { before, redundant, shown, renewal }
    }

    fn hold_all(&mut self, cause: Uncertainty) -> Claimed {
        self.takes_all = true;
        self.judged.push(Judged::HeldAll(cause));
        Claimed::HeldAll(cause)
    }
}

impl Judged {
    fn claimed(self) -> Claimed {
        match self {
            Self::Redundant(shown) => Claimed::Redundant(shown),
            Self::Held { before, redundant, shown, renewal } => Claimed::Held { before, redundant, shown, renewal },
            Self::HeldAll(cause) => Claimed::HeldAll(cause),
        }
    }
}

/// Whether a request that others overtook so often claims all channels instead.
pub(super) const fn gives_up(conflicts: u32) -> bool {
    conflicts >= MAX_CONFLICTS
}
