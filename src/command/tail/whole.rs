//! A whole record, readable, in several lines.

use std::fmt::Write as _;

use super::line::{colour, millis, printable};
use super::trigger::{Assignment, Event, Finding, Pointer, Trigger, Upstream};

/// The text of a record, without the last line's end.
#[derive(Debug)]
struct Whole(String);

/// All of `trigger`.
pub(in crate::command) fn whole(trigger: &Trigger, has_colours: bool) -> String {
    let decision = printable(&trigger.decision);
    let decision = match colour(&trigger.decision).filter(|_| has_colours) {
        Some(colour) => format!("\x1b[{colour}m{decision}\x1b[0m"),
        None => decision,
    };
    let [time, reason, why] = [&trigger.time, &trigger.reason, &trigger.why].map(|text| printable(text));
    let mut whole = Whole(format!("{time}  {decision} ({reason}): {why}"));
    whole.field("id", &trigger.id);
    whole.field("app", &trigger.app);
    whole.field("caller", &trigger.caller);
    whole.field("request", &format!("{} {}, {} bytes", trigger.method, trigger.path, trigger.size));
    if let Some(inexact) = &trigger.inexact {
        whole.field("not exact", inexact);
    }
    trigger.events.iter().for_each(|event| whole.event(event));
    whole.more(trigger.more_events, "events");
    trigger.rules.iter().for_each(|finding| whole.finding(finding));
    whole.more(trigger.more_rules, "findings of rules");
    for rule in &trigger.not_matched {
        whole.field("no match", &format!("{}, {} on {}: {}", rule.rule, rule.event, rule.channel, rule.why));
    }
    if let Some(upstream) = &trigger.upstream {
        whole.upstream(upstream, &trigger.why);
    }
    whole.field("answer", &format!("{} after {}", trigger.answer.status, millis(trigger.answer.took_ms)));
    whole.0
}

impl Whole {
    fn field(&mut self, name: &str, value: &str) {
        self.line(&format!("{name:<12}"), value);
    }

    /// A line that belongs to the one before.
    fn detail(&mut self, name: &str, value: &str) {
        self.line(&format!("  {name:<10}"), value);
    }

    fn line(&mut self, name: &str, value: &str) {
        write!(self.0, "\n    {name} {}", printable(value)).expect("a string takes any text");
    }

    fn more(&mut self, number: u64, what: &str) {
        if number > 0 {
            self.field("", &format!("and {number} more {what}"));
        }
    }

    fn event(&mut self, event: &Event) {
        let mut text = format!("{} on {}", event.event, event.channels.join(", "));
        if event.more_channels > 0 {
            text.push_str(&format!(" and {} more channels", event.more_channels));
        }
        if event.socket_id {
            text.push_str(", with a socket_id");
        }
        if event.info {
            text.push_str(", asks for info");
        }
        self.field("event", &text);
        match &event.data {
            Some(data) => self.detail("data", data.get()),
            None => self.detail("data", &format!("{} bytes, not recorded (admin.payloads)", event.data_size)),
        }
    }

    fn finding(&mut self, finding: &Finding) {
        let Finding { rule, event, channel, decision, reason, why, .. } = finding;
        self.field("rule", &format!("{rule}: {event} on {channel}: {decision} ({reason}): {why}"));
        if let Some(assignment) = &finding.assignment {
            self.detail("now", &assigned(assignment));
        }
        if let Some(before) = &finding.before {
            self.detail("before", &assigned(before));
        }
        if let Some(since) = &finding.known_since {
            self.detail("known since", since);
        }
        if finding.differs {
            self.detail("differs", "something else in its data, from what guests show (GET /report counts what)");
        }
    }

    /// `why`: the reason that is shown already.
    fn upstream(&mut self, upstream: &Upstream, why: &str) {
        let status = upstream.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        let mut text =
            format!("sent {}; {status} after {}; {}", upstream.sent, millis(upstream.took_ms), upstream.outcome);
        if upstream.retries > 0 {
            text.push_str(&format!("; sent again {} times", upstream.retries));
        }
        self.field("upstream", &text);
        if let Some(error) = upstream.error.as_deref().filter(|error| *error != why) {
            self.detail("error", error);
        }
    }
}

fn assigned(assignment: &Assignment) -> String {
    let pair = |Pointer { pointer, value }: &Pointer| format!("{pointer} = {}", value.get());
    let pairs = std::iter::once(&assignment.identity).chain(&assignment.context).map(pair);
    pairs.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_shown_whole_and_without_control_characters() {
        let trigger: Trigger = serde_json::from_str(
            r#"{"id":"5f3a9c01-42","time":"2026-01-31T08:09:10.123Z","app":"1001","caller":"10.0.0.7","method":"POST","path":"/apps/1001/events",
            "size":231,"decision":"failed","reason":"changed","why":"Over quota",
            "events":[{"event":"e\u001b[2J","channels":["a","b"],"more_channels":1,"socket_id":true,"data":{"a":[1]},"data_size":9},{"event":"x","channels":[]}],
            "rules":[{"rule":"r","event":"e","channel":"a","decision":"forwarded","reason":"changed","why":"w","known_since":"t",
              "assignment":{"identity":{"pointer":"/id","value":7},"context":[{"pointer":"/c","value":null}]},
              "before":{"identity":{"pointer":"/id","value":"7"},"context":[]}}],
            "not_matched":[{"rule":"q","event":"x","channel":"a","why":"event `x` is not `y`"}],
            "upstream":{"sent":"reduced","status":403,"took_ms":12.5,"retries":1,"error":"Over quota","outcome":"partial"},
            "answer":{"status":403,"took_ms":12.9}}"#,
        )
        .unwrap();
        let text = whole(&trigger, false);
        let expected = "2026-01-31T08:09:10.123Z  failed (changed): Over quota
    id           5f3a9c01-42
    app          1001
    caller       10.0.0.7
    request      POST /apps/1001/events, 231 bytes
    event        e\\u{1b}[2J on a, b and 1 more channels, with a socket_id
      data       {\"a\":[1]}
    event        x on \n      data       0 bytes, not recorded (admin.payloads)
    rule         r: e on a: forwarded (changed): w
      now        /id = 7, /c = null
      before     /id = \"7\"
      known since t
    no match     q, x on a: event `x` is not `y`
    upstream     sent reduced; 403 after 12 ms; partial; sent again 1 times
    answer       403 after 13 ms";
        assert_eq!(text, expected);
    }
}
