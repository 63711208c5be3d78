//! Secrets are read from files and variables, never from flags, and no output contains one.

use super::*;

const CANARY: &str = "canary-5f1d";

#[test]
fn secrets_are_masked_where_they_are_accepted() {
    let text =
        format!("{UPSTREAM}admin.token = \"{CANARY}\"\n[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"{CANARY}\"\n");
    let text = text + &format!("[[apps.keys]]\nkey = \"next\"\nsecret = \"{CANARY}\"\n");
    let setup = file(&text).variable("USHER_APPS__0__SECRET", CANARY).flag("apps.0.id", "2");
    let config = setup.accepted();
    assert_eq!(config.admin.token.as_ref().unwrap().0, CANARY);
    for shown in [
        format!("{config:?}"),
        format!("{config:#?}"),
        format!("{:?}", setup.sources()),
        warning_texts(&config).join("\n"),
    ] {
        assert!(!shown.contains(CANARY), "{shown}");
    }
}

/// The variable is for `usher trigger` and `usher subscribe`, which may run in the same shell; but it may have been set
/// in the belief that it is the app's.
#[test]
fn the_secret_of_other_commands_is_left_alone_and_told_of() {
    let config = file(UPSTREAM).variable("USHER_SECRET", CANARY).accepted();
    let [warning] = &warning_texts(&config)[..] else { panic!("{:?}", config.warnings) };
    assert!(warning.contains("USHER_APPS__0__SECRET") && !warning.contains(CANARY), "{warning}");
    let without = format!("{UPSTREAM}[[apps]]\nid = \"1\"\nkey = \"k\"\n");
    assert!(file(&without).variable("USHER_SECRET", CANARY).fault().contains("secret"), "it is no app's secret");
}

#[test]
fn secrets_are_masked_where_they_are_refused() {
    let app = "[[apps]]\nid = \"1\"\nkey = \"k\"\n";
    let secret_file = written(format!("{CANARY}\n{CANARY}").as_bytes());
    let two_lines = secret_file.path().display();
    let not_text = written(&[CANARY.as_bytes(), &[0xff]].concat());
    let cases = [
        format!("{app}secret = {CANARY}"),
        format!("{app}secret = \"{CANARY}"),
        format!("{app}secret = \"{CANARY}\" x"),
        format!("{app}secret = \"{CANARY}\\q\""),
        format!("{app}secret = \"{CANARY}\"\nsecret = \"{CANARY}\""),
        format!("{app}secret = [\"{CANARY}\"]"),
        format!("{app}secret = {{ \"{CANARY}\" = 1 }}"),
        format!("{app}secret = \"{CANARY}\\n\""),
        format!("{app}secrets = \"{CANARY}\""),
        format!("{app}secret = \"{CANARY}\"\nsecret_file = \"{CANARY}\""),
        format!("{app}secret_file = \"{two_lines}\""),
        format!("{app}secret_file = \"{}\"", not_text.path().display()),
        format!("{app}secret = \"s\"\n[[apps.keys]]\nkey = \"k\"\nsecret = \"{CANARY}\""),
        format!("{app}secret = \"s\"\nkeys = [\"{CANARY}\"]"),
        format!("apps = \"{CANARY}\""),
        format!("apps = [\"{CANARY}\"]"),
        format!("admin = \"{CANARY}\""),
        format!("admin.token = \"{CANARY} {CANARY}\""),
        format!("admin.token = \"{CANARY}\\t\""),
        format!("upstream.url = \"http://user:{CANARY}@host\""),
        format!("upstream.url = \"http://user:{CANARY}@host/path?a#b\""),
        format!("upstream.url = \"htp:/user:{CANARY}@host\""),
        format!("upstream.url = \"user:{CANARY}@host\""),
    ];
    for text in &cases {
        let refused = file(text).refused();
        assert!(!format!("{refused}{refused:?}{refused:#?}").contains(CANARY), "{text}\n\n{refused}");
    }
    for name in [
        "USHER_APPS",
        "USHER_APPS__0",
        "USHER_APPS__SECRET",
        "USHER_APPS__5__SECRET",
        "USHER_SECRETS",
        "USHER_ADMIN",
        "USHER_UPSTREAM__URL",
    ] {
        let refused = file("").variable(name, CANARY).refused();
        assert!(!format!("{refused}{refused:?}").contains(CANARY), "{name}\n\n{refused}");
    }
}

