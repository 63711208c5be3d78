//! Writes records in the form that postcard reads (<https://postcard.jamesmunns.com/wire-format>): numbers as varints,
//! texts and lists behind their length, an option behind 0 or 1, a structure as its fields.
//!
//! postcard's own writer takes three times as many instructions, for every trigger (docs/decisions.md). A test holds
//! both against each other.

use std::net::IpAddr;

use smallvec::{Array, SmallVec};

use super::record::{
    AssignmentRecord, EventRecord, Filtered, Finding, Head, MAX_LIST, RequestRecord, Tail, UpstreamRecord,
};
use crate::decision::EventDecision;

/// A value that is written.
pub trait Encode: Sized {
    /// Appends the value to `to`.
    fn encode(self, to: &mut Vec<u8>);
}

// Code that is executed once for each trigger costs most by its size: a record has some thirty numbers and texts, so
// each of them is a call, with its arguments in registers.
#[inline(never)]
fn number(mut rest: u64, to: &mut Vec<u8>) {
    while rest >= 0x80 {
        to.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    to.push(rest as u8);
}

#[inline(never)]
fn text(text: &str, to: &mut Vec<u8>) {
    number(text.len() as u64, to);
    to.extend_from_slice(text.as_bytes());
}

macro_rules! encode_as_number {
    ($($number:ty),+) => {
        $(impl Encode for $number {
            #[inline]
            fn encode(self, to: &mut Vec<u8>) {
                number(u64::from(self), to);
            }
        })+
    };
}
encode_as_number!(bool, u16, u32, u64);

impl Encode for u8 {
    #[inline]
    fn encode(self, to: &mut Vec<u8>) {
        to.push(self);
    }
}

impl Encode for &str {
    #[inline]
    fn encode(self, to: &mut Vec<u8>) {
        text(self, to);
    }
}

impl Encode for EventDecision {
    #[inline]
    fn encode(self, to: &mut Vec<u8>) {
        (self as u32).encode(to);
    }
}

impl Encode for IpAddr {
    #[inline(never)]
    fn encode(self, to: &mut Vec<u8>) {
        self.is_ipv6().encode(to);
        match self {
            Self::V4(address) => to.extend_from_slice(&address.octets()),
            Self::V6(address) => to.extend_from_slice(&address.octets()),
        }
    }
}

impl<T: Encode> Encode for Option<T> {
    #[inline]
    fn encode(self, to: &mut Vec<u8>) {
        self.is_some().encode(to);
        if let Some(value) = self {
            value.encode(to);
        }
    }
}

impl<A: Encode, B: Encode> Encode for (A, B) {
    #[inline]
    fn encode(self, to: &mut Vec<u8>) {
        self.0.encode(to);
        self.1.encode(to);
    }
}

impl<A: Array<Item: Encode>> Encode for SmallVec<A> {
    #[inline]
    fn encode(self, to: &mut Vec<u8>) {
        List { entries: self, most: MAX_LIST }.encode(to);
    }
}

/// A list whose entries are made while they are written.
#[derive(Debug)]
pub struct List<I> {
    /// The entries.
    pub entries: I,
    /// The number of entries that are written, at most [`MAX_LIST`].
    pub most: usize,
}

impl<I: IntoIterator<Item: Encode>> Encode for List<I> {
    #[inline]
    fn encode(self, to: &mut Vec<u8>) {
        // One byte, as `MAX_LIST` is less than 128. It is known once all entries are made.
        let place = to.len();
        number(0, to);
        let mut length = 0;
        for entry in self.entries.into_iter().take(self.most.min(MAX_LIST)) {
            entry.encode(to);
            length += 1;
        }
        to[place] = length;
    }
}

/// Encodes a structure field by field. All fields have to be named, in the order of their declaration.
macro_rules! encode_fields {
    ($name:ident<$($list:ident),*> { $($field:ident),+ $(,)? }) => {
        impl<$($list: Encode),*> Encode for $name<'_, $($list),*> {
            #[inline]
            fn encode(self, to: &mut Vec<u8>) {
                let Self { $($field),+ } = self;
                $($field.encode(to);)+
            }
        }
    };
}

encode_fields!(Head<Events, Findings, Rules> {
    request,
    inexact,
    events,
    all_events,
    findings,
    all_findings,
    filtered,
    decision
});
encode_fields!(RequestRecord<> { number, at, app, caller, method, path, size });
encode_fields!(EventRecord<Channels> { name, channels, all_channels, excludes_socket, asks_info, data, data_size });
encode_fields!(Finding<Assignment> { event, channel, rule, decision, assignment, before, known_since, differs });
encode_fields!(AssignmentRecord<Context> { pointer, identity, context });
encode_fields!(Filtered<> { event, rule, pointer });
encode_fields!(Tail<> { took, status, refusal, upstream });
encode_fields!(UpstreamRecord<> { reduced, status, took, retries, error, outcome });
