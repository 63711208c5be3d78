//! The answers of the endpoints.

use super::*;

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
        "/decisions",
        "/decisions/stream",
        "/overview",
        "/report",
        "/rules/mode",
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
    running.admin.metrics.rule("1001", "staff-assigned").count(EventDecision::Suppressed);
    let page = running.get("/metrics").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/plain; version=0.0.4; charset=utf-8")));
    for line in [
        "usher_state_keys{app=\"1001\",rule=\"staff-assigned\"} 2",
        "usher_state_keys{app=\"1002\",rule=\"staff-assigned\"} 0",
        "usher_state_evictions_total{reason=\"capacity\"} 0",
        "usher_waiters 0",
        "usher_triggers_total{app=\"1001\",decision=\"suppressed\",rule=\"staff-assigned\"} 1",
    ] {
        assert!(page.body.lines().any(|it| it == line), "{line} is not in {}", page.body);
    }
}

#[tokio::test]
async fn readiness_ends_with_draining_and_life_does_not() {
    let running = Running::start().await;
    assert_eq!(running.get("/readyz").await.status, 200);
    running.admin.drain.begin();
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
        "/decisions?rule=x",
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
async fn decisions_come_newest_first() {
    let running = Running::start().await;
    running.decided("inn-1", Some("\"Anna\""), EventDecision::ForwardedFirst);
    running.decided("inn-1", Some("\"Anna\""), EventDecision::Suppressed);
    running.decided("ritz-1", None, EventDecision::ForwardedUnreadable);
    let shown = running.get("/decisions?app=1001&channel=inn-").await.json();
    let expected = |decision: &str| {
        serde_json::json!({"time": shown[0]["time"], "app": "1001", "rule": "staff-assigned", "channel": "inn-1", "identity": "Anna",
            "decision": decision, "reason": "because"})
    };
    assert_eq!(shown, serde_json::json!([expected("suppressed"), expected("forwarded_first")]));
    let newest = running.get("/decisions?limit=1").await;
    assert_eq!((newest.header("usher-truncated"), &newest.json()[0]["identity"]), (Some("true"), &Json::Null));
    assert_eq!(running.get("/decisions?app=1002").await.json(), serde_json::json!([]));
}

#[tokio::test]
async fn untrusted_text_stays_text() {
    let running = Running::start().await;
    let channel = "x\"},{\"app\":\"1002\"}]\n\u{1b}\u{2028}\u{0}</script>";
    running.decided(channel, Some("\"cut in the mid"), EventDecision::ForwardedFirst);
    running.decided(channel, Some("1,\"app\":2"), EventDecision::ForwardedFirst);
    let shown = running.get("/decisions").await;
    let records = shown.json();
    assert_eq!(records.as_array().map(Vec::len), Some(2));
    assert_eq!((records[0]["channel"].as_str(), records[0]["identity"].as_str()), (Some(channel), Some("1,\"app\":2")));
    assert_eq!(records[1]["identity"], "\"cut in the mid");
    assert!(!shown.body.contains(['\n', '\u{1b}', '\u{0}']));
}
