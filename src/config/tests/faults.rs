//! What is refused: all problems at once, each at its line, with cause and remedy.

use super::*;

fn at(places: &[(usize, &str)]) -> Vec<(usize, String)> {
    places.iter().map(|(line, key)| (*line, (*key).to_owned())).collect()
}

/// A variable that cannot be applied is reported, whatever its value.
#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf_8_is_refused_and_not_shown() {
    use std::os::unix::ffi::OsStringExt;
    let bytes = |text: &[u8]| OsString::from_vec(text.to_vec());
    for (name, value) in [(&b"USHER_APPS__0__SECRET"[..], &b"canary\xff"[..]), (b"USHER_LOG__\xff", b"info")] {
        let mut setup = nothing();
        setup.environment.push((bytes(name), bytes(value)));
        let fault = setup.fault();
        assert!(fault.starts_with("USHER_") && fault.contains("is not UTF-8") && !fault.contains("canary"), "{fault}");
    }
    let mut setup = nothing();
    setup.environment.push((bytes(b"HOME\xff"), bytes(b"\xff")));
    setup.accepted();
    setup.environment.push(("USHER_CONFIG".into(), bytes(b"/nowhere/\xff")));
    assert!(setup.fault().contains("No such file"), "it names a file, as any name of one does");
}

/// A file with a problem in nearly every line.
const INVALID: &str = r#"
[server]
listen = "localhost:6001"
workers = "four"
unknown_apps = "refuse"
drain_period = 20
port = 6001

[admin]
listen = "0.0.0.0:9601"
triggers_bytes = -1

[limits]
max_head = "4KiB"
max_headers = 1.5
max_body = "1MB"
head_timeout = "10 s"
idle_timeout = "0s"
max_waits = "1s"

[log]
format = "xml"
level = "inof"

[limit]
max_head = 3

[[apps]]
id = 1001
key = "a/b"

[[apps]]
id = "2"
key = "k"
secret = ""

[[apps]]
id = "2"
key = "k"
secret = "s"
secret_flie = "x"

[[rules]]
event = "e"
channel = "c-{x}"
identity = ["/a", 7]
apps = [
  "2",
  "20001",
]
mode = "enforced"
remember_for = "24"
where = "x"
late_joiners = "forwards"
refresh_after = "0s"
detect_bypass = "on"
"#;

/// Line (0: not in the file) and key of its problems.
const FAULTS: [(usize, &str); 32] = [
    (3, "server.listen"),
    (4, "server.workers"),
    (5, "server.unknown_apps"),
    (6, "server.drain_period"),
    (7, "server.port"),
    (10, "admin.listen"),
    (11, "admin.triggers_bytes"),
    (14, "limits.max_head"),
    (15, "limits.max_headers"),
    (16, "limits.max_body"),
    (17, "limits.head_timeout"),
    (18, "limits.idle_timeout"),
    (19, "limits.max_waits"),
    (22, "log.format"),
    (23, "log.level"),
    (25, "limit"),
    (28, "apps.0.secret"),
    (29, "apps.0.id"),
    (30, "apps.0.key"),
    (35, "apps.1.secret"),
    (38, "apps.2.id"),
    (39, "apps.2.key"),
    (41, "apps.2.secret_flie"),
    (43, "rules.0.name"),
    (46, "rules.0.identity"),
    (49, "rules.0.apps"),
    (51, "rules.0.mode"),
    (52, "rules.0.remember_for"),
    (53, "rules.0.where"),
    (54, "rules.0.late_joiners"),
    (55, "rules.0.refresh_after"),
    (56, "rules.0.detect_bypass"),
];

#[test]
fn a_ring_that_is_too_small_is_refused_with_a_value_that_is_accepted() {
    let with = |size: &str| file(&format!("{UPSTREAM}[admin]\ntriggers_bytes = \"{size}\"\n"));
    let fault = with("512KiB").fault();
    let named = fault.split('"').find(|word| word.ends_with('B') && crate::config::unit::size(word) == Ok(0));
    let named = named.unwrap_or_else(|| panic!("no value that keeps none: {fault}"));
    assert_eq!(with(named).accepted().admin.triggers_bytes, 0);
}

#[test]
fn every_problem_is_reported_at_its_line() {
    assert_eq!(file(INVALID).places(), at(&FAULTS));
}

