//! One app at the store: the membership of this process, and the claims that it makes under it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::Histogram;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::client::round_trips;
use super::dial::Dialer;
use super::member::{Member, Position, now};
use super::membership_log::MembershipLog;
use super::subscription;
use super::{
    Action, Answer, AppKeys, Client, Entered, Failure, Inspection, Isolated, Link, LinkOptions, Read, Refusal,
    Standing, StoreLog, Swap, Swapped, Switchboard, SwitchedModes, Tenure, Terms,
};
use crate::shutdown::Tasks;

/// How this process takes part in the store.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// The connections. The key is each app's own.
    pub link: LinkOptions,
    /// What the keys of all apps begin with.
    pub prefix: String,
    /// The name of this node.
    pub node: String,
    /// The terms on which all members agree.
    pub terms: Terms,
    /// What becomes of announcements without the store.
    pub isolated: Isolated,
    /// Where the switched modes of all apps are told.
    pub switchboard: Switchboard,
    /// What was told of the servers of all apps.
    pub store_log: StoreLog,
}

/// One app at the store.
#[derive(Debug)]
pub struct AppStore {
    keys: AppKeys,
    client: Client,
    round_trips: Histogram,
    dialer: Dialer,
    member: Arc<Member>,
    isolated: Isolated,
    prefix: String,
    membership_log: Arc<MembershipLog>,
    /// How often another process was faster.
    conflicts: AtomicU64,
    /// Ends the tasks that keep the membership and tell of it.
    leaving: CancellationToken,
}

/// Why a request to the store has no answer that can be used.
#[derive(Debug)]
pub enum Unusable {
    /// The membership under which it was sent is over.
    Membership,
    /// A later version of usher has written one of the channels.
    Newer,
    /// The store has not answered.
    Failure(Failure),
}

/// Why the operator's word was not taken.
#[derive(Debug)]
pub enum NotChanged {
    /// This process is no member.
    NoMember,
    /// The store refuses it.
    Refused(Refusal),
    /// The store has not answered: it may be done all the same.
    Failure(Failure),
    /// Others have switched modes again and again meanwhile.
    Overtaken,
}

/// How often a switch is tried while others switch, too.
const MOST_SWITCHES: usize = 8;

impl AppStore {
    /// Takes part in the app `app`, with tasks among `tasks` that keep the membership. `rules`: the fingerprint of all by
    /// which the process decides. `is_fresh`: it has forwarded nothing for this app.
    #[must_use]
    pub fn join(options: &ClusterOptions, app: &str, rules: Arc<str>, is_fresh: bool, tasks: &Tasks) -> Arc<Self> {
        let keys = AppKeys::new(&options.prefix, app);
        // A link of its own: waiting for the replicas blocks what is behind it.
        let link = LinkOptions { key: keys.members(), ..options.link.clone() };
        let round_trips = round_trips(app);
        let client = || {
            let client = Client::new(Link::new(link.clone(), tasks), options.node.clone(), options.terms);
            client.counted_by(round_trips.clone())
        };
        let member = Member::new(client(), keys.clone(), rules, is_fresh);
        let member = Arc::new(member.telling(&options.switchboard, app));
        let leaving = CancellationToken::new();
        let keeping = leaving.clone().run_until_cancelled_owned({
            let member = Arc::clone(&member);
            async move { member.keep().await }
        });
        tasks.spawn(keeping);
        let membership_log = Arc::new(MembershipLog::new(app, options.isolated, Arc::clone(&member)));
        tasks.spawn(leaving.clone().run_until_cancelled_owned({
            let membership_log = Arc::clone(&membership_log);
            async move { membership_log.keep().await }
        }));
        let client = client();
        tasks.spawn(leaving.clone().run_until_cancelled_owned({
            let (store_log, link, replicas) =
                (options.store_log.clone(), client.link().clone(), options.terms.replicas);
            async move { store_log.keep(&link, replicas).await }
        }));
        Arc::new(Self {
            keys,
            client,
            round_trips: round_trips.clone(),
            dialer: options.link.dialer(),
            member,
            isolated: options.isolated,
            prefix: options.prefix.clone(),
            membership_log,
            conflicts: AtomicU64::new(0),
            leaving,
        })
    }

    /// Leaves the app. Called once nothing that this process has sent is in flight. Returns whether the others know it:
    /// if not, they miss the process.
    pub async fn leave(&self) -> bool {
        self.leaving.cancel();
        self.member.leave().await.unwrap_or(false)
    }

    /// The membership.
    #[must_use]
    pub const fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// The keys.
    #[must_use]
    pub const fn keys(&self) -> &AppKeys {
        &self.keys
    }

    /// Calls `settled` with the key of each channel whose settlement is published, for as long as it is polled. One that
    /// is published while there is no connection is missed.
    pub async fn settlements(&self, settled: impl Fn(&[u8])) {
        subscription::follow(self.client.link(), &self.dialer, &self.keys.settled(), settled).await;
    }

    /// What becomes of announcements without the store.
    #[must_use]
    pub const fn isolated(&self) -> Isolated {
        self.isolated
    }

    /// The name of this node.
    #[must_use]
    pub fn node(&self) -> &str {
        self.client.node()
    }

    /// What the keys of all apps begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What this process may do, and for how long that has been so.
    #[must_use]
    pub fn standing(&self) -> (Standing, Duration) {
        self.membership_log.standing()
    }

    /// How often another process was faster, so that a claim or a settlement had to be made again.
    #[must_use]
    pub fn conflicts(&self) -> u64 {
        self.conflicts.load(Ordering::Relaxed)
    }

