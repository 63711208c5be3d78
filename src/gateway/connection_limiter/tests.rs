//! Which connection is evicted, and when none is.

use std::task::{Context, Wake};

use futures_util::FutureExt;
use tokio::time::advance;

use super::*;

const GRACE: Duration = Duration::from_secs(10);

fn limiter(total: usize, per_peer: usize) -> Arc<ConnectionLimiter> {
    let limits = ConnectionLimits { total, per_peer, trusted_grace: GRACE };
    ConnectionLimiter::new(limits, Clock::start(), Metrics::new())
}

/// Opens a connection of the peer with this number, which the limiter admits at once.
fn connect(limiter: &Arc<ConnectionLimiter>, peer: u8) -> Arc<ConnectionPermit> {
    let permit = limiter.acquire().now_or_never().expect("one more may be open").expect("the semaphore is open");
    limiter.admit(permit, [192, 0, 2, peer].into()).expect("the peer has not too many")
}

/// The connection that is evicted when one more comes; it is dropped.
fn evict(
    limiter: &Arc<ConnectionLimiter>,
    open: &mut Vec<(&'static str, Arc<ConnectionPermit>)>,
) -> Option<&'static str> {
    assert!(limiter.acquire().now_or_never().is_none(), "one more could be open");
    let gone = open.iter().position(|(_, permit)| permit.evicted().now_or_never().is_some())?;
    Some(open.remove(gone).0)
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_request_is_evicted_first_then_the_longest_idle_of_the_largest_peer() {
    let limiter = limiter(7, 0);
    let names = ["small", "large, late", "large, early", "switched", "new", "newer", "trusted"];
    let mut open: Vec<_> =
        names.into_iter().zip([1, 2, 2, 20, 3, 3, 4]).map(|(name, peer)| (name, connect(&limiter, peer))).collect();
    let permit = |name: &str| Arc::clone(&open.iter().find(|(its, _)| *its == name).expect("it is open").1);
    for name in ["small", "large, late", "large, early", "switched", "trusted"] {
        permit(name).set_busy();
    }
    permit("trusted").set_trusted();
    for name in ["trusted", "small", "large, early", "large, late"] {
        permit(name).set_idle(permit(name).now());
        advance(Duration::from_secs(1)).await;
    }
    for (gone, filler) in [("new", 5), ("newer", 6), ("large, early", 7), ("small", 8), ("large, late", 9)] {
        let found = evict(&limiter, &mut open);
        assert_eq!(found, Some(gone));
        let busy = connect(&limiter, filler);
        busy.set_busy();
        open.push(("filler", busy));
    }
    assert_eq!(evict(&limiter, &mut open), None, "an authentic trigger was carried lately");
    advance(GRACE).await;
    assert_eq!(evict(&limiter, &mut open), Some("trusted"));
    open.push(("filler", connect(&limiter, 9)));
    open.last().expect("it was pushed").1.set_busy();
    assert_eq!(evict(&limiter, &mut open), None, "all are busy");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_has_sent_a_request_meanwhile_stays() {
    let limiter = limiter(1, 0);
    let permit = connect(&limiter, 1);
    assert!(limiter.acquire().now_or_never().is_none());
    permit.set_busy();
    assert!(permit.evicted().now_or_never().is_none());
    permit.set_idle(permit.now());
    assert!(permit.evicted().now_or_never().is_none());
    permit.set_receiving(permit.now());
    assert!(limiter.acquire().now_or_never().is_none());
    assert!(permit.evicted().now_or_never().is_some(), "a body is awaited on a connection that is not trusted");
}

#[tokio::test]
async fn an_evicted_connection_is_woken_and_its_permit_given_to_the_next() {
    let limiter = limiter(1, 0);
    let silent = connect(&limiter, 1);
    let connection = async {
        silent.evicted().await;
        drop(silent);
    };
    let (_permit, ()) = tokio::join!(limiter.acquire(), connection);
}

#[test]
fn connections_of_a_peer_count_while_they_are_open() {
    let limiter = limiter(10, 2);
    let enter = |peer: &str| limiter.admit(limiter.acquire().now_or_never().unwrap().unwrap(), peer.parse().unwrap());
    let first = enter("2001:db8:1:2::1").unwrap();
    let _second = enter("2001:db8:1:2:ffff::9").unwrap();
    assert!(enter("2001:db8:1:2::3").is_none(), "the same /64");
    let _other = enter("2001:db8:1:3::1").unwrap();
    drop(first);
    assert!(enter("2001:db8:1:2::3").is_some());
    drop(limiter);
}

#[tokio::test(start_paused = true)]
async fn more_connections_may_be_open_once_the_bound_is_raised() {
    let limiter = limiter(1, 1);
    let first = connect(&limiter, 1);
    first.set_busy();
    assert!(limiter.acquire().now_or_never().is_none());
    limiter.set_limits(2, 1);
    let permit = limiter.acquire().now_or_never().expect("one more may be open").expect("the semaphore is open");
    assert!(limiter.admit(permit, [192, 0, 2, 1].into()).is_none(), "the peer has too many");
    limiter.set_limits(2, 0);
    let _second = connect(&limiter, 1);
}

#[tokio::test(start_paused = true)]
async fn connections_beyond_a_lowered_bound_are_evicted_and_busy_ones_count_until_they_end() {
    let limiter = limiter(5, 0);
    let mut open: Vec<_> = (0..5).map(|_| connect(&limiter, 1)).collect();
    open.iter().for_each(|permit| permit.set_busy());
    open[3].set_idle(open[3].now());
    limiter.set_limits(2, 0);
    let gone: Vec<_> = open.iter().map(|permit| permit.evicted().now_or_never().is_some()).collect();
    assert_eq!(gone, [false, false, false, true, false]);
    while open.len() > 2 {
        assert!(limiter.acquire().now_or_never().is_none());
        open.pop();
    }
    assert!(limiter.acquire().now_or_never().is_none(), "two are open");
    open.pop();
    open.push(connect(&limiter, 1));
    assert!(limiter.acquire().now_or_never().is_none());
    // Raised while there is an excess, it takes that into account.
    limiter.set_limits(1, 0);
    limiter.set_limits(3, 0);
    open.push(connect(&limiter, 1));
    assert!(limiter.acquire().now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_bound_that_is_lowered_by_many_evicts_each_connection_once() {
    let limiter = limiter(300, 0);
    let open: Vec<_> = (0..300).map(|_| connect(&limiter, 1)).collect();
    for permit in &open {
        permit.set_busy();
        permit.set_idle(permit.now());
    }
    limiter.set_limits(100, 0);
    let gone = open.iter().filter(|permit| permit.evicted().now_or_never().is_some()).count();
    assert_eq!(gone, 200);
}

#[tokio::test(start_paused = true)]
async fn a_permit_keeps_no_task_that_waits_no_longer() {
    struct Task;
    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }
    let permit = connect(&limiter(1, 0), 1);
    let task = Arc::new(Task);
    let mut evicted = Box::pin(permit.evicted());
    assert!(evicted.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(&task)))).is_pending());
    assert!(Arc::strong_count(&task) > 1);
    drop(evicted);
    assert_eq!(Arc::strong_count(&task), 1);
}
