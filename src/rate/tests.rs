//! Tests of the limits in paused time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, advance};

use super::limit::Limit;
use super::table::Fingerprint;
use super::*;
use crate::clock::Clock;
use crate::metrics::{Metrics, Sample};

const ONE: Fingerprint = Fingerprint(1);

fn rate(per_second: u32, burst: u32) -> Rate {
    Rate { per_second: per_second.try_into().unwrap(), burst: burst.try_into().unwrap() }
}

fn limit(rate: Rate, max_wait: u64) -> Arc<Limit> {
    Arc::new(Limit::new(rate, Duration::from_millis(max_wait), 1000, Clock::start()))
}

fn limiters(rates: &Rates) -> (Arc<Limiters>, Arc<Metrics>) {
    let metrics = Metrics::new();
    (Limiters::new(rates, Clock::start(), &metrics), metrics)
}

/// The waits of the permits that are granted now, in milliseconds, and the wait of the first rejection.
fn acquire_all(limit: &Arc<Limit>, most: usize) -> (Vec<u128>, Option<Duration>) {
    let mut waits = Vec::new();
    for _ in 0..most {
        match limit.acquire(ONE) {
            Ok(permit) => waits.push(permit.wait.as_millis()),
            Err(retry_after) => return (waits, Some(retry_after)),
        }
    }
    (waits, None)
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_immediate_and_the_remainder_is_evenly_spaced() {
    let limit = limit(rate(10, 3), 500);
    let (waits, refused) = acquire_all(&limit, 100);
    assert_eq!(waits, [0, 0, 0, 100, 200, 300, 400, 500]);
    assert_eq!(refused, Some(Duration::from_millis(100)));
    advance(Duration::from_millis(250)).await;
    assert_eq!(acquire_all(&limit, 100).0, [350, 450]);
    advance(Duration::from_secs(60)).await;
    assert_eq!(acquire_all(&limit, 100).0, [0, 0, 0, 100, 200, 300, 400, 500]);
}

#[tokio::test(start_paused = true)]
async fn at_twice_the_limit_for_less_than_the_wait_nothing_is_refused() {
    let limit = limit(rate(100, 1), 1000);
    let began = Instant::now();
    let mut times = Vec::new();
    for _ in 0..180 {
        let permit = limit.acquire(ONE).unwrap();
        times.push(began.elapsed() + permit.wait);
        advance(Duration::from_millis(5)).await;
    }
    assert!(times.is_sorted(), "permits are granted in the order of the calls");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == Duration::from_millis(10)), "{times:?}");
    assert_eq!(times.last(), Some(&Duration::from_millis(1790)));
}

#[tokio::test(start_paused = true)]
async fn without_a_wait_there_is_only_the_burst() {
    let limit = limit(rate(10, 2), 0);
    assert_eq!(acquire_all(&limit, 100), (vec![0, 0], Some(Duration::from_millis(100))));
}

#[tokio::test(start_paused = true)]
async fn a_refunded_permit_can_be_acquired_again() {
    let limit = limit(rate(1, 2), 0);
    let permit = limit.acquire(ONE).unwrap();
    assert_eq!(acquire_all(&limit, 9).0, [0]);
    permit.refund();
    assert_eq!(acquire_all(&limit, 9).0, [0]);
}

#[tokio::test(start_paused = true)]
async fn a_million_addresses_leave_no_more_than_the_bound() {
    let (limiters, metrics) =
        limiters(&Rates { peer_connections: Some(rate(1, 2)), max_keys: 10_000, ..Rates::default() });
    let regular = IpAddr::from(Ipv4Addr::LOCALHOST);
    let mut most = 0;
    let mut admitted = 0;
    for number in 0..1_000_000_u32 {
        assert!(limiters.admits(Ipv4Addr::from_bits(number | 0x4000_0000).into()));
        if number % 1000 == 0 {
            most = most.max(limiters.remembered());
            admitted += usize::from(limiters.admits(regular));
        }
    }
    assert!((5_000..=10_000).contains(&most), "{most} keys");
    assert_eq!(admitted, 2, "an active key is not forgotten");
    advance(Duration::from_secs(3)).await;
    limiters.sweep();
    assert_eq!(limiters.remembered(), 0);
    let page = metrics.encode(&Sample::default());
    let forgotten = page
        .lines()
        .find_map(|line| line.strip_prefix("usher_rate_keys_forgotten_total{scope=\"peer_connections\"} "))
        .unwrap();
    assert!((980_000..1_000_000).contains(&forgotten.parse::<u32>().unwrap()), "{forgotten}");
}

#[tokio::test(start_paused = true)]
async fn a_sweep_keeps_keys_whose_burst_is_not_full() {
    let (limiters, _) = limiters(&Rates { peer_connections: Some(rate(1, 2)), ..Rates::default() });
    let ip = IpAddr::from(Ipv4Addr::LOCALHOST);
    assert!(limiters.admits(ip) && limiters.admits(ip));
    advance(Duration::from_millis(500)).await;
    limiters.sweep();
    assert!(!limiters.admits(ip));
}

