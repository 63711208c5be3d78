//! Access control: tokens, `Host` and methods.

use super::*;

const ENDPOINTS: [&str; 8] =
    ["/", "/metrics", "/livez", "/readyz", "/assignments", "/triggers", "/overview", "/config"];

#[tokio::test]
async fn other_paths_are_not_found() {
    let running = Running::start().await;
    for path in
        ["/metrics/", "//metrics", "/Metrics", "/debug/pprof", "/assignments/1001", "/%6detrics", "/apps/1001/events"]
    {
        assert_eq!(running.get(path).await.error(), (404, "not_found".into()), "{path}");
    }
}

#[tokio::test]
async fn the_answer_to_another_method_lists_the_supported_ones() {
    let running = Running::start().await;
    for path in ENDPOINTS {
        let allow = if path == "/assignments" { "GET, HEAD, DELETE" } else { "GET, HEAD" };
        for method in ["POST", "PUT", "PATCH", "OPTIONS", "TRACE", "get", "FROBNICATE"] {
            let answer = running.call(&format!("{method} {path}"), &["Content-Length: 0"]).await;
            assert_eq!(
                (answer.error(), answer.header("allow")),
                ((405, "method_not_allowed".into()), Some(allow)),
                "{method} {path}"
            );
        }
        if allow == "GET, HEAD" {
            assert_eq!(running.call(&format!("DELETE {path}"), &[]).await.status, 405, "{path}");
        }
        let head = running.call(&format!("HEAD {path}"), &[]).await;
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
    }
}

#[tokio::test]
async fn a_token_is_checked_on_any_address() {
    for listen in ["127.0.0.1:0", "0.0.0.0:0"] {
        let running = Running::start_on(listen, Some(TOKEN)).await;
        assert_eq!(running.get("/token").await.error(), (401, "token_missing".into()), "{listen}");
        let check = async |token: &str| running.call("GET /token", &[&format!("Authorization: Bearer {token}")]).await;
        assert_eq!(check("wrong").await.error(), (401, "token_wrong".into()), "{listen}");
        assert_eq!(check(TOKEN).await.status, 200, "{listen}");
    }
    let without = Running::start_on("127.0.0.1:0", None).await;
    assert_eq!(without.get("/token").await.error(), (403, "token_not_set".into()));
}

#[tokio::test]
async fn forgetting_needs_the_token_even_on_loopback() {
    let running = Running::start().await;
    let memory = running.memory("1001");
    announce(&memory, "inn-1", "1", &[], Outcome::Accepted);
    let line = "DELETE /assignments?app=1001&channel=inn-1";
    let missing = running.call(line, &[]).await;
    assert_eq!(
        (missing.error(), missing.header("www-authenticate")),
        ((401, "token_missing".into()), Some("Bearer realm=\"usher admin\""))
    );
    for header in ["Authorization: Bearer wrong", "Authorization: Bearer the-operators-toke"] {
        let wrong = running.call(line, &[header]).await;
        assert_eq!(wrong.error(), (401, "token_wrong".into()));
        assert!(wrong.header("www-authenticate").is_some() && !wrong.body.contains(TOKEN));
    }
    assert_eq!(
        running.call("DELETE /assignments", &["Authorization: Basic eDp5"]).await.error(),
        (401, "token_missing".into())
    );
    assert_eq!(memory.len(), 1);
    assert_eq!(running.call(line, &[&format!("Authorization: Bearer {TOKEN}")]).await.status, 200);
    assert_eq!(memory.len(), 0);
}

#[tokio::test]
async fn without_a_configured_token_nothing_can_be_changed() {
    for token in [None, Some("")] {
        let running = Running::start_on("127.0.0.1:0", token).await;
        let memory = running.memory("1001");
        announce(&memory, "inn-1", "1", &[], Outcome::Accepted);
        for header in ["X: y", "Authorization: Bearer ", "Authorization: Bearer x"] {
            let answer = running.call("DELETE /assignments?app=1001&channel=inn-1", &[header]).await;
            assert_eq!(answer.error(), (403, "token_not_set".into()));
            assert!(answer.body.contains("admin.token"));
        }
        assert_eq!((memory.len(), running.get("/assignments").await.status), (1, 200));
    }
}

