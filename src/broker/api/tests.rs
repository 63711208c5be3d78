//! Calls of backends, passed to the broker without a socket (`pusher-protocol.md` 1).

use http::Uri;
use serde_json::{Value, from_str, json};

use super::super::Options;
use super::super::connection::Connection;
use super::super::mailbox::Outgoing;
use super::*;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::pusher::{App, Grant, sign_query};
use crate::shutdown::Drain;

fn app() -> App {
    App::new("1001", "usher-key", "usher-secret")
}

fn broker() -> Arc<Broker> {
    let broker = Broker::new(&Options::default(), Clock::start(), Metrics::new(), Drain::default());
    broker.configure(&[app()]);
    broker
}

/// A connected client whose frames stay in its mailbox.
fn client(broker: &Broker) -> Connection {
    let client = broker.establish(&Uri::from_static("/app/usher-key?protocol=7"), &Arc::default()).unwrap();
    let _greeting = frames(&client);
    client
}

fn frames(client: &Connection) -> Vec<Value> {
    let mut frames = Vec::new();
    while let std::task::Poll::Ready(Outgoing::Frame(frame)) =
        client.mailbox().poll_take(&std::task::Context::from_waker(std::task::Waker::noop()))
    {
        frames.push(from_str(&frame).unwrap());
    }
    frames
}

fn subscribe(client: &mut Connection, name: &str, data: Option<&str>) {
    let auth = Grant::Channel { name, data }.token(&app(), &client.mailbox().id().to_string());
    client.on_message(
        &json!({"event": "pusher:subscribe", "data": {"channel": name, "auth": auth, "channel_data": data}})
            .to_string(),
    );
    let told = frames(client);
    assert_eq!(told[0]["event"], "pusher_internal:subscription_succeeded", "{told:?}");
}

fn request(method: Method, target: &str, body: &str) -> Request<Bytes> {
    Request::builder().method(method).uri(target).body(Bytes::copy_from_slice(body.as_bytes())).unwrap()
}

fn status_and_text(response: &Response<Bytes>) -> (u16, String) {
    (response.status().as_u16(), String::from_utf8(response.body().to_vec()).unwrap())
}

fn post(broker: &Broker, path: &str, body: &str) -> (u16, String) {
    let path = format!("/apps/1001/{path}");
    let query = sign_query(&app(), "POST", &path, &[], Some(body.as_bytes()), Clock::unix_now());
    status_and_text(&answer(broker, &request(Method::POST, &format!("{path}?{query}"), body)))
}

fn get(broker: &Broker, path: &str, parameters: &[(&str, &str)]) -> (u16, String) {
    let path = format!("/apps/1001/{path}");
    let query = sign_query(&app(), "GET", &path, parameters, None, Clock::unix_now());
    status_and_text(&answer(broker, &request(Method::GET, &format!("{path}?{query}"), "")))
}

fn ok(text: &str) -> (u16, String) {
    (200, text.to_owned())
}

#[track_caller]
fn assert_refused(answer: (u16, String), status: u16, text: &str) {
    assert!(answer.0 == status && answer.1.starts_with(text) && answer.1.ends_with('\n'), "{answer:?}");
}

#[test]
fn an_event_reaches_its_channels() {
    let broker = broker();
    let (mut one, mut two) = (client(&broker), client(&broker));
    subscribe(&mut one, "a", None);
    subscribe(&mut two, "private-b", None);
    for body in [
        json!({"name": "new-message", "data": "{\"text\":\"hi\"}", "channels": ["a", "private-b", "a"]}),
        json!({"name": "new-message", "data": "{\"text\":\"hi\"}", "channel": "a", "more": {"x": 1}, "socket_id": null, "info": null}),
    ] {
        let _counts = frames(&one);
        assert_eq!(post(&broker, "events", &body.to_string()), ok("{}"));
        assert_eq!(frames(&one), [json!({"event": "new-message", "channel": "a", "data": "{\"text\":\"hi\"}"})]);
    }
    assert_eq!(frames(&two).last().unwrap()["channel"], "private-b");
}