    /// How long the store took to answer this process (`usher_cluster_round_trip_seconds`).
    #[must_use]
    pub const fn round_trips(&self) -> &Histogram {
        &self.round_trips
    }

    /// The connection for claims.
    #[must_use]
    pub const fn link(&self) -> &Link {
        self.client.link()
    }

    /// What the store says of the app, and how long the answer took.
    ///
    /// # Errors
    /// No answer came that is one.
    pub async fn inspect(&self) -> Result<(Inspection, Duration), Failure> {
        let sent = Instant::now();
        let inspection = self.client.inspect(&self.keys).await?;
        Ok((inspection, sent.elapsed()))
    }

    /// Gives the missing member `node` up now, by the word of the operator that its process has ended.
    ///
    /// # Errors
    /// It was not done.
    pub async fn give_up(&self, node: &str) -> Result<Entered, NotChanged> {
        self.change(Action::GiveUp { node }).await
    }

    /// Ends the openness of a new history now, by the word of the operator that no process lives which the store does not
    /// name.
    ///
    /// # Errors
    /// It was not done.
    pub async fn close(&self) -> Result<Entered, NotChanged> {
        self.change(Action::Close).await
    }

    /// Switches `rule` to `mode` for all members, by the word of the operator; `None`: to the configured one. They take
    /// it over with their next renewals. All of them have it until one of them says otherwise, or all have left.
    ///
    /// # Errors
    /// It was not done.
    pub async fn switch(&self, rule: &str, mode: Option<&str>) -> Result<(), NotChanged> {
        for _ in 0..MOST_SWITCHES {
            let wanted = self.member.switched().with(rule, mode);
            let counts = self.change_to(Action::Switch, &wanted).await?.switched;
            if counts == wanted {
                return Ok(());
            }
            // Another member was faster, and this one knows now what it has switched.
        }
        Err(NotChanged::Overtaken)
    }

    /// Does what the operator asks for, as a member, and not later than one time-out from now at the server.
    async fn change(&self, action: Action<'_>) -> Result<Entered, NotChanged> {
        self.change_to(action, &self.member.switched()).await
    }

    /// The same, with other switched modes than the process knows so far.
    async fn change_to(&self, action: Action<'_>, switched: &SwitchedModes) -> Result<Entered, NotChanged> {
        let tenure = self.member.tenure().ok_or(NotChanged::NoMember)?;
        let now = self.client.inspect(&self.keys).await.map_err(NotChanged::Failure)?.now;
        let by = now + u64::try_from(self.client.link().timeout().as_millis()).unwrap_or_default();
        match self.client.change(&self.keys, &tenure, by, action, switched).await.map_err(NotChanged::Failure)? {
            Answer::Done(entered) => {
                self.member.heard(&entered.switched);
                Ok(entered)
            }
            Answer::Refused(refusal) => Err(NotChanged::Refused(refusal)),
        }
    }

    /// What this process may do now that decides by `rules`.
    #[must_use]
    pub fn position(&self, rules: &str) -> Position {
        self.member.position(rules)
    }

    /// Reads channels under `tenure`, each with the time for which it is remembered.
    ///
    /// # Errors
    /// There is no answer that can be used.
    pub async fn read(&self, tenure: &Tenure, channels: &[(Vec<u8>, Duration)]) -> Result<Read, Unusable> {
        let sent = now();
        let answer = self.client.read(&self.keys, tenure, channels).await.map_err(Unusable::Failure)?;
        match answer {
            // The server's clock is looked at before what was read justifies a drop.
            Answer::Done(read) if self.member.saw(tenure, sent, read.now, None) => Ok(read),
            Answer::Done(_) => Err(Unusable::Membership),
            Answer::Refused(refusal) => {
                self.member.saw(tenure, sent, refusal.now, Some(refusal.why));
                Err(Unusable::Membership)
            }
        }
    }

    /// Reads channels under `tenure` for the operator: they are forgotten when they would be without it.
    ///
    /// # Errors
    /// There is no answer that can be used.
    pub async fn look(&self, tenure: &Tenure, channels: &[Vec<u8>]) -> Result<Read, Unusable> {
        let channels: Vec<_> = channels.iter().map(|key| (key.clone(), Duration::ZERO)).collect();
        self.read(tenure, &channels).await
    }

    /// See [`Client::scan`].
    ///
    /// # Errors
    /// There is no answer.
    pub async fn scan(&self, cursor: u64, beginning: &[u8]) -> Result<(u64, Vec<Vec<u8>>), Failure> {
        self.client.scan(cursor, beginning).await
    }

    /// Swaps channels under `tenure`. Without an answer it may have been done all the same.
    ///
    /// # Errors
    /// There is no answer that can be used.
    pub async fn swap(&self, tenure: &Tenure, swap: Swap) -> Result<Swapped, Unusable> {
        let sent = now();
        let answer = self.client.swap(&self.keys, tenure, swap).await.map_err(Unusable::Failure)?;
        match answer {
            Answer::Done(swapped) => {
                if swapped == Swapped::Conflict {
                    self.conflicts.fetch_add(1, Ordering::Relaxed);
                }
                Ok(swapped)
            }
            Answer::Refused(refusal) if refusal.why == super::Why::Newer => Err(Unusable::Newer),
            Answer::Refused(refusal) => {
                self.member.saw(tenure, sent, refusal.now, Some(refusal.why));
                Err(Unusable::Membership)
            }
        }
    }
}
