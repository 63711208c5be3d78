//! The values that `/metrics` takes from the other rooms at the time of a scrape.

use super::Admin;
use super::modes::RuleMode;
use crate::cluster::{AppStore, Open, Standing};
use crate::metrics::{ClusterApp, Keys, RuleState, Sample};
use crate::rules::Mode;

/// The present values.
pub(super) fn sample(admin: &Admin) -> Sample {
    let assignments = &admin.assignments;
    let now = admin.calendar.clock().now();
    let end_of_start_doubt = if assignments.in_start_doubt(now) { assignments.end_of_start_doubt() } else { Some(now) };
    let evictions = assignments.evictions();
    let replayed = admin.replays.held();
    Sample {
        keys: assignments
            .rules()
            .into_iter()
            .map(|rule| Keys { count: rule.memory.len(), app: rule.app, rule: rule.rule })
            .collect(),
        max_keys: assignments.max_channels(),
        modes: admin.mode_switch.rules().into_iter().map(mode).collect(),
        observe: admin.mode_switch.observes(),
        evictions: vec![("capacity", evictions.capacity), ("idle", evictions.idle)],
        replay_bytes: replayed.bytes,
        replay_evictions: replayed.evicted,
        start_doubt_left: end_of_start_doubt.map(|end| end.since(now)),
        waiters: assignments.waiting(),
        tasks: admin.tasks.running(),
        began_at: admin.calendar.unix_time(admin.calendar.clock().beginning()),
        clusters: assignments.stores().into_iter().map(|(app, store)| cluster(app, &store)).collect(),
    }
}

fn mode(rule: RuleMode) -> RuleState {
    const MODES: &[&str] = &[Mode::Enforce.label(), Mode::Observe.label(), Mode::Off.label()];
    RuleState {
        switched: rule.mode != rule.configured,
        app: rule.app,
        rule: rule.rule,
        mode: rule.mode.label(),
        modes: MODES,
    }
}

fn cluster(app: std::sync::Arc<str>, store: &AppStore) -> ClusterApp {
    let member = store.member();
    let (standing, entered) = (member.standing(), member.entered());
    // Another process may have changed it since this one has lost contact.
    let open = entered.as_ref().and_then(|entered| entered.open).filter(|_| standing == Standing::Member);
    ClusterApp {
        app,
        standing: standing.label(),
        standings: Standing::LABELS,
        members: entered.map(|entered| (entered.present, entered.missing)),
        open: Open::ALL.iter().map(|reason| (reason.label(), open == Some(*reason))).collect(),
        conflicts: store.conflicts(),
        epochs: member.epochs().map(|(cause, count)| (cause.label(), count)).collect(),
        round_trips: Some(store.round_trips().clone()),
    }
}
