//! The memory that several processes share, at the store of [`cluster`](crate::cluster).
//!
//! A decision neither waits nor asks: it says what it has to know, and is made again with the answer. So a claim has up
//! to three steps, each a decision of its own: the channels are read; they are compared and claimed in copies, which
//! are swapped for what was read unless somebody else has changed it; and the request goes on with its tickets. What
//! a request has learned so far is its [`Round`](round::Round). In reading order: `channel` a channel as it is read and
//! written, `round` what a request learns, `claims` one decision, `ask` what it waits for, `tickets` what it holds,
//! `settling` what is about to be settled, `waiters` who waits for whom, `joins` where somebody has subscribed, `beside` what came another way, `listing`
//! what the operator sees.

mod ask;
mod beside;
mod channel;
mod claims;
mod joins;
mod listing;
mod round;
mod settling;
#[cfg(test)]
mod tests;
mod tickets;
mod waiters;

use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

pub use ask::Ask;
#[cfg(test)]
pub(super) use channel::stored;
pub(super) use claims::SharedClaims;
pub use claims::{Denied, Prepared};
pub use listing::{Listing, NotReached, SharedRuleChannels};
pub use round::Carried;
pub use tickets::SharedTickets;

use self::joins::Joins;
use self::settling::Settling;
pub(super) use self::waiters::Awaited;
use self::waiters::Waiters;
use super::RuleSettings;
use super::bounds::MemoryContext;
use crate::clock::{Moment, millis};
use crate::cluster::{AppKeys, AppStore, ClusterOptions, Tokens};
use crate::shutdown::Tasks;

/// What is added to the time that an exchange may take until a ticket is taken for lost.
const TICKET_MARGIN: Duration = Duration::from_secs(10);

/// The memory of one app at the store, as one configuration has it.
#[derive(Debug, Clone)]
pub struct Shared {
    app: Arc<SharedApp>,
    /// The fingerprint of all by which this process decides.
    fingerprint: Arc<str>,
    /// In the order of the configuration.
    rules: Arc<[SharedRule]>,
}

#[derive(Debug)]
struct SharedRule {
    name: Arc<str>,
    remember_for: Duration,
    /// In milliseconds; `u64::MAX`: never.
    refresh_after: u64,
}

/// The memory of one app at the store.
#[derive(Debug)]
pub(super) struct SharedApp {
    store: Arc<AppStore>,
    context: Arc<MemoryContext>,
    tokens: Tokens,
    waiters: Arc<Waiters>,
    settling: Settling,
    joins: Joins,
    tasks: Tasks,
    /// After so long a ticket is taken for lost, whoever holds it.
    ticket_period: Duration,
}

impl Shared {
    /// The app.
    pub(super) const fn app(&self) -> &Arc<SharedApp> {
        &self.app
    }

    /// Somebody has subscribed to `channel`, for the app's rule of this number.
    pub(super) fn joined(&self, rule: usize, channel: &str) {
        if let Some(SharedRule { name, remember_for, .. }) = self.rules.get(rule) {
            self.app.joined(self.app.keys().channel(name, channel), *remember_for);
        }
    }
}

impl SharedApp {
    /// Takes part in the app. `is_fresh`: this process has forwarded nothing for it.
    pub(super) fn join(
        options: &ClusterOptions,
        id: &str,
        rules: &[&RuleSettings],
        is_fresh: bool,
        context: &Arc<MemoryContext>,
        (settlements, keepers): (&Tasks, &Tasks),
    ) -> Arc<Self> {
        let store = AppStore::join(options, id, fingerprint(rules, context), is_fresh, keepers);
        let waiters = Arc::new(Waiters::default());
        let (following, woken) = (Arc::clone(&store), Arc::clone(&waiters));
        keepers.spawn(async move { following.settlements(|key| woken.wake(key)).await });
        Arc::new(Self {
            store,
            context: Arc::clone(context),
            tokens: Tokens::default(),
            waiters,
            settling: Settling::default(),
            joins: Joins::default(),
            tasks: settlements.clone(),
            ticket_period: options.terms.exchange + TICKET_MARGIN,
        })
    }

    /// The memory as a configuration with these rules has it. From now on the process is a member that decides by
    /// them, and none until the store knows that.
    pub(super) fn under(self: &Arc<Self>, rules: &[&RuleSettings]) -> Shared {
        let fingerprint = fingerprint(rules, &self.context);
        self.store.member().set_rules(&fingerprint);
        let rules = rules.iter();
        let rules = rules
            .map(|settings| SharedRule {
                name: Arc::clone(&settings.rule),
                remember_for: settings.remember_for,
                refresh_after: settings.refresh_after.map_or(u64::MAX, millis),
            })
            .collect();
        Shared { app: Arc::clone(self), fingerprint, rules }
    }

    /// The app at the store.
    pub(super) const fn store(&self) -> &Arc<AppStore> {
        &self.store
    }

    /// Drops what is no longer needed.
    pub(super) fn sweep(&self) {
        self.waiters.sweep();
    }

    fn keys(&self) -> &AppKeys {
        self.store.keys()
    }
}

/// The moment here that `moment` is at the server, where it is `at_server` while it is `now` here.
fn here(moment: Moment, at_server: Moment, now: Moment) -> Moment {
    Moment::from_millis(now.as_millis().saturating_sub(millis(at_server.since(moment))))
}

/// The version of the code that judges claims. It changes with what a claim or a settlement means.
const JUDGEMENT: &str = "usher claims 2";

/// What all members have to agree on before any of them suppresses: the rules in their order, how long a doubt lasts,
/// and how claims are judged. Not what a rule does for late joiners, nor how often it announces again: whichever member
/// does less, all know what clients were shown.
fn fingerprint(rules: &[&RuleSettings], context: &MemoryContext) -> Arc<str> {
    let mut form = Sha256::new();
    let mut text = |text: &[u8]| {
        form.update((text.len() as u64).to_be_bytes());
        form.update(text);
    };
    text(JUDGEMENT.as_bytes());
    text(&context.bounds.doubt_period.as_millis().to_be_bytes());
    for RuleSettings { app: _, rule, definition, remember_for: _, refresh_after: _ } in rules {
        text(rule.as_bytes());
        text(definition);
    }
    HEXLOWER.encode(&form.finalize()[..16]).into()
}