#[test]
fn the_sender_is_left_out() {
    let broker = broker();
    let (mut one, mut two) = (client(&broker), client(&broker));
    subscribe(&mut one, "a", None);
    subscribe(&mut two, "a", None);
    let (_, _) = (frames(&one), frames(&two));
    let event = |id: &str| json!({"name": "e", "data": "", "channel": "a", "socket_id": id}).to_string();
    assert_eq!(post(&broker, "events", &event(&one.mailbox().id().to_string())), ok("{}"));
    assert_eq!((frames(&one).len(), frames(&two).len()), (0, 1));
    // The socket id of another server excludes no connection.
    assert_eq!(post(&broker, "events", &event("1.99999999999")), ok("{}"));
    assert_eq!((frames(&one).len(), frames(&two).len()), (1, 1));
    assert_refused(post(&broker, "events", &event("x")), 400, "Invalid socket id");
}

#[test]
fn an_event_is_answered_with_the_requested_attributes() {
    let broker = broker();
    let (mut one, mut two) = (client(&broker), client(&broker));
    let data = json!({"user_id": "7"}).to_string();
    subscribe(&mut one, "presence-a", Some(&data));
    subscribe(&mut two, "presence-a", Some(&data));
    subscribe(&mut two, "b", None);
    let body = json!({"name": "e", "data": "{}", "channels": ["presence-a", "b", "c"], "info": "user_count,subscription_count,whatever"});
    assert_eq!(
        post(&broker, "events", &body.to_string()),
        ok(
            r#"{"channels":{"b":{"subscription_count":1},"c":{"subscription_count":0},"presence-a":{"user_count":1,"subscription_count":2}}}"#
        )
    );
    let batch = json!({"batch": [
        {"name": "e", "data": "{}", "channel": "presence-a", "info": "user_count"},
        {"name": "e", "data": "{}", "channel": "b"},
        {"name": "e", "data": "{}", "channel": "b", "info": "subscription_count"},
    ]});
    assert_eq!(
        post(&broker, "batch_events", &batch.to_string()),
        ok(r#"{"batch":[{"user_count":1},{},{"subscription_count":1}]}"#)
    );
}

#[test]
fn a_batch_is_published_in_order_or_not_at_all() {
    let broker = broker();
    let mut one = client(&broker);
    subscribe(&mut one, "a", None);
    let _ = frames(&one);
    let item = |name: &str| json!({"name": name, "data": "{}", "channel": "a"});
    let batch = |items: Vec<Value>| json!({ "batch": items }).to_string();
    assert_eq!(post(&broker, "batch_events", &batch(vec![item("1"), item("2"), item("1")])), ok("{}"));
    assert_eq!(
        frames(&one).iter().map(|frame| frame["event"].as_str().unwrap().to_owned()).collect::<Vec<_>>(),
        ["1", "2", "1"]
    );
    assert_eq!(post(&broker, "batch_events", &batch(vec![])), ok("{}"));
    assert_refused(
        post(&broker, "batch_events", &batch(vec![item("1"), json!({"name": "2", "data": ""})])),
        400,
        "Missing required parameter: channel",
    );
    assert_refused(post(&broker, "batch_events", &batch(vec![item("1"); 11])), 400, "Batch too large (11 > 10)");
    assert_refused(post(&broker, "batch_events", "{}"), 400, "Missing required parameter: batch");
    assert_refused(post(&broker, "batch_events", r#"{"batch":{}}"#), 400, "Expected batch parameter");
    assert_eq!(frames(&one), [] as [Value; 0]);
}

#[test]
fn an_invalid_event_is_refused_with_the_reason() {
    let broker = broker();
    let channels: Vec<String> = (0..101).map(|number| format!("c{number}")).collect();
    for (body, status, text) in [
        (json!(["e", "", "c"]), 400, "The body is not a JSON object"),
        (json!({"data": "", "channel": "c"}), 400, "Missing required parameter: name"),
        (json!({"name": 7, "data": "", "channel": "c"}), 400, "Expected name parameter to be a string"),
        (json!({"name": "é".repeat(201), "data": "", "channel": "c"}), 400, "The event name"),
        (json!({"name": "e", "channel": "c"}), 400, "Missing required parameter: data"),
        (json!({"name": "e", "data": {"a": 1}, "channel": "c"}), 400, "Expected data parameter to be a string"),
        (json!({"name": "e", "data": ""}), 400, "Missing required parameter: channel"),
        (json!({"name": "e", "data": "", "channels": []}), 400, "Missing required parameter: channels"),
        (json!({"name": "e", "data": "", "channels": "c"}), 400, "Expected channels parameter"),
        (json!({"name": "e", "data": "", "channels": ["c", 7]}), 400, "Expected channels parameter"),
        (json!({"name": "e", "data": "", "channels": channels}), 400, "Too many channels (101 > 100)"),
        (json!({"name": "e", "data": "", "channel": "a b"}), 400, "Invalid channel name: \"a b\""),
        (json!({"name": "e", "data": "", "channel": "#a"}), 400, "Invalid channel name"),
        (
            json!({"name": "e", "data": "x".repeat(10_241), "channel": "c"}),
            413,
            "The data content of this event exceeds the allowed maximum (10240 bytes)",
        ),
    ] {
        assert_refused(post(&broker, "events", &body.to_string()), status, text);
    }
    for body in
        ["", "x", r#"{"name":"e","name":"f","data":"","channel":"c"}"#, r#"{"name":"e","data":"","channel":"c"} x"#]
    {
        let answer = post(&broker, "events", body);
        assert_eq!(answer.0, 400, "{body}: {answer:?}");
    }
    let largest = json!({"name": "é".repeat(200), "data": "\n".repeat(10_240), "channels": channels[1..]});
    assert_eq!(post(&broker, "events", &largest.to_string()), ok("{}"));
}

#[test]
fn channels_are_listed() {
    let broker = broker();
    let mut one = client(&broker);
    subscribe(&mut one, "presence-a", Some(r#"{"user_id":"7"}"#));
    subscribe(&mut one, "cache-b", None);
    assert_eq!(get(&broker, "channels", &[]), ok(r#"{"channels":{"cache-b":{},"presence-a":{}}}"#));
    let presence = [("filter_by_prefix", "presence-"), ("info", "user_count,subscription_count")];
    assert_eq!(
        get(&broker, "channels", &presence),
        ok(r#"{"channels":{"presence-a":{"user_count":1,"subscription_count":1}}}"#)
    );
    assert_refused(
        get(&broker, "channels", &[("info", "user_count")]),
        400,
        "user_count may only be requested for presence channels",
    );

    assert_eq!(
        get(&broker, "channels/presence-a", &[("info", "user_count,subscription_count")]),
        ok(r#"{"occupied":true,"user_count":1,"subscription_count":1}"#)
    );
    assert_eq!(
        get(&broker, "channels/nobody", &[("info", "subscription_count")]),
        ok(r#"{"occupied":false,"subscription_count":0}"#)
    );
    assert_refused(
        get(&broker, "channels/nobody", &[("info", "user_count")]),
        400,
        "Cannot retrieve the user count unless",
    );
    assert_eq!(get(&broker, "channels/cache-b", &[("info", "cache")]), ok(r#"{"occupied":true,"cache":null}"#));
    assert_eq!(post(&broker, "events", r#"{"name":"e","data":"{\"a\":1}","channel":"cache-b"}"#), ok("{}"));
    let (status, cached) = get(&broker, "channels/cache%2Db", &[("info", "cache")]);
    let cached: Value = from_str(&cached).unwrap();
    assert_eq!((status, &cached["cache"]["data"]), (200, &json!("{\"a\":1}")));
    assert!((1790..=1800).contains(&cached["cache"]["ttl"].as_u64().unwrap()));
    assert_refused(get(&broker, "channels/a%20b", &[]), 400, "Invalid channel name");
}

#[test]
fn users_are_listed() {
    let broker = broker();
    let (mut one, mut two) = (client(&broker), client(&broker));
    subscribe(&mut one, "presence-a", Some(r#"{"user_id":"7"}"#));
    subscribe(&mut two, "presence-a", Some(r#"{"user_id":10}"#));
    assert_eq!(get(&broker, "channels/presence-a/users", &[]), ok(r#"{"users":[{"id":"10"},{"id":"7"}]}"#));
    assert_eq!(get(&broker, "channels/presence-b/users", &[]), ok(r#"{"users":[]}"#));
    assert_refused(get(&broker, "channels/a/users", &[]), 400, "Users can only be retrieved for presence channels");
    drop(one);
    assert_eq!(get(&broker, "channels/presence-a/users", &[]), ok(r#"{"users":[{"id":"10"}]}"#));
}

#[test]
fn a_user_is_reached_and_sent_away() {
    let broker = broker();
    let (mut anna, other) = (client(&broker), client(&broker));
    let data = r#"{"id":"auth0|7"}"#;
    let auth = Grant::User { data }.token(&app(), &anna.mailbox().id().to_string());
    anna.on_message(&json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": data}}).to_string());
    assert_eq!(frames(&anna)[0]["event"], "pusher:signin_success");
    assert_eq!(
        post(&broker, "events", r##"{"name":"e","data":"{}","channels":["#server-to-user-auth0|7"]}"##),
        ok("{}")
    );
    assert_eq!(frames(&anna), [json!({"event": "e", "channel": "#server-to-user-auth0|7", "data": "{}"})]);
    assert_eq!(get(&broker, "channels", &[]), ok(r#"{"channels":{}}"#));
    assert_eq!(post(&broker, "users/nobody/terminate_connections", "{}"), ok("{}"));
    assert!(!anna.mailbox().is_ending());
    assert_eq!(post(&broker, "users/auth0%7C7/terminate_connections", "{}"), ok("{}"));
    assert!(anna.mailbox().is_ending() && !other.mailbox().is_ending());
}

/// `terminateUserConnections("Zoë & co")` of the Node.js library: it signs the unescaped id, and its HTTP client
/// escapes it in the request line.
#[test]
fn a_user_is_sent_away_by_the_id_that_was_signed() {
    let broker = broker();
    let mut zoe = client(&broker);
    let data = r#"{"id":"Zoë & co"}"#;
    let auth = Grant::User { data }.token(&app(), &zoe.mailbox().id().to_string());
    zoe.on_message(&json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": data}}).to_string());
    let call = |signed: &str, sent: &str| {
        let path = |id: &str| format!("/apps/1001/users/{id}/terminate_connections");
        let query = sign_query(&app(), "POST", &path(signed), &[], Some(b"{}"), Clock::unix_now());
        status_and_text(&answer(&broker, &request(Method::POST, &format!("{}?{query}", path(sent)), "{}")))
    };
    assert_refused(
        call("Zoé & co", "Zo%C3%AB%20&%20co"),
        401,
        "Invalid signature: you should have sent HmacSHA256Hex(\"POST\\n/apps/1001/users/Zo%C3%AB%20&",
    );
    assert!(!zoe.mailbox().is_ending());
    assert_eq!(call("Zoë & co", "Zo%C3%AB%20&%20co"), ok("{}"));
    assert!(zoe.mailbox().is_ending());
}

/// Half of an emoji in a JSON string is no reason to refuse an event or the other nine of a batch.
#[test]
fn a_text_that_was_cut_inside_an_emoji_is_delivered() {
    let broker = broker();
    let mut one = client(&broker);
    subscribe(&mut one, "a", None);
    let _ = frames(&one);
    let event = r#"{"name":"e","channel":"a","data":"Welcome \ud83d"}"#;
    assert_eq!(post(&broker, "events", event), ok("{}"));
    let list = r#"{"name":"e\ud83d","channels":["a"],"data":"{\"text\":\"Welcome \\ud83d\"}"}"#;
    assert_eq!(post(&broker, "events", list), ok("{}"));
    assert_eq!(
        post(&broker, "batch_events", &format!(r#"{{"batch":[{event},{{"name":"f","channel":"a","data":"fine"}}]}}"#)),
        ok("{}")
    );
    let heard: Vec<_> = frames(&one).iter().map(|frame| (frame["event"].clone(), frame["data"].clone())).collect();
    let welcome = (json!("e"), json!("Welcome \u{fffd}"));
    assert_eq!(
        heard,
        [
            welcome.clone(),
            (json!("e\u{fffd}"), json!(r#"{"text":"Welcome \ud83d"}"#)),
            welcome,
            (json!("f"), json!("fine"))
        ]
    );
    for channels in [r#""channel":"a\ud83d""#, r#""channels":["a\ud83d"]"#] {
        assert_refused(
            post(&broker, "events", &format!(r#"{{"name":"e","data":"",{channels}}}"#)),
            400,
            "Invalid channel name",
        );
    }
}

#[test]
fn only_signed_calls_are_answered() {
    let broker = broker();
    let body = r#"{"name":"e","data":"{}","channel":"c"}"#;
    let path = "/apps/1001/events";
    let sign = |app: &App, timestamp| sign_query(app, "POST", path, &[], Some(body.as_bytes()), timestamp);
    let send = |query: &str, body: &str| {
        status_and_text(&answer(&broker, &request(Method::POST, &format!("{path}?{query}"), body)))
    };
    let good = sign(&app(), Clock::unix_now());
    assert_eq!(send(&good, body), ok("{}"));
    assert_refused(
        send(&sign(&App::new("1001", "usher-key", "x"), Clock::unix_now()), body),
        401,
        "Invalid signature: you should have sent HmacSHA256Hex(\"POST\\n/apps/1001/events\\nauth_key=",
    );
    assert_refused(
        send(&sign(&App::new("1001", "x", "usher-secret"), Clock::unix_now()), body),
        400,
        "Unknown auth_key",
    );
    assert_refused(send(&sign(&app(), Clock::unix_now() - 601), body), 401, "Timestamp expired: Given timestamp (");
    assert_refused(send(&good, &body.replace('c', "d")), 401, "body_md5");
    assert_refused(send("", body), 401, "auth_key is missing");
}

/// The Python library signs the MD5 of an empty body with its GETs (`pusher-protocol.md` 2.1), and omits the app when
/// it terminates connections (2.3).
#[test]
fn the_python_library_is_understood() {
    let broker = broker();
    let query = sign_query(&app(), "GET", "/apps/1001/channels", &[], Some(b""), Clock::unix_now());
    assert!(query.contains("body_md5=d41d8cd98f00b204e9800998ecf8427e"));
    assert_eq!(
        status_and_text(&answer(&broker, &request(Method::GET, &format!("/apps/1001/channels?{query}"), ""))),
        ok(r#"{"channels":{}}"#)
    );
    assert_refused(
        status_and_text(&answer(&broker, &request(Method::POST, "/users/7/terminate_connections", "{}"))),
        404,
        "404 NOT FOUND",
    );
}

#[test]
fn other_paths_methods_and_apps_have_distinct_errors() {
    let broker = broker();
    for path in [
        "/apps",
        "/apps/",
        "/apps/1001",
        "/apps/1001/",
        "/apps/1001/event",
        "/apps/1001/events/",
        "/apps/1001/channels/a/b",
        "/x",
        "/app/",
        "/app/a/b",
    ] {
        assert_refused(status_and_text(&answer(&broker, &request(Method::GET, path, ""))), 404, "404 NOT FOUND");
    }
    let refused = answer(&broker, &request(Method::GET, "/apps/1001/events", ""));
    assert_eq!(refused.headers()["allow"], "POST");
    assert_refused(status_and_text(&refused), 405, "405 METHOD NOT ALLOWED");
    assert_refused(
        status_and_text(&answer(&broker, &request(Method::DELETE, "/apps/1001/channels/a", ""))),
        405,
        "405",
    );
    assert_refused(
        status_and_text(&answer(&broker, &request(Method::GET, "/apps/1002/channels", ""))),
        404,
        "Unknown app_id",
    );
    let refused = answer(&broker, &request(Method::GET, "/app/usher-key?protocol=7", ""));
    assert_eq!(refused.headers()["upgrade"], "websocket");
    assert_refused(status_and_text(&refused), 426, "426 UPGRADE REQUIRED: clients connect here by WebSocket");
    assert_refused(status_and_text(&answer(&broker, &request(Method::POST, "/app/usher-key", ""))), 405, "405");
    let health = answer(&broker, &request(Method::GET, "/", ""));
    assert_eq!(
        (status_and_text(&health), &health.headers()["content-type"]),
        (ok("OK\n"), &HeaderValue::from_static("text/plain; charset=utf-8"))
    );
}

#[test]
fn a_reload_changes_the_apps_and_keeps_who_is_there() {
    let broker = broker();
    let mut one = client(&broker);
    subscribe(&mut one, "a", None);
    broker.configure(&[App::new("1001", "new-key", "new-secret"), App::new("1002", "second", "s")]);
    assert_eq!(post(&broker, "events", r#"{"name":"e","data":"{}","channel":"a"}"#).0, 400);
    assert!(broker.establish(&Uri::from_static("/app/usher-key?protocol=7"), &Arc::default()).is_err());
    assert!(broker.establish(&Uri::from_static("/app/second?protocol=7"), &Arc::default()).is_ok());
    assert!(!one.mailbox().is_ending());
    broker.configure(&[App::new("1002", "second", "s")]);
    assert!(one.mailbox().is_ending());
    assert!(matches!(
        broker.establish(&Uri::from_static("/app/new-key?protocol=7"), &Arc::default()),
        Err(ErrorCode::UnknownApp)
    ));
}
