//! The operator's page and its data.

use super::*;

const BROWSER: &str = "Accept: text/html,application/xhtml+xml,*/*;q=0.8";

#[tokio::test]
async fn browsers_get_the_page_and_others_the_index() {
    let running = Running::start().await;
    let page = running.call("GET /", &[BROWSER]).await;
    assert_eq!(
        (page.status, page.header("content-type"), page.header("vary")),
        (200, Some("text/html; charset=utf-8"), Some("accept"))
    );
    assert!(page.body.starts_with("<!doctype html>") && page.body.contains("</script>"));
    let policy = page.header("content-security-policy").unwrap();
    for directive in [
        "default-src 'none'",
        "script-src 'sha256-",
        "style-src 'sha256-",
        "connect-src 'self'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(directive), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    for accept in ["Accept: */*", "Accept: application/json", "X: text/html"] {
        let index = running.call("GET /", &[accept]).await;
        assert_eq!(index.header("content-type"), Some("text/plain; charset=utf-8"), "{accept}");
    }
    assert_eq!(running.call("HEAD /", &[BROWSER]).await.body, "");
    assert_eq!(
        running.call("POST /", &[BROWSER, "Content-Length: 0"]).await.error(),
        (405, "method_not_allowed".into())
    );
}

#[tokio::test]
async fn where_others_can_reach_it_the_page_is_free_and_what_it_shows_is_not() {
    let running = Running::start_on("0.0.0.0:0", Some(TOKEN)).await;
    assert_eq!(running.call("GET /", &[BROWSER]).await.status, 200);
    for path in ["/overview", "/triggers/stream", "/assignments"] {
        assert_eq!(running.get(path).await.error(), (401, "token_missing".into()), "{path}");
    }
    // A page of another name must not be able to imitate this page and ask for the token.
    assert_eq!(running.call_raw("GET /", &["Host: evil.example", BROWSER]).await.error(), (421, "foreign_host".into()));
}

#[tokio::test]
async fn the_overview_counts_by_rule() {
    let running = Running::start().await;
    announce(&running.memory("1001"), "inn-1", "1", &[], Outcome::Accepted);
    let metrics = &running.admin.metrics;
    for (app, decision, times) in [
        ("1001", EventDecision::SameAssignment, 3),
        ("1001", EventDecision::NothingKnown, 1),
        ("1002", EventDecision::WouldSameAssignment, 2),
    ] {
        let rule = metrics.rule(app, "staff-assigned");
        (0..times).for_each(|_| rule.count(decision));
    }
    metrics.app("1001").no_rule(4);
    metrics.app("1002").no_rule(5);
    metrics.upstream_answer(200, Duration::from_millis(3));
    metrics.upstream_failure("connect", Duration::from_millis(30));
    let overview = running.get("/overview").await.json();
    let rule = &overview["rules"][0];
    for (key, expected) in [
        ("app", "1001"),
        ("rule", "staff-assigned"),
        ("mode", "enforce"),
        ("configured", "enforce"),
        ("event", "staff-assigned"),
    ] {
        assert_eq!(rule[key], expected, "{overview}");
    }
    assert_eq!(
        (
            &rule["channels"],
            &rule["decisions"]["suppressed"]["same_assignment"],
            &rule["decisions"]["suppressed_in_flight"]["same_in_flight"],
        ),
        (&1.into(), &3.into(), &0.into())
    );
    assert_eq!(overview["rules"][1]["decisions"]["would_suppress"]["same_assignment"], 2);
    assert_eq!((&overview["unruled"]["forwarded"]["no_rule"], &overview["draining"]), (&9.into(), &false.into()));
    assert_eq!((&overview["token_configured"], &overview["triggers_bytes"]), (&true.into(), &MIN_CAPACITY.into()));
    for key in ["start_doubt_until", "start_doubt_reason"] {
        assert_eq!(overview[key], serde_json::Value::Null);
    }
    assert_eq!(overview["state"], "no memory outlives a process");
    let upstream = &overview["upstream"];
    assert_eq!((&upstream["answers"], &upstream["failures"]), (&1.into(), &1.into()));
    let within = |bound: f64| {
        upstream["seconds"].as_array().unwrap().iter().find(|pair| pair[0].as_f64() == Some(bound)).unwrap()[1].clone()
    };
    assert_eq!((within(0.0025), within(0.005), within(0.05)), (0.into(), 1.into(), 2.into()));
    running.admin.drain.enter(Phase::Leaving);
    let overview = running.get("/overview").await.json();
    assert_eq!((&overview["draining"], &overview["phase"]), (&true.into(), &"leaving".into()));
}

#[tokio::test]
async fn the_page_learns_whether_there_is_a_token_and_not_the_token() {
    for (token, configured) in [(None, false), (Some(""), false), (Some(TOKEN), true)] {
        let overview = Running::start_on("127.0.0.1:0", token).await.get("/overview").await;
        assert_eq!(overview.json()["token_configured"], configured);
        assert!(!overview.body.contains(TOKEN));
    }
}
