//! What the scripts answer.

use std::time::Duration;

use redis::Value;

use super::{Failure, SwitchedModes};

/// The answer to a request that reached the scripts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<T> {
    /// It was done.
    Done(T),
    /// Nothing was done.
    Refused(Refusal),
}

/// Why nothing was done, and what an entry needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The server's time, in milliseconds since the Unix epoch.
    pub now: u64,
    /// The identity of the server's data (`master_replid`).
    pub history: String,
    /// The reason.
    pub why: Why,
}

/// The reason of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The server is no primary.
    Role,
    /// It has more replicas than a write has to reach, so one that has not got it could become the primary.
    Replicas,
    /// Its data is of another history than the node has entered, or there is none.
    History,
    /// The node is not a member: it has left, or was given up.
    Unknown,
    /// Another process has taken the node's place.
    Generation,
    /// The node's lease is over.
    Lease,
    /// The request ran later than the node reckons with.
    Late,
    /// A channel is written in a later version than the node writes.
    Newer,
    /// There is no such member to give up.
    Absent,
    /// The member to give up has a lease, or may have one.
    Leased,
}

impl Why {
    /// The reason in plain words, as part of a sentence.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Role => "the server is no primary",
            Self::Replicas => "the server has more replicas than cluster.replicas says",
            Self::History => "the store's data is of another history: it has restarted, failed over or lost its data",
            Self::Unknown => {
                "the store does not know this usher: it was given up, or the record of the members is gone"
            }
            Self::Generation => "another process has entered under this node's name",
            Self::Lease => "the lease was over",
            Self::Late => "the request ran too late",
            Self::Newer => "a later version of usher has written a channel",
            Self::Absent => "there is no such member",
            Self::Leased => "the member's lease lasts",
        }
    }
}

/// A value with a name in the scripts, in metrics and in what the operator reads.
macro_rules! named {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $( $(#[$variant_meta:meta])* $variant:ident => $label:literal, )+ }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $( $(#[$variant_meta])* $variant, )+ }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];

            /// The name.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $( Self::$variant => $label, )+ }
            }
        }
    };
}

named! {
/// Why nobody suppresses.
pub enum Open {
    /// A new history has begun, in which members may be missing that it does not name.
    History => "history",
    /// A member is missing.
    Missing => "missing",
    /// The members have different rules.
    Rules => "rules",
    /// The members write different versions of the records.
    Versions => "versions",
}
}

named! {
/// What an epoch began with.
pub enum Cause {
    /// A new history.
    History => "history",
    /// A new history that is not open any more.
    Closed => "closed",
    /// The same by the operator's word.
    Operator => "operator",
    /// A member that has sent something without being one.
    Entered => "entered",
    /// A member that was given up.
    GivenUp => "given_up",
    /// Other rules, or another version of the records.
    Rules => "rules",
    /// A member that left with a ticket for the whole app.
    Left => "left",
    /// A settlement that did not find its ticket, or an ambiguous one for the whole app.
    Unsure => "unsure",
    /// A time in which nobody has asked, or a step of the server's clock.
    Clock => "clock",
    /// A ticket for the whole app.
    Wide => "wide",
    /// Something that this version does not know.
    Other => "other",
}
}

/// Channels, and what all claims on them rest on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The server's time, in milliseconds since the Unix epoch.
    pub now: u64,
    /// What a claim rests on beside its channel, to be compared by the swap. Opaque.
    pub stamp: Vec<u8>,
    /// The app's epoch.
    pub epoch: u64,
    /// What is left of the app's doubt.
    pub doubt_left: Duration,
    /// Why nobody suppresses; `None`: what is redundant may be dropped.
    pub open: Option<Open>,
    /// The number of tickets for all channels of the app.
    pub wide: u64,
    /// The members that are not missing, each with its generation.
    pub members: Vec<(String, String)>,
    /// The bytes of each channel that was asked for; empty: unknown.
    pub channels: Vec<Vec<u8>>,
}

/// Whether a swap was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swapped {
    /// It was.
    Done,
    /// Somebody has changed something since it was read: read again.
    Conflict,
}

