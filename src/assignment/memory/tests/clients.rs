//! Clients that subscribe, connections that are left out, and what is announced beside usher.

use super::*;
use crate::assignment::{Renewal, Socket};

const SOCKET: Socket = Socket::of((3, 4));

fn without(memory: &Arc<RuleMemory>, left_out: impl Into<Option<Socket>>) -> Claim {
    let announced = Announced { value: &one("Anna"), left_out: left_out.into() };
    memory.claim("room", announced, ClaimMode::MayWait, memory.now())
}

fn renewal(claim: &Claim) -> Option<Renewal> {
    match claim {
        Claim::Reserved { redundant: false, renewal, .. } => *renewal,
        other => panic!("{other:?}"),
    }
}

fn accept(claim: Claim) {
    match claim {
        Claim::Reserved { reservation, .. } => reservation.settle(Outcome::Accepted),
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_subscribes_makes_the_next_announcement_go_on_whatever_the_channel_is_stored_as() {
    let memory = memory_of(100);
    memory.joined("room");
    assert!(memory.is_empty(), "nothing is known of it");
    memory.announce("room", "Anna");
    memory.joined("another room");
    assert!(matches!(memory.ask("room", "Anna"), Claim::Redundant(_)));
    memory.joined("room");
    let next = memory.ask("room", "Anna");
    assert_eq!(renewal(&next), Some(Renewal::LateJoiner));
    accept(next);
    assert!(matches!(memory.ask("room", "Anna"), Claim::Redundant(_)));
    let leader = memory.ask("room", "Ben");
    memory.joined("room");
    let next = memory.ask("room", "Ben");
    assert_eq!(renewal(&next), Some(Renewal::LateJoiner), "it does not wait for one that they may have missed");
    accept(leader);
    accept(next);
    assert!(matches!(memory.ask("room", "Ben"), Claim::Redundant(_)));
}

#[test]
fn who_was_left_out_is_remembered() {
    let memory = memory_of(100);
    accept(without(&memory, SOCKET));
    assert!(matches!(without(&memory, SOCKET), Claim::Redundant(_)));
    assert_eq!(memory.standing("room"), Standing::Known(Assignment::new(0, "Anna", [])));
    let next = without(&memory, None);
    assert_eq!(renewal(&next), Some(Renewal::LeftOut));
    assert!(matches!(without(&memory, SOCKET), Claim::InFlight(_)), "it reaches more");
    accept(next);
    assert!(matches!(without(&memory, SOCKET), Claim::Redundant(_)));
    assert!(matches!(without(&memory, None), Claim::Redundant(_)));
}

#[tokio::test(start_paused = true)]
async fn what_is_old_is_announced_again_and_what_observes_does_not_make_it_younger() {
    let memory = memory_of(100);
    memory.set(DAY, Some(Duration::from_mins(10)));
    memory.announce("room", "Anna");
    tokio::time::advance(Duration::from_mins(6)).await;
    let observed = memory.claim("room", &one("Anna"), ClaimMode::Observed, memory.now());
    assert!(matches!(observed, Claim::Reserved { redundant: true, .. }));
    accept(observed);
    assert!(matches!(memory.ask("room", "Anna"), Claim::Redundant(_)));
    tokio::time::advance(Duration::from_mins(5)).await;
    let next = memory.claim("room", &one("Anna"), ClaimMode::Observed, memory.now());
    assert_eq!(renewal(&next), Some(Renewal::Refresh));
    accept(next);
    tokio::time::advance(Duration::from_mins(9)).await;
    assert!(matches!(memory.ask("room", "Anna"), Claim::Redundant(_)));
    memory.set(DAY, None);
    tokio::time::advance(Duration::from_mins(9)).await;
    assert!(matches!(memory.ask("room", "Anna"), Claim::Redundant(_)));
}

#[tokio::test(start_paused = true)]
async fn a_channel_is_in_doubt_for_a_while_also_one_that_is_not_remembered() {
    let memory = memory_of(2);
    memory.announce("room", "Anna");
    let in_doubt = Before::Uncertain(crate::assignment::Uncertainty::InDoubt);
    for channel in ["room", "another room"] {
        memory.doubt(channel);
        assert_eq!(memory.standing(channel), Standing::Unsettled);
        let claim = memory.ask(channel, "Anna");
        assert!(matches!(&claim, Claim::Reserved { before, .. } if *before == in_doubt), "{claim:?}");
        accept(claim);
    }
    assert_eq!(memory.standing("third room"), Standing::Unknown);
    memory.doubt("third room");
    memory.doubt(&"x".repeat(70_000));
    assert_eq!((memory.len(), memory.standing("third room")), (2, Standing::Unknown), "there is no room");
    tokio::time::advance(Duration::from_secs(31)).await;
    assert_eq!(memory.standing("room"), Standing::Unknown);
    memory.announce("room", "Anna");
    assert_eq!(memory.standing("room"), Standing::Known(Assignment::new(0, "Anna", [])));
    tokio::time::advance(DAY).await;
    assert_eq!(memory.standing("room"), Standing::Unknown, "no claim named it for so long");
    let wide = memory.app().claim_all();
    assert_eq!([memory.standing("room"), memory.standing("none")], [Standing::Unsettled, Standing::Unsettled]);
    wide.settle(Outcome::Accepted);
}
