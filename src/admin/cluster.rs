//! `/cluster`: the members of each app's shared memory, whether they suppress and why not, and what this process may do;
//! and the two things of which only the operator knows that they are so.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;

use super::Admin;
use super::query::Query;
use super::refusal::Refusal;
use super::reply::{self, Reply};
use super::rfc3339::rfc3339;
use crate::cluster::{AppStore, Entered, Inspection, Isolated, NotChanged, Open, Seat, Standing, Why};
use crate::pusher::decode_query;

/// The whole answer.
#[derive(Serialize)]
struct ClusterView<'a> {
    node: &'a str,
    prefix: &'a str,
    isolated: &'static str,
    apps: Vec<AppView<'a>>,
}

/// One app. What the store says is `null` while it does not answer.
#[derive(Serialize)]
struct AppView<'a> {
    app: &'a str,
    standing: &'static str,
    since: String,
    open: Option<&'static str>,
    open_until: Option<String>,
    /// Hexadecimal: no number of JSON's readers holds it.
    epoch: Option<String>,
    epoch_cause: Option<&'static str>,
    /// In seconds, as all that is left.
    doubt_left: Option<f64>,
    members: Vec<MemberView>,
    round_trip_ms: Option<f64>,
    store: StoreView,
}

#[derive(Serialize)]
struct MemberView {
    node: String,
    generation: String,
    state: &'static str,
    lease_left: f64,
    missing_for: Option<f64>,
    rules: String,
    version: u64,
    this: bool,
}

#[derive(Serialize)]
struct StoreView {
    server: Option<String>,
    version: Option<String>,
    problem: Option<String>,
}

/// Answers with the cluster. Each app's store is asked, all at once.
///
/// # Errors
/// There is none.
pub(super) async fn show(admin: &Admin) -> Result<Reply, Refusal> {
    let stores = stores(admin)?;
    let (_, first) = stores.first().ok_or(Refusal::NoCluster)?;
    let now = admin.calendar.unix_time(admin.calendar.clock().now());
    let apps = join_all(stores.iter().map(|(id, store)| AppView::of(id, store, now))).await;
    Ok(reply::json(&ClusterView {
        node: first.node(),
        prefix: first.prefix(),
        isolated: first.isolated().label(),
        apps,
    }))
}

impl<'a> AppView<'a> {
    async fn of(app: &'a str, store: &'a AppStore, now: Duration) -> Self {
        let (standing, elapsed) = store.standing();
        let (inspected, failure) = match store.inspect().await {
            Ok(inspected) => (Some(inspected), None),
            Err(failure) => (None, Some(failure.to_string())),
        };
        let (link, membership) = (store.link(), store.member().link());
        let problem = link.problem().or_else(|| membership.problem()).map(|problem| problem.to_string());
        let server = link.server().or_else(|| membership.server());
        let generation = store.member().tenure().map(|tenure| tenure.generation);
        let (shown, took) = inspected.unzip();
        let unfit = shown.as_ref().and_then(|shown| shown.unfit).map(|why| why.words().to_owned());
        let open_until = shown.as_ref().and_then(|shown| open_until(shown.open_until, shown.now, now));
        Self {
            app,
            standing: standing.label(),
            since: rfc3339(now.saturating_sub(elapsed)),
            open: shown.as_ref().and_then(|shown| shown.open).map(Open::label),
            open_until,
            epoch: shown.as_ref().map(|shown| format!("{:016x}", shown.epoch)),
            epoch_cause: shown.as_ref().map(|shown| shown.cause.label()),
            doubt_left: shown.as_ref().map(|shown| shown.doubt_left.as_secs_f64()),
            members: shown.map_or_else(Vec::new, |shown| members(shown, generation.as_deref())),
            round_trip_ms: took.map(|took| took.as_secs_f64() * 1_000.0),
            store: StoreView {
                server: server.as_ref().map(|(server, _)| server.to_string()),
                version: server.map(|(_, version)| version.to_string()),
                problem: problem.or(unfit).or(failure),
            },
        }
    }
}

