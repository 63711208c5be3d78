//! The answers of the endpoints.

use super::*;
use crate::report::Misplaced;

#[tokio::test]
async fn the_index_names_every_endpoint() {
    let running = Running::start().await;
    let index = running.get("/").await;
    assert_eq!(index.status, 200);
    for path in [
        "/metrics",
        "/livez",
        "/readyz",
        "/assignments",
        "/triggers",
        "/triggers/<id>",
        "/triggers/stream",
        "/events",
        "/overview",
        "/cluster",
        "/cluster/close",
        "/cluster/members/<node>",
        "/report",
        "/rules/mode",
        "/token",
    ] {
        assert!(index.body.contains(path), "{path}");
    }
}

#[tokio::test]
async fn metrics_include_the_other_rooms_values() {
    let running = Running::start().await;
    let memory = running.memory("1001");
    announce(&memory, "inn-room-1-chat", "1", &[], Outcome::Accepted);
    announce(&memory, "inn-room-2-chat", "1", &[], Outcome::Accepted);
    running.admin.metrics.rule("1001", "staff-assigned").count(EventDecision::SameAssignment);
    let page = running.get("/metrics").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/plain; version=0.0.4; charset=utf-8")));
    for line in [
        "usher_state_keys{app=\"1001\",rule=\"staff-assigned\"} 2",
        "usher_state_keys{app=\"1002\",rule=\"staff-assigned\"} 0",
        "usher_state_evictions_total{reason=\"capacity\"} 0",
        "usher_waiters 0",
        "usher_triggers_total{app=\"1001\",decision=\"suppressed\",reason=\"same_assignment\",rule=\"staff-assigned\"} 1",
    ] {
        assert!(page.body.lines().any(|it| it == line), "{line} is not in {}", page.body);
    }
}

#[tokio::test]
async fn readiness_ends_with_draining_and_life_does_not() {
    let running = Running::start().await;
    assert_eq!(running.get("/readyz").await.status, 200);
    running.admin.drain.enter(Phase::Leaving);
    assert_eq!(running.get("/readyz").await.error(), (503, "draining".into()));
    let alive = running.get("/livez").await;
    assert_eq!((alive.status, alive.body.as_str()), (200, "ok\n"));
}

