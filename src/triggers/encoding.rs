//! Writes records in the form that postcard reads (<https://postcard.jamesmunns.com/wire-format>): numbers as varints,
//! texts and lists behind their length, an option behind 0 or 1, a structure as its fields.
//!
//! postcard's own writer takes three times as many instructions, for every trigger (docs/decisions.md). A test holds
//! both against each other.

use std::net::IpAddr;

use smallvec::{Array, SmallVec};

use super::record::{AssignmentRecord, EventRecord, Filtered, Finding, Head, RequestRecord, Tail, UpstreamRecord};
use crate::decision::EventDecision;

/// A value that is written.
pub trait Encode {
    /// Appends the value to `to`.
    fn encode(&self, to: &mut Vec<u8>);
}

impl Encode for u64 {
    // A call each: a record has some thirty numbers and texts, and code that is executed once for each trigger costs
    // most by its size.
    #[inline(never)]
    fn encode(&self, to: &mut Vec<u8>) {
        let mut rest = *self;
        while rest >= 0x80 {
            to.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        to.push(rest as u8);
    }
}

macro_rules! encode_as_u64 {
    ($($number:ty),+) => {
        $(impl Encode for $number {
            #[inline]
            fn encode(&self, to: &mut Vec<u8>) {
                u64::from(*self).encode(to);
            }
        })+
    };
}
encode_as_u64!(u16, u32);

impl Encode for u8 {
    #[inline]
    fn encode(&self, to: &mut Vec<u8>) {
        to.push(*self);
    }
}

impl Encode for bool {
    #[inline]
    fn encode(&self, to: &mut Vec<u8>) {
        to.push(u8::from(*self));
    }
}

impl Encode for &str {
    #[inline(never)]
    fn encode(&self, to: &mut Vec<u8>) {
        (self.len() as u64).encode(to);
        to.extend_from_slice(self.as_bytes());
    }
}

impl Encode for EventDecision {
    #[inline]
    fn encode(&self, to: &mut Vec<u8>) {
        (*self as u32).encode(to);
    }
}

impl Encode for IpAddr {
    #[inline(never)]
    fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Self::V4(address) => {
                to.push(0);
                to.extend_from_slice(&address.octets());
            }
            Self::V6(address) => {
                to.push(1);
                to.extend_from_slice(&address.octets());
            }
        }
    }
}

impl<T: Encode> Encode for Option<T> {
    #[inline]
    fn encode(&self, to: &mut Vec<u8>) {
        to.push(u8::from(self.is_some()));
        if let Some(value) = self {
            value.encode(to);
        }
    }
}

impl<A: Encode, B: Encode> Encode for (A, B) {
    #[inline]
    fn encode(&self, to: &mut Vec<u8>) {
        self.0.encode(to);
        self.1.encode(to);
    }
}

impl<A: Array<Item: Encode>> Encode for SmallVec<A> {
    #[inline]
    fn encode(&self, to: &mut Vec<u8>) {
        (self.len() as u64).encode(to);
        self.iter().for_each(|value| value.encode(to));
    }
}

/// A list whose entries are made while they are written.
#[derive(Debug, Clone)]
pub struct List<I>(pub I);

impl<I: Iterator<Item: Encode> + Clone> Encode for List<I> {
    #[inline]
    fn encode(&self, to: &mut Vec<u8>) {
        (self.0.clone().count() as u64).encode(to);
        self.0.clone().for_each(|value| value.encode(to));
    }
}

/// Encodes a structure field by field. All fields have to be named, in the order of their declaration.
macro_rules! encode_fields {
    ($name:ident<$($list:ident),*> { $($field:ident),+ $(,)? }) => {
        impl<$($list: Encode),*> Encode for $name<'_, $($list),*> {
            #[inline]
            fn encode(&self, to: &mut Vec<u8>) {
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
    more_events,
    findings,
    more_findings,
    filtered,
    decision
});
encode_fields!(RequestRecord<> { number, at, app, caller, method, path, size });
encode_fields!(EventRecord<Channels> { name, channels, more_channels, excludes_socket, asks_info, data, data_size });
encode_fields!(Finding<Assignment> { event, channel, rule, decision, assignment, before, known_since });
encode_fields!(AssignmentRecord<Context> { pointer, identity, context });
encode_fields!(Filtered<> { event, rule, pointer });
encode_fields!(Tail<> { took, status, refusal, upstream });
encode_fields!(UpstreamRecord<> { reduced, status, took, retries, error, outcome });
