//! What is held of all channels, within a bound in bytes. Beyond it, the frames of the channel go whose last announcement is
//! the oldest; where there are no frames left, what late deliveries are recognised by goes in the same order. What says
//! nothing any more goes first of all.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::channel::{Channel, Content, Digest, Sent};
use crate::assignment::Outcome;
use crate::clock::Moment;

/// Identifies a rule of an app, from when it is configured until it is not or its memory is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RuleId(u64);

/// All channels.
#[derive(Debug, Default)]
pub(super) struct Store {
    rules: HashMap<RuleId, RuleChannels>,
    /// The channels of which something is held that is or may be handed out, by the number of the last event on each.
    full: BTreeMap<u64, (RuleId, Arc<str>)>,
    /// The others.
    bare: BTreeMap<u64, (RuleId, Arc<str>)>,
    bytes: usize,
    max_bytes: usize,
    evicted: u64,
    last_sequence: u64,
    last_rule: u64,
}

#[derive(Debug, Default)]
struct RuleChannels {
    channels: HashMap<Arc<str>, Entry>,
    /// Until when upstream may deliver something on any channel that would not be recognised.
    blind_until: Moment,
}

#[derive(Debug)]
struct Entry {
    channel: Channel,
    /// Its key in [`Store::full`] or [`Store::bare`].
    last: u64,
    bytes: usize,
}

impl Store {
    /// A new rule.
    pub(super) fn add_rule(&mut self) -> RuleId {
        self.last_rule += 1;
        let id = RuleId(self.last_rule);
        self.rules.insert(id, RuleChannels::default());
        id
    }

    /// Removes all rules but these, with what is held of them.
    pub(super) fn keep_rules(&mut self, is_kept: impl Fn(RuleId) -> bool) {
        for (_, removed) in self.rules.extract_if(|id, _| !is_kept(*id)) {
            for entry in removed.channels.values() {
                self.bytes -= entry.bytes;
                self.full.remove(&entry.last);
                self.bare.remove(&entry.last);
            }
        }
    }

    /// Changes the bound, and gives up what is too much.
    pub(super) fn set_max_bytes(&mut self, max_bytes: usize, now: Moment) {
        self.max_bytes = max_bytes;
        self.evict(now);
    }