#[tokio::test]
async fn an_assignment_is_shown_as_it_is_remembered() {
    let running = Running::start().await;
    let memory = running.memory("1001");
    announce(&memory, "inn-room-1-chat", r#""Anna \u00c9 Byrne""#, &["123", "null"], Outcome::Accepted);
    let listing = running.get("/assignments").await;
    assert_eq!((listing.status, listing.header("usher-truncated")), (200, None));
    // The raw token, not its decoded value: `7` and `"7"` are different identities, and so are two spellings.
    assert!(listing.body.contains(r#""identity":"Anna \u00c9 Byrne","context":[123,null]"#), "{}", listing.body);
    let entry = &listing.json()[0];
    assert_eq!((entry["app"].as_str(), entry["rule"].as_str()), (Some("1001"), Some("staff-assigned")));
    assert_eq!(entry["channel"], "inn-room-1-chat");
    assert_eq!((&entry["announced"], &entry["suppressed"]), (&1.into(), &0.into()));
    assert_eq!((&entry["in_flight"], &entry["in_doubt"]), (&0.into(), &false.into()));
    for time in ["since", "last_seen"] {
        let time = entry[time].as_str().unwrap();
        assert!(time.len() == 24 && time.starts_with("20") && time.ends_with('Z') && &time[10..11] == "T", "{time}");
    }
}

#[tokio::test]
async fn a_channel_in_doubt_has_no_identity() {
    let running = Running::start().await;
    announce(&running.memory("1001"), "inn-room-1-chat", "1", &[], Outcome::Ambiguous);
    let entry = running.get("/assignments").await.json()[0].clone();
    assert_eq!((&entry["identity"], &entry["since"], &entry["in_doubt"]), (&Json::Null, &Json::Null, &true.into()));
}

#[tokio::test]
async fn assignments_are_filtered_sorted_and_limited() {
    let running = Running::start().await;
    for (app, channel) in
        [("1001", "ritz-1"), ("1001", "inn-2"), ("1002", "inn-0"), ("1001", "inn-1"), ("1001", "inn-3")]
    {
        announce(&running.memory(app), channel, "1", &[], Outcome::Accepted);
    }
    let channels = async |query: &str| {
        let listing = running.get(&format!("/assignments?{query}")).await;
        assert_eq!(listing.status, 200, "{listing:?}");
        let entries: Vec<String> = listing
            .json()
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["channel"].as_str().unwrap().to_owned())
            .collect();
        (entries.join(" "), listing.header("usher-truncated").is_some())
    };
    assert_eq!(channels("").await, ("inn-1 inn-2 inn-3 ritz-1 inn-0".into(), false));
    assert_eq!(channels("app=1001&channel=inn%2D").await, ("inn-1 inn-2 inn-3".into(), false));
    assert_eq!(channels("rule=staff-assigned&channel=inn-0").await, ("inn-0".into(), false));
    assert_eq!(channels("limit=5").await, ("inn-1 inn-2 inn-3 ritz-1 inn-0".into(), false));
    let (four, truncated) = channels("limit=4").await;
    assert_eq!((four.as_str(), truncated), ("inn-1 inn-2 inn-3 ritz-1", true));
    assert_eq!(channels("limit=1&app=1002").await, ("inn-0".into(), false));
    assert_eq!(channels("channel=nothing").await, (String::new(), false));
}

#[tokio::test]
async fn a_listing_that_cannot_be_meant_is_refused() {
    let running = Running::start().await;
    for target in [
        "/assignments?limit=0",
        "/assignments?limit=10001",
        "/assignments?chanel=x",
        "/assignments?app=1&app=2",
        "/triggers?rule=x",
        "/triggers?status=4x",
        "/triggers?before=1",
        "/triggers?refused=yes",
        "/events?channel=x",
    ] {
        assert_eq!(running.get(target).await.error(), (400, "bad_query".into()), "{target}");
    }
    assert_eq!(running.get("/assignments?app=1003").await.error(), (404, "not_watched".into()));
    assert_eq!(running.get("/assignments?rule=other").await.error(), (404, "not_watched".into()));
}

#[tokio::test]
async fn a_channel_is_forgotten() {
    let running = Running::start().await;
    let memory = running.memory("1001");
    for channel in ["inn-1", "inn-10", "inn-2"] {
        announce(&memory, channel, "1", &[], Outcome::Accepted);
    }
    announce(&running.memory("1002"), "inn-1", "1", &[], Outcome::Accepted);
    let authorization = format!("Authorization: Bearer {TOKEN}");
    let forget = async |query: &str| running.call(&format!("DELETE /assignments?{query}"), &[&authorization]).await;
    for query in ["app=1001", "channel=inn-1", "app=&channel=inn-1", "app=1001&channel=inn-1&limit=3", ""] {
        assert_eq!(forget(query).await.error(), (400, "bad_query".into()), "{query}");
    }
    assert_eq!(forget("app=1003&channel=inn-1").await.error(), (404, "not_watched".into()));
    assert_eq!(forget("app=1001&rule=other&channel=inn-1").await.error(), (404, "not_watched".into()));
    assert_eq!(memory.len(), 3);
    assert_eq!(forget("app=1001&channel=inn-1").await.json(), serde_json::json!({"forgotten": 1}));
    assert_eq!(forget("app=1001&channel=inn-1&rule=staff-assigned").await.json(), serde_json::json!({"forgotten": 0}));
    let left: Vec<_> = memory.entries("inn-1", 9).into_iter().map(|entry| entry.channel).collect();
    assert_eq!((left, running.memory("1002").len()), (vec!["inn-10".to_owned()], 1));
}

#[tokio::test]
async fn triggers_come_newest_first() {
    let running = Running::start().await;
    running.decided("inn-1", Some("\"Anna\""), EventDecision::NothingKnown);
    running.decided("inn-1", Some("7"), EventDecision::SameAssignment);
    running.decided("ritz-1", None, EventDecision::NoIdentity);
    let shown = running.get("/triggers?app=1001&channel=inn-").await.json();
    let triggers = shown["triggers"].as_array().unwrap();
    assert_eq!((triggers.len(), &shown["missed"], &shown["more"]), (2, &0.into(), &false.into()));
    let newest = &triggers[0];
    let time = newest["time"].clone();
    let expected = serde_json::json!({
        "id": newest["id"], "time": time, "app": "1001", "caller": "10.0.0.7", "method": "POST",
        "path": "/apps/1001/events", "size": 300, "decision": "suppressed", "reason": "same_assignment",
        "why": "the channel is known to show this assignment",
        "events": [{"event": "staff-assigned", "channels": ["inn-1"], "socket_id": false, "info": false, "data_size": 80}],
        "rules": [{
            "rule": "staff-assigned", "event": "staff-assigned", "channel": "inn-1", "position": 0,
            "decision": "suppressed", "reason": "same_assignment", "why": "the channel is known to show this assignment",
            "assignment": {
                "identity": {"pointer": "/staff_id", "value": 7},
                "context": [{"pointer": "/conversation_id", "value": 123}],
            },
            "before": null,
        }],
        "upstream": null,
        "answer": {"status": 200, "took_ms": 1.5},
    });
    assert_eq!(*newest, expected);
    assert_eq!(triggers[1]["rules"][0]["assignment"]["identity"]["value"], "Anna", "7 and \"7\" are different");
    let listed = running.get("/triggers?limit=1").await.json();
    assert_eq!((&listed["triggers"][0]["reason"], &listed["more"]), (&"no_identity".into(), &true.into()));
    let before = listed["triggers"][0]["id"].as_str().unwrap();
    let rest = running.get(&format!("/triggers?before={before}")).await.json();
    assert_eq!(rest["triggers"], shown["triggers"]);
    assert_eq!(running.get("/triggers?app=1002").await.json()["triggers"], serde_json::json!([]));
}

#[tokio::test]
async fn a_trigger_is_shown_with_the_rules_that_did_not_match() {
    let running = Running::start().await;
    running.decided("inn-1", Some("7"), EventDecision::NothingKnown);
    let id = running.get("/triggers").await.json()["triggers"][0]["id"].as_str().unwrap().to_owned();
    let shown = running.get(&format!("/triggers/{id}")).await.json();
    let not_matched = serde_json::json!([{
        "rule": "staff-assigned", "event": "staff-assigned", "channel": "inn-1", "cause": "channel",
        "why": "the channel does not match `{hotel}-room-{room}-chat`",
    }]);
    assert_eq!((&shown["id"], &shown["not_matched"]), (&id.as_str().into(), &not_matched));
    for wrong in ["5f3a9c01-1", "x", "", &format!("{id}0")] {
        assert_eq!(running.get(&format!("/triggers/{wrong}")).await.error(), (404, "no_trigger".into()), "{wrong}");
    }
}

#[tokio::test]
async fn what_came_is_counted_by_event_and_channel() {
    let running = Running::start().await;
    running.decided("inn-1", Some("7"), EventDecision::NothingKnown);
    running.decided("inn-1", Some("7"), EventDecision::SameAssignment);
    running.decided("inn-2", Some("7"), EventDecision::NothingKnown);
    let shown = running.get("/events").await.json();
    let events = shown["events"].as_array().unwrap();
    let view = |index: usize| {
        let event = &events[index];
        (event["event"].as_str().unwrap(), event["channel"].as_str().unwrap(), event["count"].as_u64().unwrap())
    };
    assert_eq!((view(0), view(1)), (("staff-assigned", "inn-1", 2), ("staff-assigned", "inn-2", 1)));
    assert_eq!((&events[0]["watched"], &events[0]["nearest"]), (&true.into(), &Json::Null));
    assert_eq!(running.get("/events?limit=1").await.json()["more"], 1);
    assert_eq!(running.get("/events?app=1002").await.json()["events"], serde_json::json!([]));
}

#[tokio::test]
async fn untrusted_text_stays_text() {
    let running = Running::start().await;
    let channel = "x\"},{\"app\":\"1002\"}]\n\u{1b}\u{2028}\u{0}</script>";
    running.decided(channel, Some("\"cut in the mid"), EventDecision::NothingKnown);
    running.decided(channel, Some("1,\"app\":2"), EventDecision::NothingKnown);
    let shown = running.get("/triggers").await;
    let triggers = shown.json()["triggers"].clone();
    assert_eq!(triggers.as_array().map(Vec::len), Some(2));
    assert_eq!(triggers[0]["events"][0]["channels"][0], channel);
    let identity = |index: usize| triggers[index]["rules"][0]["assignment"]["identity"]["value"].clone();
    assert_eq!((identity(0), identity(1)), ("1,\"app\":2".into(), "\"cut in the mid".into()));
    assert!(!shown.body.contains(['\n', '\u{1b}', '\u{0}']));
}

#[tokio::test]
async fn misplaced_events_name_the_channels_of_their_family() {
    let running = Running::start().await;
    let misplaced = |family: &str| Misplaced {
        app: "1001".into(),
        event: "staff-assigned".into(),
        channel_family: family.into(),
        expected: "{hotel}-room-{room}-chat or {hotel}-hall-{hall}".into(),
    };
    for family in ["other", "{hotel}-desk"] {
        running.admin.report.misplaced(misplaced(family), Moment::from_millis(1));
    }
    for channel in ["a-desk", "lobby", "bar", "bar", "a-room-1-chat", "a-hall-2", "c", "d", "e", "f"] {
        running.decided(channel, None, EventDecision::NoRule);
    }
    let misplaced = running.get("/report").await.json()["misplaced"].clone();
    let channels = |family: &str| {
        let kind = misplaced.as_array().unwrap().iter().find(|kind| kind["channel_family"] == family).unwrap();
        kind["channels"].clone()
    };
    assert_eq!(channels("{hotel}-desk"), serde_json::json!(["a-desk"]));
    assert_eq!(channels("other"), serde_json::json!(["bar", "c", "d", "e", "f"]), "the most frequent five");
}

#[tokio::test]
async fn without_a_cluster_there_is_nothing_to_show_or_to_change() {
    let running = Running::start().await;
    let bearer = format!("Authorization: Bearer {TOKEN}");
    assert_eq!(running.get("/cluster").await.error(), (404, "no_cluster".into()));
    assert_eq!(running.get("/overview").await.json()["cluster"], false);
    for (line, allow) in [("POST /cluster/close?app=1001", "POST"), ("DELETE /cluster/members/a?app=1001", "DELETE")] {
        assert_eq!(running.call(line, &[]).await.error(), (401, "token_missing".into()), "{line}");
        assert_eq!(running.call(line, &[&bearer]).await.error(), (404, "no_cluster".into()), "{line}");
        let (_, target) = line.split_once(' ').unwrap();
        assert_eq!(running.get(target).await.header("allow"), Some(allow), "{line}");
    }
}
