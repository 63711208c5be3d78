//! Values that are held back until a moment, unless they are taken back before.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use crate::clock::Moment;

/// Values by their keys, each with the moment when it is due.
#[derive(Debug)]
pub(super) struct Held<K, V> {
    values: HashMap<K, (Due, V)>,
    /// The same keys in the order in which they are due, so that the next one is found without a search.
    order: BTreeMap<Due, K>,
    next: u64,
}

/// When a value is due; those of the same moment in the order in which they were put.
type Due = (Moment, u64);

impl<K: Hash + Eq + Clone, V> Held<K, V> {
    /// Nothing.
    pub(super) fn new() -> Self {
        Self { values: HashMap::new(), order: BTreeMap::new(), next: 0 }
    }

    /// Holds `value` back until `due`, in place of the one before.
    pub(super) fn put(&mut self, key: K, due: Moment, value: V) {
        let due = (due, self.next);
        self.next += 1;
        if let Some((before, _)) = self.values.insert(key.clone(), (due, value)) {
            self.order.remove(&before);
        }
        self.order.insert(due, key);
    }

    /// Takes a value back, with the moment when it would have been due.
    pub(super) fn take(&mut self, key: &K) -> Option<(Moment, V)> {
        let (due, value) = self.values.remove(key)?;
        self.order.remove(&due);
        Some((due.0, value))
    }

    /// Takes the first value that is due by `until`, with the moment when it was due.
    pub(super) fn pop_due(&mut self, until: Moment) -> Option<(Moment, K, V)> {
        self.order.first_key_value().filter(|((due, _), _)| *due <= until)?;
        let ((due, _), key) = self.order.pop_first()?;
        let (_, value) = self.values.remove(&key)?;
        Some((due, key, value))
    }

    /// When the first value is due.
    pub(super) fn next_due(&self) -> Option<Moment> {
        self.order.first_key_value().map(|((due, _), _)| *due)
    }

    /// How many values are held back.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    #[test]
    fn values_are_due_in_their_order_unless_they_are_taken_back() {
        let mut held = Held::new();
        for (key, due) in [("c", 30), ("a", 10), ("b", 10), ("d", 20), ("a", 10)] {
            held.put(key, at(due), due);
        }
        assert_eq!((held.len(), held.next_due()), (4, Some(at(10))));
        assert_eq!(held.take(&"d"), Some((at(20), 20)));
        assert_eq!(held.take(&"d"), None);
        assert_eq!(held.pop_due(at(9)), None);
        assert_eq!(
            [held.pop_due(at(10)), held.pop_due(at(29)), held.pop_due(at(29))],
            [Some((at(10), "b", 10)), Some((at(10), "a", 10)), None]
        );
        assert_eq!((held.pop_due(at(30)), held.len(), held.next_due()), (Some((at(30), "c", 30)), 0, None));
        assert!(held.order.is_empty());
    }
}