#[tokio::test]
async fn where_others_can_reach_it_only_machines_are_let_in_freely() {
    let running = Running::start_on("0.0.0.0:0", Some(TOKEN)).await;
    let authorization = format!("Authorization: Bearer {TOKEN}");
    for path in ENDPOINTS {
        let open = ["/metrics", "/livez", "/readyz"].contains(&path);
        assert_eq!(running.get(path).await.status, if open { 200 } else { 401 }, "{path}");
        assert_eq!(
            running.call(&format!("GET {path}"), &["Authorization: Bearer no"]).await.status,
            if open { 200 } else { 401 },
            "{path}"
        );
        assert_eq!(running.call(&format!("GET {path}"), &[&authorization]).await.status, 200, "{path}");
    }
    // The existence of a path is not revealed without a token either.
    assert_eq!(running.get("/nothing").await.status, 401);
    assert_eq!(running.call("GET /nothing", &[&authorization]).await.status, 404);
}

#[tokio::test]
async fn without_a_token_an_exposed_listener_refuses_everything_protected() {
    let running = Running::start_on("0.0.0.0:0", None).await;
    assert_eq!(running.get("/assignments").await.error(), (403, "token_not_set".into()));
    assert_eq!(running.get("/livez").await.status, 200);
}

#[tokio::test]
async fn a_rebound_name_is_refused() {
    let running = Running::start().await;
    let authorization = format!("Authorization: Bearer {TOKEN}");
    for path in ENDPOINTS.into_iter().chain(["/nothing"]) {
        let answer = running.call_raw(&format!("GET {path}"), &["Host: evil.example"]).await;
        assert_eq!(answer.error(), (421, "foreign_host".into()), "{path}");
    }
    let answer =
        running.call_raw("DELETE /assignments?app=1001&channel=x", &["Host: evil.example:9601", &authorization]).await;
    assert_eq!(answer.error(), (421, "foreign_host".into()));
    assert_eq!(running.call_raw("GET http://evil.example/", &["Host: localhost"]).await.status, 421);
    assert_eq!(running.call_raw("GET http://localhost/", &["Host: evil.example"]).await.status, 421);
    for host in ["Host: localhost:9601", "Host: 127.0.0.1", "Host: [::1]:9601", "Host: 192.0.2.7:9601"] {
        assert_eq!(running.call_raw("GET /", &[host]).await.status, 200, "{host}");
    }
    assert_eq!(running.call_raw("GET http://localhost/livez", &["Host: localhost"]).await.status, 200);
    assert_eq!(running.call_raw("GET /", &[]).await.error(), (400, "bad_host".into()));
    assert_eq!(
        running.call_raw("GET /", &["Host: localhost", "Host: evil.example"]).await.error(),
        (400, "bad_host".into())
    );
}

#[tokio::test]
async fn where_others_can_reach_it_the_token_stands_in_for_the_name() {
    let running = Running::start_on("0.0.0.0:0", Some(TOKEN)).await;
    assert_eq!(running.call_raw("GET /triggers", &["Host: usher:9601"]).await.status, 421);
    assert_eq!(running.call_raw("GET /triggers", &["Host: usher:9601", "Authorization: Bearer no"]).await.status, 421);
    assert_eq!(
        running
            .call_raw("GET /triggers", &["Host: usher:9601", &format!("Authorization: Bearer {TOKEN}")])
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn where_others_can_reach_it_machines_ask_by_name_and_without_the_token() {
    let running = Running::start_on("0.0.0.0:0", Some(TOKEN)).await;
    for path in ["/metrics", "/livez", "/readyz"] {
        assert_eq!(running.call_raw(&format!("GET {path}"), &["Host: usher:9601"]).await.status, 200, "{path}");
    }
    assert_eq!(running.call_raw("GET /nothing", &["Host: usher:9601"]).await.status, 421);
}

#[tokio::test]
async fn no_foreign_page_may_read_or_cache_an_answer() {
    let running = Running::start().await;
    for line in ["GET /assignments", "OPTIONS /assignments", "GET /nothing", "GET /metrics"] {
        let answer =
            running.call(line, &["Origin: http://evil.example", "Access-Control-Request-Method: DELETE"]).await;
        assert!(!answer.head.to_ascii_lowercase().contains("access-control-"), "{line}: {}", answer.head);
        assert_eq!(
            (answer.header("cache-control"), answer.header("x-content-type-options")),
            (Some("no-store"), Some("nosniff")),
            "{line}"
        );
    }
}

#[tokio::test]
async fn the_token_is_not_shown_in_debug() {
    let running = Running::start().await;
    assert!(!format!("{:?}", running.admin).contains(TOKEN));
}
