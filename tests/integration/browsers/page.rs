//! The operator's page in a browser while the hotel story runs, and the changes made on it.

use serde_json::{Value, json};

use super::{Hotel, MESSAGES, ROOM, STAFF, staff};
use crate::harness::admin::TOKEN;
use crate::harness::backend::Library;
use crate::harness::usher::Signal;
use crate::harness::{Operator, Setup, Usher, eventually};

const FORGET: &str = "Forget grand-room-101-chat for staff-assigned";

fn hotel() -> Hotel {
    Hotel::local(Library::Node)
}

/// Enters the token in the page's form and submits it.
#[track_caller]
fn confirms(operator: &Operator, yes: &str, token: &str) {
    operator.fills("Admin token", token);
    operator.clicks(yes);
}

/// The decision and the reason of the last trigger.
fn last(hotel: &Hotel) -> String {
    let newest = hotel.usher.admin().triggers().remove(0);
    format!("{} {}", newest["decision"].as_str().unwrap(), newest["reason"].as_str().unwrap())
}

#[test]
fn the_story_is_shown_with_every_reason() {
    let mut hotel = hotel();
    let operator = Operator::open(hotel.usher.admin());
    operator.sees("#state", "Live");
    hotel.tell();
    let (announced, messages) = (STAFF.len() * (MESSAGES + 1), STAFF.len() * MESSAGES);
    operator.sees("#shown", &format!("{} triggers", announced + messages + 1));
    let (rows, triggers) = (operator.reads("#triggers > li"), hotel.usher.admin().triggers());
    assert_eq!(rows.len(), triggers.len());
    for (row, trigger) in rows.iter().zip(&triggers) {
        let badge = match (trigger["decision"].as_str().unwrap(), trigger["reason"].as_str().unwrap()) {
            ("suppressed", _) => "Suppressed",
            (_, "no_rule") => "No rule matched",
            (_, _) => "Forwarded",
        };
        let why = &trigger["why"].as_str().unwrap()[1..];
        let event = trigger["events"][0]["event"].as_str().unwrap();
        for text in [badge, event, ROOM, why, "app 3"] {
            assert!(row.contains(text), "{text} is not in {row}");
        }
        if let Some(identity) = trigger["rules"][0]["assignment"]["identity"]["value"].as_str() {
            assert!(row.contains(identity) && row.contains("staff-assigned · app 3"), "{row}");
        }
    }
    operator.sees("#n-suppressed", &(STAFF.len() * MESSAGES).to_string());
    operator.sees("#n-decided", &(announced + messages + 1).to_string());
    operator.sees("#n-percent", "48.4 %");
    operator.sees("#assignments li", "Anna Byrne");
    assert_eq!(operator.complaints(&[]), [] as [Value; 0]);
    assert_eq!(operator.ask("nameless", json!([])), json!([]));

    hotel.usher.signal(Signal::Term);
    assert_eq!(hotel.usher.wait_exit(), 0, "an open page holds nothing up");
    operator.sees("#state", "No connection");
}