#[test]
fn unknown_keys_are_refused_with_a_suggestion() {
    let cases = [
        ("[limits]\nmax_hed = \"16KiB\"", 3, "limits.max_hed", Some("limits.max_head")),
        ("[limit]\n", 2, "limit", Some("limits")),
        ("[server]\nmax_head = \"16KiB\"", 3, "server.max_head", Some("limits.max_head")),
        ("server_listen = \"127.0.0.1:1\"", 2, "server_listen", Some("server.listen")),
        ("[server.tls]\ncert = \"x\"", 3, "server.tls.cert", Some("server.tls.certificate")),
        ("[[app]]\nid = \"1\"", 2, "app", Some("apps")),
        (
            "[[rules]]\nname = \"r\"\nevent = \"e\"\nchannel = \"c\"\nidentity = \"/i\"\nidentities = []",
            7,
            "rules.0.identities",
            Some("rules.0.identity"),
        ),
        ("zebra = 1", 2, "zebra", None),
        ("[upstream.extra]\n", 2, "upstream.extra", None),
    ];
    for (text, line, key, suggestion) in cases {
        let problems = file(&format!("{UPSTREAM}{text}")).refused();
        let problem =
            problems.iter().find(|problem| problem.key == key).unwrap_or_else(|| panic!("{text}: {problems}"));
        assert_eq!((problem.origin.line(), problem.suggestion.as_deref()), (Some(line), suggestion), "{text}");
    }
}

#[test]
fn unknown_variables_and_flags_are_refused_with_a_suggestion() {
    let cases = [
        ("USHER_LIMITS__MAX_HED", Some("USHER_LIMITS__MAX_HEAD")),
        ("USHER_SERVER_LISTEN", Some("USHER_SERVER__LISTEN")),
        ("USHER_UPSTREAM_URL", Some("USHER_UPSTREAM__URL")),
        ("USHER_APPS__0__SECRT", Some("USHER_APPS__0__SECRET")),
        ("USHER_APPS_0_SECRET", Some("USHER_APPS__0__SECRET")),
        ("USHER_server__listen", Some("USHER_SERVER__LISTEN")),
        ("USHER_ZEBRA", None),
        ("USHER_", None),
    ];
    for (name, suggestion) in cases {
        let problems = file(UPSTREAM).variable(name, "1").refused();
        let [problem] = &problems.iter().collect::<Vec<_>>()[..] else { panic!("{problems}") };
        assert_eq!((problem.origin.to_string().as_str(), problem.suggestion.as_deref()), (name, suggestion));
    }
    let fault = file(UPSTREAM).variable("USHER_PORT_6001_TCP_ADDR", "10.0.0.1").fault();
    assert!(fault.contains("enableServiceLinks: false"), "{fault}");
    let fault = file(UPSTREAM).flag("limits.max_hed", "1").fault();
    assert!(
        fault.starts_with("flag: limits.max_hed\n") && fault.ends_with("Did you mean `limits.max_head`?"),
        "{fault}"
    );
}

