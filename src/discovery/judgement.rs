//! What a family suggests: which pointers may be ignored, what would be saved, and a rule, or why there is none.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::names;
use super::report::{ChangeReport, FamilyReport, PointerReport};
use super::shape::{PLACE, Shape};
use crate::pusher::ChannelKind;

/// Fewer comparisons suggest nothing.
const MIN_COMPARED: u64 = 10;

/// A rule is proposed if at least this share of the events says nothing new.
const MIN_SHARE: f64 = 0.2;

/// What changes with each event changes in at least this share of them.
const NEARLY_EACH: f64 = 0.5;

/// How often an address without its query may change by itself and is still one that is signed anew.
const RARELY: f64 = 0.05;

/// The most pointers that an explanation names.
const NAMED: usize = 5;

/// What is thought of a family.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    /// Events that say the same as the one before on their channel.
    pub equal: Saved,
    /// Events that do but for what may be ignored.
    pub equal_but: Saved,
    /// What may be ignored.
    pub ignore: Vec<Ignored>,
    /// The other pointers that changed most, with the share of the events in which they did.
    pub changing: Vec<(String, f64)>,
    /// The proposed rule.
    pub proposal: Option<Proposal>,
    /// Why there is none.
    pub nothing: Option<Nothing>,
}

/// What dropping some events would save: of those that were looked at, the number; of all, estimates.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Saved {
    /// Their share of the events that were compared, from 0 to 1.
    pub share: f64,
    /// Calls to Pusher.
    pub calls: u64,
    /// Deliveries to subscribers, where those are known.
    pub deliveries: u64,
}

/// A pointer, and why it is proposed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reasoned {
    /// The pointer.
    pub pointer: String,
    /// A clause.
    pub reason: String,
}

/// A pointer that may be ignored.
pub type Ignored = Reasoned;

/// A rule that a family suggests. It is meant for observe mode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proposal {
    /// Its name.
    pub name: String,
    /// The event.
    pub event: String,
    /// The channel template.
    pub channel: String,
    /// Who or what is announced, ids before names.
    pub identity: Vec<Reasoned>,
    /// What has to be the same as well.
    pub context: Vec<Reasoned>,
    /// What may differ.
    pub ignore: Vec<Reasoned>,
    /// Pointers and values that tell the kind of event.
    #[serde(rename = "where")]
    pub kinds: BTreeMap<String, String>,
    /// A test of the rule.
    pub test: Vec<Step>,
}

/// A step of a test, whose data has made-up values in the structure of the family's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The channel.
    pub channel: String,
    /// The data.
    pub data: Value,
    /// `forwarded` or `suppressed`.
    pub expect: &'static str,
    /// The code of the reason.
    pub reason: &'static str,
}

/// Why no rule is proposed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Nothing {
    /// Too few events were compared.
    TooFew {
        /// How many were.
        compared: u64,
    },
    /// The event's name varies, and a rule names one event.
    EventVaries,
    /// Nothing is dropped on such channels.
    Channel,
    /// The data is no JSON object.
    NoObject,
    /// What may not be ignored differs nearly always: messages.
    Differs {
        /// The share of the events in which nothing of it did, from 0 to 1.
        share: f64,
    },
    /// On no channel did anything change that may not be ignored, so that the event may be a signal, of which each
    /// repetition counts.
    NeverChanges,
}

impl Nothing {
    /// Its code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooFew { .. } => "too_few",
            Self::EventVaries => "event_varies",
            Self::Channel => "channel",
            Self::NoObject => "no_object",
            Self::Differs { .. } => "differs",
            Self::NeverChanges => "never_changes",
        }
    }
}

impl fmt::Display for Nothing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFew { compared } => {
                write!(f, "only {compared} were compared with the one before on their channel; {MIN_COMPARED} are needed")
            }
            Self::EventVaries => f.write_str("the event's name varies, and a rule names one event"),
            Self::Channel => f.write_str("nothing is ever dropped on such channels"),
            Self::NoObject => f.write_str("their data is no JSON object"),
            Self::Differs { share } => {
                write!(f, "their data differs nearly always ({} of them say the same): these are messages", percent(*share))
            }
            Self::NeverChanges => f.write_str(
                "what they say never changed on a channel: they may be signals, of which each repetition means something",
            ),
        }
    }
}

/// A share as people read it.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 0.0 && percent < 1.0 { "under 1 %".to_owned() } else { format!("{percent:.0} %") }
}

/// What `family` suggests.
#[must_use]
pub fn judge(family: &FamilyReport) -> Judgement {
    let ignore = ignored(family);
    let is_ignored = |index: usize| {
        family.pointers.get(index).is_some_and(|known| ignore.iter().any(|one| covers(&one.pointer, &known.pointer)))
    };
    let equal_but = saved(family, is_ignored);
    let mut changing: Vec<(String, f64)> = family
        .pointers
        .iter()
        .enumerate()
        .filter(|(index, pointer)| !is_ignored(*index) && !pointer.before_query && pointer.changed > 0)
        .map(|(_, pointer)| (pointer.pointer.clone(), pointer.changed_share(family)))
        .collect();
    changing.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    changing.truncate(NAMED);
    let proposed = propose(family, &ignore, equal_but.share);
    let (proposal, nothing) = match proposed {
        Ok(proposal) => (Some(proposal), None),
        Err(nothing) => (None, Some(nothing)),
    };
    Judgement { equal: saved(family, |_| false), equal_but, ignore, changing, proposal, nothing }
}

