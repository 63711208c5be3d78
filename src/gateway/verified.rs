//! A trigger whose signature verified. Both readers make it, the fast one and hyper's.

use std::sync::Arc;

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::Refusal;
use super::routing::{AppRoute, Routing};
use super::target::TargetForm;
use crate::pusher::{
    AffectedChannels, Body, Endpoint, Inexact, InexactReason, KeyPair, Pattern, Query, SignatureClaim, SignatureError,
    SignedPath, verify,
};

/// A trigger whose signature verified, with its body: the only thing that may read or change the memory.
#[derive(Debug)]
pub(super) struct Verified<'a, 'b> {
    pub(super) app: &'a Arc<AppRoute>,
    /// The pair that signed it. A reload may have taken it from the app since.
    pub(super) pair: &'a KeyPair,
    pub(super) reading: Reading,
    pub(super) body: &'b [u8],
}

/// Whether the body of a trigger contains all that upstream will understand.
#[derive(Debug)]
pub(super) enum Reading {
    /// It does; the trigger came to this endpoint.
    Exact(Endpoint),
    /// It does, but upstream may take the trigger for a repeat and leave it out: the head has an idempotency key
    /// (docs/servers.md).
    Keyed(Endpoint),
    /// The head contains something that usher does not read: the reason, and what the trigger may touch.
    Inexact(Inexact),
}

/// What is signed of a request beside its body, and what its head says of its body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signed<'h> {
    pub(super) method: &'h str,
    pub(super) path: SignedPath<'h>,
    /// As received, without the question mark.
    pub(super) query: &'h str,
    pub(super) content: Content,
}

/// A signature as the fast reader finds it: a query of a known pattern, and its values.
#[derive(Debug, Clone, Copy)]
pub(super) struct PatternClaim<'h> {
    pub(super) pattern: &'h Pattern,
    pub(super) claim: &'h SignatureClaim<'h>,
}

impl<'a, 'b> Verified<'a, 'b> {
    /// Verifies the signature of a trigger that came at `now`, in seconds since the Unix epoch.
    ///
    /// # Errors
    /// The first check that failed; it is counted.
    pub(super) fn new(
        app: &'a Arc<AppRoute>,
        form: TargetForm,
        signed: Signed<'_>,
        body: Body<'b>,
        now: u64,
    ) -> Result<Self, Refusal> {
        let Signed { method, path, query, content } = signed;
        let query = Query::parse(query);
        let verified = verify(&app.app, method, path, &query, body, now);
        Self::if_authentic(verified, app, Reading::of(form, content, &query), body)
    }

    /// [`Verified::new`] for a trigger whose body contains all of it and whose query has a known pattern.
    ///
    /// # Errors
    /// The first check that failed; it is counted.
    pub(super) fn by_pattern(
        app: &'a Arc<AppRoute>,
        endpoint: Endpoint,
        signed: PatternClaim<'_>,
        body: Body<'b>,
        now: u64,
    ) -> Result<Self, Refusal> {
        let PatternClaim { pattern, claim } = signed;
        let verified = pattern.verify(&app.app, claim, body, now);
        Self::if_authentic(verified, app, Reading::Exact(endpoint), body)
    }

    fn if_authentic(
        verified: Result<&'a KeyPair, SignatureError>,
        app: &'a Arc<AppRoute>,
        reading: Reading,
        body: Body<'b>,
    ) -> Result<Self, Refusal> {
        let pair = verified.inspect_err(|error| app.metrics.auth_failure(error.code()))?;
        Ok(Self { app, pair, reading, body: body.bytes() })
    }

    /// Takes the app's present rules from `routing`. A reload puts an app in doubt for as long as requests that were
    /// forwarded under its old rules may take; so the new rules apply to a request even if its body, or its slot, came
    /// after the reload.
    pub(super) fn follow_reload(&mut self, routing: &'a Routing) {
        if let Some(app) = routing.app(&self.app.id) {
            self.app = app;
        }
    }
}

/// How the headers describe a trigger's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// JSON in UTF-8, as it is.
    Json,
    /// The same, and the head has an `X-Idempotency-Key`.
    KeyedJson,
    /// It is encoded, e.g. compressed.
    Encoded,
    /// It is of another type, of none, or of several.
    Other,
}

impl Content {
    /// Reads `headers`.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut types = headers.get_all(CONTENT_TYPE).iter();
        match (types.next(), types.next()) {
            _ if headers.contains_key(CONTENT_ENCODING) => Self::Encoded,
            (Some(only), None) if is_json(only.as_bytes()) && headers.contains_key("x-idempotency-key") => {
                Self::KeyedJson
            }
            (Some(only), None) if is_json(only.as_bytes()) => Self::Json,
            _ => Self::Other,
        }
    }
}

/// `application/json`, perhaps with `charset=utf-8`: in any other type or charset the bytes may mean something else.
pub(super) fn is_json(content_type: &[u8]) -> bool {
    let mut parts = content_type.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    parts.next().is_some_and(|media| media.eq_ignore_ascii_case(b"application/json"))
        && parts.all(|parameter| {
            parameter.eq_ignore_ascii_case(b"charset=utf-8") || parameter.eq_ignore_ascii_case(b"charset=\"utf-8\"")
        })
}

impl Reading {
    /// The reading of a request with this target and head.
    pub(super) fn of(form: TargetForm, content: Content, query: &Query<'_>) -> Self {
        let (reason, affected) = match (form, content) {
            (TargetForm::Legacy { channel }, _) => {
                (InexactReason::LegacyEndpoint, AffectedChannels::Listed(vec![channel]))
            }
            (TargetForm::NonCanonical, _) => (InexactReason::DisguisedTarget, AffectedChannels::All),
            (TargetForm::Exact(_), Content::Encoded) => (InexactReason::ContentEncoding, AffectedChannels::All),
            (TargetForm::Exact(_), Content::Other) => (InexactReason::ContentType, AffectedChannels::All),
            (TargetForm::Exact(_), Content::Json | Content::KeyedJson) if query.has_trigger_parameters() => {
                (InexactReason::QueryParameters, AffectedChannels::All)
            }
            (TargetForm::Exact(endpoint), Content::Json) => return Self::Exact(endpoint),
            (TargetForm::Exact(endpoint), Content::KeyedJson) => return Self::Keyed(endpoint),
        };
        Self::Inexact(Inexact { reason, affected })
    }
}
