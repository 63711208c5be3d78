//! Asks running ushers what else differed in the announcements that rules take for redundant, and whether they see the
//! clients for whose sake rules let announcements through (`GET /report`).

use std::time::Duration;

use serde::Deserialize;
use usher::config::{Config, Origin, Warning};
use usher::report::DifferenceSummary;
use usher::rules::{LateJoiners, OnDifference};
use usher::tls;

use super::admins::Listener;

/// How long an usher may take to answer.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// The part of `GET /report` (docs/endpoints.md) that is read.
#[derive(Deserialize)]
struct Report {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    app: String,
    rule: String,
    differences: Differences,
    would_save: WouldSave,
}

#[derive(Deserialize)]
struct WouldSave {
    /// About the setting of the running usher.
    warning: Option<String>,
}

#[derive(Deserialize)]
struct Differences {
    compared: u64,
    differing: u64,
    unexplained: u64,
    pointers: Vec<Pointer>,
}

#[derive(Deserialize)]
struct Pointer {
    pointer: String,
    count: u64,
}

/// A warning for each pointer to what differed in more than an exceptional number of the announcements that a rule of
/// `config` drops, and for each rule that asks for late joiners where no client is seen.
///
/// # Errors
/// One of the ushers does not answer, or not as usher does.
pub(super) async fn warnings(
    config: &Config,
    listeners: &[Listener],
    tls: &tls::Client,
) -> anyhow::Result<Vec<Warning>> {
    let mut warnings = Vec::new();
    for listener in listeners {
        for Rule { app, rule, differences, would_save } in
            listener.document::<Report>("/report", tls, TIME_LIMIT).await?.rules
        {
            let named = config.rules.iter().position(|known| known.spec().name == rule && known.is_for(&app));
            let asks = named.filter(|index| config.rules[*index].spec().late_joiners != LateJoiners::Ignore);
            warnings.extend(asks.zip(would_save.warning).map(|(index, warning)| Warning {
                origin: Origin::Default,
                key: format!("rules.{index}.late_joiners"),
                code: "no_client_seen",
                message: format!("{rule} for app {app} at {}: {warning}.", listener.name),
                cure: "Connect the clients through usher; where that cannot be, set refresh_after instead.".to_owned(),
            }));
            let Some(index) = named.filter(|index| config.rules[*index].spec().on_difference == OnDifference::Count)
            else {
                continue;
            };
            let Differences { compared, differing, unexplained, pointers } = differences;
            let pointers = pointers.into_iter().map(|Pointer { pointer, count }| (pointer, count)).collect();
            let summary = DifferenceSummary { compared, differing, unexplained, pointers };
            let is_ignored = |pointer: &str| {
                config.rules[index].spec().ignore.iter().any(|ignored| {
                    pointer.strip_prefix(ignored.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                })
            };
            for difference in summary.frequent().filter(|difference| !is_ignored(difference.pointer)) {
                warnings.push(Warning {
                    origin: Origin::Default,
                    key: format!("rules.{index}.ignore"),
                    code: "differs_elsewhere",
                    message: format!("{rule} for app {app} at {}: {}.", listener.name, difference.problem()),
                    cure: format!("{}.", difference.cure()),
                });
            }
        }
    }
    Ok(warnings)
}