#[test]
fn triggers_are_filtered_paused_and_resumed_and_the_address_says_how() {
    let hotel = hotel();
    for name in ["Anna", "Anna", "Boris"] {
        hotel.announce(name);
    }
    hotel.backend.trigger("plaza-room-7-chat", "staff-assigned", &staff("Zoë"));
    hotel.backend.trigger("plaza-room-7-chat", "note", &json!({}));
    let operator = Operator::open(hotel.usher.admin());
    operator.sees("#shown", "5 triggers");
    operator.selects("Decision", "suppressed");
    operator.sees("#shown", "1 trigger that match");
    assert_eq!(operator.ask("address", json!([])), "#decision=suppressed");
    operator.selects("Decision", "forwarded");
    operator.sees("#shown", "4 triggers that match");
    operator.fills("Channel", "plaza");
    operator.sees("#shown", "2 triggers that match");
    assert_eq!(operator.ask("address", json!([])), "#channel=plaza&decision=forwarded");
    operator.fills("Reason", "nothing_known");
    operator.sees("#shown", "1 trigger that match");
    assert_eq!(operator.reads("#triggers .who"), ["Zoë"]);
    hotel.backend.trigger("plaza-room-8-chat", "staff-assigned", &staff("Žofia"));
    hotel.backend.trigger("grand-room-8-chat", "staff-assigned", &staff("Xaver"));
    operator.sees("#shown", "2 triggers that match");
    assert_eq!(operator.reads("#triggers .who"), ["Žofia", "Zoë"], "what is new is filtered, too");

    let shared = operator.ask("address", json!([]));
    operator.ask("back", json!([]));
    operator.sees("#shown", "3 triggers that match");
    operator.ask("back", json!([]));
    operator.sees("#shown", "6 triggers that match");
    operator.ask("back", json!([]));
    operator.sees("#shown", "1 trigger that match");
    operator.ask("forward", json!([]));
    operator.sees("#shown", "6 triggers that match");
    let other = Operator::open_at(hotel.usher.admin(), 1200, "light", shared.as_str().unwrap());
    other.sees("#shown", "2 triggers that match");
    assert_eq!(other.reads("#triggers .who"), ["Žofia", "Zoë"]);
    other.clicks("Clear the filters");
    other.sees("#shown", "7 triggers");
    other.fills("Channel", "nowhere");
    other.sees("#no-triggers", "No recorded trigger matches the filters.");
    other.clicks("Clear the filters");
    other.ask("click-summary", json!(["More filters"]));
    other.fills("Status", "abc");
    other.sees("#f-error", "a status is a number such as 404, or a class such as 4xx");
    other.fills("Status", "2xx");
    other.sees("#shown", "7 triggers that match");

    other.clicks("Pause");
    other.sees("#state", "Paused");
    hotel.announce("Cem");
    other.sees("#pause", "Resume (1 new)");
    assert_eq!(other.reads("#triggers > li").len(), 7);
    other.clicks("Resume (1 new)");
    other.sees("#triggers > li:first-child", "Cem");
    assert_eq!(other.reads("#triggers > li").len(), 8);
    assert_eq!(operator.complaints(&[]), [] as [Value; 0]);
}

#[test]
fn a_channel_is_forgotten_once_the_token_is_right() {
    let hotel = hotel();
    hotel.announce("Anna Byrne");
    hotel.announce("Anna Byrne");
    assert_eq!(last(&hotel), "suppressed same_assignment");
    let operator = Operator::open(hotel.usher.admin());
    operator.clicks(FORGET);
    operator.clicks("Cancel");
    operator.clicks(FORGET);
    operator.clicks("Forget");
    operator.sees("#ask-error", "Enter the admin token first.");
    confirms(&operator, "Forget", "wrong");
    operator.sees("#ask-error", "The bearer token is neither the configured admin.token nor admin.read_token.");
    hotel.announce("Anna Byrne");
    assert_eq!(last(&hotel), "suppressed same_assignment", "nothing was forgotten yet");
    confirms(&operator, "Forget", TOKEN);
    operator.sees("#said", "grand-room-101-chat is forgotten.");
    operator.misses("#assignments li", ROOM);
    hotel.announce("Anna Byrne");
    assert_eq!(last(&hotel), "forwarded nothing_known");
    // The page does not ask for the token again.
    operator.clicks(FORGET);
    operator.clicks("Forget");
    operator.misses("#assignments li", ROOM);
    assert_eq!(operator.complaints(&["/token"]), [] as [Value; 0]);
}

#[test]
fn a_channel_is_forgotten_by_keyboard_alone() {
    let hotel = hotel();
    hotel.announce("Anna Byrne");
    let operator = Operator::open(hotel.usher.admin());
    operator.sees("#assignments li", ROOM);
    operator.tabs_to(FORGET);
    operator.presses("Enter");
    operator.sees("#ask-title", "Forget this channel?");
    operator.presses("Escape");
    assert_eq!(operator.ask("focused", json!([]))["name"], FORGET, "the keyboard is where it was");
    operator.presses("Enter");
    operator.ask("type", json!([TOKEN]));
    operator.presses("Enter");
    operator.sees("#said", "is forgotten");
    operator.misses("#assignments li", ROOM);
    assert_eq!(operator.ask("focused", json!([]))["name"], "Channel", "and goes on at what is left");
    hotel.announce("Anna Byrne");
    assert_eq!(last(&hotel), "forwarded nothing_known");
}