#[test]
fn a_section_is_no_value_and_a_value_no_section() {
    let fault = nothing().variable("USHER_UPSTREAM", "http://h").fault();
    assert!(fault.contains("`upstream` is a section with keys of its own"), "{fault}");
    let fault = file(&format!("log = \"info\"\n{UPSTREAM}")).variable("USHER_LOG__LEVEL", "warn").refused().to_string();
    assert!(fault.contains("`log` is text elsewhere (") && fault.contains("Set it in one way only"), "{fault}");
    let fault = nothing().variable("USHER_APPS", "3").fault();
    assert!(fault.starts_with("USHER_APPS: apps\n") && fault.contains("is a list of tables"), "{fault}");
    for text in ["apps = 3", "apps = { id = \"1\" }", "rules = [1]"] {
        let problems = file(&format!("{text}\n{UPSTREAM}")).refused();
        assert_eq!(problems.iter().next().unwrap().origin.line(), Some(1), "{problems}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_one_problem() {
    let sources = Sources { file: Some("/nowhere/usher.toml".into()), ..Sources::default() };
    let text = Config::load(&sources).unwrap_err().to_string();
    assert!(text.starts_with("/nowhere/usher.toml\n") && text.contains("No such file"), "{text}");
    let sources = Sources { file: Some("/".into()), ..Sources::default() };
    assert!(Config::load(&sources).unwrap_err().to_string().contains("directory"));
    let setup = Setup { file: Some(written(b"# \xc3\xa9\n# \xc3\xa9 \xff\n")), ..Setup::default() };
    let fault = setup.fault();
    assert!(fault.contains(":2:5\n") && fault.contains("not UTF-8"), "{fault}");
}

#[test]
fn bad_toml_is_reported_with_lines_and_columns() {
    let fault = file("[server]\nlisten = 127.0.0.1\nworkers = \n\"é\" = x\n").refused().to_string();
    for place in [":2:", ":3:", ":4:7\n"] {
        assert!(fault.contains(place), "{place}: {fault}");
    }
    assert!(fault.contains("This is not TOML: "), "{fault}");
    assert_eq!(file("[server]\nworkers = 1\nworkers = 2\n").places(), at(&[(3, "")]));
}

#[test]
fn lines_are_right_after_a_byte_order_mark_and_carriage_returns() {
    assert_eq!(
        file("\u{feff}upstream.cluster = \"eu\"\r\n[server]\r\nworkers = -1\r\n").places(),
        at(&[(3, "server.workers")])
    );
}

#[test]
fn upstream_addresses_are_refused_with_their_reason() {
    let cases = [
        ("127.0.0.1:6002", "no scheme"),
        ("https://host/apps", "has a path"),
        ("https://host/?a=b", "has a query"),
        ("https://host?a=b", "has a query"),
        ("https://host/#x", "has a fragment"),
        ("https://user:pass@host", "Credentials"),
        ("wss://host", "WebSocket"),
        ("ftp://host", "must be http or https"),
        ("https://", "The address"),
        ("http://:80", "The address"),
        ("http://host:", "The port"),
        ("http://host:0", "The port"),
        ("http://host:99999", "The port"),
        ("http://ho st", "cannot be read"),
    ];
    for (url, reason) in cases {
        let fault = nothing().flag("upstream.url", url).fault();
        assert!(fault.starts_with("flag: upstream.url\n") && fault.contains(reason), "{url}: {fault}");
    }
    for url in ["http://host", "HTTPS://Host/", "http://[::1]:6002", "http://127.0.0.1:6002"] {
        nothing().flag("upstream.url", url).accepted();
    }
    for (key, value) in [("broker.client_events", "yes"), ("broker.queue", "15"), ("broker.cache_ttl", "0s")] {
        assert!(nothing().flag(key, value).fault().starts_with(&format!("flag: {key}\n")), "{key}");
    }
    for (url, reason) in [
        ("https://host", "is an HTTP address"),
        ("ftp://host", "must be ws or wss"),
        ("wss://host/app", "has a path"),
        ("host", "no scheme"),
    ] {
        let fault = file(UPSTREAM).flag("upstream.websocket_url", url).fault();
        assert!(fault.starts_with("flag: upstream.websocket_url\n") && fault.contains(reason), "{url}: {fault}");
    }
    let itself = file(UPSTREAM).flag("upstream.websocket_url", "ws://localhost:6001").fault();
    assert!(itself.contains("relay every connection to itself"), "{itself}");
    for cluster in ["EU", "e.u", "-eu", "eu/", "api-eu.pusher.com", " "] {
        let fault = nothing().flag("upstream.cluster", cluster).fault();
        assert!(fault.contains("is not the name of a cluster"), "{cluster}: {fault}");
    }
    assert!(
        file("upstream.url = \"http://h\"\nupstream.cluster = \"eu\"")
            .fault()
            .contains("Both `url` and `cluster` are given")
    );
    assert!(
        nothing().accepted().upstream.is_local()
            && nothing().flag("upstream.url", "local").accepted().upstream.is_local()
    );
    assert!(!nothing().flag("upstream.url", "http://local").accepted().upstream.is_local());
}

#[test]
fn sections_must_agree() {
    let refused = |text: &str| file(text).places();
    let doubt = "upstream.cluster = \"eu\"\nupstream.timeout = \"30s\"\n";
    assert_eq!(refused(doubt), at(&[(2, "upstream.timeout")]));
    assert_eq!(refused(&format!("{doubt}assignments.doubt_period = \"30s\"")), at(&[(3, "assignments.doubt_period")]));
    file(&format!("{doubt}assignments.doubt_period = \"31s\"")).accepted();
    assert_eq!(refused(&format!("{UPSTREAM}server.tls.key = \"k\"")), at(&[(2, "server.tls.certificate")]));
    assert_eq!(refused(&format!("{UPSTREAM}server.tls.certificate = \"c\"")), at(&[(2, "server.tls.key")]));
    assert_eq!(refused(&format!("{UPSTREAM}server.listen = \"127.0.0.1:9601\"")), at(&[(2, "server.listen")]));
    assert_eq!(refused(&format!("{UPSTREAM}limits.max_target = \"17KiB\"")), at(&[(2, "limits.max_target")]));
    assert_eq!(refused(&format!("apps = []\n{UPSTREAM}")), at(&[(1, "apps")]));
    file(&format!("apps = []\nserver.unknown_apps = \"forward\"\n{UPSTREAM}")).accepted();
    for own in
        ["http://127.0.0.1:6001", "http://localhost:6001", "http://0.0.0.0:6001", "http://[::ffff:127.0.0.1]:6001"]
    {
        assert_eq!(refused(&format!("upstream.url = \"{own}\"")), at(&[(1, "upstream.url")]), "{own}");
    }
    file("upstream.url = \"http://127.0.0.1:6001\"\nserver.listen = \"127.0.0.1:0\"").accepted();
}

#[test]
fn levels_are_words_or_filters() {
    for level in ["info", "WARN", "off", "info,usher=debug", "usher[{id}]=trace"] {
        file(UPSTREAM).variable("USHER_LOG__LEVEL", level).accepted();
    }
    for (level, cause) in [
        ("inof", "Did you mean \"info\"?"),
        ("", "no level"),
        ("usher", "no level"),
        ("usher=loud", "no filter"),
        ("info,", "no level"),
    ] {
        let fault = file(UPSTREAM).variable("USHER_LOG__LEVEL", level).fault();
        assert!(fault.contains(cause), "{level}: {fault}");
    }
}

#[test]
fn problems_are_good_to_read() {
    let setup = file("upstream.cluster = \"eu\"\n[limits]\nmax_hed = 1\nmax_head = \"16kb\"\n")
        .variable("USHER_SERVER__WORKERS", "many");
    let path = setup.sources().file.unwrap();
    let expected = format!(
        "{path}:3:1: limits.max_hed
    There is no such key. Remove it or mend its name.
    Did you mean `limits.max_head`?

{path}:4:1: limits.max_head
    \"16kb\" is not a size. Write a whole number and a unit, in quotes: \"512B\", \"16KiB\", \"1MiB\" or \"1GiB\".

USHER_SERVER__WORKERS: server.workers
    \"many\" is not a whole number.",
        path = path.display()
    );
    assert_eq!(setup.refused().to_string(), expected);
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let problems =
        file(&format!("{UPSTREAM}\"a\\u001b[31m\" = 1\nserver.listen = \"\\u001b[31m\"")).refused().to_string();
    assert!(!problems.contains('\u{1b}') && problems.contains("\\u{1b}"), "{problems}");
}

#[test]
fn entries_of_the_contract_find_their_faults() {
    let text = "\
[[events]]
name = \"a\"
channel = \"{x\"

[[events]]
name = \"b\"
channel = \"{x}-chat\"
apps = [\"7\"]

[[events]]
name = \"b\"
channel = \"{x}-chat\"
apps = [\"7\"]
chanel = \"\"

[[events]]
channel = \"cache-{x}\"
";
    let expected = [
        (3, "events.0.channel"),
        (8, "events.1.apps"),
        (13, "events.2.apps"),
        (11, "events.2.name"),
        (14, "events.2.chanel"),
        (16, "events.3.name"),
    ];
    let mut places = file(&format!("{text}\n[upstream]\ncluster = \"eu\"\n")).places();
    places.sort();
    let mut expected = expected.map(|(line, key)| (line, key.to_owned()));
    expected.sort();
    assert_eq!(places, expected);
    let many = "[[events]]\nname = \"a\"\nchannel = \"{x}\"\n".repeat(257);
    assert!(file(&format!("{UPSTREAM}{many}")).refused().to_string().contains("256 are taken at most"));
}
