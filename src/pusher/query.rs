//! A request's query string, split and decoded once.

use std::borrow::Cow;

/// The pairs of a query string in their order on the wire.
#[derive(Debug, Clone)]
pub struct Query<'a> {
    raw: &'a str,
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Query<'a> {
    /// Splits and decodes `raw` (without `?`); keys are lower-cased after decoding. Never fails: what does not decode to UTF-8 is kept as it stands
    /// and will not verify.
    #[must_use]
    pub fn parse(raw: &'a str) -> Self {
        let _ = raw;
        todo!()
    }

    /// The query as received.
    #[must_use]
    pub const fn raw(&self) -> &'a str {
        self.raw
    }

    /// The decoded value of the only parameter named `key`; `None` when absent or given more than once.
    #[must_use]
    pub fn only(&self, key: &str) -> Option<&str> {
        let _ = (key, &self.pairs);
        todo!()
    }

    /// Whether the query holds a parameter that a trigger may carry there instead of in its body
    /// (`name`, `channel`, `channels`, `channels[]`, `data`, `socket_id`, `info`).
    #[must_use]
    pub fn has_trigger_parameters(&self) -> bool {
        todo!()
    }
}
