//! The table and what it suggests, on made-up traffic.

use serde_json::{Value, json};

use super::*;

/// Feeds events.
struct Traffic {
    table: Table,
    at: u64,
    /// Milliseconds from one to the next.
    pause: u64,
    turn: u64,
}

impl Traffic {
    fn new() -> Self {
        Self { table: Table::default(), at: 0, pause: 1_000, turn: 0 }
    }

    fn send(&mut self, event: &str, channel: &str, data: &Value) {
        self.at += self.pause;
        let data = self.table.read(&data.to_string()).unwrap();
        let at = Moment::from_millis(self.at);
        let sighting = Sighting { app: "1001", event, channel, audience: Some(3), is_call: true, at };
        self.table.see(sighting, &data);
    }

    /// Another number each time.
    fn turn(&mut self) -> u64 {
        self.turn += 7_919;
        self.turn
    }

    fn uuid(&mut self) -> String {
        let turn = self.turn();
        format!("{turn:08x}-1d2e-4f3a-8b4c-{turn:012x}")
    }

    /// The evening of some rooms: each message is announced by the staff member who wrote it, and there are handoffs.
    fn story(&mut self) {
        const STAFF: [(&str, &str, &str); 3] =
            [("7", "Anna Byrne", "Receptionist"), ("9", "Ben Ortiz", "Concierge"), ("12", "Chi Ito", "Duty Manager")];
        for hotel in ["seaview", "grand-hotel", "ritz", "harbour"] {
            for room in 1..6 {
                let channel = format!("{hotel}-room-{room}-chat");
                let conversation = self.uuid();
                for message in 0..15_usize {
                    let (id, name, role) = STAFF[(message / 5 + room) % 3];
                    let signature = self.turn();
                    let payload = json!({
                        "conversation_id": conversation, "staff_id": id, "staff_name": name, "staff_role": role,
                        "staff_profile_image": format!("https://cdn.example/{id}.png?signature={signature}"),
                    });
                    self.enveloped(&channel, "staff_assigned", &payload);
                    let text = format!("message {signature}");
                    self.enveloped(&channel, "new_message", &json!({ "text": text, "staff_name": name }));
                }
            }
        }
    }

    fn enveloped(&mut self, channel: &str, kind: &str, payload: &Value) {
        let meta = json!({ "event_id": self.uuid(), "ts": 1_764_457_199 + self.turn });
        let data = json!({ "category": "guest_chat", "type": kind, "payload": payload, "meta": meta });
        self.send("realtime_event", channel, &data);
    }

    fn family(&self, kind: &str) -> FamilyReport {
        let families = self.table.report().families;
        families.into_iter().find(|family| family.kinds.get("/type").is_some_and(|its| its == kind)).unwrap()
    }

    fn only(&self) -> FamilyReport {
        let families = self.table.report().families;
        assert_eq!(families.len(), 1, "{families:#?}");
        families.into_iter().next().unwrap()
    }
}

fn pointers(reasoned: &[Reasoned]) -> Vec<&str> {
    reasoned.iter().map(|one| one.pointer.as_str()).collect()
}

#[test]
fn the_story_suggests_its_rule() {
    let mut traffic = Traffic::new();
    traffic.story();
    let family = traffic.family("staff_assigned");
    assert_eq!(family.channel, "{…}-room-{…}-chat");
    let judgement = judge(&family);
    let proposal = judgement.proposal.clone().unwrap();
    assert_eq!((proposal.event.as_str(), proposal.channel.as_str()), ("realtime_event", "{part1}-room-{room}-chat"));
    assert_eq!(pointers(&proposal.identity), ["/payload/staff_id", "/payload/staff_name"]);
    assert_eq!(pointers(&proposal.context), ["/payload/conversation_id"]);
    let mut ignore = pointers(&proposal.ignore);
    ignore.sort_unstable();
    assert_eq!(ignore, ["/meta", "/payload/staff_profile_image"]);
    let kind = |value: &str| value.to_owned();
    assert_eq!(
        proposal.kinds,
        [(kind("/category"), kind("guest_chat")), (kind("/type"), kind("staff_assigned"))].into()
    );
    assert!(judgement.equal.share < 0.01 && (0.8..0.9).contains(&judgement.equal_but.share), "{judgement:?}");
    assert_eq!(judgement.equal_but.deliveries, 3 * judgement.equal_but.calls);
    let steps: Vec<_> = proposal.test.iter().map(|step| (step.expect, step.reason)).collect();
    assert_eq!(steps[..2], [("forwarded", "nothing_known"), ("suppressed", "same_assignment")]);
    assert!(!serde_json::to_string(&family).unwrap().contains("Anna"), "no value is kept");
}

#[test]
fn messages_suggest_nothing() {
    let mut traffic = Traffic::new();
    traffic.story();
    let judgement = judge(&traffic.family("new_message"));
    assert!(matches!(judgement.nothing, Some(Nothing::Differs { .. })), "{judgement:?}");
    assert_eq!(judgement.changing[0].0, "/payload/text");

    // An id of the message alone is news as well, and so is a picture that was taken.
    for field in ["message_id", "id", "request_id", "picture"] {
        let mut traffic = Traffic::new();
        for _ in 0..50 {
            let value =
                if field == "picture" { format!("https://cdn/{}.png?s=1", traffic.uuid()) } else { traffic.uuid() };
            traffic.send("new-message", "a-room-1-chat", &json!({ field: value, "staff_id": 7 }));
        }
        let judgement = judge(&traffic.only());
        assert!(matches!(judgement.nothing, Some(Nothing::Differs { .. })), "{field}: {judgement:?}");
        assert!(judgement.ignore.is_empty(), "{field}");
    }
}

