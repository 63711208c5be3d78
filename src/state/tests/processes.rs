//! One process at a time has the directory; what others do beside it is never forgotten.

use super::*;

#[test]
fn nothing_is_written_while_a_request_is_in_flight() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start_late(directory.path(), ONE_RULE);
    let (_, reservation) = process.claim(0, "a", "Anna", Duration::ZERO).unwrap();
    assert!(matches!(process.write(), Err(NotWritten::InFlight(_))));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    drop(reservation);
    let wide = process.memories[0].app().claim_all();
    assert!(matches!(process.write(), Err(NotWritten::InFlight(_))));
    drop(wide);
    process.stop();
    let next = Process::start(directory.path(), ONE_RULE);
    let (before, _) = next.claim(0, "a", "Anna", Duration::ZERO).unwrap();
    assert_eq!(before, Before::Uncertain(Uncertainty::InDoubt), "what was dropped unsettled is in doubt");
}

#[test]
fn who_comes_while_the_lock_is_held_doubts_until_it_is_free_and_reads_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let first = Process::start_late(directory.path(), ONE_RULE);
    first.announce(0, "a", "Anna", Outcome::Accepted);
    let second = Process::start(directory.path(), ONE_RULE);
    assert_eq!(second.unused().code(), "locked");
    let keeper = second.keeper.as_ref().unwrap();
    assert!(keeper.waits() && second.assignments.end_of_start_doubt().is_none());
    assert!(!keeper.tend().locked && matches!(second.write(), Err(NotWritten::Locked)));
    let (before, _) = second.claim(0, "a", "Anna", START_DOUBT * 100).unwrap();
    assert_eq!(before, Before::Uncertain(Uncertainty::AppInDoubt));

    // The first one does not know what the second one forwards.
    assert!(matches!(first.write(), Err(NotWritten::Beside)));
    assert!(!file(&directory).exists());
    drop(first);
    let tended = keeper.tend();
    assert!(tended.locked && tended.done && tended.error.is_none());
    second.assignments.count_start_doubt();
    let end = second.assignments.end_of_start_doubt().unwrap().since(second.clock.now());
    assert!(end > START_DOUBT - Duration::from_secs(5) && end <= START_DOUBT + Duration::from_secs(1));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "its own mark is gone");
    second.stop();
    assert!(Process::start(directory.path(), ONE_RULE).taken.is_ok());
}

/// First: known A, ends cleanly. Second: came before that, forwarded B, and was killed before it had the lock.
#[test]
fn what_a_process_without_the_lock_has_forwarded_is_not_forgotten_when_it_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let first = Process::start_late(directory.path(), ONE_RULE);
    first.announce(0, "a", "Anna", Outcome::Accepted);
    drop(Process::start(directory.path(), ONE_RULE));
    assert!(matches!(first.write(), Err(NotWritten::Beside)));
    drop(first);
    assert_unused(&directory, &Process::start(directory.path(), ONE_RULE), "beside");
}

/// The mark comes between the last look of the first process and its file.
#[test]
fn a_file_beside_a_mark_is_not_used() {
    let directory = left_behind();
    let content = std::fs::read(file(&directory)).unwrap();
    let holder = Directory::open(directory.path()).unwrap();
    assert!(holder.try_lock().unwrap());
    let other = Process::start(directory.path(), ONE_RULE);
    std::fs::write(file(&directory), &content).unwrap();
    drop((holder, other));
    assert_unused(&directory, &Process::start(directory.path(), ONE_RULE), "beside");
    let next = Process::start(directory.path(), ONE_RULE);
    assert_unused(&directory, &next, "no_file");
    assert!(next.write().is_ok(), "the marks of those that are gone are removed");
}

#[test]
fn the_mark_of_a_process_that_runs_stays() {
    let directory = tempfile::tempdir().unwrap();
    let first = Process::start(directory.path(), ONE_RULE);
    let (second, third) = (Process::start(directory.path(), ONE_RULE), Process::start(directory.path(), ONE_RULE));
    drop(first);
    assert!(second.keeper.as_ref().unwrap().tend().done);
    assert!(!third.keeper.as_ref().unwrap().tend().locked);
    assert!(matches!(second.write(), Err(NotWritten::Beside)), "the third one still serves");
    drop((second, third));
    assert_unused(&directory, &Process::start(directory.path(), ONE_RULE), "beside");
}

#[test]
fn the_file_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = left_behind();
    assert_eq!(std::fs::metadata(file(&directory)).unwrap().permissions().mode() & 0o777, 0o600);
}
