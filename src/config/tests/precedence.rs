//! Flags over variables over the file over defaults; the values of variables; what a reload does not apply.

use std::time::Duration;

use super::super::{LogFormat, tree};
use super::*;
use crate::gateway::UnknownApps;
use crate::rules::{LateJoiners, Mode, RuleSpec};

#[test]
fn flags_win_over_variables_over_the_file_over_defaults() {
    let text = format!("{UPSTREAM}[limits]\nmax_headers = 50\nmax_requests = 51\nmax_connections = 52\n");
    let limits = file(&text)
        .variable("USHER_LIMITS__MAX_REQUESTS", "61")
        .variable("USHER_LIMITS__MAX_CONNECTIONS", "62")
        .flag("limits.max_connections", "72")
        .accepted()
        .limits;
    assert_eq!(
        (limits.max_headers, limits.max_requests, limits.max_connections, limits.max_head),
        (50, 61, 72, 16_384)
    );
}

/// A certificate and its key in files of this folder.
fn pair(folder: &std::path::Path) -> (String, String) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    (write("certificate.pem", cert.pem()), write("key.pem", signing_key.serialize_pem()))
}

#[test]
fn every_type_is_read_from_variables() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = pair(directory.path());
    let config = file(UPSTREAM)
        .variable("USHER_SERVER__LISTEN", "[::1]:7001")
        .variable("USHER_SERVER__WORKERS", "3")
        .variable("USHER_SERVER__UNKNOWN_APPS", "forward")
        .variable("USHER_SERVER__TLS__CERTIFICATE", &certificate)
        .variable("USHER_SERVER__TLS__KEY", &key)
        .variable("USHER_UPSTREAM__TIMEOUT", "2500ms")
        .variable("USHER_LIMITS__MAX_BODY", "2MiB")
        .variable("USHER_LOG__FORMAT", "json")
        .variable("USHER_LOG__LEVEL", "warn,usher=debug")
        .variable("HOME", "/nowhere")
        .accepted();
    assert_eq!(config.server.listen, "[::1]:7001".parse().unwrap());
    assert_eq!((config.server.workers, config.server.unknown_apps), (3, UnknownApps::Forward));
    let tls = config.server.tls.unwrap();
    assert_eq!(
        (tls.files().certificate.to_str(), tls.files().key.to_str()),
        (Some(certificate.as_str()), Some(key.as_str()))
    );
    assert_eq!((config.upstream.timeout, config.limits.max_body), (Duration::from_millis(2500), 2 << 20));
    assert_eq!((config.log.format, config.log.level.as_str()), (LogFormat::Json, "warn,usher=debug"));
}

#[test]
fn variables_change_and_append_list_elements() {
    let text = format!("{UPSTREAM}[[apps]]\nid = \"1\"\nkey = \"k1\"\nsecret = \"s1\"\n");
    let app = |setup: Setup, index: usize| {
        let index = index.to_string();
        let name = |key: &str| format!("USHER_APPS__{index}__{key}");
        setup.variable(&name("SECRET"), "s").variable(&name("KEY"), &format!("k-{index}")).variable(&name("ID"), &index)
    };
    // In no order, and more than ten: the tenth comes after the second.
    let setup = (2..=11).rev().fold(file(&text).variable("USHER_APPS__0__KEY", "k0"), app);
    let refused = setup.refused();
    assert!(
        refused.to_string().contains(
            "`apps` is a list of 1: name an element by its number, from 0; 1 (`USHER_APPS__1`) makes a new one"
        ),
        "{refused}"
    );
    let config = (1..=11)
        .rev()
        .fold(file(&text).variable("USHER_APPS__0__KEY", "k0").variable("USHER_APPS__0__ID", "100"), app)
        .accepted();
    let keys: Vec<_> = config.apps.iter().map(|app| app.key().to_owned()).collect();
    assert_eq!(keys, ["k0", "k-1", "k-2", "k-3", "k-4", "k-5", "k-6", "k-7", "k-8", "k-9", "k-10", "k-11"]);
}

