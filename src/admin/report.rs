//! `/report`: what each rule has suppressed or would suppress, and events on channels that no rule expects them on.

use serde::Serialize;

use super::Admin;
use super::misplaced::channels;
use super::reply::{self, Reply};
use super::rfc3339::rfc3339;
use crate::report::{
    Bypassed as CameBeside, DifferenceSummary, Misplaced, Occurrences, REFRESH_PERIODS, RuleReport, Saved, Savings,
    Summary,
};
use crate::rules::LateJoiners;

/// The body of the answer.
#[derive(Serialize)]
struct ReportView {
    /// When counting began.
    since: String,
    rules: Vec<Rule>,
    misplaced: Vec<MisplacedEvent>,
}

#[derive(Serialize)]
struct Rule {
    app: String,
    rule: String,
    mode: &'static str,
    suppressed: u64,
    would_suppress: u64,
    messages_saved: u64,
    audience_known: bool,
    first: Option<String>,
    last: Option<String>,
    late_joiners: u64,
    top_channels: Vec<TopChannel>,
    differences: Differences,
    would_save: WouldSave,
    bypassed: Bypassed,
}

/// What came another way than through usher.
#[derive(Serialize)]
struct Bypassed {
    count: u64,
    channel: Option<String>,
    last: Option<String>,
}

/// What each setting of `late_joiners` and `refresh_after` would have dropped on a sample of the rule's channels.
#[derive(Serialize)]
struct WouldSave {
    channels: usize,
    announcements: u64,
    sees_clients: bool,
    /// What is wrong with the present setting.
    warning: Option<String>,
    settings: Vec<SavedBySetting>,
    proposal: String,
}

#[derive(Serialize)]
struct SavedBySetting {
    /// As it is written in the configuration.
    setting: String,
    suppressed: u64,
    messages_saved: u64,
}

/// What the rule's redundant announcements say otherwise than what guests show.
#[derive(Serialize)]
struct Differences {
    on_difference: &'static str,
    compared: u64,
    differing: u64,
    unexplained: u64,
    pointers: Vec<Pointer>,
}

#[derive(Serialize)]
struct Pointer {
    pointer: String,
    count: u64,
}

#[derive(Serialize)]
struct TopChannel {
    channel: String,
    suppressed: u64,
}

#[derive(Serialize)]
struct MisplacedEvent {
    app: String,
    event: String,
    channel_family: String,
    expected: String,
    /// The most frequent channels among the triggers whose records are kept.
    channels: Vec<String>,
    count: u64,
    last: String,
}

impl WouldSave {
    /// `replays`: whether `late_joiners = "replay"` is more than `"forward"`.
    fn of(savings: &Savings, late_joiners: LateJoiners, replays: bool) -> Self {
        let &Savings { channels, announcements, ignore, forward, refresh, sees_clients } = savings;
        let setting = |setting, Saved { announcements, messages }| SavedBySetting {
            setting,
            suppressed: announcements,
            messages_saved: messages,
        };
        let warning = savings.warning(late_joiners);
        let named = [("ignore", ignore), ("forward", forward)];
        let by_name = named.map(|(name, saved)| setting(format!("late_joiners = \"{name}\""), saved));
        let minutes = REFRESH_PERIODS.map(|period| period.as_secs() / 60);
        let refreshed = minutes.into_iter().zip(refresh);
        let refreshed = refreshed.map(|(minutes, saved)| setting(format!("refresh_after = \"{minutes}m\""), saved));
        let settings = by_name.into_iter().chain(refreshed).collect();
        Self { channels, announcements, sees_clients, warning, settings, proposal: savings.proposal(replays) }
    }
}

/// Answers with the complete report. The configuration bounds its length.
pub(super) fn show(admin: &Admin) -> Reply {
    let time = |moment| rfc3339(admin.calendar.unix_time(moment));
    let bypassed = |CameBeside { count, last }| {
        let (channel, last) = last.unzip();
        Bypassed { count, channel, last: last.map(time) }
    };
    let replays = !admin.assignments.is_shared();
    let rule = |RuleReport { rule, tally }| {
        let Summary {
            suppressed,
            would_suppress,
            messages_saved,
            audience_known,
            first,
            last,
            late_joiners,
            top_channels,
        } = tally.summary();
        let DifferenceSummary { compared, differing, unexplained, pointers } = tally.differences();
        let pointer = |(pointer, count)| Pointer { pointer, count };
        Rule {
            app: rule.app.to_string(),
            rule: rule.rule.to_string(),
            mode: rule.mode,
            suppressed,
            would_suppress,
            messages_saved,
            audience_known,
            first: first.map(time),
            last: last.map(time),
            late_joiners,
            top_channels: top_channels
                .into_iter()
                .map(|(channel, suppressed)| TopChannel { channel, suppressed })
                .collect(),
            differences: Differences {
                on_difference: rule.on_difference.label(),
                compared,
                differing,
                unexplained,
                pointers: pointers.into_iter().map(pointer).collect(),
            },
            would_save: WouldSave::of(&tally.savings(), rule.late_joiners, replays),
            bypassed: bypassed(tally.came_beside()),
        }
    };
    let all_misplaced = admin.report.all_misplaced();
    let kinds: Vec<&Misplaced> = all_misplaced.iter().map(|(misplaced, _)| misplaced).collect();
    let misplaced_event = |((misplaced, occurrences), channels): (&(Misplaced, Occurrences), _)| MisplacedEvent {
        app: misplaced.app.to_string(),
        event: misplaced.event.to_string(),
        channel_family: misplaced.channel_family.to_string(),
        expected: misplaced.expected.to_string(),
        channels,
        count: occurrences.count,
        last: time(occurrences.last),
    };
    reply::json(&ReportView {
        since: time(admin.calendar.clock().beginning()),
        rules: admin.report.rules().into_iter().map(rule).collect(),
        misplaced: all_misplaced.iter().zip(channels(admin, &kinds)).map(misplaced_event).collect(),
    })
}
