//! The first part of a trigger's record, once it is decided.

use smallvec::SmallVec;

use super::effects::{Effect, Filtered};
use super::{DecisionInProgress, Subject};
use crate::assignment::Assignment;
use crate::decision::EventDecision;
use crate::gateway::Shared;
use crate::gateway::routing::{AppRoute, RuleRoute};
use crate::pusher::{AffectedChannels, Event, Inexact};
use crate::triggers::{
    self, AssignmentRecord, Draft, EventRecord, Finding, Kind, MAX_DATA, MAX_LIST, MAX_TEXT, Payloads, cut,
};

impl DecisionInProgress<'_, '_> {
    /// What is recorded of the trigger. `decisions`: those on its effects, none if it is refused.
    pub(super) fn draft(&self, decisions: &[EventDecision], primary: Option<EventDecision>) -> Draft {
        let triggers = &self.shared.triggers;
        let channels = Some(count(self.trigger.events.iter().map(|event| event.channels.len()).sum()));
        if !triggers.are_kept() {
            return Draft::none().naming(channels);
        }
        let Subject { arrival, line } = self.subject;
        let mut head = arrival.head(&self.app.id, line);
        head.decision = primary;
        let events = &self.trigger.events;
        let records = events.iter().take(MAX_LIST).enumerate();
        // Extended in place: the parts are large.
        head.events.extend(records.map(|(index, event)| self.event(index, event, triggers.payloads())));
        head.more_events = count(events.len().saturating_sub(MAX_LIST));
        let listed = self
            .effects
            .iter()
            .zip(decisions)
            .filter(|(effect, _)| effect.event < MAX_LIST && effect.position < MAX_LIST);
        head.findings.extend(listed.take(MAX_LIST).map(|(effect, decision)| finding(effect, *decision)));
        head.more_findings = count(decisions.len() - head.findings.len());
        head.filtered.extend(self.filtered.iter().take(MAX_LIST).map(filtered));
        Draft::new(if self.effects.is_empty() { Kind::Unmatched } else { Kind::Watched }, &head).naming(channels)
    }

    #[inline]
    fn event<'r>(&self, index: usize, event: &'r Event<'_>, payloads: Payloads) -> EventRecord<'r> {
        let has_data = match payloads {
            Payloads::None => false,
            Payloads::Announcements => self.effects.iter().any(|effect| effect.event == index),
            Payloads::All => true,
        };
        let data = event.data_token();
        EventRecord {
            name: cut(&event.name, MAX_TEXT),
            channels: event.channels.iter().take(MAX_LIST).map(|channel| cut(channel, MAX_TEXT)).collect(),
            more_channels: count(event.channels.len().saturating_sub(MAX_LIST)),
            excludes_socket: event.excludes_socket && !self.is_keyed,
            asks_info: event.wants_info,
            data: has_data.then(|| cut(data, MAX_DATA)),
            data_size: count(data.len()),
        }
    }
}

/// What is recorded of a trigger that cannot be read exactly.
pub(super) fn inexact(shared: &Shared, app: &AppRoute, inexact: &Inexact, subject: Subject<'_>) -> Draft {
    let named = match &inexact.affected {
        AffectedChannels::Listed(channels) => Some(count(channels.len())),
        AffectedChannels::All => None,
    };
    if !shared.triggers.are_kept() {
        return Draft::none().naming(named);
    }
    let Subject { arrival, line } = subject;
    let mut head = arrival.head(&app.id, line);
    head.decision = Some(EventDecision::Inexact);
    head.inexact = Some(inexact.reason.label());
    if let AffectedChannels::Listed(channels) = &inexact.affected {
        let listed: SmallVec<[&str; 1]> =
            channels.iter().take(MAX_LIST).map(|channel| cut(channel, MAX_TEXT)).collect();
        for (index, channel) in listed.iter().enumerate() {
            let rules = app.rules.iter().filter(|route| route.rule.watches(channel));
            head.findings.extend(rules.take(MAX_LIST).map(|route| Finding {
                event: 0,
                channel: index16(index),
                rule: &route.name,
                decision: EventDecision::Inexact,
                assignment: None,
                before: None,
                known_since: None,
            }));
        }
        head.more_findings = count(head.findings.len().saturating_sub(MAX_LIST));
        head.findings.truncate(MAX_LIST);
        let more_channels = count(channels.len().saturating_sub(MAX_LIST));
        // The names of its events are not read exactly either.
        let (name, data) = ("", None);
        head.events.push(EventRecord {
            name,
            channels: listed,
            more_channels,
            excludes_socket: false,
            asks_info: false,
            data,
            data_size: 0,
        });
    }
    Draft::new(Kind::Watched, &head).naming(named)
}

#[inline]
fn finding<'r>(effect: &'r Effect<'_>, decision: EventDecision) -> Finding<'r> {
    Finding {
        event: index16(effect.event),
        channel: index16(effect.position),
        rule: &effect.route.name,
        decision,
        assignment: effect.assignment().map(|assignment| record(assignment, effect.route)),
        before: effect.before.as_ref().map(|before| record(before, effect.route)),
        known_since: effect.known_since().map(crate::clock::Moment::as_millis),
    }
}

#[inline]
fn record<'r>(assignment: &'r Assignment, route: &'r RuleRoute) -> AssignmentRecord<'r> {
    let spec = route.rule.spec();
    let pointer = spec.identity.get(assignment.pointer()).map_or("", String::as_str);
    let tokens = assignment.context().map(|token| cut(token, MAX_TEXT));
    AssignmentRecord {
        pointer: cut(pointer, MAX_TEXT),
        identity: cut(assignment.identity(), MAX_TEXT),
        context: spec.context.iter().map(|pointer| cut(pointer, MAX_TEXT)).zip(tokens).take(MAX_LIST).collect(),
    }
}

fn filtered<'r>(filtered: &'r Filtered<'_>) -> triggers::Filtered<'r> {
    let spec = filtered.route.rule.spec();
    triggers::Filtered {
        event: index16(filtered.event),
        rule: &filtered.route.name,
        pointer: spec.filter.get(filtered.part).map_or("", |(pointer, _)| cut(pointer, MAX_TEXT)),
    }
}

/// An index below [`MAX_LIST`], or of an event of a batch.
fn index16(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