#[test]
fn lists_and_tables_are_written_in_variables() {
    let rule = |name: &str, value: &str| {
        let config = nothing().variable(&format!("USHER_RULES__0__{name}"), value).accepted();
        config.rules[0].spec().clone()
    };
    assert_eq!(rule("IDENTITY", "/a, /b,").identity, ["/a", "/b"]);
    assert_eq!(rule("IDENTITY", "[\"/a,b\", '/c']").identity, ["/a,b", "/c"]);
    assert_eq!(rule("CONTEXT", "").context, [""; 0]);
    assert_eq!(rule("MODE", "observe").mode, Mode::Observe);
    assert_eq!(rule("MODE", "observe").name, "staff-assigned", "the default rule is changed, not replaced");
    let filter = rule("WHERE", "{ \"/n\" = 7, \"/t\" = \"x\", \"/b\" = true }").filter;
    let expected = [("/b", "true"), ("/n", "7"), ("/t", "\"x\"")];
    assert_eq!(
        filter.iter().map(|(pointer, value)| (pointer.as_str(), value.to_string())).collect::<Vec<_>>(),
        expected.map(|(p, v)| (p, v.to_owned()))
    );
    assert_eq!(file(UPSTREAM).variable("USHER_RULES", "[]").accepted().rules, []);
    let changed =
        bare(&format!("rules = [{{ name = 'r', event = 'e', channel = 'c-{{x}}', identity = '/i' }}]\n{}", LISTS[0].1));
    let rule = changed.variable("USHER_RULES__0__MODE", "off").accepted().rules.remove(0);
    assert_eq!((rule.spec().name.as_str(), rule.spec().mode), ("r", Mode::Off), "that of the file is changed");
}

#[test]
fn a_list_in_the_file_is_in_force() {
    let text = format!("rules = []\n{UPSTREAM}[[apps]]\nid = \"7\"\nkey = \"k\"\nsecret = \"s\"\n");
    let config = file(&text).accepted();
    assert_eq!((config.rules.len(), config.apps.len(), config.apps[0].id()), (0, 1, "7"));
    let text = format!("{UPSTREAM}[[rules]]\nname = \"r\"\nevent = \"e\"\nchannel = \"c-{{x}}\"\nidentity = \"/id\"\n");
    let config = file(&text).accepted();
    let [rule] = &config.rules[..] else { panic!() };
    assert_eq!((rule.spec().identity.as_slice(), rule.spec().context.as_slice()), (&["/id".to_owned()][..], &[][..]));
    assert_eq!(rule.spec().remember_for, Duration::from_hours(24));
    let RuleSpec { late_joiners, refresh_after, detect_bypass, .. } = rule.spec();
    assert_eq!((*late_joiners, *refresh_after, *detect_bypass), (LateJoiners::Ignore, None, false));
    assert_eq!(config.replay_bytes, 64 << 20);
    let more = "late_joiners = \"replay\"\nrefresh_after = \"10m\"\ndetect_bypass = true\n";
    let config = file(&format!("assignments.replay_bytes = \"1MiB\"\n{text}{more}")).accepted();
    let RuleSpec { late_joiners, refresh_after, detect_bypass, .. } = config.rules[0].spec();
    let ten_minutes = Some(Duration::from_mins(10));
    assert_eq!((*late_joiners, *refresh_after, *detect_bypass), (LateJoiners::Replay, ten_minutes, true));
    assert_eq!(config.replay_bytes, 1 << 20);
}

#[test]
fn the_stronger_source_decides_between_url_and_cluster() {
    let url = |setup: Setup| setup.accepted().upstream.url.to_string();
    assert_eq!(url(nothing().flag("upstream.cluster", "mt1")), "https://api-mt1.pusher.com/");
    assert_eq!(url(file(UPSTREAM).flag("upstream.url", "http://h:1/")), "http://h:1/");
    assert_eq!(
        url(file("upstream.url = \"http://h:1\"").variable("USHER_UPSTREAM__CLUSTER", "ap1")),
        "https://api-ap1.pusher.com/"
    );
    assert_eq!(
        url(file(UPSTREAM).variable("USHER_UPSTREAM__URL", "")),
        "https://api-eu.pusher.com/",
        "empty is not set"
    );
}

