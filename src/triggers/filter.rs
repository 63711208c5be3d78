//! Which records a reader wants.

use std::fmt;
use std::str::FromStr;

use super::record::Record;

/// Which records a reader wants. The default is all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those of this app.
    pub app: Option<String>,
    /// Those with a channel that begins so.
    pub channel: Option<String>,
    /// Those with this event.
    pub event: Option<String>,
    /// Those with this decision ([`Record::decision`], or that of an event on a channel).
    pub decision: Option<String>,
    /// Those with this reason ([`Record::reason`], or that of an event on a channel).
    pub reason: Option<String>,
    /// Those whose answer has such a status.
    pub status: Option<StatusPattern>,
    /// Those of a caller whose address begins so.
    pub caller: Option<String>,
    /// `true`: those that usher refused; `false`: the others.
    pub refused: Option<bool>,
    /// Those that upstream did not take (`true`), or the others.
    pub failed: Option<bool>,
}

/// One status, such as 404, or a class, such as `4xx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusPattern {
    first: u16,
    last: u16,
}

/// The text is no status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a status is a number such as 404, or a class such as 4xx")]
pub struct InvalidStatus;

impl FromStr for StatusPattern {
    type Err = InvalidStatus;

    fn from_str(text: &str) -> Result<Self, InvalidStatus> {
        if let Some(class) = text.strip_suffix("xx").or_else(|| text.strip_suffix("XX")) {
            let class = class.parse().ok().filter(|class| (1..=5).contains(class)).ok_or(InvalidStatus)?;
            let class: u16 = class;
            return Ok(Self { first: class * 100, last: class * 100 + 99 });
        }
        let status = text.parse().ok().filter(|status| (100..=599).contains(status)).ok_or(InvalidStatus)?;
        Ok(Self { first: status, last: status })
    }
}

impl fmt::Display for StatusPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}xx", self.first / 100) }
    }
}

impl Filter {
    /// Whether `record` is wanted.
    #[must_use]
    pub fn admits(&self, record: &Record<'_>) -> bool {
        let Self { app, channel, event, decision, reason, status, caller, refused, failed } = self;
        let Record { head, tail } = record;
        let mut channels = head.events.iter().flat_map(|event| event.channels.iter());
        let mut findings = head.findings.iter().map(|finding| finding.decision);
        app.as_ref().is_none_or(|app| app == head.request.app)
            && channel.as_ref().is_none_or(|prefix| channels.any(|channel| channel.starts_with(prefix.as_str())))
            && event.as_ref().is_none_or(|event| head.events.iter().any(|known| known.name == event))
            && decision.as_ref().is_none_or(|decision| {
                record.decision() == decision || findings.clone().any(|finding| finding.action().label() == decision)
            })
            && reason
                .as_ref()
                .is_none_or(|reason| record.reason() == reason || findings.any(|finding| finding.reason() == reason))
            && status.is_none_or(|pattern| (pattern.first..=pattern.last).contains(&tail.status))
            && caller.as_ref().is_none_or(|prefix| head.request.caller.to_string().starts_with(prefix.as_str()))
            && refused.is_none_or(|refused| refused == (record.decision() == "refused"))
            && failed.is_none_or(|failed| failed == record.has_failed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_number_or_a_class() {
        for (text, bounds) in [("404", (404, 404)), ("4xx", (400, 499)), ("5XX", (500, 599))] {
            let pattern: StatusPattern = text.parse().unwrap();
            assert_eq!((pattern.first, pattern.last), bounds);
            assert_eq!(pattern.to_string(), text.to_lowercase());
        }
        for wrong in ["", "xx", "0xx", "6xx", "4x", "99", "600", "-1"] {
            assert_eq!(wrong.parse::<StatusPattern>(), Err(InvalidStatus), "{wrong}");
        }
    }
}
