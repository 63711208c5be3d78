//! Keeps one app's membership at the store: asks what [`Membership`] says, on a connection of its own, since waiting for
//! the replicas blocks what is behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::{
    Action, Answer, AppKeys, Ask, Cause, Client, Entered, Failure, Link, Local, Membership, Standing, Switchboard,
    SwitchedModes, Tenure, Terms, Tokens, Why,
};

/// The membership of this process in one app.
#[derive(Debug)]
pub struct Member {
    client: Client,
    app: AppKeys,
    terms: Terms,
    /// What the generations of this process begin with.
    process: String,
    /// Locked for a few instructions, never across an await.
    state: Mutex<State>,
    /// Notified when the standing may have changed.
    changed: Notify,
    /// Ends the pause before the next request.
    hurried: Notify,
    /// How many epochs were seen to begin, by cause.
    epochs: [AtomicU64; Cause::ALL.len()],
    /// Who is told of the switched modes, and for which app; `None`: nobody.
    told: Option<(Switchboard, Arc<str>)>,
}

#[derive(Debug)]
struct State {
    membership: Membership,
    /// That of the last entry, and its number.
    generation: String,
    entries: u64,
    /// The fingerprint of all by which the process decides.
    rules: Arc<str>,
    switched: Arc<SwitchedModes>,
    /// What the last change of the membership was answered.
    entered: Option<Entered>,
    /// What last kept it from being a member.
    loss: Option<Loss>,
}

/// What keeps a process from being a member, or did before its last entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// It decides by other rules than before.
    Rules,
    /// The store refuses it.
    Refused(Why),
    /// The server's clock has stepped.
    Clock,
    /// No answer comes.
    Unanswered,
    /// Not all replicas have what it has written.
    Replicas,
}

/// What is to be told of a membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) standing: Standing,
    /// The number of the last entry that counted; 0: there was none.
    pub(super) number: u64,
    pub(super) loss: Option<Loss>,
    pub(super) entered: Option<Entered>,
}

/// What a process may do in an app, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// What it may do.
    pub standing: Standing,
    /// See [`Membership::is_fenced`].
    pub is_fenced: bool,
    /// Its membership, if it is a member.
    pub tenure: Option<Tenure>,
}

impl Member {
    /// A process that is no member. `client`: on a link that nothing else uses. `rules`: the fingerprint of all by which
    /// the process decides. `is_fresh`: it has sent nothing yet.
    #[must_use]
    pub fn new(client: Client, app: AppKeys, rules: Arc<str>, is_fresh: bool) -> Self {
        let terms = client.terms();
        let state = State {
            membership: Membership::new(terms, is_fresh, now()),
            generation: String::new(),
            entries: 0,
            rules,
            switched: Arc::default(),
            entered: None,
            loss: None,
        };
        Self {
            client,
            app,
            terms,
            process: Tokens::default().text(),
            state: Mutex::new(state),
            changed: Notify::new(),
            hurried: Notify::new(),
            epochs: Default::default(),
            told: None,
        }
    }

    /// Tells `switchboard` of the switched modes of the app with the id `app`.
    #[must_use]
    pub fn telling(self, switchboard: &Switchboard, app: &str) -> Self {
        Self { told: Some((switchboard.clone(), app.into())), ..self }
    }

    /// What the process may do now that decides by `rules`.
    #[must_use]
    pub fn position(&self, rules: &str) -> Position {
        let state = self.state();
        let now = now();
        let mut standing = state.membership.standing(now);
        if standing == Standing::Member && *state.rules != *rules {
            // It has not entered with these.
            standing = Standing::Silent;
        }
        let tenure = (standing == Standing::Member).then(|| state.membership.tenure(&state.generation));
        Position { standing, is_fenced: state.membership.is_fenced(now), tenure }
    }

