//! `usher test`.

use super::{Folder, hotel, run};

/// A configuration with a rule, and these tests.
fn configured(rule: &str, tests: &str) -> String {
    format!(
        "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret_file = \"/nowhere\"\n[[rules]]\nname = \"r\"\nevent = \"e\"\nchannel = \"c-{{x}}\"\n{rule}\n{tests}"
    )
}

fn repeat(expect: &str) -> String {
    let step = "[[tests.steps]]\nchannel = \"c-1\"\nevent = \"e\"\ndata = { id = 7, seal = ";
    format!("[[tests]]\nname = \"a <repeat>\"\n{step}1 }}\n{step}2 }}\nexpect = \"{expect}\"\n")
}

#[test]
fn the_hotels_tests_pass_and_every_rule_has_one() {
    let passed = run(&["test", "--config", &hotel()]);
    assert_eq!((passed.code, passed.err.as_str()), (0, ""), "{passed:?}");
    let last = passed.out.lines().last().unwrap();
    assert!(
        last.contains(" 0 failed") && passed.out.lines().filter(|line| line.starts_with("ok ")).count() > 5,
        "{last}"
    );
    let checked = run(&["check", "--config", &hotel()]);
    assert!(checked.code == 0 && !checked.out.contains("no test reads"), "{checked:?}");
}

/// Each of these changes makes the hotel's rules wrong; its tests say so.
#[test]
fn a_wrong_rule_fails_the_hotels_tests() {
    let right = std::fs::read_to_string(hotel()).unwrap();
    let folder = Folder::new();
    for (from, to) in [
        (r#"identity = ["/staff_id", "/staff_name"]"#, r#"identity = ["/staff_profile_image"]"#),
        (r#"identity = ["/staff_id", "/staff_name"]"#, r#"identity = ["/staff_role"]"#),
        (r#"identity = ["/payload/staff_id", "/payload/staff_name"]"#, r#"identity = ["/meta/event_id"]"#),
        (r#"identity = ["/payload/staff_id", "/payload/staff_name"]"#, r#"identity = ["/payload/staff_name"]"#),
        (r#"context = ["/conversation_id"]"#, "context = []"),
        (
            r#"where = { "/category" = "guest_chat", "/type" = "staff_assigned" }"#,
            r#"where = { "/category" = "guest_chat" }"#,
        ),
        (r#"event = "staff-assigned""#, r#"event = "new-staff-message""#),
        (r#"channel = "{hotelSlug}-room-{roomNumber}-chat""#, r#"channel = "{hotelSlug}-room-14-chat""#),
    ] {
        assert!(right.contains(from), "{from}");
        let file = folder.write("wrong.toml", &right.replacen(from, to, 1));
        let failed = run(&["test", "--config", &file]);
        assert_eq!(failed.code, 1, "{to}: {failed:?}");
        assert!(failed.out.contains("FAILED") && failed.out.contains("      expected "), "{failed:?}");
    }
}

#[test]
fn a_difference_is_shown_with_what_was_read_and_in_junits_form() {
    let folder = Folder::new();
    let file = folder.write("u.toml", &configured("identity = [\"/seal\"]", &repeat("suppressed")));
    let report = folder.path("report.xml");
    let failed = run(&["test", "--config", &file, "--junit", report.to_str().unwrap()]);
    let expected = format!(
        "FAILED  a <repeat> (2 steps)
    step 2, {file}:16:1: e on c-1
      expected     suppressed
      got          forwarded (changed): the channel was known to show another assignment
      rule         r: e on c-1
        now        /seal = 2
        before     /seal = 1
        decision   forwarded (changed): the channel was known to show another assignment
1 test(s), 0 passed, 1 failed; 2 steps"
    );
    assert_eq!((failed.code, failed.out.trim_end()), (1, &*expected), "{failed:?}");
    let xml = std::fs::read_to_string(report).unwrap();
    assert!(xml.contains("<testcase name=\"a &lt;repeat&gt;\"") && xml.contains("failures=\"1\""), "{xml}");
}

#[test]
fn rules_that_observe_are_tested_as_if_they_enforced() {
    let folder = Folder::new();
    for mode in ["observe", "enforce"] {
        let rule = format!("identity = [\"/id\"]\nmode = \"{mode}\"");
        let file = folder.write("u.toml", &configured(&rule, &repeat("suppressed")));
        assert_eq!(run(&["test", "--config", &file]).code, 0, "{mode}");
    }
}

#[test]
fn tests_may_have_files_of_their_own() {
    let folder = Folder::new();
    let config = folder.write("u.toml", &configured("identity = [\"/id\"]", ""));
    let none = run(&["test", "--config", &config]);
    assert!(none.code == 78 && none.err.contains("there is no test"), "{none:?}");
    let right = folder.write("right.toml", &repeat("suppressed"));
    let wrong = folder.write("wrong.toml", &repeat("forwarded").replace("a <repeat>", "another"));
    let both = run(&["test", "--config", &config, &right, &wrong]);
    assert!(both.code == 1 && both.out.contains("2 test(s), 1 passed, 1 failed"), "{both:?}");
    let only = run(&["test", "--config", &config, &right, &wrong, "--only", "repeat"]);
    assert!(only.code == 0 && only.out.contains("1 test(s), 1 passed"), "{only:?}");
}

#[test]
fn what_cannot_be_used_is_named_with_its_line() {
    let folder = Folder::new();
    let config = folder.write("u.toml", &configured("identity = [\"/id\"]", ""));
    let misspelt = folder.write("t.toml", &repeat("suppresed"));
    let told = run(&["test", "--config", &config, &misspelt]);
    assert!(told.code == 78 && told.err.contains("t.toml:11:1: tests.0.steps.1.expect"), "{told:?}");
    assert!(told.err.contains("Did you mean `suppressed`?"), "{told:?}");
    let told = run(&["test", "--config", &config, &config]);
    assert!(told.code == 78 && told.err.contains("has `[[tests]]` alone"), "{told:?}");
    let told = run(&["test", "--config", "/nowhere.toml"]);
    assert_eq!(told.code, 78, "{told:?}");
}