#[test]
fn websocket_connections_go_where_it_says_or_to_pusher_s_own_host_or_where_requests_go() {
    let websocket = |setup: Setup| setup.accepted().upstream.websocket_url.map(|url| url.to_string());
    assert_eq!(websocket(file(UPSTREAM)).as_deref(), Some("wss://ws-eu.pusher.com/"));
    assert_eq!(
        websocket(nothing().flag("upstream.url", "https://api-mt1.pusher.com")).as_deref(),
        Some("wss://ws-mt1.pusher.com/")
    );
    assert_eq!(
        websocket(file(UPSTREAM).flag("upstream.websocket_url", "ws://h:6002")).as_deref(),
        Some("ws://h:6002/")
    );
    assert_eq!(websocket(nothing().flag("upstream.url", "http://h:6002")), None);
}

#[test]
fn a_websocket_idle_timeout_below_the_silence_of_clients_is_warned_of() {
    let warnings = |timeout| warning_texts(&file(UPSTREAM).flag("limits.websocket_idle_timeout", timeout).accepted());
    assert!(warnings("149s")[0].contains("`limits.websocket_idle_timeout` is below"), "{:?}", warnings("149s"));
    assert_eq!(warnings("150s"), [""; 0]);
}

#[test]
fn the_variable_names_the_file_unless_the_flag_does() {
    let file = |cluster: &str| written(format!("upstream.cluster = \"{cluster}\"\n{}", LISTS[0].1).as_bytes());
    let (one, other) = (file("one"), file("other"));
    let environment = vec![("USHER_CONFIG".into(), one.path().into())];
    let mut sources = Sources { file: None, environment, flags: Vec::new() };
    assert_eq!(Config::load(&sources).unwrap().upstream.url.host(), Some("api-one.pusher.com"));
    sources.file = Some(other.path().to_owned());
    assert_eq!(Config::load(&sources).unwrap().upstream.url.host(), Some("api-other.pusher.com"));
}

#[test]
fn a_reload_names_what_needs_a_restart() {
    let old = file(UPSTREAM).accepted();
    let lively = "server.unknown_apps = \"forward\"\nserver.trusted_proxies = \"10.0.0.1\"\nrules = []\n[limits]\nmax_body = \"2MiB\"\nmax_target = \"1KiB\"\nmax_wait = \"2s\"\n\
                  body_timeout = \"1s\"\nmax_requests = 1\nrates.app_triggers = 9\nmax_head = \"8KiB\"\nmax_connections = 1\nmax_connections_per_peer = 1\n\
                  max_headers = 10\nhead_timeout = \"1s\"\nidle_timeout = \"1s\"\n[admin]\ntoken = \"t\"\nread_token = \"r\"\nallowed_hosts = \"h\"\nname = \"n\"\nrecording = true\n\
                  [assignments]\nmax_channels = 1\n[log]\nlevel = \"warn\"\n[[apps]]\nid = \"2\"\nkey = \"k\"\nsecret = \"s\"\n";
    assert_eq!(old.reloadable_difference(&file(&format!("{UPSTREAM}{lively}")).accepted()), [""; 0]);

    let text = "upstream.url = \"http://h\"\nserver.listen = \"127.0.0.1:1\"\nserver.workers = 1\n\
                admin.payloads = \"all\"\nbroker.client_events = false\nassignments.max_waiters = 1\nassignments.replay_bytes = \"1MiB\"\nlog.format = \"json\"\n";
    let expected = [
        "server.listen",
        "server.workers",
        "admin.payloads",
        "upstream.url",
        "upstream.websocket_url",
        "broker",
        "assignments.max_waiters",
        "assignments.replay_bytes",
        "log.format",
    ];
    assert_eq!(old.reloadable_difference(&file(text).accepted()), expected);

    // A reload applies other files, but does not switch TLS on or off.
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [one, other] = directories.each_ref().map(|directory| {
        let (certificate, key) = pair(directory.path());
        let keys = format!("certificate = {certificate:?}, key = {key:?}");
        file(&format!(
            "upstream = {{ url = \"https://h\", ca_file = {certificate:?}, {keys} }}\nserver.tls = {{ {keys} }}\n"
        ))
        .accepted()
    });
    assert_eq!(one.reloadable_difference(&other), [""; 0]);
    assert!(old.reloadable_difference(&one).contains(&"server.tls"));
}

#[test]
fn the_built_in_lists_are_toml() {
    let lists = tree::built_in(&super::super::apps::default_lists());
    assert_eq!(lists.keys().collect::<Vec<_>>(), ["apps", "rules"]);
}
