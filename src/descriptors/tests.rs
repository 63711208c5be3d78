//! How many connections fit into how many descriptors.

use std::io;

use proptest::prelude::*;

use super::{Exhausted, Fit, LEAST_CONNECTIONS, Need, Shortage};

/// The defaults with two workers: a reserve of 24 + 2 × 6 + 72 = 108.
const REMOTE: Need = Need { connections: 10_000, operator: 72, workers: 2, pools: 4, max_idle: 256 };
const LOCAL: Need = Need { pools: 0, ..REMOTE };
/// With 64 workers: a reserve of 24 + 64 × 6 + 72 = 480.
const LARGE: Need = Need { workers: 64, pools: 128, ..REMOTE };

#[test]
fn a_connection_takes_two_with_a_remote_upstream_and_one_with_the_broker() {
    assert_eq!(REMOTE.total(), 108 + 2 * 10_000 + 4 * 256);
    assert_eq!(LOCAL.total(), 108 + 10_000);
    assert_eq!((REMOTE.least(), LOCAL.least()), (108 + 16, 108 + 8));
    assert_eq!(Need { connections: 3, ..REMOTE }.least(), 108 + 6);
}

#[test]
fn idle_connections_are_reduced_first_and_then_connections() {
    for (need, limit, connections, max_idle) in [
        (REMOTE, u64::MAX, 10_000, 256),
        (REMOTE, 21_132, 10_000, 256),
        (REMOTE, 21_131, 9_999, 256),
        // All connections, and as many idle ones as are left; at least a fifth of what the reserve leaves, but never
        // more than is configured.
        (LARGE, 32_768, 10_000, 96),
        (REMOTE, 20_208, 9_538, 256),
        (REMOTE, 4_096, 1_596, 199),
        (REMOTE, 1_024, 368, 45),
        (REMOTE, 256, 60, 7),
        (REMOTE, 128, 8, 1),
        (REMOTE, 124, 8, 0),
        (Need { max_idle: 0, ..REMOTE }, 1_024, 458, 0),
        (Need { connections: 20, ..REMOTE }, 1_024, 20, 219),
        (LOCAL, 10_108, 10_000, 0),
        (LOCAL, 1_024, 916, 0),
        (LOCAL, 116, 8, 0),
    ] {
        assert_eq!(need.fit(limit), Some(Fit { connections, max_idle }), "{limit} for {need:?}");
    }
    assert_eq!((REMOTE.fit(123), LOCAL.fit(115), REMOTE.fit(0)), (None, None, None));
}

proptest! {
    #[test]
    fn what_fits_fits(
        connections in 1..20_000_usize,
        workers in 1..64_usize,
        (is_remote, max_idle) in (any::<bool>(), 0..2_000_usize),
        limit in 0..100_000_u64,
    ) {
        let (pools, max_idle) = if is_remote { (2 * workers, max_idle) } else { (0, 0) };
        let need = Need { connections, operator: 72, workers, pools, max_idle };
        let fit = need.fit(limit);
        prop_assert_eq!(fit.is_some(), limit >= need.least());
        if let Some(Fit { connections: fitting, max_idle: idle }) = fit {
            let taken = Need { connections: fitting, max_idle: idle, ..need };
            prop_assert!(taken.total() <= limit, "{:?} takes {}", taken, taken.total());
            prop_assert!(fitting <= connections && idle <= max_idle);
            prop_assert!(fitting as u64 >= LEAST_CONNECTIONS.min(connections as u64));
            prop_assert_eq!((fitting, idle) == (connections, max_idle), limit >= need.total());
        }
        prop_assert_eq!(Shortage::of(need, limit).is_none(), fit.is_some_and(|fit| fit.connections == connections));
    }
}

#[test]
fn a_shortage_names_both_numbers_the_cause_and_the_remedy() {
    let text = |need, limit| Shortage::of(need, limit).map(|shortage| shortage.to_string()).unwrap_or_default();
    let clamped = text(REMOTE, 1_024);
    let expected = [
        "1024 files may be open",
        "limits.max_connections = 10000 needs 21132",
        "no more than 368",
        "LimitNOFILE=21132",
        "`ulimit -n 21132`",
        "or lower",
    ];
    assert!(expected.iter().all(|part| clamped.contains(part)), "{clamped}");
    let refused = text(LOCAL, 100);
    let expected =
        ["100 files may be open", "does not start with fewer than 116", "server.workers", "LimitNOFILE=10108"];
    assert!(expected.iter().all(|part| refused.contains(part)), "{refused}");
    // Fewer idle connections are no shortage.
    assert!(text(LARGE, 32_768).is_empty());
}

#[test]
fn only_exhausted_descriptors_are_reported_as_such() {
    let of = |error: rustix::io::Errno| Exhausted::of(&io::Error::from(error));
    assert_eq!(of(rustix::io::Errno::MFILE), Some(Exhausted::Process));
    assert_eq!(of(rustix::io::Errno::NFILE), Some(Exhausted::Machine));
    assert_eq!(of(rustix::io::Errno::CONNREFUSED), None);
    assert_eq!(Exhausted::of(&io::Error::other("EMFILE")), None);
    assert!(
        Exhausted::Process.to_string().contains("LimitNOFILE")
            && Exhausted::Machine.to_string().contains("fs.file-max")
    );
}