/// What dropping the events would save in which nothing changed but what `may_differ`.
fn saved(family: &FamilyReport, may_differ: impl Fn(usize) -> bool) -> Saved {
    let is_dropped =
        |change: &&ChangeReport| !change.elsewhere && change.pointers.iter().all(|index| may_differ(*index));
    let dropped = || family.changes.iter().filter(is_dropped);
    Saved {
        share: share(dropped().map(|change| change.count).sum(), family.compared),
        calls: dropped().map(|change| change.calls).sum(),
        deliveries: dropped().map(|change| change.deliveries).sum(),
    }
}

fn share(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

/// Whether ignoring one pointer ignores another.
fn covers(pointer: &str, other: &str) -> bool {
    other.strip_prefix(pointer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl PointerReport {
    fn changed_share(&self, family: &FamilyReport) -> f64 {
        share(self.changed, family.compared)
    }

    fn is(&self, name: &str) -> bool {
        self.types.iter().any(|its| its == name)
    }

    /// Whether its value may say who or what is announced.
    fn is_comparable(&self) -> bool {
        !self.before_query
            && !self.pointer.is_empty()
            && ["string", "number", "boolean"].iter().any(|name| self.is(name))
            && !["time", "address", "list", "object"].iter().any(|name| self.is(name))
    }

    fn takes_several_values(&self) -> bool {
        self.values > 1
    }
}

/// What may be ignored: what changes with nearly each event, and of which form or name says that it tells nothing.
fn ignored(family: &FamilyReport) -> Vec<Ignored> {
    let own: Vec<Ignored> = family.pointers.iter().filter_map(|pointer| ignored_pointer(family, pointer)).collect();
    let is_ignored = |pointer: &str| own.iter().any(|ignored| ignored.pointer == pointer);
    let mut ignore: Vec<Ignored> = Vec::new();
    for one in &own {
        let whole = names::envelope(&one.pointer).filter(|parent| {
            family
                .pointers
                .iter()
                .filter(|other| covers(parent, &other.pointer))
                .all(|other| is_ignored(&other.pointer))
        });
        match whole {
            Some(parent) if ignore.iter().any(|known| known.pointer == parent) => {}
            Some(parent) => ignore.push(Reasoned {
                pointer: parent.to_owned(),
                reason: "all below it is about the sending, and changes with nearly each event".to_owned(),
            }),
            None => ignore.push(one.clone()),
        }
    }
    ignore
}

fn ignored_pointer(family: &FamilyReport, pointer: &PointerReport) -> Option<Ignored> {
    if pointer.before_query || pointer.changed == 0 {
        return None;
    }
    let changed = pointer.changed_share(family);
    let is_frequent = changed >= NEARLY_EACH;
    let path = &pointer.pointer;
    let is_made = ["uuid", "id", "time", "number"].iter().any(|name| pointer.is(name));
    let is_outer_id =
        || names::is_outer_id(path) && family.pointers.iter().any(|other| names::is_carried(&other.pointer));
    let what = if is_signed(family, pointer) {
        "an address signed anew: what stands before its query stays while the rest does; a new picture alone is ignored, too"
            .to_owned()
    } else if is_frequent && pointer.is("time") && names::is_sending_time(path) {
        format!("a time of sending, another one in {}", percent(changed))
    } else if is_frequent && is_made && (names::is_trace_id(path) || is_outer_id()) {
        format!("the id of the sending, another one in {}", percent(changed))
    } else if is_frequent && is_made && names::envelope(path).is_some() {
        format!("about the sending, another one in {}", percent(changed))
    } else {
        return None;
    };
    Some(Reasoned { pointer: path.clone(), reason: what })
}

/// Whether a pointer leads to an address of which hardly anything but the query changes by itself.
fn is_signed(family: &FamilyReport, pointer: &PointerReport) -> bool {
    let base = family.pointers.iter().position(|other| other.before_query && other.pointer == pointer.pointer);
    let own = family.pointers.iter().position(|other| !other.before_query && other.pointer == pointer.pointer);
    let (Some(base), Some(own)) = (base, own) else { return false };
    let count = |is_such: &dyn Fn(&ChangeReport) -> bool| -> u64 {
        family.changes.iter().filter(|change| is_such(change)).map(|change| change.count).sum()
    };
    let is_alone = |change: &ChangeReport| {
        !change.elsewhere
            && change.pointers.iter().all(|index| {
                let other = &family.pointers[*index];
                *index == base
                    || *index == own
                    || names::is_sending_time(&other.pointer)
                    || names::is_trace_id(&other.pointer)
                    || names::is_outer_id(&other.pointer)
                    || names::envelope(&other.pointer).is_some()
            })
    };
    let signed = count(&|change| change.pointers.contains(&own) && !change.pointers.contains(&base));
    let moved = count(&|change| change.pointers.contains(&base) && is_alone(change));
    signed >= 2 && share(moved, family.compared) <= RARELY
}

fn propose(family: &FamilyReport, ignore: &[Ignored], same: f64) -> Result<Proposal, Nothing> {
    let shape = Shape::read(&family.channel);
    if family.event.contains(PLACE) {
        return Err(Nothing::EventVaries);
    }
    if matches!(shape.kind(), ChannelKind::Cache | ChannelKind::Encrypted) {
        return Err(Nothing::Channel);
    }
    if family.compared < MIN_COMPARED {
        return Err(Nothing::TooFew { compared: family.compared });
    }
    if family.unstructured * 2 > family.sampled {
        return Err(Nothing::NoObject);
    }
    if same < MIN_SHARE {
        return Err(Nothing::Differs { share: same });
    }
    let state: Vec<&PointerReport> = family
        .pointers
        .iter()
        .filter(|pointer| pointer.is_comparable() && pointer.takes_several_values())
        .filter(|pointer| !ignore.iter().any(|ignored| covers(&ignored.pointer, &pointer.pointer)))
        .collect();
    let best = state.iter().filter(|pointer| is_identity(family, pointer)).max_by_key(|pointer| {
        (rank(pointer, &state), std::cmp::Reverse(pointer.changed), std::cmp::Reverse(&pointer.pointer))
    });
    let best = best.ok_or(Nothing::NeverChanges)?;
    let identity = identity(family, best, &state);
    let context = context(&identity, &state);
    let mut proposal = Proposal {
        name: rule_name(family),
        event: family.event.clone(),
        channel: shape.template(),
        identity,
        context,
        ignore: ignore.to_vec(),
        kinds: family.kinds.clone(),
        test: Vec::new(),
    };
    proposal.test = super::sample::steps(family, &proposal, &shape);
    Ok(proposal)
}

/// Whether a value is one that changes on a channel, or one of a few that are on many channels.
fn is_identity(family: &FamilyReport, pointer: &PointerReport) -> bool {
    pointer.changed > 0 || !pointer.more_values && pointer.values * 2 <= family.channels
}

/// How well a value may be what is announced.
fn rank(pointer: &PointerReport, state: &[&PointerReport]) -> i32 {
    let stem = names::stem(&pointer.pointer);
    let of_stem = || state.iter().filter(|other| names::stem(&other.pointer) == stem);
    let is_pair =
        of_stem().any(|other| names::is_id(&other.pointer)) && of_stem().any(|other| names::is_name(&other.pointer));
    names::rank(&pointer.pointer) + 3 * i32::from(is_pair) + 2 * i32::from(pointer.changed > 0)
}

/// The pointers to what is announced: ids before names.
fn identity(family: &FamilyReport, best: &PointerReport, state: &[&PointerReport]) -> Vec<Reasoned> {
    let stem = names::stem(&best.pointer);
    let of_stem = |is_such: fn(&str) -> bool| {
        state.iter().filter(move |other| is_such(&other.pointer)).filter(|other| names::stem(&other.pointer) == stem)
    };
    let mut found: Vec<&PointerReport> = of_stem(names::is_id).chain(of_stem(names::is_name)).copied().collect();
    if found.is_empty() {
        found.push(best);
    }
    let reason = |pointer: &PointerReport| {
        let values = format!("{}{} values", pointer.values, if pointer.more_values { " or more" } else { "" });
        let runs = match pointer.changed {
            0 => "never another one on the same channel".to_owned(),
            _ => format!("another one than before in {}", percent(pointer.changed_share(family))),
        };
        format!("{values}, {runs}")
    };
    found.iter().map(|pointer| Reasoned { pointer: pointer.pointer.clone(), reason: reason(pointer) }).collect()
}

/// Ids of something else, which are the same for a while.
fn context(identity: &[Reasoned], state: &[&PointerReport]) -> Vec<Reasoned> {
    let stems: Vec<String> = identity.iter().map(|one| names::stem(&one.pointer)).collect();
    let is_context = |pointer: &&&PointerReport| {
        (names::is_id(&pointer.pointer) || pointer.is("uuid")) && !stems.contains(&names::stem(&pointer.pointer))
    };
    let reason = "the same for a while on a channel, and another one elsewhere or later";
    let reasoned = |pointer: &&PointerReport| Reasoned { pointer: pointer.pointer.clone(), reason: reason.to_owned() };
    state.iter().filter(is_context).map(reasoned).collect()
}

/// A name for the rule: the event's, or that of its kind.
fn rule_name(family: &FamilyReport) -> String {
    let kind = family.kinds.get("/type").or_else(|| family.kinds.values().last());
    let name = kind.map_or_else(|| family.event.clone(), |kind| format!("{}-{kind}", family.event));
    let legal = |letter: char| if letter.is_ascii_alphanumeric() || letter == '_' { letter } else { '-' };
    let name: String = name.chars().map(legal).take(64).collect();
    if name.is_empty() { "proposed".to_owned() } else { name }
}
