//! The queries of the official server libraries, with the embedded broker.

use serde_json::{Value, json};

use super::{Hotel, ROOM};
use crate::harness::Guest;
use crate::harness::backend::Library;
use crate::harness::guest::Device;

const LOBBY: &str = "presence-lobby";

/// One guest in the room, and two in the lobby as well.
fn guests(hotel: &Hotel) -> [Guest; 3] {
    let guests =
        [hotel.guest_as(Device::Node, "anna"), hotel.guest_as(Device::Node, "boris"), hotel.guest(Device::Node)];
    for guest in &guests {
        guest.enter(ROOM);
    }
    for guest in &guests[..2] {
        guest.enter(LOBBY);
    }
    guests
}

/// A call of the Node library that has to succeed; returns the body of the response.
fn body(hotel: &Hotel, method: &str, with: Value) -> Value {
    let answer = hotel.backend.call(method, with);
    assert_eq!(answer["status"], 200, "{answer}");
    answer["body"].clone()
}

fn ids(users: &Value) -> Vec<&str> {
    let mut ids: Vec<&str> =
        users["users"].as_array().unwrap().iter().map(|user| user["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn node_asks_for_channels() {
    let hotel = Hotel::local(Library::Node);
    let _guests = guests(&hotel);
    let get = |path: &str, params: Value| body(&hotel, "get", json!([{ "path": path, "params": params }]));
    assert_eq!(get("/channels", json!({})), json!({ "channels": { ROOM: {}, LOBBY: {} } }));
    let lobbies = get("/channels", json!({ "filter_by_prefix": "presence-", "info": "user_count" }));
    assert_eq!(lobbies, json!({ "channels": { LOBBY: { "user_count": 2 } } }));
    let lobby = get(&format!("/channels/{LOBBY}"), json!({ "info": "user_count" }));
    assert_eq!(lobby, json!({ "occupied": true, "user_count": 2 }));
    let room = get(&format!("/channels/{ROOM}"), json!({ "info": "subscription_count" }));
    assert_eq!(room, json!({ "occupied": true, "subscription_count": 3 }));
    assert_eq!(get("/channels/nowhere", json!({}))["occupied"], false);
    assert_eq!(ids(&get(&format!("/channels/{LOBBY}/users"), json!({}))), ["anna", "boris"]);
    let refused = hotel.backend.try_call("get", json!([{ "path": format!("/channels/{ROOM}/users"), "params": {} }]));
    assert_eq!(refused.unwrap_err().status, Some(400), "users of a channel that has none");
}

#[test]
fn python_asks_for_channels() {
    let hotel = Hotel::local(Library::Python);
    let _guests = guests(&hotel);
    let call = |method: &str, with: Value| hotel.backend.call(method, with);
    assert_eq!(call("channels_info", json!([])), json!({ "channels": { ROOM: {}, LOBBY: {} } }));
    assert_eq!(
        call("channels_info", json!(["presence-", ["user_count"]])),
        json!({ "channels": { LOBBY: { "user_count": 2 } } })
    );
    assert_eq!(call("channel_info", json!([LOBBY, ["user_count"]])), json!({ "occupied": true, "user_count": 2 }));
    assert_eq!(
        call("channel_info", json!([ROOM, ["subscription_count"]])),
        json!({ "occupied": true, "subscription_count": 3 })
    );
    assert_eq!(ids(&call("users_info", json!([LOBBY]))), ["anna", "boris"]);
}

#[test]
fn node_triggers_with_info() {
    let hotel = Hotel::local(Library::Node);
    let [anna, _boris, _other] = guests(&hotel);
    let both = json!([[ROOM, LOBBY], "news", { "text": "fire drill" }, { "info": "subscription_count,user_count" }]);
    let answer = body(&hotel, "trigger", both);
    assert_eq!(answer["channels"][ROOM]["subscription_count"], 3);
    assert_eq!(answer["channels"][LOBBY]["user_count"], 2);
    assert_eq!(
        (anna.wait(ROOM, "news"), anna.wait(LOBBY, "news")),
        (json!({ "text": "fire drill" }), json!({ "text": "fire drill" }))
    );

    let batch = json!([[
        { "channel": ROOM, "name": "one", "data": "1", "info": "subscription_count" },
        { "channel": "empty", "name": "two", "data": "2" },
        { "channel": LOBBY, "name": "three", "data": "3", "info": "user_count" },
    ]]);
    let answer = body(&hotel, "triggerBatch", batch);
    assert_eq!(answer, json!({ "batch": [{ "subscription_count": 3 }, {}, { "user_count": 2 }] }));
    anna.wait(ROOM, "one");
    anna.wait(LOBBY, "three");
}

#[test]
fn an_excluded_socket_receives_nothing() {
    let hotel = Hotel::local(Library::Python);
    let [anna, boris, _other] = guests(&hotel);
    hotel.backend.call("trigger", json!([ROOM, "own", {}, anna.socket()]));
    hotel.backend.trigger(ROOM, "all", &json!({}));
    for guest in [&anna, &boris] {
        guest.wait(ROOM, "all");
    }
    let events = |guest: &Guest| guest.heard(ROOM).into_iter().map(|(event, _)| event).collect::<Vec<_>>();
    assert_eq!((events(&anna), events(&boris)), (vec!["all".to_owned()], vec!["own".to_owned(), "all".to_owned()]));
}

#[test]
fn node_ends_all_connections_of_a_user() {
    let hotel = Hotel::local(Library::Node);
    let [anna, boris, _other] = guests(&hotel);
    for guest in [&anna, &boris] {
        guest.sign_in();
    }
    assert_eq!(body(&hotel, "terminateUserConnections", json!(["anna"])), json!({}));
    anna.actor().wait("the end for good", |report| report["state"] == "disconnected");
    boris.wait(LOBBY, "pusher:member_removed");
    assert_eq!(boris.members(LOBBY), json!(["boris"]));
}
