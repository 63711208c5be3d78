//! Tells in the log whatever changes about this process's place in one app: a line for each change, with its cause and
//! what follows from it.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::member::{Look, Loss};
use super::{Entered, Isolated, Member, Open, Problem, Standing};

/// How often it looks, at least: what others change comes with the answers to renewals.
const LOOK: Duration = Duration::from_millis(500);

/// Follows one membership.
#[derive(Debug)]
pub(super) struct MembershipLog {
    app: String,
    isolated: Isolated,
    member: Arc<Member>,
    since: Mutex<Since>,
}

/// Since when the standing is what it is.
#[derive(Debug, Clone, Copy)]
struct Since {
    standing: Standing,
    at: Instant,
    /// When the process was a member last.
    was_member: Instant,
}

/// What has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    /// The process has entered for the first time.
    Entered,
    /// It has not, because the store cannot be used.
    Waits,
    /// It has entered again.
    Back,
    /// Its lease is over.
    Lost,
    /// It forwards without asking.
    Blind,
    /// The others may have given it up, or it has not entered in time.
    Isolated,
    /// Another process has its place.
    Replaced,
    /// Nobody suppresses from now on, or for another reason.
    Opened(Open),
    /// What is redundant is suppressed again.
    Closed,
}

/// What has changed between two looks. `had_problem`: what kept it from the store was known at the first one.
fn change(before: &Look, now: &Look, had_problem: bool, problem: Option<&Problem>) -> Option<Change> {
    let open = |look: &Look| look.entered.as_ref().and_then(|entered| entered.open);
    let has_moved = before.standing != now.standing || before.number != now.number;
    match now.standing {
        Standing::Member if has_moved && before.number == 0 => Some(Change::Entered),
        Standing::Member if has_moved => Some(Change::Back),
        Standing::Member if open(before) == open(now) => None,
        Standing::Member => Some(open(now).map_or(Change::Closed, Change::Opened)),
        Standing::Outside => (problem.is_some() && !had_problem).then_some(Change::Waits),
        _ if !has_moved => None,
        Standing::Silent => Some(Change::Lost),
        Standing::Blind => Some(Change::Blind),
        Standing::Isolated => Some(Change::Isolated),
        Standing::Replaced => Some(Change::Replaced),
    }
}

impl MembershipLog {
    pub(super) fn new(app: &str, isolated: Isolated, member: Arc<Member>) -> Self {
        let (standing, at) = (member.standing(), Instant::now());
        let since = Mutex::new(Since { standing, at, was_member: at });
        Self { app: app.to_owned(), isolated, member, since }
    }

    /// The present standing, and how long it has been so.
    pub(super) fn standing(&self) -> (Standing, Duration) {
        let (now, since) = (self.member.standing(), *self.since.lock());
        (now, if since.standing == now { since.at.elapsed() } else { Duration::ZERO })
    }

    /// Tells what changes, for as long as it is polled, or until another process has the place of this one.
    pub(super) async fn keep(&self) {
        let (mut before, mut had_problem) = (self.member.look(), false);
        loop {
            self.member.changed(LOOK).await;
            let now = self.member.look();
            let problem = self.member.client().link().problem();
            if let Some(change) = change(&before, &now, had_problem, problem.as_ref()) {
                self.tell(&change, &now, problem.as_ref());
            }
            self.note(now.standing);
            if now.standing == Standing::Replaced {
                return;
            }
            had_problem |= problem.is_some();
            had_problem &= now.standing == Standing::Outside;
            before = now;
        }
    }

    fn note(&self, standing: Standing) {
        let (mut since, now) = (self.since.lock(), Instant::now());
        if since.standing != standing {
            (since.standing, since.at) = (standing, now);
        }
        if standing == Standing::Member {
            since.was_member = now;
        }
    }

