//! Which of an app's rules to look at for an event or a channel: among many rules, those whose event it is and whose
//! template has a literal that the channel has, found in one pass over the channel.

use std::collections::HashMap;

use aho_corasick::AhoCorasick;
use smallvec::SmallVec;

use super::rule::Rule;
use crate::pusher::channel::MAX_NAME;

/// Looking at this many rules takes less time than any search.
const FEW: usize = 8;

/// Positions of rules in the order in which they were given, ascending.
pub type Positions = SmallVec<[u32; FEW]>;

/// An index of rules by their events and templates. It may name a rule that does not match, and leaves out none that
/// does.
#[derive(Debug)]
pub struct RuleIndex {
    by_channel: ChannelIndex,
    /// Empty where there are few rules: then all are named.
    by_event: HashMap<Box<str>, ChannelIndex>,
}

/// An index of rules by their templates.
#[derive(Debug)]
struct ChannelIndex {
    /// Those that are named for every channel.
    always: Positions,
    /// The literal by which each of the others is found.
    literals: Option<AhoCorasick>,
    /// The rules of each literal.
    by_literal: Vec<Positions>,
}

impl RuleIndex {
    /// An index of `rules`.
    #[must_use]
    pub fn new<'r>(rules: impl Iterator<Item = &'r Rule>) -> Self {
        let rules: Vec<(u32, &Rule)> = (0..).zip(rules).collect();
        let mut by_event: HashMap<&str, Vec<(u32, &Rule)>> = HashMap::new();
        if rules.len() > FEW {
            for (position, rule) in &rules {
                for event in rule.spec().events() {
                    by_event.entry(event).or_default().push((*position, *rule));
                }
            }
        }
        Self {
            by_event: by_event.iter().map(|(event, rules)| (Box::from(*event), ChannelIndex::new(rules))).collect(),
            by_channel: ChannelIndex::new(&rules),
        }
    }

    /// The rules that may watch `channel`.
    #[must_use]
    pub fn watching(&self, channel: &str) -> Positions {
        self.by_channel.watching([channel].into_iter())
    }

    /// The rules that `event` may concern on one of `channels`.
    #[must_use]
    pub fn concerned<'c>(&self, event: &str, channels: impl Iterator<Item = &'c str>) -> Positions {
        let index = if self.by_event.is_empty() { Some(&self.by_channel) } else { self.by_event.get(event) };
        index.map_or_else(Positions::new, |index| index.watching(channels))
    }
}

impl ChannelIndex {
    fn new(rules: &[(u32, &Rule)]) -> Self {
        let everything = || rules.iter().map(|(position, _)| *position).collect();
        if rules.len() <= FEW {
            return Self { always: everything(), literals: None, by_literal: Vec::new() };
        }
        let mut frequency: HashMap<&str, usize> = HashMap::new();
        for literal in rules.iter().flat_map(|(_, rule)| rule.template().literals()) {
            *frequency.entry(literal).or_default() += 1;
        }
        let mut always = Positions::new();
        let mut by_literal: HashMap<&str, Positions> = HashMap::new();
        for (position, rule) in rules {
            // The one that the fewest others have excludes the most channels.
            let literals = rule.template().literals().filter(|literal| !literal.is_empty());
            match literals.min_by_key(|literal| (frequency[literal], usize::MAX - literal.len())) {
                Some(literal) => by_literal.entry(literal).or_default().push(*position),
                None => always.push(*position),
            }
        }
        let (literals, by_literal): (Vec<&str>, Vec<Positions>) = by_literal.into_iter().unzip();
        match AhoCorasick::new(literals) {
            Ok(literals) => Self { always, literals: Some(literals), by_literal },
            // More literals than the search can number: each rule is looked at.
            Err(_) => Self { always: everything(), literals: None, by_literal: Vec::new() },
        }
    }

    fn watching<'c>(&self, channels: impl Iterator<Item = &'c str>) -> Positions {
        let mut found = self.always.clone();
        let Some(literals) = &self.literals else { return found };
        // No rule watches a longer name.
        let channels = channels.filter(|channel| channel.len() <= MAX_NAME);
        let mut present: SmallVec<[_; FEW]> =
            channels.flat_map(|channel| literals.find_overlapping_iter(channel)).map(|found| found.pattern()).collect();
        present.sort_unstable();
        present.dedup();
        // A rule is found by one literal, or always.
        for literal in present {
            found.extend_from_slice(&self.by_literal[literal]);
        }
        found.sort_unstable();
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::spec;
    use super::super::{Rule, RuleSpec};
    use super::*;

    fn rule(event: &str, channel: &str) -> Rule {
        Rule::new(RuleSpec { event: event.into(), channel: channel.into(), released_by: Vec::new(), ..spec() }).unwrap()
    }

    #[test]
    fn of_many_rules_those_with_the_literal_and_the_event_are_named() {
        let mut rules: Vec<Rule> =
            (0..100).map(|number| rule("assigned", &format!("{{hotel}}-{number:03}-{{room}}-chat"))).collect();
        rules.push(rule("other", "{hotel}-007-{room}"));
        rules.push(rule("assigned", "{any}"));
        rules.push(
            Rule::new(RuleSpec { channel: "lobby".into(), released_by: vec!["closed".into()], ..spec() }).unwrap(),
        );
        let index = RuleIndex::new(rules.iter());
        let concerned = |event, channels: &[&str]| index.concerned(event, channels.iter().copied()).to_vec();
        assert_eq!(concerned("assigned", &["hilton-007-12-chat"]), [7, 101]);
        assert_eq!(concerned("assigned", &["h-099-1-chat", "h-000-1-chat", "h-099-2-chat"]), [0, 99, 101]);
        assert_eq!(concerned("other", &["hilton-007-12"]), [100], "few rules of one event are all named");
        assert_eq!(concerned("closed", &["anything"]), [102]);
        assert_eq!(concerned("new-message", &["hilton-007-12-chat"]), [0; 0]);
        assert_eq!(index.watching("hilton-007-12-chat").to_vec(), [7, 100, 101]);
        assert_eq!(index.watching("lobby").to_vec(), [101, 102]);
    }

    proptest! {
        #[test]
        fn no_rule_that_matches_is_left_out(
            rules in prop::collection::vec(("[ef]", "[ab]{0,2}", "[ab]{1,2}", "[ab]{0,2}"), 0..30),
            event in "[efg]",
            channels in prop::collection::vec("[ab]{1,8}", 1..3),
        ) {
            let rules: Vec<Rule> = rules.iter().map(|(event, before, between, after)| rule(event, &format!("{before}{{x}}{between}{{y}}{after}"))).collect();
            let index = RuleIndex::new(rules.iter());
            let concerned = index.concerned(&event, channels.iter().map(String::as_str));
            prop_assert!(concerned.is_sorted_by(|one, other| one < other));
            for (position, rule) in (0..).zip(&rules) {
                for channel in channels.iter().filter(|channel| rule.watches(channel)) {
                    prop_assert!(index.watching(channel).contains(&position), "{} on {channel}", rule.spec().channel);
                    prop_assert!(!rule.concerns(&event) || concerned.contains(&position), "{} on {channel}", rule.spec().channel);
                }
            }
        }
    }
}