#[test]
fn no_flag_carries_a_secret() {
    for key in ["admin.token", "apps.0.secret", "apps.0.keys.0.secret"] {
        let pair = file(UPSTREAM).variable("USHER_APPS__0__KEYS__0__KEY", "k2");
        let setup = if key.contains("keys") { pair } else { file(UPSTREAM) };
        let fault = setup.flag(key, CANARY).fault();
        assert!(fault.starts_with(&format!("flag: {key}\n")), "{fault}");
        assert!(
            fault.contains("every process list shows it")
                && fault.contains("USHER_")
                && fault.contains("_file")
                && !fault.contains(CANARY),
            "{fault}"
        );
    }
    let secret = written(b"s\n");
    let config = file(UPSTREAM).flag("admin.token_file", secret.path().to_str().unwrap()).accepted();
    assert_eq!(config.admin.token.unwrap().0, "s");
    let config =
        file(UPSTREAM).variable("USHER_APPS__1__SECRET", "s").flag("apps.1.id", "2").flag("apps.1.key", "k").accepted();
    assert_eq!(config.apps.len(), 2);
}

#[test]
fn files_of_secrets_are_trimmed_and_must_hold_something() {
    let secret = written(b"  \n\t s3cret \r\n\n");
    let app = format!("{UPSTREAM}[[apps]]\nid = \"1\"\nkey = \"k\"\n");
    let config = file(&format!("{app}secret_file = \"{}\"", secret.path().display())).accepted();
    assert_eq!(warning_texts(&config), [""; 0]);
    let token = file(UPSTREAM)
        .variable("USHER_ADMIN__TOKEN_FILE", secret.path().to_str().unwrap())
        .accepted()
        .admin
        .token
        .unwrap();
    assert_eq!(token.0, "s3cret");

    let empty = written(b" \n");
    let fault = file(&format!("{app}secret_file = \"{}\"", empty.path().display())).fault();
    assert!(fault.contains(":5:1: apps.0.secret_file") && fault.contains("is empty"), "{fault}");
    let fault = file(&format!("{app}secret_file = \"/nowhere/secret\"")).fault();
    assert!(fault.contains("cannot be read as a secret: No such file"), "{fault}");
    let long = written(&[b'x'; 5000]);
    let fault = file(&format!("{app}secret_file = \"{}\"", long.path().display())).fault();
    assert!(fault.contains("larger than 4KiB"), "{fault}");
}

#[cfg(unix)]
#[test]
fn a_secret_that_everybody_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let secret = written(b"s");
    std::fs::set_permissions(secret.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let config = file(UPSTREAM).variable("USHER_ADMIN__TOKEN_FILE", secret.path().to_str().unwrap()).accepted();
    assert!(
        warning_texts(&config)[0].contains("`admin.token_file`: every user of this machine can read"),
        "{:?}",
        config.warnings
    );
}

#[test]
fn the_stronger_source_decides_between_secret_and_file() {
    let secret = written(b"from-file");
    let path = secret.path().to_str().unwrap();
    let token = |setup: Setup| setup.accepted().admin.token.unwrap().0;
    assert_eq!(
        token(file(&format!("{UPSTREAM}admin.token = \"t\"")).variable("USHER_ADMIN__TOKEN_FILE", path)),
        "from-file"
    );
    assert_eq!(
        token(file(&format!("{UPSTREAM}admin.token_file = \"{path}\"")).variable("USHER_ADMIN__TOKEN", "t")),
        "t"
    );
    let both = file(&format!("{UPSTREAM}admin.token_file = \"{path}\"\nadmin.token = \"t\"")).fault();
    assert!(both.contains("Both `token` and `token_file` are given"), "{both}");
}

