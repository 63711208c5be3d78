//! One aligned line for a trigger. Everything from the network is printed without control characters.

use super::trigger::{Finding, Trigger};
use crate::command::terminal::Printable;

/// Columns before the last ones.
const COLUMNS: usize = 9;
/// The least width of each column: of the time, decision, reason, app, event, channel, identity, status, time taken.
const LEAST: [usize; COLUMNS] = [13, 14, 23, 4, 18, 22, 12, 3, 8];
/// The width beyond which a longer text moves its own line only, and not all that follow.
const MOST: usize = 40;

/// Prints triggers as lines of the same columns. A column grows with its texts.
#[derive(Debug)]
pub(super) struct Lines {
    widths: [usize; COLUMNS],
    has_colours: bool,
}

impl Lines {
    /// With colours, or without.
    pub(super) const fn new(has_colours: bool) -> Self {
        Self { widths: LEAST, has_colours }
    }

    /// The line of `trigger`.
    pub(super) fn line(&mut self, trigger: &Trigger) -> String {
        let cells = cells(trigger);
        let mut line = String::new();
        for (index, (cell, width)) in cells.iter().zip(&mut self.widths).enumerate() {
            let length = cell.chars().count();
            *width = (*width).max(length.min(MOST));
            let padding = " ".repeat(width.saturating_sub(length));
            let separator = if index + 1 < COLUMNS { "  " } else { "" };
            // The column that says what happened.
            match colour(&trigger.decision).filter(|_| self.has_colours && index == 1) {
                Some(colour) => line.push_str(&format!("\x1b[{colour}m{cell}\x1b[0m{padding}{separator}")),
                None => line.push_str(&format!("{cell}{padding}{separator}")),
            }
        }
        if let Some(cause) = cause(trigger) {
            line.push_str("  ");
            line.push_str(&cause);
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// The colour of a decision, as the parameter of an SGR sequence.
pub(in crate::command) fn colour(decision: &str) -> Option<&'static str> {
    match decision {
        "suppressed" | "suppressed_in_flight" | "reduced" => Some("32"),
        "would_suppress" => Some("36"),
        "refused" => Some("33"),
        "failed" => Some("31"),
        _ => None,
    }
}

fn cells(trigger: &Trigger) -> [String; COLUMNS] {
    let time = trigger.time.split_once('T').map_or(trigger.time.as_str(), |(_, time)| time);
    let event = trigger.events.first();
    let more_events = (trigger.events.len() as u64).saturating_sub(1) + trigger.more_events;
    let channels = event.map_or((None, 0), |event| {
        let more = (event.channels.len() as u64).saturating_sub(1) + event.more_channels;
        (event.channels.first().map(String::as_str), more)
    });
    [
        printable(time),
        printable(&trigger.decision),
        printable(&trigger.reason),
        printable(&trigger.app),
        first(event.map(|event| event.event.as_str()), more_events),
        first(channels.0, channels.1),
        identity(trigger).unwrap_or_else(|| "-".to_owned()),
        trigger.answer.status.to_string(),
        millis(trigger.answer.took_ms),
    ]
}

/// The first of several.
fn first(text: Option<&str>, more: u64) -> String {
    match (text, more) {
        (None | Some(""), 0) => "-".to_owned(),
        (text, 0) => printable(text.unwrap_or_default()),
        (text, more) => format!("{} +{more}", printable(text.unwrap_or_default())),
    }
}

/// The identity that was read, and the one before it if that was another one.
fn identity(trigger: &Trigger) -> Option<String> {
    let explains = |finding: &&Finding| finding.reason == trigger.reason && finding.assignment.is_some();
    let finding = trigger.rules.iter().find(explains).or_else(|| trigger.rules.first())?;
    let value = |assignment: &super::trigger::Assignment| printable(assignment.identity.value.get());
    let now = finding.assignment.as_ref().map(value)?;
    match finding.before.as_ref().map(value).filter(|before| *before != now) {
        Some(before) => Some(format!("{before} → {now}")),
        None => Some(now),
    }
}

/// Why it was refused or failed: the other reasons say enough by their code.
fn cause(trigger: &Trigger) -> Option<String> {
    match (&trigger.upstream, trigger.decision.as_str()) {
        (_, "refused") => Some(printable(&trigger.why)),
        (Some(upstream), "failed") => {
            let error = upstream.error.as_deref().unwrap_or(&trigger.why);
            let status = upstream.status.map(|status| format!("upstream {status}: ")).unwrap_or_default();
            Some(format!("{status}{}", printable(error)))
        }
        _ => None,
    }
}

/// Text from the network without control characters.
pub(in crate::command) fn printable(text: &str) -> String {
    Printable(text).to_string()
}

/// Milliseconds with as many digits as matter.
pub(super) fn millis(millis: f64) -> String {
    if millis < 10.0 { format!("{millis:.2} ms") } else { format!("{millis:.0} ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger(json: &str) -> Trigger {
        serde_json::from_str(json).unwrap()
    }

    const CHANGED: &str = r#"{"id":"5f3a9c01-42","time":"2026-01-31T08:09:10.123Z","app":"1001","decision":"forwarded","reason":"changed",
        "events":[{"event":"staff-assigned","channels":["h-room-1-chat","h-room-2-chat"],"more_channels":3}],
        "rules":[{"rule":"r","reason":"changed","assignment":{"identity":{"pointer":"/staff_id","value":"7"},"context":[]},
                  "before":{"identity":{"pointer":"/staff_id","value":7},"context":[]}}],
        "answer":{"status":200,"took_ms":1.234},"upstream":{"sent":"untouched","status":200,"outcome":"accepted"}}"#;

    #[test]
    fn a_line_has_the_columns_of_the_lines_before() {
        let mut lines = Lines::new(false);
        let line = lines.line(&trigger(CHANGED));
        assert_eq!(
            line,
            "08:09:10.123Z  forwarded       changed                  1001  staff-assigned      h-room-1-chat +4        7 → \"7\"       200  1.23 ms"
        );
        let other = lines.line(&trigger(
            r#"{"time":"2026-01-31T08:09:11.000Z","app":"77","decision":"refused","reason":"unknown_app","why":"no app","answer":{"status":404,"took_ms":20.4}}"#,
        ));
        assert_eq!(
            other,
            "08:09:11.000Z  refused         unknown_app              77    -                   -                       -             404  20 ms     no app"
        );
    }

    #[test]
    fn only_the_decision_has_a_colour() {
        let mut refused = trigger(CHANGED);
        refused.decision = "failed".to_owned();
        let line = Lines::new(true).line(&refused);
        assert_eq!(line.matches('\x1b').count(), 2);
        assert!(line.contains("\x1b[31mfailed\x1b[0m  "), "{line:?}");
        assert!(!Lines::new(true).line(&trigger(CHANGED)).contains('\x1b'), "what is usual has none");
    }

    #[test]
    fn nothing_that_was_sent_controls_the_terminal() {
        let evil = "\u{1b}[2J\u{9b}31m\n\u{202e}";
        let mut of = trigger(CHANGED);
        for text in [&mut of.time, &mut of.app, &mut of.decision, &mut of.reason, &mut of.events[0].event] {
            evil.clone_into(text);
        }
        evil.clone_into(&mut of.events[0].channels[0]);
        let line = Lines::new(true).line(&of);
        assert!(!line.chars().any(char::is_control) && !line.contains('\u{202e}'), "{line:?}");
    }
}