#[test]
fn a_rule_is_switched_and_acts_at_once() {
    let hotel = hotel();
    let operator = Operator::open(hotel.usher.admin());
    hotel.announce("Anna Byrne");
    operator.chooses("Observe");
    operator.sees("#ask-text", "It lasts until usher reloads its configuration or restarts.");
    operator.clicks("Cancel");
    operator.chooses("Observe");
    confirms(&operator, "Switch to observe", TOKEN);
    operator.sees("#rules .switched", "the configuration says enforce");
    hotel.announce("Anna Byrne");
    assert_eq!(last(&hotel), "would_suppress same_assignment");
    operator.sees("#triggers > li:first-child", "Would suppress");
    assert_eq!(hotel.usher.admin().metric("usher_rule_mode", &["mode=\"observe\""]), 1.0);
    let logged = hotel.usher.wait_log(|event| event.to_string().contains("the operator switched a rule"));
    for text in ["\"staff-assigned\"", "\"enforce\"", "\"observe\"", "\"admin\""] {
        assert!(logged.to_string().contains(text), "{logged}");
    }

    operator.chooses("Off");
    operator.clicks("Switch to off");
    operator.sees("#said", "observe → off");
    hotel.announce("Anna Byrne");
    assert_eq!(last(&hotel), "forwarded no_rule", "nothing watches any more");
    operator.opens("No rule matched");
    operator.sees("#triggers .reasons", "The rule is off.");

    // Triggers that were forwarded while the rule was off may still be in flight.
    operator.chooses("Enforce");
    operator.clicks("Switch to enforce");
    operator.sees("#said", "off → enforce");
    for _ in 0..2 {
        hotel.announce("Anna Byrne");
        assert_eq!(last(&hotel), "forwarded app_in_doubt");
    }
    operator.misses("#rules .switched", "");
}

#[test]
fn what_else_differs_is_in_the_report_and_warned_of() {
    let hotel = hotel();
    for role in ["Receptionist", "Receptionist", "Manager", "Director"] {
        let data = json!({ "staff_name": "Anna Byrne", "staff_role": role, "staff_profile_image": null });
        hotel.backend.trigger(ROOM, "staff-assigned", &data);
    }
    let operator = Operator::open(hotel.usher.admin());
    operator.sees("#report td", "2 of 3");
    operator.sees("#report td", "/staff_role 2");
    operator.opens("Suppressed");
    operator.sees("#triggers .reasons, #triggers dd", "Something else in its data differed");
    operator.chooses("Observe");
    confirms(&operator, "Switch to observe", TOKEN);
    operator.sees("#said", "enforce → observe");
    operator.chooses("Enforce");
    operator.clicks("Switch to enforce");
    operator.sees("#said", "/staff_role differed in 2 of 3 redundant announcements");
    assert_eq!(operator.complaints(&[]), [] as [Value; 0]);
}

#[test]
fn a_reload_takes_the_files_modes_again() {
    let hotel = hotel();
    let operator = Operator::open(hotel.usher.admin());
    operator.chooses("Off");
    confirms(&operator, "Switch to off", TOKEN);
    operator.sees("#rules .switched", "enforce");
    hotel.usher.signal(Signal::Hup);
    operator.misses("#rules .switched", "");
    let mode = || hotel.usher.admin().json("/overview")["rules"][0]["mode"].clone();
    eventually("the file's mode", || (mode() == "enforce").then_some(()));
}

#[test]
fn on_a_phone_by_night_nothing_is_cut_off() {
    let hotel = hotel();
    hotel.tell();
    let long = format!("{}-room-{}-chat", "grandhotel".repeat(9), "9".repeat(60));
    hotel.backend.trigger(&long, "staff-assigned", &staff(&"Maximilian".repeat(20)));
    let operator = Operator::open_on(hotel.usher.admin(), 360, "dark");
    operator.sees("#triggers > li", &long);
    operator.sees("#assignments li", &long);
    operator.sees("#n-suppressed", "60");
    let widths = operator.ask("widths", json!([]));
    assert_eq!(widths[0], widths[1], "no scrolling sideways");
    operator.clicks(&format!("Forget {long} for staff-assigned"));
    operator.sees("#ask-text", &long);
    let widths = operator.ask("widths", json!([]));
    assert_eq!(widths[0], widths[1]);
    assert_eq!(operator.complaints(&[]), [] as [Value; 0]);
}