#[test]
fn an_app_of_ones_own_never_inherits_the_demo_secret() {
    for name in ["USHER_APPS__0__ID", "USHER_APPS__0__KEY"] {
        let fault = nothing().variable(name, "2002").fault();
        assert!(fault.contains("apps.0.secret") && fault.contains("The app has no secret"), "{fault}");
    }
    nothing().variable("USHER_APPS__0__ID", "2002").variable("USHER_APPS__0__SECRET", "s").accepted();
    nothing().variable("USHER_APPS__0__SECRET", "s").accepted();
}

#[test]
fn weak_secrets_in_reach_of_others_are_warned_of() {
    let warnings = |setup: Setup| warning_texts(&setup.accepted());
    assert_eq!(warnings(file(UPSTREAM)), [""; 0]);
    assert_eq!(warnings(file(UPSTREAM).flag("server.listen", "[::ffff:127.0.0.1]:6001")), [""; 0]);
    let open = || file(UPSTREAM).flag("server.listen", "0.0.0.0:6001");
    assert!(warnings(open())[0].contains("`apps.0.secret`: this is the demo app's secret"));
    assert_eq!(warnings(open().variable("USHER_APPS__0__SECRET", "s")), [""; 0]);
    let admin = || file(UPSTREAM).flag("admin.listen", "10.0.0.1:9601");
    assert!(warnings(admin().variable("USHER_ADMIN__TOKEN", "short"))[0].contains("can be guessed"));
    assert_eq!(warnings(admin().variable("USHER_ADMIN__TOKEN", "0123456789abcdef")), [""; 0]);
    let letters = file(UPSTREAM).variable("USHER_APPS__0__ID", "my_app").variable("USHER_APPS__0__SECRET", "s");
    assert!(warnings(letters)[0].contains("`apps.0.id`: the Python library takes an app id of digits only"));
}

#[test]
fn the_token_for_reading_is_another_one() {
    let config = file(&format!("{UPSTREAM}admin.token = \"t\"\nadmin.read_token = \"{CANARY}\"")).accepted();
    assert_eq!(config.admin.read_token.as_ref().unwrap().0, CANARY);
    assert!(!format!("{config:?}").contains(CANARY));
    let same = file(&format!("{UPSTREAM}admin.token = \"{CANARY}\"\nadmin.read_token = \"{CANARY}\"")).fault();
    assert!(same.contains("admin.read_token") && same.contains("allows changes") && !same.contains(CANARY), "{same}");
    // One of the two is needed where others can reach the listener.
    let open = || file(UPSTREAM).flag("admin.listen", "10.0.0.1:9601");
    assert!(open().fault().contains("needs a token"));
    open().variable("USHER_ADMIN__READ_TOKEN", "0123456789abcdef").accepted();
}

#[test]
fn names_of_hosts_and_of_the_environment_are_checked() {
    let hosts = |text: &str| file(&format!("{UPSTREAM}admin.allowed_hosts = {text}"));
    assert_eq!(hosts("[\"Usher.example\", \"a-b\"]").accepted().admin.allowed_hosts, ["usher.example", "a-b"]);
    for wrong in ["[\"\"]", "[\"h:9601\"]", "[\"http://h\"]", "[\"*\"]", "[\"h/\"]"] {
        assert!(hosts(wrong).fault().contains("is no host name"), "{wrong}");
    }
    let name = |text: &str| file(&format!("{UPSTREAM}admin.name = {text}"));
    assert_eq!(name("\"Haus Süd\"").accepted().admin.name, "Haus Süd");
    assert!(name("\"a\\nb\"").fault().contains("one line"));
    assert!(name(&format!("\"{}\"", "x".repeat(41))).fault().contains("40 characters"));
}

#[test]
fn a_recording_that_others_can_reach_is_warned_of() {
    let recording = |listen| {
        let config = file(&format!("{UPSTREAM}admin.recording = true\nadmin.token = \"0123456789abcdef\""));
        let warnings = config.flag("admin.listen", listen).accepted().warnings;
        warnings.iter().filter(|warning| warning.code == "exposed_recording").count()
    };
    assert_eq!((recording("127.0.0.1:9601"), recording("10.0.0.1:9601")), (0, 1));
    assert!(!file(UPSTREAM).accepted().admin.recording);
}
