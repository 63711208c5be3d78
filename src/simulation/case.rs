//! Tests of rules: triggers in their order, what upstream does with each, and what is expected.

use std::time::Duration;

use super::{Fate, Request};
use crate::gateway::UpstreamOutcome;

/// A test: steps in their order, from an empty memory on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestCase {
    /// Its name.
    pub name: String,
    /// Where it is written.
    pub place: String,
    /// Its steps.
    pub steps: Vec<TestStep>,
}

/// A trigger, and what is expected of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestStep {
    /// Where it is written.
    pub place: String,
    /// In a few words, for people.
    pub title: String,
    /// How long after the step before it comes.
    pub after: Duration,
    /// The app's id.
    pub app: String,
    /// The channels to which somebody has subscribed since the step before, by the time it comes.
    pub joined: Vec<String>,
    /// The path of the request.
    pub path: String,
    /// The body of the request.
    pub body: String,
    /// What upstream does with it, if it is sent.
    pub upstream: UpstreamOutcome,
    /// How long upstream takes for it.
    pub takes: Duration,
    /// What is expected; `None`: nothing.
    pub expect: Option<Expectation>,
}

/// What is expected of a trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// What is done with it.
    pub fate: Fate,
    /// The code of the reason; `None`: any.
    pub reason: Option<String>,
}

impl TestStep {
    /// The trigger.
    #[must_use]
    pub fn request(&self) -> Request<'_> {
        Request { app: &self.app, path: &self.path, body: self.body.as_bytes(), head: None }
    }
}
