//! Checks of the store that several ushers share, as a member would use it. Nothing is changed there.

use std::time::Duration;

use tokio::time::timeout;
use usher::cluster::{Address, AppKeys, LinkOptions, PolicyFault, Problem, Scripted, Servers, Survey, Watch, survey};
use usher::config::{Cluster, Config};
use usher::pusher::App;

use super::finding::Finding;

/// The name of the check.
const CHECK: &str = "store";

/// All findings; none without `[cluster]`.
pub(super) async fn examine(config: &Config, time_limit: Duration) -> Vec<Finding> {
    let Some(cluster) = &config.cluster else { return Vec::new() };
    let mut apps: Vec<&str> = config.apps.iter().map(App::id).collect();
    if !matches!(cluster.servers, Servers::Cluster { .. }) || apps.is_empty() {
        // One server has all apps, and without one it is looked at all the same.
        apps.truncate(1);
        apps.resize(1, "none");
    }
    let mut seen: Vec<Address> = Vec::new();
    let mut findings: Vec<Finding> = Vec::new();
    for app in apps {
        let keys = AppKeys::new(&cluster.prefix, app);
        let found = match timeout(time_limit, survey(options(cluster, &keys), &keys)).await {
            // Several apps may be on one node.
            Ok(Ok(survey)) if seen.contains(&survey.server) => continue,
            Ok(Ok(survey)) => {
                seen.push(survey.server.clone());
                judged(cluster, &survey)
            }
            Ok(Err(problem)) => vec![refused(&problem)],
            Err(_elapsed) => {
                let found = format!("the checks did not end within {time_limit:?}");
                vec![Finding::problem(
                    CHECK,
                    "",
                    found,
                    "give them more time with --timeout, or look why it is so slow",
                )]
            }
        };
        for finding in found {
            if !findings.iter().any(|known| known.is_the_same(&finding)) {
                findings.push(finding);
            }
        }
    }
    findings
}

fn options(cluster: &Cluster, keys: &AppKeys) -> LinkOptions {
    cluster.link(keys.members(), 16)
}

fn refused(problem: &Problem) -> Finding {
    Finding::problem(CHECK, "", problem.cause(), problem.cure())
}

/// What is to be said of the servers.
fn judged(cluster: &Cluster, survey: &Survey) -> Vec<Finding> {
    let about = survey.server.to_string();
    let mut findings = vec![connection(cluster, survey, &about)];
    if survey.sighting.is_primary {
        findings.push(scripts(survey, &about));
        findings.push(replicas(cluster, survey, &about));
    } else {
        let advice = "name the primary in cluster.redis_url, or the Sentinels, which know it";
        findings.push(Finding::problem(CHECK, &about, "it is a replica, which refuses every script", advice));
    }
    findings.push(memory(survey, &about));
    for (sentinel, watch) in &survey.sentinels {
        findings.push(match watch {
            Ok(watch) => watching(cluster, watch, &sentinel.to_string()),
            Err(problem) => Finding::warning(CHECK, &sentinel.to_string(), problem.cause(), problem.cure()),
        });
    }
    findings
}

fn connection(cluster: &Cluster, survey: &Survey, about: &str) -> Finding {
    let tls = if cluster.tls.is_some() { "with TLS" } else { "without TLS" };
    let user = cluster.login.username.as_deref().unwrap_or("default");
    let found = format!("{}, {tls}, user {user}, an answer takes {:?}", survey.version, survey.sighting.round_trip);
    if survey.sighting.round_trip > cluster.timeout / 2 {
        let advice =
            "bring usher nearer to it, or set a longer cluster.timeout, with a cluster.lease of at least four of them";
        return Finding::warning(CHECK, about, format!("{found}, more than half of cluster.timeout"), advice);
    }
    Finding::ok(CHECK, about, found)
}

fn scripts(survey: &Survey, about: &str) -> Finding {
    match &survey.scripted {
        Scripted::Runs(missing) if missing.is_empty() => {
            Finding::ok(CHECK, about, "scripts run, and the user has all rights that are needed")
        }
        Scripted::Runs(missing) => Finding::problem(
            CHECK,
            about,
            format!("the user lacks rights: {}", missing.join(", ")),
            "give them by ACL SETUSER; docs/cluster.md has the whole line",
        ),
        Scripted::NotPermitted(problem) => Finding::problem(CHECK, about, problem.cause(), problem.cure()),
        Scripted::Refused(answer) => Finding::problem(
            CHECK,
            about,
            format!("it refuses scripts: {answer}"),
            "what it says is the cause (NOREPLICAS: min-replicas-to-write; OOM: maxmemory); until then everything is forwarded",
        ),
    }
}

fn replicas(cluster: &Cluster, survey: &Survey, about: &str) -> Finding {
    let (needed, found) = (usize::try_from(cluster.replicas).unwrap_or(usize::MAX), survey.sighting.replicas);
    if found > needed {
        return Finding::problem(
            CHECK,
            about,
            format!(
                "it has {found} replicas, and cluster.replicas is {needed}: the scripts are refused, since a replica that has not got a lease could be promoted"
            ),
            format!("set cluster.replicas to {found} on every member, or take replicas away"),
        );
    }
    if survey.sighting.online < needed {
        return Finding::problem(
            CHECK,
            about,
            format!(
                "{} replicas follow it, and cluster.replicas is {needed}: no member gets a lease, and everything is forwarded",
                survey.sighting.online
            ),
            "start the replicas that are missing, or set cluster.replicas to what there is on every member",
        );
    }
    Finding::ok(CHECK, about, format!("{found} replicas follow it, as cluster.replicas says"))
}

fn memory(survey: &Survey, about: &str) -> Finding {
    match survey.sighting.memory.fault() {
        None => Finding::ok(CHECK, about, "maxmemory-policy is noeviction"),
        Some(PolicyFault { is_in_force: true, cause, cure }) => Finding::problem(CHECK, about, cause, cure),
        Some(PolicyFault { is_in_force: false, cause, cure }) => Finding::warning(CHECK, about, cause, cure),
    }
}

fn watching(cluster: &Cluster, watch: &Watch, about: &str) -> Finding {
    let (lease, needed) = (cluster.lease, usize::try_from(cluster.replicas).unwrap_or(usize::MAX));
    let after = watch.down_after;
    if watch.replicas != needed {
        return Finding::warning(
            CHECK,
            about,
            format!(
                "it knows {} replicas, and cluster.replicas is {needed}: it may promote one that has not got a lease",
                watch.replicas
            ),
            "set cluster.replicas to the number on every member; SENTINEL RESET makes it forget replicas that are gone for good",
        );
    }
    if after < lease {
        return Finding::warning(
            CHECK,
            about,
            format!(
                "down-after-milliseconds is {after:?}, shorter than cluster.lease ({lease:?}): a pause of the primary that the members outlast becomes a failover, \
                 after which nothing is suppressed for cluster.member_timeout ({:?})",
                cluster.member_timeout
            ),
            "set it to the lease or longer (SENTINEL SET)",
        );
    }
    if after >= cluster.member_timeout {
        return Finding::warning(
            CHECK,
            about,
            format!("down-after-milliseconds is {after:?}: before a failover the members may have given each other up"),
            "set it to some seconds (SENTINEL SET)",
        );
    }
    let found = format!(
        "it takes the primary for down after {after:?}, and {} of {} Sentinels have to agree",
        watch.quorum, watch.sentinels
    );
    Finding::ok(CHECK, about, found)
}
