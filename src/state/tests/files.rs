//! What a file must be to be used.

use super::*;

/// The clocks now, changed.
fn reading(change: impl FnOnce(&mut Reading)) -> io::Result<Reading> {
    let mut reading = Reading::now()?;
    change(&mut reading);
    Ok(reading)
}

#[test]
fn what_is_known_and_what_is_in_doubt_come_back() {
    let directory = left_behind();
    let process = Process::start(directory.path(), ONE_RULE);
    let restored = *process.taken.as_ref().unwrap();
    assert_eq!((restored.channels, restored.in_doubt, restored.rules_left_out, restored.apps_in_doubt), (2, 1, 0, 0));
    assert!(!process.assignments.in_start_doubt(process.clock.now()));
    assert_eq!(process.announce(0, "a", "Anna", Outcome::Accepted), None, "the first one is suppressed");
    let almost = DOUBT - Duration::from_secs(5);
    let (before, reservation) = process.claim(0, "b", "Ben", almost).unwrap();
    assert_eq!(before, Before::Uncertain(Uncertainty::InDoubt));
    reservation.settle(Outcome::Accepted);
    let (before, _) = process.claim(0, "b", "Ben", DOUBT + Duration::from_secs(1)).unwrap();
    assert_eq!(before, Before::Nothing, "what was forwarded in doubt is not known");
    assert_eq!(
        process.announce(0, "a", "Ben", Outcome::Accepted),
        Some(Before::Known { assignment: Assignment::new(0, "Anna", ["null"]), reach: Reach::All, is_due: false })
    );
}

#[test]
fn times_go_on() {
    let directory = left_behind();
    let first = Process::start(directory.path(), ONE_RULE);
    let since = |process: &Process| process.memories[0].entries("a", 1)[0].since.unwrap();
    let (seen, beginning) = (since(&first), first.clock.beginning());
    assert!(seen <= beginning, "known since before the start");
    first.stop();
    let second =
        Process::start_at(directory.path(), ONE_RULE, reading(|now| now.since_boot += Duration::from_secs(30)), URL);
    assert!(second.clock.beginning().since(beginning) >= Duration::from_secs(30));
    assert_eq!(since(&second), seen);
    let rest = REMEMBER_FOR - Duration::from_secs(29);
    let (before, _) = second.claim(0, "a", "Anna", rest).unwrap();
    assert_eq!(before, Before::Nothing, "remember_for counts the time in between");
}

#[test]
fn a_file_is_used_once() {
    let directory = left_behind();
    let copy = std::fs::read(file(&directory)).unwrap();
    drop(Process::start(directory.path(), ONE_RULE));
    assert_unused(&directory, &Process::start(directory.path(), ONE_RULE), "no_file");
    // A backup of the directory: what it can do is bounded by the file's age.
    std::fs::write(file(&directory), &copy).unwrap();
    let late = reading(|now| (now.since_boot += MAX_AGE, now.wall += MAX_AGE).0);
    assert_unused(&directory, &Process::start_at(directory.path(), ONE_RULE, late, URL), "too_old");
    std::fs::write(file(&directory), &copy).unwrap();
    assert!(Process::start(directory.path(), ONE_RULE).taken.is_ok(), "within max_age it is used once more");
}

#[test]
fn a_file_that_is_cut_at_any_length_is_not_used() {
    let directory = left_behind();
    let whole = std::fs::read(file(&directory)).unwrap();
    for length in 0..whole.len() {
        std::fs::write(file(&directory), &whole[..length]).unwrap();
        let code = if length < format::HEADER_LENGTH { "no_state_file" } else { "damaged" };
        assert_unused(&directory, &Process::start(directory.path(), ONE_RULE), code);
    }
    std::fs::write(file(&directory), [&whole[..], b"\0"].concat()).unwrap();
    assert_unused(&directory, &Process::start(directory.path(), ONE_RULE), "damaged");
    std::fs::write(file(&directory), &whole).unwrap();
    assert!(Process::start(directory.path(), ONE_RULE).taken.is_ok());
}

#[test]
fn a_file_with_any_flipped_bit_is_not_used() {
    let directory = left_behind();
    let whole = std::fs::read(file(&directory)).unwrap();
    for index in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[index] ^= 1 << (index % 8);
        std::fs::write(file(&directory), &flipped).unwrap();
        let process = Process::start(directory.path(), ONE_RULE);
        assert!(process.taken.is_err(), "byte {index}");
        assert!(!file(&directory).exists());
        assert!(process.announce(0, "a", "Anna", Outcome::Accepted).is_some());
    }
}