    /// What the process may do now, whatever it decides by.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.state().membership.standing(now())
    }

    /// The present membership, if there is one.
    #[must_use]
    pub fn tenure(&self) -> Option<Tenure> {
        let state = self.state();
        let is_member = state.membership.standing(now()) == Standing::Member;
        is_member.then(|| state.membership.tenure(&state.generation))
    }

    /// What the last entry or renewal was answered.
    #[must_use]
    pub fn entered(&self) -> Option<Entered> {
        self.state().entered.clone()
    }

    /// What is to be told of it.
    pub(super) fn look(&self) -> Look {
        let state = self.state();
        Look {
            standing: state.membership.standing(now()),
            number: state.membership.tenure("").number,
            loss: state.loss,
            entered: state.entered.clone(),
        }
    }

    /// The switched modes of the app's rules, as far as the process knows.
    #[must_use]
    pub fn switched(&self) -> Arc<SwitchedModes> {
        Arc::clone(&self.state().switched)
    }

    /// All rules are as they are configured from now on, for all members: the store hears of it with the next request.
    pub fn end_switches(&self) {
        let ended = self.switched();
        if !ended.modes.is_empty() {
            self.heard(&ended.without_any());
            self.hurried.notify_one();
        }
    }

    /// The switched modes are these, unless the process knows later ones.
    pub(super) fn heard(&self, switched: &SwitchedModes) {
        let mut state = self.state();
        if switched.number < state.switched.number || *switched == *state.switched {
            return;
        }
        state.switched = Arc::new(switched.clone());
        // Under the lock: told in the order in which they were heard.
        if let Some((switchboard, app)) = &self.told {
            switchboard.tell(app, Arc::clone(&state.switched));
        }
    }

    /// How many epochs were seen to begin, by cause.
    pub fn epochs(&self) -> impl Iterator<Item = (Cause, u64)> {
        Cause::ALL.iter().zip(&self.epochs).map(|(cause, count)| (*cause, count.load(Ordering::Relaxed)))
    }

    /// The connection for the membership.
    #[must_use]
    pub const fn link(&self) -> &Link {
        self.client.link()
    }

    /// How the process asks.
    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// Returns when the standing may have changed, at the latest after `most`.
    pub async fn changed(&self, most: Duration) {
        let changed = self.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        let left = {
            let (state, now) = (self.state(), now());
            state.membership.changes_at(now).map_or(most, |at| at.saturating_sub(now).min(most))
        };
        // Not less: the clocks differ in their fractions.
        let (Ok(()) | Err(_)) = timeout(left + Duration::from_millis(1), changed).await;
    }

    /// The process decides by other rules from now on: it enters again, and is no member until then.
    pub fn set_rules(&self, rules: &Arc<str>) {
        let mut state = self.state();
        if state.rules == *rules {
            return;
        }
        state.rules = Arc::clone(rules);
        state.loss = Some(Loss::Rules);
        state.membership.reenter(now());
        drop(state);
        self.hurried.notify_one();
        self.changed.notify_waiters();
    }

    /// A request under `tenure` that was sent at `sent` was answered now, at the time `server` of the server. `refused`:
    /// it does nothing for a member like this one. Returns whether the membership lasts.
    pub fn saw(&self, tenure: &Tenure, sent: Local, server: u64, refused: Option<Why>) -> bool {
        let mut state = self.state();
        let now = now();
        let is_present = |state: &State| {
            state.membership.standing(now) == Standing::Member && state.membership.tenure(&state.generation) == *tenure
        };
        if !is_present(&state) {
            return false;
        }
        state.membership.saw(sent, now, server, refused.is_some());
        let lasts = is_present(&state);
        if !lasts {
            state.loss = Some(refused.map_or(Loss::Clock, Loss::Refused));
        }
        drop(state);
        if !lasts {
            self.hurried.notify_one();
            self.changed.notify_waiters();
        }
        lasts
    }

    /// Enters, renews, and enters again, for as long as it is polled, or until another process has its place.
    pub async fn keep(&self) {
        loop {
            let before = self.standing();
            let is_answered = self.beat().await.is_ok();
            if !is_answered {
                self.unanswered();
                self.changed.notify_waiters();
                // Without a connection there is nothing to ask.
                self.client.link().connected().await;
            }
            let standing = self.standing();
            if standing != before {
                self.changed.notify_waiters();
            }
            if standing == Standing::Replaced {
                return;
            }
            // What was not answered is asked again soon, and after the server's time was asked for the entry follows.
            let is_kept = is_answered && standing == Standing::Member && standing == before;
            let pause = if is_kept { self.terms.lease / 4 } else { self.terms.lease / 16 };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.hurried.notified() => {}
            }
        }
    }

    /// Leaves. Called once nothing that it has sent is in flight, and [`Member::keep`] has ended. Returns whether the
    /// others know it: if not, they will miss the process.
    ///
    /// # Errors
    /// No answer came.
    pub async fn leave(&self) -> Result<bool, Failure> {
        let Some(tenure) = self.tenure() else { return Ok(false) };
        // Whenever it runs, nothing is sent any more.
        let by = u64::MAX >> 12;
        self.state().membership.has_left(now());
        let answer = self.client.change(&self.app, &tenure, by, Action::Leave, &self.switched()).await?;
        Ok(matches!(answer, Answer::Done(_)))
    }

    /// Asks once, and takes the answer.
    async fn beat(&self) -> Result<(), Failure> {
        let sent = now();
        let (ask, tenure, rules) = {
            let mut state = self.state();
            let ask = state.membership.ask(sent);
            if matches!(ask, Ask::Enter { .. }) {
                state.entries += 1;
                state.generation = format!("{}{:016x}", self.process, state.entries);
            }
            (ask, state.membership.tenure(&state.generation), Arc::clone(&state.rules))
        };
        let (by, action) = match ask {
            Ask::Time => {
                let server = match self.client.read(&self.app, &tenure, &[]).await? {
                    Answer::Done(read) => read.now,
                    Answer::Refused(refusal) => refusal.now,
                };
                self.state().membership.told(sent, now(), server);
                return Ok(());
            }
            Ask::Enter { by, is_fresh, has_stepped } => (by, Action::Enter { is_fresh, rules: &rules, has_stepped }),
            Ask::Renew { by } => (by, Action::Renew),
        };
        let answer = self.client.change(&self.app, &tenure, by, action, &self.switched()).await?;
        if let Answer::Done(entered) = &answer {
            self.heard(&entered.switched);
        }
        // Shorter than the time-out of the connection, which would be closed.
        let period = self.terms.lease.min(self.client.link().timeout() * 4) / 8;
        let reached = matches!(answer, Answer::Done(_)) && self.client.reached(period).await?;
        let mut state = self.state();
        let before = state.membership.tenure("").number;
        state.membership.answered(sent, now(), &answer, reached);
        match answer {
            Answer::Done(entered) => {
                if !reached {
                    state.loss = Some(Loss::Replicas);
                } else if state.membership.tenure("").number == before {
                    state.loss = None;
                }
                self.count_epoch(state.entered.as_ref(), &entered);
                state.entered = Some(entered);
            }
            Answer::Refused(refusal) => state.loss = Some(Loss::Refused(refusal.why)),
        }
        Ok(())
    }

    fn unanswered(&self) {
        let mut state = self.state();
        state.membership.unanswered();
        state.loss = Some(Loss::Unanswered);
    }

    /// Counts the epoch if it is another one than before.
    fn count_epoch(&self, before: Option<&Entered>, now: &Entered) {
        if before.is_some_and(|before| before.epoch != now.epoch) {
            self.epochs[now.cause as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// The node's clock: it goes on while the machine sleeps.
pub(super) fn now() -> Local {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}