#[test]
fn what_guests_and_staff_are_called_is_text() {
    let hotel = hotel();
    let name = "<img src=x onerror=\"document.title='evil'\"></bdi><script>document.title='evil'</script>";
    hotel.backend.trigger("grand-room-1-chat", "staff-assigned", &staff(name));
    let operator = Operator::open(hotel.usher.admin());
    operator.sees("#triggers > li", name);
    operator.sees("#assignments li", name);
    assert_eq!(
        (operator.reads("img").len(), operator.reads("script").len(), operator.reads("title")),
        (0, 1, vec!["usher".to_owned()])
    );
    assert_eq!(operator.complaints(&[]), [] as [Value; 0]);
}

#[test]
fn where_others_can_reach_it_the_page_asks_for_the_token_first() {
    let mut setup = Setup::before_url("local");
    setup.admin = setup.admin.replace("127.0.0.1:0", "0.0.0.0:0");
    let hotel = Hotel::with(&setup, None, Library::Node);
    hotel.announce("Anna Byrne");
    let operator = Operator::open(hotel.usher.admin());
    operator.sees("#locked", "needs the admin token");
    operator.sees("#state", "Locked");
    assert_eq!(operator.reads("#triggers > li"), [""; 0]);
    operator.ask("click-in", json!(["#locked", "Enter token"]));
    confirms(&operator, "Use it", "wrong");
    operator.sees("#ask-error", "The bearer token is neither the configured admin.token nor admin.read_token.");
    confirms(&operator, "Use it", TOKEN);
    operator.sees("#triggers > li", "Anna Byrne");
    operator.sees("#assignments li", "Anna Byrne");
    operator.sees("#state", "Live");
}

#[test]
fn without_a_token_in_the_configuration_the_page_says_how_to_set_one() {
    let mut setup = Setup::before_url("local");
    setup.admin = "listen = \"127.0.0.1:0\"\n".to_owned();
    let hotel = Hotel::with(&setup, None, Library::Node);
    hotel.announce("Anna Byrne");
    let operator = Operator::open(hotel.usher.admin());
    operator.sees("#n-decided", "1");
    operator.clicks(FORGET);
    operator.sees("#ask-error", "set admin.token and reload usher");
}

#[test]
fn what_comes_is_shown_with_what_it_suggests() {
    let hotel = hotel();
    for turn in 0..40_usize {
        let name = ["Anna Byrne", "Ben Ortiz"][turn / 10 % 2];
        let picture = format!("https://cdn.example/{}.png?signature={turn}", name.len());
        let room = format!("grand-room-{}-chat", turn % 2);
        hotel.backend.trigger(&room, "agent-here", &json!({ "agent_name": name, "agent_picture": picture }));
        hotel.backend.trigger(&room, "note", &json!({ "text": format!("note {turn}") }));
    }
    let operator = Operator::open(hotel.usher.admin());
    operator.sees("#discovery tbody tr:nth-child(1)", "agent-here");
    operator.sees("#discovery tbody tr:nth-child(1)", "a rule that compares /agent_name");
    operator.sees("#discovery tbody tr:nth-child(1)", "/agent_picture");
    operator.sees("#discovery tbody tr:nth-child(2)", "Nothing: their data differs nearly always");
    operator.sees("#discovery tbody tr:nth-child(2)", "grand-room-{…}-chat");
    assert_eq!(operator.complaints(&[]), [] as [Value; 0]);
    assert_eq!(operator.ask("nameless", json!([])), json!([]));
}

#[test]
fn a_usher_that_observes_says_so_on_the_page() {
    let usher = Usher::start_with(&format!("observe = true\n{}", Setup::before_url("local").toml()));
    let operator = Operator::open(usher.admin());
    operator.sees("#observing", "nothing is suppressed");
}
