//! The first part of a trigger's record, once it is decided.

use smallvec::SmallVec;

use super::effects::{Effect, Filtered};
use super::{DecisionInProgress, Subject};
use crate::assignment::Assignment;
use crate::decision::EventDecision;
use crate::gateway::Shared;
use crate::gateway::app_rules::RuleRoute;
use crate::gateway::routing::AppRoute;
use crate::pusher::{AffectedChannels, Event, Inexact};
use crate::triggers::{
    self, AssignmentRecord, Draft, Encode, EventRecord, Finding, Head, Kind, Limits, List, MAX_TEXT, Payloads, cut,
};

impl DecisionInProgress<'_, '_> {
    /// What is recorded of the trigger. `channels`: the number of those that its events name; `decisions`: those on its
    /// effects, none if it is refused.
    pub(super) fn draft(&self, channels: usize, decisions: &[EventDecision], primary: Option<EventDecision>) -> Draft {
        let triggers = &self.shared.triggers;
        let channels = Some(count(channels));
        if !triggers.are_kept() {
            return Draft::none().naming(channels);
        }
        let kind = if self.effects.is_empty() { Kind::Unmatched } else { Kind::Watched };
        Draft::new(kind, |limits| self.head(decisions, primary, triggers.payloads(), limits)).naming(channels)
    }

    #[inline]
    fn head(
        &self,
        decisions: &[EventDecision],
        primary: Option<EventDecision>,
        payloads: Payloads,
        limits: Limits,
    ) -> impl Encode {
        let Subject { arrival, line } = self.subject;
        let list = limits.list;
        let events = &self.trigger.events;
        let found = self.effects.iter().zip(decisions);
        let listed = found.filter(move |(effect, _)| effect.event < list && effect.position < list);
        Head {
            request: arrival.request(&self.app.id, line),
            inexact: None,
            events: List {
                entries: events
                    .iter()
                    .enumerate()
                    .map(move |(index, event)| self.event(index, event, payloads, limits)),
                most: list,
            },
            all_events: count(events.len()),
            findings: List {
                entries: listed.map(move |(effect, decision)| finding(effect, *decision, list)),
                most: list,
            },
            all_findings: count(decisions.len()),
            filtered: List { entries: self.filtered.iter().map(filtered), most: list },
            decision: primary,
        }
    }

    #[inline]
    fn event<'r>(
        &self,
        index: usize,
        event: &'r Event<'_>,
        payloads: Payloads,
        Limits { list, data: most }: Limits,
    ) -> EventRecord<'r, impl Encode> {
        let has_data = match payloads {
            Payloads::None => false,
            Payloads::Announcements => self.effects.iter().any(|effect| effect.event == index),
            Payloads::All => true,
        };
        let data = event.data_token();
        EventRecord {
            name: cut(&event.name, MAX_TEXT),
            channels: List { entries: event.channels.iter().map(|channel| cut(channel, MAX_TEXT)), most: list },
            all_channels: count(event.channels.len()),
            excludes_socket: event.socket_id.is_some(),
            asks_info: event.wants_info,
            data: has_data.then(|| cut(data, most)),
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
    Draft::new(Kind::Watched, |limits| inexact_head(app, inexact, subject, limits)).naming(named)
}

fn inexact_head<'r>(
    app: &'r AppRoute,
    inexact: &'r Inexact,
    Subject { arrival, line }: Subject<'r>,
    Limits { list, .. }: Limits,
) -> Head<'r> {
    let mut head = arrival.unread(&app.id, line);
    head.decision = Some(EventDecision::Inexact);
    head.inexact = Some(inexact.reason.label());
    let AffectedChannels::Listed(channels) = &inexact.affected else { return head };
    let listed: SmallVec<[&str; 1]> = channels.iter().take(list).map(|channel| cut(channel, MAX_TEXT)).collect();
    let findings = listed.iter().enumerate().flat_map(|(index, channel)| {
        app.rules.watching(channel).map(move |route| Finding {
            event: 0,
            channel: index16(index),
            rule: &route.name,
            decision: EventDecision::Inexact,
            assignment: None,
            before: None,
            known_since: None,
            differs: false,
        })
    });
    head.findings.extend(findings.clone().take(list));
    head.all_findings = count(findings.count());
    head.all_events = 1;
    // The names of its events are not read exactly either.
    let (name, data) = ("", None);
    head.events.push(EventRecord {
        name,
        channels: listed,
        all_channels: count(channels.len()),
        excludes_socket: false,
        asks_info: false,
        data,
        data_size: 0,
    });
    head
}

#[inline]
fn finding<'r>(
    effect: &'r Effect<'_>,
    decision: EventDecision,
    list: usize,
) -> Finding<'r, AssignmentRecord<'r, impl Encode>> {
    Finding {
        event: index16(effect.event),
        channel: index16(effect.position),
        rule: &effect.route.name,
        decision,
        assignment: effect.assignment().map(|assignment| record(assignment, effect.route, list)),
        before: effect.before.as_ref().map(|before| record(before, effect.route, list)),
        known_since: effect.known_since().map(crate::clock::Moment::as_millis),
        differs: matches!(effect.difference(), Some(Some(_))) || decision == EventDecision::ChangedElsewhere,
    }
}

#[inline]
fn record<'r>(
    assignment: &'r Assignment,
    route: &'r RuleRoute,
    list: usize,
) -> AssignmentRecord<'r, impl Encode + use<'r>> {
    let spec = route.rule.spec();
    let pointer = spec.identity.get(assignment.pointer()).map_or("", String::as_str);
    let context = spec.context.iter().map(|pointer| cut(pointer, MAX_TEXT));
    let mut tokens = assignment.tokens().map(|token| cut(token, MAX_TEXT));
    AssignmentRecord {
        pointer: cut(pointer, MAX_TEXT),
        identity: tokens.next().unwrap_or_default(),
        context: List { entries: context.zip(tokens), most: list },
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

/// An index within a list of a record, or of an event of a batch.
fn index16(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