    /// Bytes held.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Channels given up for lack of space.
    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Notes an event that is sent. Returns its number.
    pub(super) fn send(
        &mut self,
        rule: RuleId,
        channel: &str,
        digest: Option<Digest>,
        content: Option<Content>,
        now: Moment,
    ) -> u64 {
        self.last_sequence += 1;
        let sequence = self.last_sequence;
        // A request may have been decided under a rule that is no longer configured.
        let Some(rule_channels) = self.rules.get_mut(&rule) else { return sequence };
        let name = match rule_channels.channels.get_key_value(channel) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(channel),
        };
        let entry = rule_channels.channels.entry(Arc::clone(&name)).or_insert_with(|| Entry {
            channel: Channel::default(),
            last: sequence,
            bytes: 0,
        });
        self.full.remove(&entry.last);
        self.bare.remove(&entry.last);
        entry.last = sequence;
        entry.channel.send(sequence, digest, content);
        // Nothing else has to go for what is too large.
        if entry.channel.bytes(name.len()) > self.max_bytes {
            entry.channel.give_up(now);
            self.evicted += 1;
        }
        entry.recount(name.len(), &mut self.bytes);
        let order = if entry.channel.has_content() { &mut self.full } else { &mut self.bare };
        order.insert(sequence, (rule, name));
        self.evict(now);
        sequence
    }

    /// Settles an event.
    pub(super) fn settle(
        &mut self,
        rule: RuleId,
        channel: &str,
        sequence: u64,
        outcome: Outcome,
        now: Moment,
        doubt_period: Duration,
    ) {
        // What was given up, or is of a rule that is no longer configured, is not held again.
        let Some(channels) = self.rules.get_mut(&rule).map(|rule| &mut rule.channels) else { return };
        let Some(entry) = channels.get_mut(channel) else { return };
        entry.channel.settle(sequence, outcome, now, doubt_period);
        if entry.channel.is_empty(now) {
            self.bytes -= entry.bytes;
            self.full.remove(&entry.last);
            self.bare.remove(&entry.last);
            channels.remove(channel);
            return;
        }
        entry.recount(channel.len(), &mut self.bytes);
        if !entry.channel.has_content()
            && let Some(place) = self.full.remove(&entry.last)
        {
            self.bare.insert(entry.last, place);
        }
    }

    /// Nothing of the rule is handed out before `until`.
    pub(super) fn blind(&mut self, rule: RuleId, until: Moment) {
        if let Some(rule) = self.rules.get_mut(&rule) {
            rule.blind_until = rule.blind_until.max(until);
        }
    }

    /// The announcement that a new subscriber gets.
    pub(super) fn find(&self, rule: RuleId, channel: &str, now: Moment) -> Option<&Sent> {
        let rule = self.rules.get(&rule).filter(|rule| rule.blind_until <= now)?;
        rule.channels.get(channel)?.channel.replayed(now)
    }

    /// See [`Channel::older_until`].
    pub(super) fn older_until(&self, rule: RuleId, channel: &str, sequence: u64, now: Moment) -> Option<Moment> {
        self.channel(rule, channel)?.older_until(sequence, now)
    }

    /// See [`Channel::last_of`].
    pub(super) fn last_of(&self, rule: RuleId, channel: &str, digest: Digest, now: Moment) -> Option<u64> {
        self.channel(rule, channel)?.last_of(digest, now)
    }

    fn channel(&self, rule: RuleId, channel: &str) -> Option<&Channel> {
        Some(&self.rules.get(&rule)?.channels.get(channel)?.channel)
    }

    /// Removes first what says nothing any more, then frames, and by what late deliveries are recognised last.
    fn evict(&mut self, now: Moment) {
        while self.bytes > self.max_bytes {
            if self.bare.first_key_value().is_some_and(|(_, place)| self.says_nothing(place, now)) {
                self.remove_first_bare();
            } else if let Some((sequence, place)) = self.full.pop_first() {
                self.evicted += 1;
                self.give_up(sequence, place, now);
            } else if !self.remove_first_bare() {
                return;
            }
        }
    }

    fn says_nothing(&self, (rule, name): &(RuleId, Arc<str>), now: Moment) -> bool {
        self.channel(*rule, name).is_none_or(|channel| channel.is_empty(now))
    }

    /// Returns whether there was one.
    fn remove_first_bare(&mut self) -> bool {
        let Some((_, (rule, name))) = self.bare.pop_first() else { return false };
        let removed = self.rules.get_mut(&rule).and_then(|rule| rule.channels.remove(&name));
        self.bytes -= removed.map_or(0, |entry| entry.bytes);
        true
    }

    /// Gives up what is handed out on a channel.
    fn give_up(&mut self, sequence: u64, (rule, name): (RuleId, Arc<str>), now: Moment) {
        let Some(channels) = self.rules.get_mut(&rule).map(|rule| &mut rule.channels) else { return };
        let Some(entry) = channels.get_mut(&name) else { return };
        entry.channel.give_up(now);
        if entry.channel.is_empty(now) {
            self.bytes -= entry.bytes;
            channels.remove(&name);
        } else {
            entry.recount(name.len(), &mut self.bytes);
            self.bare.insert(sequence, (rule, name));
        }
    }
}

impl Entry {
    /// Counts its bytes anew, also in the `total`.
    fn recount(&mut self, name: usize, total: &mut usize) {
        let bytes = self.channel.bytes(name);
        *total = *total - self.bytes + bytes;
        self.bytes = bytes;
    }
}