#[test]
fn other_formats_are_not_read() {
    for format in [0, format::FORMAT + 1] {
        let directory = left_behind();
        let mut content = std::fs::read(file(&directory)).unwrap();
        content[8..12].copy_from_slice(&format.to_le_bytes());
        let body = content.len() - format::CHECKSUM_LENGTH;
        let checksum: [u8; 32] = Sha256::digest(&content[..body]).into();
        content[body..].copy_from_slice(&checksum);
        std::fs::write(file(&directory), &content).unwrap();
        assert_unused(&directory, &Process::start(directory.path(), ONE_RULE), "other_format");
    }
}

#[test]
fn the_clocks_and_the_boot_must_fit() {
    type Case = (fn(&mut Reading), &'static str);
    let cases: [Case; 7] = [
        (|now| now.since_boot += MAX_AGE, "too_old"),
        (|now| now.wall += MAX_AGE, "too_old"),
        (|now| now.wall += Duration::from_hours(24), "too_old"),
        (|now| now.wall -= Duration::from_secs(60), "from_the_future"),
        (|now| now.wall = Duration::ZERO, "from_the_future"),
        (|now| now.since_boot -= Duration::from_secs(60).min(now.since_boot), "from_the_future"),
        (|now| now.boot[0] ^= 1, "other_boot"),
    ];
    for (change, code) in cases {
        let directory = left_behind();
        assert_unused(&directory, &Process::start_at(directory.path(), ONE_RULE, reading(change), URL), code);
    }
    let directory = left_behind();
    let unknown = Err(ErrorKind::NotFound.into());
    assert_unused(&directory, &Process::start_at(directory.path(), ONE_RULE, unknown, URL), "boot_unknown");
    let directory = left_behind();
    let almost = reading(|now| {
        (now.since_boot += MAX_AGE - Duration::from_secs(30), now.wall += MAX_AGE - Duration::from_secs(30)).0
    });
    assert!(Process::start_at(directory.path(), ONE_RULE, almost, URL).taken.is_ok());
}

#[test]
fn another_upstream_is_another_audience() {
    let directory = left_behind();
    let process = Process::start_at(directory.path(), ONE_RULE, Reading::now(), "https://api-us2.pusher.com/");
    assert_unused(&directory, &process, "other_upstream");
}

#[test]
fn what_is_no_file_of_usher_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(file(&directory), "x".repeat(500)).unwrap();
    assert_unused(&directory, &Process::start(directory.path(), ONE_RULE), "no_state_file");
    std::fs::create_dir(file(&directory)).unwrap();
    let process = Process::start(directory.path(), ONE_RULE);
    assert_eq!(process.unused().code(), "no_state_file");
    assert!(matches!(process.write(), Err(NotWritten::Uncleared)), "it cannot be removed");
    assert!(process.keeper.as_ref().unwrap().tend().error.is_some());
    std::fs::remove_dir(file(&directory)).unwrap();
    let tended = process.keeper.as_ref().unwrap().tend();
    assert!(tended.done && tended.error.is_none());
    assert!(process.write().is_ok());
    let missing = Process::start(&directory.path().join("missing"), ONE_RULE);
    assert!(missing.keeper.is_none() && missing.unused().code() == "directory", "{}", missing.unused());
    let no_directory = Process::start(&file(&directory), ONE_RULE);
    assert!(no_directory.keeper.is_none() && no_directory.unused().code() == "directory");
}

/// The doubt about every request of the process before, which was not over when it ended.
#[test]
fn the_doubt_of_an_app_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let first = Process::start(directory.path(), ONE_RULE);
    assert_eq!(first.announce(0, "a", "Anna", Outcome::Accepted), Some(Before::Uncertain(Uncertainty::AppInDoubt)));
    first.stop();
    let second = Process::start(directory.path(), ONE_RULE);
    assert!(second.taken.is_ok());
    let almost = START_DOUBT - Duration::from_secs(5);
    let (before, reservation) = second.claim(0, "a", "Anna", almost).unwrap();
    assert_eq!(before, Before::Uncertain(Uncertainty::AppInDoubt));
    drop(reservation);
    let (before, _) = second.claim(0, "x", "Anna", START_DOUBT + Duration::from_secs(1)).unwrap();
    assert_eq!(before, Before::Nothing);
}

