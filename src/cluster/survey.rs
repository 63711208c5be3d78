//! What an operator wants to know of the servers before several ushers rely on them. Nothing is changed there.

use std::time::Duration;

use redis::Value;

use super::client::AppKeys;
use super::link::{Failure, Link, LinkOptions};
use super::problem::{Problem, answer};
use super::servers::{Address, Servers};
use super::sighting::Sighting;
use super::version::Version;
use crate::shutdown::Tasks;

/// Tells which rights the user lacks.
const RIGHTS: &str = include_str!("scripts/rights.lua");

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// The server that has the app's data.
    pub server: Address,
    /// Its version.
    pub version: Version,
    /// What it says of itself.
    pub sighting: Sighting,
    /// Whether scripts run.
    pub scripted: Scripted,
    /// What each Sentinel says.
    pub sentinels: Vec<(Address, Result<Watch, Problem>)>,
}

/// Whether scripts run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scripted {
    /// They do; these rights are missing.
    Runs(Vec<String>),
    /// They may not.
    NotPermitted(Problem),
    /// The server refuses them now: it is a replica, has too few replicas, or is full.
    Refused(String),
}

/// How a Sentinel watches the primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// After how long it takes the primary for down (`down-after-milliseconds`).
    pub down_after: Duration,
    /// The number of replicas that it knows, also of those that are down: each may be promoted.
    pub replicas: usize,
    /// The number of Sentinels that it knows, itself included.
    pub sentinels: usize,
    /// How many of them have to agree that the primary is down.
    pub quorum: usize,
}

/// Looks at the servers of `options` as a member for `app` would use them.
///
/// # Errors
/// The server that has the app's data cannot be used.
pub async fn survey(options: LinkOptions, app: &AppKeys) -> Result<Survey, Problem> {
    let link = Link::new(LinkOptions { key: app.members(), ..options.clone() }, &Tasks::default());
    link.tried().await?;
    let sentinels = watches(&options).await;
    let lost = |failure: Failure| match link.problem() {
        Some(problem) => problem,
        None => Problem::Unreachable {
            server: link.server().map_or_else(|| first(&options.servers), |(server, _)| server),
            cause: failure.to_string(),
        },
    };
    let (server, version) = link.server().ok_or_else(|| lost(Failure::NotConnected))?;
    Ok(Survey {
        server,
        version,
        sighting: Sighting::of(&link).await.map_err(lost)?,
        scripted: scripted(&link, app).await.map_err(lost)?,
        sentinels,
    })
}

fn first(servers: &Servers) -> Address {
    match servers {
        Servers::One(server) => Some(server),
        Servers::Sentinel { sentinels: all, .. } | Servers::Cluster { nodes: all } => all.first(),
    }
    .cloned()
    .unwrap_or_else(|| Address { host: String::new(), port: 0 })
}

async fn scripted(link: &Link, app: &AppKeys) -> Result<Scripted, Failure> {
    let mut command = redis::cmd("EVAL");
    command.arg(RIGHTS).arg(1).arg(app.members()).arg(app.settled());
    match link.ask(&command).await {
        Ok(missing) => Ok(Scripted::Runs(redis::from_redis_value(missing).map_err(|_| Failure::Malformed)?)),
        Err(Failure::Redis(error)) if !error.is_io_error() => Ok(match link.problem() {
            Some(problem @ Problem::NotPermitted { .. }) => Scripted::NotPermitted(problem),
            Some(_) | None => Scripted::Refused(answer(&error)),
        }),
        Err(failure) => Err(failure),
    }
}

async fn watches(options: &LinkOptions) -> Vec<(Address, Result<Watch, Problem>)> {
    let Servers::Sentinel { sentinels, primary } = &options.servers else { return Vec::new() };
    let mut command = redis::cmd("SENTINEL");
    command.arg("MASTER").arg(primary);
    let dialer = options.dialer();
    let mut watches = Vec::with_capacity(sentinels.len());
    for sentinel in sentinels {
        let watch = dialer.ask_sentinel(sentinel, &command).await.map(|answer| Watch::read(&answer));
        watches.push((sentinel.clone(), watch));
    }
    watches
}

impl Watch {
    /// Reads the answer to `SENTINEL MASTER`: names and values in turn.
    fn read(answer: &Value) -> Self {
        let parts: Vec<String> = redis::from_redis_value_ref(answer).unwrap_or_default();
        let number = |name: &str| {
            let at = parts.iter().step_by(2).position(|part| part == name);
            at.and_then(|at| parts.get(2 * at + 1)?.parse::<u64>().ok()).unwrap_or_default()
        };
        let count = |name: &str| usize::try_from(number(name)).unwrap_or(usize::MAX);
        Self {
            down_after: Duration::from_millis(number("down-after-milliseconds")),
            replicas: count("num-slaves"),
            sentinels: count("num-other-sentinels").saturating_add(1),
            quorum: count("quorum"),
        }
    }
}