#[tokio::test(start_paused = true)]
async fn a_peer_is_an_address_or_sixty_four_bits() {
    let (limiters, _) = limiters(&Rates { peer_connections: Some(rate(1, 1)), ..Rates::default() });
    let admits = |ip: &str| limiters.admits(ip.parse().unwrap());
    assert!(admits("2001:db8:1:2::1"));
    assert!(!admits("2001:db8:1:2:ffff::9"), "the same /64");
    assert!(admits("2001:db8:1:3::1"));
    assert!(admits("192.0.2.1"));
    assert!(!admits("::ffff:192.0.2.1"), "the same address");
    assert!(admits("192.0.2.2"));
    assert!(limiters.pace(Ipv6Addr::LOCALHOST.into()).is_none());
}

#[tokio::test(start_paused = true)]
async fn limits_that_stay_the_same_keep_their_states() {
    let rates = Rates { peer_connections: Some(rate(1, 1)), ..Rates::default() };
    let (before, _) = limiters(&rates);
    let ip = IpAddr::from(Ipv4Addr::LOCALHOST);
    assert!(before.admits(ip));
    assert!(!before.rebuilt_for(&rates).admits(ip));
    let more = before.rebuilt_for(&Rates { peer_connections: Some(rate(5, 5)), ..rates });
    assert!(more.admits(ip) && more.admits(ip));
}

#[tokio::test(start_paused = true)]
async fn a_trigger_acquires_all_or_no_permits_and_only_once() {
    let rates = Rates {
        app_triggers: Some(rate(1, 3)),
        channel_triggers: Some(rate(1, 1)),
        max_wait: Duration::ZERO,
        ..Rates::default()
    };
    let (limiters, _) = limiters(&rates);
    let limits = limiters.app("3").unwrap();
    let acquire = |channels: &[&str]| match RateReservation::default().acquire(&limits, channels.iter().copied()) {
        RateDecision::Admit => "admitted",
        RateDecision::Reject(Limited::Channel { .. }) => "channel",
        RateDecision::Reject(Limited::App { .. }) => "app",
        RateDecision::Reject(Limited::Crowded { .. }) | RateDecision::Delay(_) => "later",
    };
    assert_eq!(acquire(&["b"]), "admitted");
    assert_eq!(acquire(&["a", "b"]), "channel");
    // That consumed neither the permit of `a` nor one of the app.
    assert_eq!([acquire(&["a"]), acquire(&["c"]), acquire(&["d"])], ["admitted", "admitted", "app"]);
    let other = limiters.app("4").unwrap();
    assert!(matches!(RateReservation::default().acquire(&other, ["a"].into_iter()), RateDecision::Admit));
    advance(Duration::from_secs(1)).await;
    assert_eq!(acquire(&["d"]), "admitted");
}

#[tokio::test(start_paused = true)]
async fn a_delayed_trigger_holds_permits_and_may_be_refunded() {
    let (limiters, metrics) = limiters(&Rates { app_triggers: Some(rate(1, 1)), max_waiters: 1, ..Rates::default() });
    let limits = limiters.app("3").unwrap();
    let none = || std::iter::empty::<&str>();
    assert!(matches!(RateReservation::default().acquire(&limits, none()), RateDecision::Admit));
    let mut rate_reservation = RateReservation::default();
    let RateDecision::Delay(slot) = rate_reservation.acquire(&limits, none()) else { panic!("no delay") };
    assert_eq!(slot.wait, Duration::from_secs(1));
    assert!(matches!(rate_reservation.acquire(&limits, none()), RateDecision::Admit), "the permits are held already");
    let RateDecision::Reject(limited) = RateReservation::default().acquire(&limits, none()) else {
        panic!("a second one waits")
    };
    assert_eq!(
        (limited, limited.retry_after()),
        (Limited::App { per_second: 1, retry_after: Duration::from_secs(1) }, 1)
    );
    rate_reservation.refund();
    let crowded = RateReservation::default().acquire(&limits, none());
    assert!(matches!(crowded, RateDecision::Reject(Limited::Crowded { .. })), "{crowded:?}");
    drop(slot);
    assert!(matches!(RateReservation::default().acquire(&limits, none()), RateDecision::Delay(_)));
    let page = metrics.encode(&Sample::default());
    for line in [
        "usher_rate_limited_total{scope=\"app\"} 2",
        "usher_rate_delayed_total{scope=\"app\"} 2",
        "usher_rate_waiting 0",
    ] {
        assert!(page.lines().any(|found| found == line), "{line}\n{page}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_connections_of_a_peer_share_its_rate() {
    let (limiters, _) = limiters(&Rates { peer_messages: Some(rate(10, 4)), ..Rates::default() });
    let began = Instant::now();
    let reader = |ip: [u8; 4]| {
        let mut pace = limiters.pace(ip.into()).unwrap();
        async move {
            for _ in 0..12 {
                pace.ready().await;
                pace.count_message();
            }
            pace.ready().await;
            began.elapsed()
        }
    };
    let (one, two, other) = tokio::join!(reader([192, 0, 2, 1]), reader([192, 0, 2, 1]), reader([192, 0, 2, 2]));
    // 4 at once, then one every tenth of a second: the other peer waited for 8 permits (0.8 s), the first two
    // connections for 20 together.
    assert_eq!(other.as_millis() / 10, 80, "{other:?}");
    assert_eq!(one.max(two).as_millis() / 10, 200, "{one:?} {two:?}");
}

#[test]
fn addresses_of_one_subnet_do_not_share_a_limit() {
    let (limiters, _) = limiters(&Rates { peer_connections: Some(rate(1, 1)), ..Rates::default() });
    assert_eq!((0..=255).filter(|last| limiters.admits([192, 0, 2, *last].into())).count(), 256);
}
