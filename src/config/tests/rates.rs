//! `[limits.rates]` and `server.trusted_proxies`.

use super::*;
use crate::rate::{Rate, Rates};

#[test]
fn a_burst_is_a_second_s_worth_unless_it_is_said() {
    let text = format!("{UPSTREAM}[limits.rates]\napp_triggers = 50\npeer_messages = 20\npeer_messages_burst = 5\n");
    let at = |per_second: u32, burst: u32| {
        Some(Rate { per_second: per_second.try_into().unwrap(), burst: burst.try_into().unwrap() })
    };
    let expected = Rates { app_triggers: at(50, 50), peer_messages: at(20, 5), ..Rates::default() };
    assert_eq!(file(&text).accepted().limits.rates, expected);
}

#[test]
fn rates_that_cannot_be_are_refused() {
    let text = format!(
        "{UPSTREAM}[limits.rates]\napp_trigger = 5\nchannel_triggers_burst = 3\nmax_wait = \"2m\"\nmax_keys = 1\npeer_messages = -1\n"
    );
    let expected = ["app_trigger", "channel_triggers_burst", "max_wait", "max_keys", "peer_messages"];
    let keys: Vec<_> = file(&text)
        .places()
        .into_iter()
        .map(|(line, key)| (line, key.trim_start_matches("limits.rates.").to_owned()))
        .collect();
    assert_eq!(
        keys,
        expected.iter().enumerate().map(|(index, key)| (index + 3, (*key).to_owned())).collect::<Vec<_>>()
    );
    let problems = file(&text).refused().to_string();
    assert!(problems.contains("Did you mean `limits.rates.app_triggers`?"), "{problems}");
    assert!(problems.contains("Set `limits.rates.channel_triggers` as well"), "{problems}");
}

#[test]
fn proxies_are_addresses_and_networks() {
    let proxies = |text: &str| file(&format!("{UPSTREAM}server.trusted_proxies = {text}\n"));
    let accepted = proxies(r#"["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::ffff:192.0.2.8"]"#).accepted();
    let shown: Vec<_> = accepted.server.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "192.0.2.8/32"]);
    assert_eq!(warning_texts(&accepted), [""; 0]);
    assert!(
        proxies(r#"["10.0.0.1", "proxy.internal"]"#).fault().contains("\"proxy.internal\" is no address or network")
    );
    assert!(warning_texts(&proxies(r#"["0.0.0.0/0"]"#).accepted())[0].contains("trusts everybody"));
}

#[test]
fn an_ipv4_network_within_ipv6_is_the_ipv4_network() {
    let proxies = |text: &str| file(&format!("{UPSTREAM}server.trusted_proxies = {text}\n"));
    let accepted =
        proxies(r#"["::ffff:10.0.0.0/104", "::ffff:10.1.2.3", "::ffff:a01:203/128", "::ffff:192.0.2.64/122", "::/1"]"#)
            .accepted();
    let shown: Vec<_> = accepted.server.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.0.0.0/8", "10.1.2.3/32", "10.1.2.3/32", "192.0.2.64/26", "::/1"]);
    assert_eq!(warning_texts(&accepted), [""; 0]);
    for wide in ["::ffff:0:0/90", "::ffff:10.0.0.0/95", "::ffff:10.0.0.0/8", "::ffff:0.0.0.0/0"] {
        let fault = proxies(&format!(r#"["10.0.0.1", "{wide}"]"#)).fault();
        assert!(fault.contains(&format!("\"{wide}\"")) && fault.contains("Write the IPv4 network itself"), "{fault}");
    }
}

#[test]
fn all_of_one_version_is_not_all_of_the_other() {
    for (text, net, version) in [("::ffff:0:0/96", "0.0.0.0/0", "IPv4"), ("::/0", "::/0", "IPv6")] {
        let accepted = file(&format!("{UPSTREAM}server.trusted_proxies = [\"{text}\"]\n")).accepted();
        assert_eq!(accepted.server.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>(), [net]);
        assert!(
            warning_texts(&accepted)[0].contains(&format!("{net} trusts everybody who comes over {version},")),
            "{:?}",
            warning_texts(&accepted)
        );
    }
}