/// What an entry, a renewal or a leave has led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entered {
    /// The server's time, in milliseconds since the Unix epoch.
    pub now: u64,
    /// The history in which the node is a member.
    pub history: String,
    /// The end of its lease at the server; zero: it has left.
    pub lease_until: u64,
    /// The app's epoch.
    pub epoch: u64,
    /// What is left of the app's doubt.
    pub doubt_left: Duration,
    /// Why nobody suppresses.
    pub open: Option<Open>,
    /// Until when a new history is open; zero: none is.
    pub open_until: u64,
    /// What the epoch began with.
    pub cause: Cause,
    /// How many members are present.
    pub present: u64,
    /// How many members are missing.
    pub missing: u64,
    /// The switched modes that count.
    pub switched: SwitchedModes,
}

/// What the store says of an app, also to a process that is no member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The server's time, in milliseconds since the Unix epoch.
    pub now: u64,
    /// The identity of the server's data.
    pub history: String,
    /// Why the server answers no claims: [`Why::Role`] or [`Why::Replicas`].
    pub unfit: Option<Why>,
    /// The app's epoch.
    pub epoch: u64,
    /// What it began with.
    pub cause: Cause,
    /// What is left of the app's doubt.
    pub doubt_left: Duration,
    /// Why nobody suppresses.
    pub open: Option<Open>,
    /// Until when a new history is open; zero: none is.
    pub open_until: u64,
    /// The members, by their names.
    pub members: Vec<Seat>,
}

/// A member, as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// Its name.
    pub node: String,
    /// The generation of its last entry.
    pub generation: String,
    /// What is left of its lease.
    pub lease_left: Duration,
    /// For how long it is missing; `None`: it is not.
    pub missing_for: Option<Duration>,
    /// The fingerprint of its rules.
    pub rules: String,
    /// The version of the records that it writes.
    pub version: u64,
}

/// The parts of an answer, taken in turn.
pub(super) struct Parts(std::vec::IntoIter<Value>);

/// How an answer begins.
pub(super) enum Beginning {
    Done { now: u64, history: String },
    Conflict,
    Refused(Refusal),
}

impl From<Vec<Value>> for Parts {
    fn from(parts: Vec<Value>) -> Self {
        Self(parts.into_iter())
    }
}

impl Parts {
    /// The answer to the request of this number.
    pub(super) fn of(value: Value, number: u64) -> Result<(Beginning, Self), Failure> {
        let Value::Array(parts) = value else { return Err(Failure::Malformed) };
        let mut parts = Self(parts.into_iter());
        let kind = parts.text()?;
        // A client library has been seen to give an answer to the wrong request.
        if parts.text()? != number.to_string() {
            return Err(Failure::OtherRequest);
        }
        let (now, history) = (parts.number()?, parts.text()?);
        let beginning = match kind.as_str() {
            "ok" => Beginning::Done { now, history },
            "conflict" => Beginning::Conflict,
            "refused" => Beginning::Refused(Refusal { now, history, why: why(&parts.text()?)? }),
            _ => return Err(Failure::Malformed),
        };
        Ok((beginning, parts))
    }

    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, Failure> {
        match self.0.next() {
            Some(Value::BulkString(bytes)) => Ok(bytes),
            Some(Value::SimpleString(text)) => Ok(text.into_bytes()),
            _ => Err(Failure::Malformed),
        }
    }

    pub(super) fn text(&mut self) -> Result<String, Failure> {
        String::from_utf8(self.bytes()?).map_err(|_| Failure::Malformed)
    }

    pub(super) fn number(&mut self) -> Result<u64, Failure> {
        let Some(Value::Int(number)) = self.0.next() else { return Err(Failure::Malformed) };
        u64::try_from(number).map_err(|_| Failure::Malformed)
    }

    /// A random number, as hexadecimal digits.
    pub(super) fn epoch(&mut self) -> Result<u64, Failure> {
        u64::from_str_radix(&self.text()?, 16).map_err(|_| Failure::Malformed)
    }

    pub(super) fn switched_modes(&mut self) -> Result<SwitchedModes, Failure> {
        SwitchedModes::parse(self.number()?, &self.text()?).ok_or(Failure::Malformed)
    }

    pub(super) fn millis(&mut self) -> Result<Duration, Failure> {
        self.number().map(Duration::from_millis)
    }

    pub(super) fn list(&mut self) -> Result<Vec<Vec<u8>>, Failure> {
        let Some(Value::Array(parts)) = self.0.next() else { return Err(Failure::Malformed) };
        let mut parts = Self(parts.into_iter());
        let mut list = Vec::with_capacity(parts.0.len());
        while parts.0.len() > 0 {
            list.push(parts.bytes()?);
        }
        Ok(list)
    }

