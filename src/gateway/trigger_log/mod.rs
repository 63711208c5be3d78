//! The log lines about triggers: WARN for refused callers and for triggers that upstream did not take, INFO when
//! upstream answers again, and at `debug` one line for each trigger. A line of WARN has the trigger's id, and is
//! throttled by app and code. No line has a secret, a signature or a payload, and only the one about an announcement that
//! came another way has the name of a channel.

mod outage;
mod throttle;

use std::sync::Arc;

use tokio::time::Instant;

use self::outage::Outage;
use self::throttle::{AppKey, Key, Throttle};
use super::record::Arrival;
use super::routing::AppRoute;
use super::settle::{Fault, Settled};
use super::{Refusal, Routing, Shared};
use crate::metrics::TriggerOutcome;
use crate::pusher::SignatureError;
use crate::triggers::{TriggerId, cut};
use crate::upstream::Failure;

/// Most bytes of an app's id or a key that a caller has sent.
const MAX_NAME: usize = 64;

/// What is logged instead of an id or key that is a secret.
const HIDDEN: &str = "(the secret of an app: not logged)";

/// The code of the line about an announcement that came another way.
const BYPASSED: &str = "bypassed";

/// The state behind the lines.
#[derive(Debug, Default)]
pub struct TriggerLog {
    refused: Throttle,
    upstream: Throttle,
    bypassed: Throttle,
    outage: Outage,
}

/// A trigger, and what was decided on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decided<'a> {
    pub(super) id: TriggerId,
    pub(super) app: &'a str,
    /// As in its record.
    pub(super) decision: &'a str,
    pub(super) reason: &'a str,
    /// How many channels its events name, if they were read.
    pub(super) channels: Option<u32>,
}

impl Decided<'_> {
    /// The line at `debug`.
    #[cold]
    pub(super) fn log(self, shared: &Shared) {
        let Self { id, app, decision, reason, channels } = self;
        let routing = shared.routing.load();
        let app = shown(&routing, app);
        tracing::debug!(trigger = %id, app, decision, reason, channels, "a trigger was decided");
    }
}

impl TriggerLog {
    /// A trigger for `app`, an id as the caller sent it, was refused.
    pub(super) fn refused(&self, shared: &Shared, arrival: &Arrival, app: &str, refusal: &Refusal) {
        let routing = shared.routing.load();
        let key = Key { app: key_of(&routing, app), code: refusal.code(), status: 0 };
        let Some(left_out) = self.refused.admit(key, Instant::now()) else { return };
        let (skew, key) = match refusal {
            Refusal::Signature(SignatureError::TimestampTooOld { seconds }) => {
                (Some(signed(*seconds).wrapping_neg()), None)
            }
            Refusal::Signature(SignatureError::TimestampTooNew { seconds }) => (Some(signed(*seconds)), None),
            Refusal::Signature(SignatureError::UnknownKey { key, .. }) => (None, Some(shown(&routing, key))),
            _ => (None, None),
        };
        let name = shown(&routing, app);
        let error = if name == HIDDEN { refusal.code().to_owned() } else { refusal.to_string() };
        tracing::warn!(
            code = refusal.code(),
            app = name,
            key,
            caller = %arrival.caller,
            // Negative: the caller's clock is behind.
            skew_seconds = skew,
            trigger = %arrival.id,
            left_out = some(left_out),
            error,
            "a trigger was refused"
        );
    }

    /// Upstream has answered a trigger of `app`.
    pub(super) fn answered(&self, app: &AppRoute, id: TriggerId, status: u16, settled: &Settled) {
        let app = || AppKey::Configured(app.id.clone());
        self.answered_for(app, id, status, settled);
    }

    /// Upstream has answered a trigger for an app that is not configured, whose answer is not read.
    pub(super) fn answered_unknown(&self, app: &str, id: TriggerId, status: u16, outcome: TriggerOutcome) {
        let fault = (status >= 300).then_some(Fault::Status);
        self.answered_for(|| AppKey::unknown(app), id, status, &Settled { outcome, error: None, fault });
    }