    fn tell(&self, change: &Change, now: &Look, problem: Option<&Problem>) {
        let (app, node) = (self.app.as_str(), self.member.client().node());
        let cause = now.loss.map(words);
        let problem = problem.map(ToString::to_string);
        match change {
            Change::Entered => self.tell_entered(now, None, ENTERED),
            Change::Back => self.tell_entered(now, cause, BACK),
            Change::Opened(open) => {
                let entered = now.entered.as_ref();
                let (present, missing) = entered.map_or((0, 0), |entered| (entered.present, entered.missing));
                let (open, seconds) = (open.label(), entered.and_then(open_seconds));
                tracing::warn!(app, node, open, seconds, members = present, missing, "{OPENED}{}", consequence(open));
            }
            Change::Closed => {
                let doubt_seconds = now.entered.as_ref().map(|entered| entered.doubt_left.as_secs_f64());
                tracing::info!(app, node, doubt_seconds, "{CLOSED}");
            }
            Change::Waits => tracing::warn!(app, node, problem, "{WAITS}"),
            Change::Lost if now.loss == Some(Loss::Rules) => tracing::info!(app, node, cause, "{LOST}"),
            Change::Lost => tracing::warn!(app, node, cause, problem, "{LOST}"),
            Change::Blind => tracing::warn!(app, node, cause, problem, "{BLIND}"),
            Change::Isolated => {
                let isolated = self.isolated.label();
                let consequence = if self.isolated == Isolated::Forward { FORWARDS } else { REFUSES };
                let situation = if now.number == 0 { NEVER_ENTERED } else { GIVEN_UP };
                tracing::error!(app, node, isolated, cause, problem, "{situation}{consequence}");
            }
            Change::Replaced => tracing::error!(app, node, "{REPLACED}"),
        }
    }

    fn tell_entered(&self, now: &Look, cause: Option<&str>, message: &str) {
        let (app, node) = (self.app.as_str(), self.member.client().node());
        let Some(entered) = &now.entered else { return };
        let Entered { present, missing, open, doubt_left, .. } = entered;
        let away_seconds = (message == BACK).then(|| self.since.lock().was_member.elapsed().as_secs_f64());
        let doubt_seconds = doubt_left.as_secs_f64();
        let (label, seconds) = (open.map(Open::label), open_seconds(entered));
        let so = label.map_or("what is redundant is suppressed once the doubt is over", consequence);
        tracing::info!(
            app,
            node,
            cause,
            away_seconds,
            members = present,
            missing,
            open = label,
            seconds,
            doubt_seconds,
            "{message}{so}"
        );
    }
}

/// What is left of the time for which a new history is open.
fn open_seconds(entered: &Entered) -> Option<f64> {
    let left = Duration::from_millis(entered.open_until.saturating_sub(entered.now));
    (entered.open == Some(Open::History)).then_some(left.as_secs_f64())
}

const fn words(loss: Loss) -> &'static str {
    match loss {
        Loss::Rules => "this usher decides by other rules from now on",
        Loss::Refused(why) => why.words(),
        Loss::Clock => "the clock of the store's server has stepped",
        Loss::Unanswered => "the store gives no answer",
        Loss::Replicas => "not all replicas of the store have what this usher has written (cluster.replicas)",
    }
}

/// What follows from the app being open for this reason.
fn consequence(open: &str) -> &'static str {
    match open {
        "history" => {
            "the store has begun a new history, and nothing is suppressed until each usher that it does not know must have noticed (cluster.member_timeout, or POST /cluster/close)"
        }
        "missing" => {
            "nothing is suppressed until the missing member is back, or given up (cluster.member_timeout, or DELETE /cluster/members/<node>)"
        }
        "rules" => "nothing is suppressed until all members have the same rules and the same assignments.doubt_period",
        "versions" => "nothing is suppressed until all members run a version of usher that writes the same records",
        _ => "nothing is suppressed",
    }
}

const ENTERED: &str = "this usher shares the memory of the app from now on: ";
const BACK: &str =
    "this usher has entered the shared memory of the app again, and what was known before does not count: ";
const OPENED: &str = "the shared memory is open: ";
const CLOSED: &str = "the shared memory is no longer open: what is redundant is suppressed once the doubt is over";
const WAITS: &str = "this usher cannot enter the shared memory of the app yet: its announcements wait";
const LOST: &str = "this usher is no member of the shared memory now: its announcements wait until it has entered again, or the others do not count on it any more";
const BLIND: &str = "this usher forwards all announcements of the app without asking the shared memory; the others miss it, and suppress nothing until it is back or given up (cluster.member_timeout)";
const NEVER_ENTERED: &str = "this usher has not entered the shared memory of the app in 30 s: ";
const GIVEN_UP: &str =
    "this usher was away from the shared memory of the app for so long that the others may have given it up: ";
const FORWARDS: &str = "it forwards all announcements, and from here on a handoff could be lost if the others do reach the store (cluster.isolated)";
const REFUSES: &str = "it refuses the triggers of the app with 503 (cluster.isolated)";
const REPLACED: &str = "another process has entered under this node's name: this one never enters again, and refuses triggers; cluster.node has to differ";
