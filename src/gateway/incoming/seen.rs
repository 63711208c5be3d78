//! The webhooks that were taken, so that the same one again does nothing: a sender that missed the answer sends it again,
//! and so may anybody who saw it. Bounded in number and in time.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use crate::clock::Moment;
use crate::pusher::WebhookSignature;

/// The largest number of webhooks that are kept in mind. At the bound the oldest is forgotten: it could be taken again, and
/// would say once more what is known.
const MAX: usize = 65_536;

/// A webhook: its app, and the signature, which is different for each body.
pub(super) type SeenKey = (Arc<str>, WebhookSignature);

/// The webhooks that were taken.
#[derive(Debug, Default)]
pub(super) struct Seen {
    taken: HashSet<SeenKey>,
    /// The same ones with the moments until which they are kept, which grow unless a reload changes the period.
    order: VecDeque<(Moment, SeenKey)>,
}

impl Seen {
    /// Whether this one was taken.
    pub(super) fn has(&mut self, key: &SeenKey, now: Moment) -> bool {
        while self.order.front().is_some_and(|(until, _)| *until <= now) {
            self.forget_first();
        }
        self.taken.contains(key)
    }

    /// Keeps this one in mind until then.
    pub(super) fn add(&mut self, key: SeenKey, now: Moment, until: Moment) {
        if self.has(&key, now) {
            return;
        }
        if self.order.len() >= MAX {
            self.forget_first();
        }
        self.taken.insert(key.clone());
        self.order.push_back((until, key));
    }

    fn forget_first(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.taken.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pusher::KeyPair;

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    fn key(app: &str, body: &str) -> SeenKey {
        (app.into(), WebhookSignature::of(&KeyPair::new("k", "s"), body.as_bytes()))
    }

    #[test]
    fn a_webhook_is_kept_in_mind_for_its_time() {
        let mut seen = Seen::default();
        assert!(!seen.has(&key("1", "a"), at(0)));
        seen.add(key("1", "a"), at(0), at(100));
        seen.add(key("1", "a"), at(50), at(150));
        assert!(
            seen.has(&key("1", "a"), at(99)) && !seen.has(&key("2", "a"), at(99)) && !seen.has(&key("1", "b"), at(99))
        );
        assert!(!seen.has(&key("1", "a"), at(100)));
        assert_eq!((seen.taken.len(), seen.order.len()), (0, 0));
    }

    #[test]
    fn at_the_bound_the_oldest_is_forgotten() {
        let mut seen = Seen::default();
        for number in 0..=MAX {
            seen.add(key("1", &number.to_string()), at(0), at(100));
        }
        assert_eq!((seen.taken.len(), seen.order.len()), (MAX, MAX));
        assert!(!seen.has(&key("1", "0"), at(1)) && seen.has(&key("1", "1"), at(1)));
    }
}
