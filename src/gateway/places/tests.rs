//! Which connection makes room, and when none does.

use futures_util::FutureExt;
use tokio::time::advance;

use super::*;

const GRACE: Duration = Duration::from_secs(10);

fn places(most: usize, per_peer: usize) -> Arc<Places> {
    Places::new((most, per_peer), GRACE, Clock::start(), Metrics::new())
}

/// A connection of the peer with this number, for which there is a place.
fn connect(places: &Arc<Places>, peer: u8) -> Arc<Place> {
    let permit = places.free().now_or_never().expect("a place is free").expect("the semaphore is open");
    places.enter(permit, [192, 0, 2, peer].into()).expect("the peer has not too many")
}

/// Which of the connections goes when one more comes; it is dropped.
fn gives_up(places: &Arc<Places>, open: &mut Vec<(&'static str, Arc<Place>)>) -> Option<&'static str> {
    assert!(places.free().now_or_never().is_none(), "a place was free");
    let gone = open.iter().position(|(_, place)| place.given_up().now_or_never().is_some())?;
    Some(open.remove(gone).0)
}

#[tokio::test(start_paused = true)]
async fn who_never_sent_a_request_goes_first_then_the_longest_idle_of_the_largest_peer() {
    let places = places(7, 0);
    let names = ["small", "large, late", "large, early", "switched", "new", "newer", "trusted"];
    let mut open: Vec<_> =
        names.into_iter().zip([1, 2, 2, 20, 3, 3, 4]).map(|(name, peer)| (name, connect(&places, peer))).collect();
    let place = |name: &str| Arc::clone(&open.iter().find(|(its, _)| *its == name).expect("it is open").1);
    for name in ["small", "large, late", "large, early", "switched", "trusted"] {
        place(name).busy();
    }
    place("trusted").trust();
    for name in ["trusted", "small", "large, early", "large, late"] {
        place(name).idle(place(name).now());
        advance(Duration::from_secs(1)).await;
    }
    for (gone, filler) in [("new", 5), ("newer", 6), ("large, early", 7), ("small", 8), ("large, late", 9)] {
        let found = gives_up(&places, &mut open);
        assert_eq!(found, Some(gone));
        let busy = connect(&places, filler);
        busy.busy();
        open.push(("filler", busy));
    }
    assert_eq!(gives_up(&places, &mut open), None, "an authentic trigger was carried lately");
    advance(GRACE).await;
    assert_eq!(gives_up(&places, &mut open), Some("trusted"));
    open.push(("filler", connect(&places, 9)));
    open.last().expect("it was pushed").1.busy();
    assert_eq!(gives_up(&places, &mut open), None, "all are busy");
}

#[tokio::test(start_paused = true)]
async fn who_has_sent_a_request_meanwhile_stays() {
    let places = places(1, 0);
    let place = connect(&places, 1);
    assert!(places.free().now_or_never().is_none());
    place.busy();
    assert!(place.given_up().now_or_never().is_none());
    place.idle(place.now());
    assert!(place.given_up().now_or_never().is_none());
    place.receiving(place.now());
    assert!(places.free().now_or_never().is_none());
    assert!(place.given_up().now_or_never().is_some(), "a body is awaited of a stranger");
}

#[tokio::test]
async fn a_connection_is_woken_and_its_place_given_to_who_waits() {
    let places = places(1, 0);
    let silent = connect(&places, 1);
    let connection = async {
        silent.given_up().await;
        drop(silent);
    };
    let (_permit, ()) = tokio::join!(places.free(), connection);
}

#[test]
fn the_connections_of_a_peer_are_counted_as_long_as_they_are_open() {
    let places = places(10, 2);
    let enter = |peer: &str| places.enter(places.free().now_or_never().unwrap().unwrap(), peer.parse().unwrap());
    let first = enter("2001:db8:1:2::1").unwrap();
    let _second = enter("2001:db8:1:2:ffff::9").unwrap();
    assert!(enter("2001:db8:1:2::3").is_none(), "the same /64");
    let _other = enter("2001:db8:1:3::1").unwrap();
    drop(first);
    assert!(enter("2001:db8:1:2::3").is_some());
    drop(places);
}
