//! Labels as enums: all values of a label are known at compile time, so counters are found by index and the number of
//! series is fixed.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;

use parking_lot::RwLock;
use prometheus::{IntCounter, IntCounterVec};

/// An enum whose variants are the values of a label.
pub(super) trait Label: Copy + 'static {
    /// Every variant, in the order of [`Label::index`].
    const ALL: &'static [Self];

    /// The value in the exposition.
    fn label(self) -> &'static str;

    /// The variant's index in [`Label::ALL`].
    fn index(self) -> usize;
}

/// Declares an enum together with its label values, so that every variant has a value and a counter.
macro_rules! label_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $( $(#[$variant_meta:meta])* $variant:ident => $label:literal, )+ }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $( $(#[$variant_meta])* $variant, )+ }

        impl $name {
            /// The value in metrics and logs.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $( Self::$variant => $label, )+ }
            }
        }

        impl $crate::metrics::label::Label for $name {
            const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];

            fn label(self) -> &'static str {
                self.label()
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}
pub(super) use label_enum;

/// One counter for each value of a label, all created at the start, so that a rate exists before the first event.
#[derive(Debug)]
pub(super) struct CounterPer<L> {
    counters: Arc<[IntCounter]>,
    label: PhantomData<fn(L)>,
}

impl<L: Label> CounterPer<L> {
    /// Resolves the counter of every label value.
    pub(super) fn new(resolve: impl Fn(&'static str) -> IntCounter) -> Self {
        Self { counters: L::ALL.iter().map(|value| resolve(value.label())).collect(), label: PhantomData }
    }

    /// The counter of one value, found by index.
    pub(super) fn of(&self, value: L) -> &IntCounter {
        &self.counters[value.index()]
    }
}

impl<L> Clone for CounterPer<L> {
    fn clone(&self) -> Self {
        Self { counters: Arc::clone(&self.counters), label: PhantomData }
    }
}

/// Counters whose label values are constants of the calling code: error codes or reasons. Other modules define these
/// constants, so values are added at their first use, up to [`MAX_VALUES`]; further values count as `other`. Used on
/// failures only, since it takes a read lock and hashes.
#[derive(Debug, Clone)]
pub(super) struct CounterByConstant(Arc<ByConstant>);

#[derive(Debug)]
struct ByConstant {
    /// The values of the labels before the constant's label.
    before: Option<Box<str>>,
    vec: IntCounterVec,
    /// A lock: held for a map look-up, never across an await.
    resolved: RwLock<HashMap<&'static str, IntCounter>>,
}

/// The largest number of values of such a label.
pub(super) const MAX_VALUES: usize = 64;

impl CounterByConstant {
    /// Counters of `vec`, whose labels are those of `before`, followed by the constant's label.
    pub(super) fn new(vec: IntCounterVec, before: Option<&str>) -> Self {
        Self(Arc::new(ByConstant { before: before.map(Into::into), vec, resolved: RwLock::default() }))
    }

    /// The metric family of the counters.
    pub(super) fn family(&self) -> &IntCounterVec {
        &self.0.vec
    }

    /// Counts one `value`.
    pub(super) fn count(&self, value: &'static str) {
        let resolved = self.0.resolved.read();
        if let Some(counter) = resolved.get(value) {
            counter.inc();
            return;
        }
        drop(resolved);
        let mut resolved = self.0.resolved.write();
        let value = if resolved.len() < MAX_VALUES || resolved.contains_key(value) { value } else { "other" };
        resolved.entry(value).or_insert_with(|| self.0.resolve(value)).inc();
    }
}

impl ByConstant {
    fn resolve(&self, value: &'static str) -> IntCounter {
        match &self.before {
            Some(before) => self.vec.with_label_values(&[before, value]),
            None => self.vec.with_label_values(&[value]),
        }
    }
}