#[test]
fn rules_are_taken_one_by_one() {
    let directory = tempfile::tempdir().unwrap();
    let first = Process::start_late(directory.path(), &[("1", "joined", 7), ("1", "left", 8), ("2", "joined", 7)]);
    for rule in 0..3 {
        first.announce(rule, "a", "Anna", Outcome::Accepted);
    }
    first.stop();
    // A rule of app 1 has changed; app 2 has the same; app 3 is new.
    let second = Process::start(
        directory.path(),
        &[("1", "joined", 7), ("1", "left", 9), ("2", "joined", 7), ("3", "joined", 7)],
    );
    let restored = second.taken.as_ref().unwrap();
    assert_eq!((restored.channels, restored.rules_left_out, restored.apps_in_doubt), (2, 1, 2));
    let after = START_DOUBT + Duration::from_secs(1);
    assert!(second.claim(2, "a", "Anna", Duration::ZERO).is_none(), "app 2 goes on at once");
    assert!(
        second.claim(0, "a", "Anna", after).is_none(),
        "the same rule knows it once the doubt about the other is over"
    );
    for rule in [0, 1, 3] {
        let (before, _) = second.claim(rule, "b", "Anna", Duration::ZERO).unwrap();
        assert_eq!(before, Before::Uncertain(Uncertainty::AppInDoubt), "rule {rule}");
    }
    assert_eq!(second.claim(1, "a", "Anna", after).unwrap().0, Before::Nothing);
}

#[test]
fn a_rule_that_is_gone_does_not_hinder_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let first = Process::start_late(directory.path(), &[("1", "joined", 7), ("1", "left", 8)]);
    first.announce(0, "a", "Anna", Outcome::Accepted);
    first.announce(1, "a", "Anna", Outcome::Ambiguous);
    first.stop();
    let second = Process::start(directory.path(), ONE_RULE);
    assert_eq!(second.announce(0, "a", "Anna", Outcome::Accepted), None);
}

#[test]
fn a_doubt_without_room_is_about_the_whole_app() {
    let directory = tempfile::tempdir().unwrap();
    let first = Process::start_late(directory.path(), ONE_RULE);
    for channel in ["a", "b", "c"] {
        first.announce(0, channel, "Anna", Outcome::Ambiguous);
    }
    first.stop();
    let second = Process::start_with(directory.path(), ONE_RULE, Reading::now(), URL, 2);
    let restored = second.taken.as_ref().unwrap();
    assert_eq!((restored.channels, restored.without_room), (2, 1));
    let in_doubt = |later| second.memories[0].app().in_doubt(second.clock.now().after(later));
    assert!(in_doubt(DOUBT - Duration::from_secs(5)) && !in_doubt(DOUBT + Duration::from_secs(1)));
}

#[test]
fn whom_announcements_have_reached_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let anna = Value::One(Assignment::new(0, "Anna", ["null"]));
    let (one, other) = (Socket::of((1, u64::MAX)), Socket::of((1, 2)));
    let claim = |process: &Process, channel: &str, left_out| {
        let announced = Announced { value: &anna, left_out };
        match process.memories[0].claim(channel, announced, ClaimMode::MustNotWait, process.clock.now()) {
            Claim::Redundant(_) => None,
            Claim::Reserved { reservation, renewal, .. } => Some((reservation, renewal)),
            other => panic!("{other:?}"),
        }
    };
    let process = Process::start_late(directory.path(), ONE_RULE);
    for (channel, left_out) in [("all", None), ("all but one", Some(one)), ("missed", None)] {
        claim(&process, channel, left_out).expect("nothing is known").0.settle(Outcome::Accepted);
    }
    process.memories[0].joined("missed");
    process.stop();
    let process = Process::start(directory.path(), ONE_RULE);
    assert_eq!(process.taken.as_ref().map(|restored| restored.channels).ok(), Some(3));
    let renewal =
        |channel, left_out| claim(&process, channel, left_out).map(|(_, renewal)| renewal.expect("it is known"));
    assert_eq!([renewal("all", None), renewal("all", Some(one))], [None, None]);
    assert_eq!(
        [renewal("all but one", Some(one)), renewal("all but one", Some(other))],
        [None, Some(Renewal::LeftOut)]
    );
    assert_eq!(renewal("missed", None), Some(Renewal::LateJoiner));
}