fn members(shown: Inspection, own: Option<&str>) -> Vec<MemberView> {
    let view = |Seat { node, generation, lease_left, missing_for, rules, version }| MemberView {
        this: own == Some(generation.as_str()),
        node,
        generation,
        state: if missing_for.is_some() { "missing" } else { "in" },
        lease_left: lease_left.as_secs_f64(),
        missing_for: missing_for.map(|missing: Duration| missing.as_secs_f64()),
        rules,
        version,
    };
    shown.members.into_iter().map(view).collect()
}

/// The time of day at `until` of the server's clock, whose time is `server` at `now` here.
fn open_until(until: u64, server: u64, now: Duration) -> Option<String> {
    (until > 0).then(|| rfc3339(now + Duration::from_millis(until.saturating_sub(server))))
}

/// Whether this process serves all of its apps.
///
/// # Errors
/// It does not, in one of them.
pub(super) fn readiness(admin: &Admin) -> Result<(), Refusal> {
    for (_, store) in admin.assignments.stores() {
        match store.member().standing() {
            Standing::Outside => return Err(Refusal::NotEntered),
            Standing::Replaced => return Err(Refusal::Replaced),
            Standing::Isolated if store.isolated() == Isolated::Refuse => return Err(Refusal::Isolated),
            Standing::Member | Standing::Silent | Standing::Blind | Standing::Isolated => {}
        }
    }
    Ok(())
}

/// Ends the openness of a new history of the app in `query`: the operator's word that no other process lives.
///
/// # Errors
/// There is no such app, or it was not done.
pub(super) async fn close(admin: &Admin, query: &str) -> Result<Reply, Refusal> {
    let (app, store) = store(admin, query)?;
    let entered = store.close().await?;
    tracing::warn!(by = "admin", app = &*app, "the operator said that no other usher lives: the new history is closed");
    Ok(changed(admin, &entered))
}

/// Gives a missing member of the app in `query` up: the operator's word that its process has ended. `name`: the end of
/// the path.
///
/// # Errors
/// There is no such app or member, the member's lease lasts, or it was not done.
pub(super) async fn give_up(admin: &Admin, name: &str, query: &str) -> Result<Reply, Refusal> {
    let (app, store) = store(admin, query)?;
    // In a path a plus is one.
    let name = decode_query(&name.replace('+', "%2B")).into_owned();
    let entered = store.give_up(&name).await?;
    tracing::warn!(by = "admin", app = &*app, member = ?name, "the operator said that a member has ended: it is given up");
    Ok(changed(admin, &entered))
}

fn changed(admin: &Admin, entered: &Entered) -> Reply {
    #[derive(Serialize)]
    struct Changed {
        open: Option<&'static str>,
        open_until: Option<String>,
        epoch: String,
        doubt_left: f64,
        members: u64,
        missing: u64,
    }
    let now = admin.calendar.unix_time(admin.calendar.clock().now());
    reply::json(&Changed {
        open: entered.open.map(Open::label),
        open_until: open_until(entered.open_until, entered.now, now),
        epoch: format!("{:016x}", entered.epoch),
        doubt_left: entered.doubt_left.as_secs_f64(),
        members: entered.present,
        missing: entered.missing,
    })
}

/// Each app's store, with the app's id.
type Stores = Vec<(Arc<str>, Arc<AppStore>)>;

fn stores(admin: &Admin) -> Result<Stores, Refusal> {
    let stores = admin.assignments.stores();
    if stores.is_empty() { Err(Refusal::NoCluster) } else { Ok(stores) }
}

fn store(admin: &Admin, query: &str) -> Result<(Arc<str>, Arc<AppStore>), Refusal> {
    let stores = stores(admin)?;
    let query = Query::parse(query, &["app"])?;
    let app = query.required("app")?;
    stores.into_iter().find(|(id, _)| &**id == app).ok_or(Refusal::NoApp)
}

impl From<NotChanged> for Refusal {
    fn from(not_changed: NotChanged) -> Self {
        match not_changed {
            NotChanged::NoMember => Self::NoMembership,
            NotChanged::Refused(refusal) => match refusal.why {
                Why::Absent => Self::NoMember,
                Why::Leased => Self::LeaseLasts,
                why => Self::StoreRefuses(why.words()),
            },
            NotChanged::Overtaken => Self::StoreRefuses("other operators have switched modes all the time meanwhile"),
            NotChanged::Failure(failure) => Self::StoreFails(failure.to_string()),
        }
    }
}