    pub(super) fn pairs(&mut self) -> Result<Vec<(String, String)>, Failure> {
        let mut texts = self.list()?.into_iter().map(|bytes| String::from_utf8(bytes).map_err(|_| Failure::Malformed));
        let mut pairs = Vec::new();
        while let Some(first) = texts.next() {
            pairs.push((first?, texts.next().ok_or(Failure::Malformed)??));
        }
        Ok(pairs)
    }

    pub(super) fn open(&mut self) -> Result<Option<Open>, Failure> {
        let text = self.text()?;
        if text.is_empty() {
            return Ok(None);
        }
        let open = Open::ALL.iter().find(|open| open.label() == text);
        open.copied().map(Some).ok_or(Failure::Malformed)
    }

    pub(super) fn cause(&mut self) -> Result<Cause, Failure> {
        let text = self.text()?;
        Ok(Cause::ALL.iter().find(|cause| cause.label() == text).copied().unwrap_or(Cause::Other))
    }

    /// Why a server answers no claims, if it does not.
    pub(super) fn unfit(&mut self) -> Result<Option<Why>, Failure> {
        let text = self.text()?;
        if text.is_empty() { Ok(None) } else { why(&text).map(Some) }
    }

    /// Members, at the server's time `now`, by their names.
    pub(super) fn seats(&mut self, now: u64) -> Result<Vec<Seat>, Failure> {
        let parts = self.list()?;
        let mut seats = parts.chunks(6).map(|parts| seat(parts, now)).collect::<Result<Vec<_>, _>>()?;
        seats.sort_by(|one, other| one.node.cmp(&other.node));
        Ok(seats)
    }
}

/// A member, at the server's time `now`. Any other process may have written the name and the fingerprint.
fn seat(parts: &[Vec<u8>], now: u64) -> Result<Seat, Failure> {
    let [node, generation, lease, missing, rules, version] = parts else { return Err(Failure::Malformed) };
    let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
    let number = |part: &[u8]| text(part).parse::<u64>().map_err(|_| Failure::Malformed);
    let missing = if missing.is_empty() { None } else { Some(number(missing)?) };
    Ok(Seat {
        node: text(node),
        generation: text(generation),
        lease_left: Duration::from_millis(number(lease)?),
        missing_for: missing.map(|since| Duration::from_millis(now.saturating_sub(since))),
        rules: text(rules),
        version: number(version)?,
    })
}

fn why(text: &str) -> Result<Why, Failure> {
    Ok(match text {
        "role" => Why::Role,
        "replicas" => Why::Replicas,
        "history" => Why::History,
        "unknown" => Why::Unknown,
        "generation" => Why::Generation,
        "lease" => Why::Lease,
        "late" => Why::Late,
        "newer" => Why::Newer,
        "absent" => Why::Absent,
        "leased" => Why::Leased,
        _ => return Err(Failure::Malformed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to the request of a number, with what may follow.
    fn answer(number: &str, more: Vec<Value>) -> Value {
        let text = |text: &str| Value::BulkString(text.into());
        Value::Array([text("ok"), text(number), Value::Int(7), text("history")].into_iter().chain(more).collect())
    }

    #[test]
    fn an_answer_to_another_request_is_none() {
        assert!(matches!(Parts::of(answer("3", Vec::new()), 3), Ok((Beginning::Done { now: 7, .. }, _))));
        for other in ["2", "4", "", "03"] {
            assert!(matches!(Parts::of(answer(other, Vec::new()), 3), Err(Failure::OtherRequest)), "{other}");
        }
    }

    #[test]
    fn an_answer_of_too_few_parts_or_others_is_malformed() {
        let (_, mut parts) = Parts::of(answer("3", vec![Value::Nil]), 3).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(matches!(parts.bytes(), Err(Failure::Malformed)), "nothing is no text");
        assert!(matches!(parts.number(), Err(Failure::Malformed)), "no part is left");
        for odd in [Value::Nil, Value::Int(1), Value::Array(Vec::new()), Value::Array(vec![Value::Int(1)])] {
            assert!(matches!(Parts::of(odd, 3), Err(Failure::Malformed)));
        }
    }
}
