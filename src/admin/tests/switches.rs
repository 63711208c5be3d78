//! Changing the modes of rules: access, requests and effects.

use super::*;

const LINE: &str = "POST /rules/mode";

fn body(app: &str, rule: &str, mode: &str) -> String {
    serde_json::json!({ "app": app, "rule": rule, "mode": mode }).to_string()
}

impl Running {
    async fn post(&self, headers: &[&str], body: &str) -> Answer {
        let length = format!("Content-Length: {}", body.len());
        let head = [&[length.as_str()], headers].concat();
        self.call_with_body(LINE, &head, body).await
    }

    async fn switch(&self, body: &str) -> Answer {
        self.post(&[&format!("Authorization: Bearer {TOKEN}"), "Content-Type: application/json"], body).await
    }
}

#[tokio::test]
async fn a_rule_is_switched_and_shown_so() {
    let running = Running::start().await;
    let switched = running.switch(&body("1002", "staff-assigned", "observe")).await;
    assert_eq!(
        (switched.status, switched.json()),
        (200, serde_json::json!({ "from": "enforce", "to": "observe", "warnings": [] }))
    );
    let overview = running.get("/overview").await.json();
    let modes: Vec<_> = overview["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| (rule["mode"].clone(), rule["configured"].clone()))
        .collect();
    assert_eq!(modes, [("enforce".into(), "enforce".into()), ("observe".into(), "enforce".into())]);
    let metrics = running.get("/metrics").await.body;
    for line in [
        "usher_rule_mode{app=\"1001\",mode=\"enforce\",rule=\"staff-assigned\"} 1",
        "usher_rule_mode{app=\"1002\",mode=\"enforce\",rule=\"staff-assigned\"} 0",
        "usher_rule_mode{app=\"1002\",mode=\"observe\",rule=\"staff-assigned\"} 1",
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line} is not in {metrics}");
    }
}

#[tokio::test]
async fn switching_needs_the_token_even_on_loopback() {
    let running = Running::start().await;
    let request = body("1001", "staff-assigned", "off");
    let json = "Content-Type: application/json";
    assert_eq!(running.post(&[json], &request).await.error(), (401, "token_missing".into()));
    assert_eq!(
        running.post(&[json, "Authorization: Bearer wrong"], &request).await.error(),
        (401, "token_wrong".into())
    );
    let rebound =
        running.call_raw(LINE, &["Host: evil.example", json, &format!("Authorization: Bearer {TOKEN}")]).await;
    assert_eq!(rebound.error(), (421, "foreign_host".into()));
    let untold = Running::start_on("127.0.0.1:0", None).await;
    let refused = untold.post(&[json, "Authorization: Bearer x"], &request).await;
    assert!(refused.body.contains("set admin.token") && refused.body.contains("USHER_ADMIN__TOKEN"));
    assert_eq!(refused.error(), (403, "token_not_set".into()));
    let untouched = running.get("/overview").await.json();
    assert_eq!(untouched["rules"][0]["mode"], "enforce");
}

#[tokio::test]
async fn a_form_of_another_page_is_refused_by_its_type() {
    let running = Running::start().await;
    let request = body("1001", "staff-assigned", "off");
    let authorization = format!("Authorization: Bearer {TOKEN}");
    for header in [
        "X: y",
        "Content-Type: text/plain",
        "Content-Type: application/x-www-form-urlencoded",
        "Content-Type: application/jsonp",
    ] {
        assert_eq!(
            running.post(&[&authorization, header], &request).await.error(),
            (415, "not_json".into()),
            "{header}"
        );
    }
    let declared = running.post(&[&authorization, "Content-Type: Application/JSON; charset=utf-8"], &request).await;
    assert_eq!(declared.status, 200);
    for line in ["GET /rules/mode", "DELETE /rules/mode", "PUT /rules/mode"] {
        let answer = running.call(line, &[&authorization]).await;
        assert_eq!(
            (answer.error(), answer.header("allow")),
            ((405, "method_not_allowed".into()), Some("POST")),
            "{line}"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused() {
    let running = Running::start().await;
    for wrong in [
        "",
        "{",
        "[]",
        "{\"app\":\"1001\",\"rule\":\"staff-assigned\"}",
        &body("1001", "staff-assigned", "Off"),
        "{\"x\":1}",
    ] {
        let refused = running.switch(wrong).await;
        assert!(refused.body.contains("observe"), "says what it should be: {}", refused.body);
        assert_eq!(refused.error(), (400, "bad_body".into()), "{wrong}");
    }
    let long = format!("{}{}", " ".repeat(5000), body("1001", "staff-assigned", "off"));
    assert_eq!(running.switch(&long).await.error(), (400, "bad_body".into()));
    for (app, rule) in [("1003", "staff-assigned"), ("1001", "other"), ("", "")] {
        assert_eq!(running.switch(&body(app, rule, "off")).await.error(), (404, "not_watched".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let running = Running::start().await;
    let headers = [&*format!("Authorization: Bearer {TOKEN}"), "Content-Type: application/json", "Content-Length: 100"];
    assert_eq!(running.call_with_body(LINE, &headers, "{").await.error(), (400, "bad_body".into()));
}