#[test]
fn signals_and_rare_events_suggest_nothing() {
    let mut traffic = Traffic::new();
    for turn in 0..60 {
        let room = turn % 20;
        traffic.send("messages-read", &format!("a-room-{room}-chat"), &json!({ "conversation_id": 100 + room }));
    }
    assert_eq!(judge(&traffic.only()).nothing, Some(Nothing::NeverChanges));
    let mut traffic = Traffic::new();
    (0..3).for_each(|turn| traffic.send("moved", "a", &json!({ "to": turn })));
    assert_eq!(judge(&traffic.only()).nothing, Some(Nothing::TooFew { compared: 2 }));
    let mut traffic = Traffic::new();
    (0..30).for_each(|turn| traffic.send(&format!("moved-{turn}"), "a", &json!({ "to": turn / 8 })));
    assert_eq!(judge(&traffic.only()).nothing, Some(Nothing::EventVaries));
    let mut traffic = Traffic::new();
    (0..30).for_each(|turn| traffic.send("moved", "private-encrypted-a", &json!({ "to": turn / 8 })));
    assert_eq!(judge(&traffic.only()).nothing, Some(Nothing::Channel));
}

#[test]
fn a_plain_state_suggests_a_rule() {
    let mut traffic = Traffic::new();
    for turn in 0..60 {
        traffic.send(
            "lamp",
            &format!("floor-{}", turn % 3),
            &json!({ "on": turn / 9 % 2 == 0, "sent_at": 1_764_457_199 + turn }),
        );
    }
    let proposal = judge(&traffic.only()).proposal.unwrap();
    assert_eq!((pointers(&proposal.identity), pointers(&proposal.ignore)), (vec!["/on"], vec!["/sent_at"]));
}

#[test]
fn what_was_missed_is_not_compared_across() {
    let mut traffic = Traffic::new();
    for _ in 0..4 {
        traffic.send("lamp", "floor-1", &json!({ "on": true }));
        traffic.table.miss();
    }
    assert_eq!((traffic.only().sampled, traffic.only().compared), (4, 0));
}

#[test]
fn a_hundred_thousand_channels_and_events_keep_the_bound() {
    let mut traffic = Traffic::new();
    traffic.pause = 10;
    let mut largest = 0;
    for turn in 0..100_000_u64 {
        let word: String = turn.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
        // Few have as many members as are told apart, which takes its time without optimisation.
        let width = if turn % 50 < 3 { 40 } else { 4 };
        let members: serde_json::Map<String, Value> =
            (0..width).map(|index| (format!("{}_{word}", "k".repeat(index + 1)), json!(turn))).collect();
        let (event, channel) = match turn % 3 {
            0 => (format!("event-{word}"), format!("{word}-of-{word}-{turn}")),
            1 => ("one-event".to_owned(), format!("{word}-room-{turn}-chat")),
            _ => ("another".to_owned(), format!("private-{word}.{word}.{word}")),
        };
        traffic.send(&event, &channel, &Value::Object(members));
        if turn % 5_000 == 0 {
            largest = largest.max(traffic.table.size());
        }
    }
    assert!(largest < 16 << 20, "{largest} bytes");
    let report = traffic.table.report();
    assert!(report.families.len() <= 256 && report.one_in > 1, "{} {}", report.families.len(), report.one_in);
    let counted: u64 = report.families.iter().map(|family| family.count).sum();
    let seen = counted + report.left_out;
    assert!((50_000..200_000).contains(&seen), "an estimate of 100,000: {seen}");
}

#[test]
fn the_widest_families_keep_the_bound() {
    let mut traffic = Traffic::new();
    traffic.pause = 10;
    for family in 0..300_u64 {
        let word: String = family.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
        for turn in 0..34_u64 {
            let key = |index: u64| {
                format!("{}_of_a_long_name_{}", "ab".repeat(index as usize % 8), "c".repeat(index as usize / 8))
            };
            let members: serde_json::Map<String, Value> =
                (0..36).map(|index| (key(index + turn % 2 * 32), json!(turn * 100 + index))).collect();
            traffic.send(&format!("event-{word}"), &format!("{word}-{}", turn % 26), &Value::Object(members));
        }
    }
    let size = traffic.table.size();
    assert!(size < 16 << 20, "{size} bytes");
}

#[test]
fn a_second_has_its_share_and_no_more() {
    let discovery = Discovery::default();
    let now = Moment::from_millis(5_000);
    assert!(!discovery.is_on() && !discovery.follows("1", "c", now));
    discovery.switch_on(1);
    let mut seen = 0;
    for turn in 0..10_000 {
        let channel = format!("room-{turn}");
        if discovery.follows("1", &channel, now) {
            seen += 1;
            let sighting = Sighting { app: "1", event: "e", channel: &channel, audience: None, is_call: true, at: now };
            discovery.see("{}", std::iter::once(sighting), now);
        }
    }
    assert!(seen > 0 && seen <= EVENTS_PER_WORKER, "{seen}");
    let later = Moment::from_millis(6_000);
    let followed = (0..1_000).filter(|turn| discovery.follows("1", &format!("room-{turn}"), later)).count();
    assert!((300..700).contains(&followed), "every second one: {followed}");
    discovery.switch_off();
    assert!(!discovery.follows("1", "room-1", later));
    assert_eq!(discovery.report().families[0].channel, "room-{…}");
}