    fn answered_for(&self, app: impl FnOnce() -> AppKey, id: TriggerId, status: u16, settled: &Settled) {
        if status >= 500 {
            self.outage.failed(Instant::now());
        } else if let Some(ended) = self.outage.answered() {
            let (seconds, failed) = (ended.lasted.as_secs_f64(), ended.failed);
            tracing::info!(outage_seconds = seconds, failed, "{ended}");
        }
        let Settled { outcome, error: ref says, fault } = *settled;
        let Some(fault) = fault else { return };
        let key = Key { app: app(), code: outcome.label(), status };
        let name = key.app.name().map(str::to_owned);
        let Some(left_out) = self.upstream.admit(key, Instant::now()) else { return };
        let (message, body_code) = match fault {
            Fault::Status if status < 400 => ("upstream did not accept a trigger: its channels are in doubt", None),
            Fault::Status if status < 500 => ("upstream refused a trigger", None),
            Fault::Status => ("upstream failed at a trigger: its channels are in doubt", None),
            Fault::Body(code) if outcome == TriggerOutcome::Ambiguous => {
                ("upstream failed at a trigger by the body of its answer: its channels are in doubt", code)
            }
            Fault::Body(code) => ("upstream refused a trigger in the body of its answer", code),
        };
        tracing::warn!(
            status,
            body_code,
            app = name,
            says = says.as_deref(),
            outcome = outcome.label(),
            trigger = %id,
            left_out = some(left_out),
            "{message}"
        );
    }

    /// A trigger of `app`, or of one that is not configured, has no complete answer of upstream.
    pub(super) fn unanswered(
        &self,
        routing: &Routing,
        app: &str,
        id: TriggerId,
        why: &Refusal,
        outcome: TriggerOutcome,
    ) {
        let now = Instant::now();
        if let Refusal::Upstream(failure) = why
            && !matches!(failure, Failure::CallerBody { .. } | Failure::OutOfDescriptors { .. })
        {
            self.outage.failed(now);
        }
        let code = if let Refusal::Upstream(failure) = why { failure.label() } else { why.code() };
        let Some(left_out) = self.upstream.admit(Key { app: key_of(routing, app), code, status: 0 }, now) else {
            return;
        };
        tracing::warn!(
            code,
            app = shown(routing, app),
            outcome = outcome.label(),
            trigger = %id,
            left_out = some(left_out),
            error = why.to_string(),
            "a trigger was not answered by upstream"
        );
    }

    /// A relayed delivery announces on `channel` of `app` what usher did not forward, for this rule.
    pub(super) fn bypassed(&self, app: &Arc<str>, rule: &str, channel: &str) {
        let key = Key { app: AppKey::Configured(Arc::clone(app)), code: BYPASSED, status: 0 };
        let Some(left_out) = self.bypassed.admit(key, Instant::now()) else { return };
        tracing::warn!(
            code = BYPASSED,
            app = &**app,
            rule,
            channel,
            left_out = some(left_out),
            "somebody announces beside usher: the channel is in doubt"
        );
    }

    /// A request that is no trigger has no answer of upstream.
    pub(super) fn request_unanswered(&self, failure: &Failure) {
        let key = Key { app: AppKey::None, code: failure.label(), status: 0 };
        let Some(left_out) = self.upstream.admit(key, Instant::now()) else { return };
        let code = failure.label();
        tracing::warn!(
            code,
            left_out = some(left_out),
            error = failure.to_string(),
            "upstream gave no answer to a request"
        );
    }

    /// Logs how many lines were left out that no later line has reported. Called at intervals.
    pub fn report_left_out(&self) {
        let now = Instant::now();
        for (Key { app, code, .. }, left_out) in self.refused.take_left_out(now) {
            tracing::warn!(code, app = app.name(), left_out, "more triggers were refused");
        }
        for (Key { app, code, .. }, left_out) in self.bypassed.take_left_out(now) {
            tracing::warn!(code, app = app.name(), left_out, "more announcements came beside usher");
        }
        for (Key { app, code, status }, left_out) in self.upstream.take_left_out(now) {
            let status = (status > 0).then_some(status);
            tracing::warn!(
                code,
                app = app.name(),
                status,
                left_out,
                "more requests were not accepted or not answered by upstream"
            );
        }
    }
}

/// The throttle's key for an app as the caller named it.
fn key_of(routing: &Routing, app: &str) -> AppKey {
    routing.app(app).map_or_else(|| AppKey::unknown(app), |app| AppKey::Configured(app.id.clone()))
}

/// An app's id or a key as it was sent, cut, but never a secret: a caller may have exchanged key and secret.
fn shown<'n>(routing: &Routing, name: &'n str) -> &'n str {
    if routing.is_secret(name) { HIDDEN } else { cut(name, MAX_NAME) }
}

/// No field for 0.
fn some(left_out: u64) -> Option<u64> {
    (left_out > 0).then_some(left_out)
}

fn signed(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}
