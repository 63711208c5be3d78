//! An app with many rules, of which a trigger meets only those for its events and channels.

use crate::harness::{Fake, Usher};

/// More than are tried one by one.
const WARDS: usize = 40;

/// A rule for each ward, beside the one for rooms: all watch the same event.
fn rules() -> String {
    let rule = |ward: usize| {
        format!(
            "[[rules]]\nname = \"ward-{ward:02}\"\nevent = \"staff-assigned\"\nchannel = \"{{hotel}}-ward-{ward:02}-{{bed}}\"\n\
             identity = [\"/staff_name\"]\nreleased_by = [\"ward-closed\"]\n"
        )
    };
    (0..WARDS).map(rule).collect()
}

#[test]
fn each_of_many_rules_watches_its_own_channels() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| setup.more += &rules());
    let mut client = usher.client();
    for channel in ["h-ward-07-3", "h-ward-39-1", "h-room-1-chat"] {
        client.announce(channel, "Anna").assert_forwarded();
        client.announce(channel, "Anna").assert_suppressed();
    }
    client.announce("h-ward-40-1", "Anna").assert_forwarded();
    client.announce("h-ward-40-1", "Anna").assert_forwarded();
    client
        .trigger(r#"{"name":"ward-closed","channels":["h-ward-07-3","h-room-1-chat"],"data":"{}"}"#)
        .assert_forwarded();
    client.announce("h-ward-39-1", "Anna").assert_suppressed();
    client.announce("h-room-1-chat", "Anna").assert_suppressed();
    client.announce("h-ward-07-3", "Anna").assert_forwarded();
}

#[test]
fn a_channel_that_several_of_many_rules_watch_is_known_to_each() {
    const CHANNEL: &str = "h-ward-07-room-1-chat";
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| setup.more += &rules());
    let mut client = usher.client();
    client.announce(CHANNEL, "Anna").assert_forwarded();
    client.announce(CHANNEL, "Anna").assert_suppressed();
    let named: Vec<String> = usher
        .admin()
        .decisions()
        .iter()
        .take(2)
        .map(|decision| decision["rule"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(named, ["staff-assigned", "ward-07"]);
    client.trigger(&format!(r#"{{"name":"ward-closed","channel":"{CHANNEL}","data":"{{}}"}}"#)).assert_forwarded();
    client.announce(CHANNEL, "Anna").assert_forwarded();
}
