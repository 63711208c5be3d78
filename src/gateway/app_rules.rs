//! The rules of one app, as its triggers and deliveries meet them.

use std::sync::Arc;

use super::bypass::Forwarded;
use crate::metrics::RuleMetrics;
use crate::replay::RuleReplays;
use crate::report::RuleTally;
use crate::rules::{Positions, Rule, RuleIndex};

/// One rule of one app.
#[derive(Debug)]
pub(super) struct RuleRoute {
    pub(super) rule: Rule,
    pub(super) name: Arc<str>,
    /// Its number in the store: its position among the app's rules.
    pub(super) number: usize,
    pub(super) metrics: RuleMetrics,
    pub(super) tally: Arc<RuleTally>,
    /// The fingerprint of its definition.
    pub(super) definition: [u8; 32],
    /// What was forwarded, if the rule looks for announcements beside usher.
    pub(super) forwarded: Option<Arc<Forwarded>>,
    /// What late subscribers get, if the rule hands them anything.
    pub(super) replays: Option<Arc<RuleReplays>>,
}

/// The rules of one app. Those for an event or a channel come in the order of their numbers.
#[derive(Debug)]
pub(super) struct AppRules {
    /// By their numbers.
    routes: Box<[RuleRoute]>,
    index: RuleIndex,
}

impl AppRules {
    pub(super) fn new(routes: Box<[RuleRoute]>) -> Self {
        Self { index: RuleIndex::new(routes.iter().map(|route| &route.rule)), routes }
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &RuleRoute> {
        self.routes.iter()
    }

    /// The one of this number.
    pub(super) fn get(&self, number: usize) -> Option<&RuleRoute> {
        self.routes.get(number)
    }

    /// Those that watch `channel`.
    pub(super) fn watching<'a>(&'a self, channel: &'a str) -> impl Iterator<Item = &'a RuleRoute> + Clone {
        self.at(self.index.watching(channel)).filter(|route| route.rule.watches(channel))
    }

    /// Those whose event `event` is, or that it releases, and that may watch one of `channels`.
    pub(super) fn concerned<'a>(
        &'a self,
        event: &'a str,
        channels: impl Iterator<Item = &'a str>,
    ) -> impl Iterator<Item = &'a RuleRoute> {
        self.at(self.index.concerned(event, channels)).filter(|route| route.rule.concerns(event))
    }

    fn at(&self, positions: Positions) -> impl Iterator<Item = &RuleRoute> + Clone {
        positions.into_iter().filter_map(|position| self.get(position as usize))
    }
}
