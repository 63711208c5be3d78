//! Rate limits: delays, rejections, and what is never lost.

mod peers;
mod subscriptions;
mod triggers;

use crate::harness::{Fake, Usher};

/// An usher with these rates under `[limits]`.
fn limited(fake: &Fake, rates: &[&str]) -> Usher {
    Usher::start(fake, |setup| setup.limits = keys(rates))
}

fn keys(rates: &[&str]) -> String {
    rates.iter().map(|rate| format!("rates.{rate}\n")).collect()
}

/// A counter of `[limits.rates]` for this scope.
fn count(usher: &Usher, name: &str, scope: &str) -> f64 {
    usher.admin().metric(name, &[&format!("scope=\"{scope}\"")])
}
