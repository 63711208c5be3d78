//! The stream of triggers of a running usher: one connection after the other.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use tokio::time::timeout;
use usher::tls::{self, cause};
use usher::upstream::{Answer, Failure, Payload};

use super::events::{Event, Parser};
use crate::command::admins::Listener;
use crate::command::http_client::HttpClient;
use crate::command::party::Role;
use crate::command::terminal::Printable;

/// How long the listener may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the stream may be silent: usher sends a comment every 15 s.
const SILENCE: Duration = Duration::from_secs(45);
/// Longest body of a refusal in bytes.
const MAX_REFUSAL: usize = 64 * 1024;

/// Where the stream comes from.
#[derive(Debug)]
pub(in crate::command) struct Source {
    client: HttpClient,
    /// The address, for messages.
    url: Uri,
    token: Option<HeaderValue>,
    /// What tells it from others in the output.
    pub(super) name: String,
}

/// Why there is no stream.
#[derive(Debug)]
pub(in crate::command) enum Refused {
    /// Another attempt would end in the same way.
    ForGood(anyhow::Error),
    /// It may be a restart, or the network.
    ForNow(anyhow::Error),
}

/// A stream that is open.
#[derive(Debug)]
pub(super) struct Stream {
    body: Answer,
    parser: Parser,
}

impl Source {
    /// The stream of `listener`.
    ///
    /// # Errors
    /// The address or the token has a form that cannot be used.
    pub(in crate::command) fn new(listener: Listener, tls: tls::Client) -> anyhow::Result<Self> {
        let Listener { url, token, name } = listener;
        let client = HttpClient::new(Role::Admin, &url, tls, ANSWER_TIMEOUT)?;
        let token = token.map(|token| HeaderValue::from_str(&format!("Bearer {token}")));
        let mut token =
            token.transpose().map_err(|_invalid| anyhow!("the admin token has characters that no token has"))?;
        token.iter_mut().for_each(|token| token.set_sensitive(true));
        Ok(Self { client, url, token, name })
    }

    /// Opens the stream `target`. `after`: the id of the last event that was received.
    pub(super) async fn open(&self, target: &str, after: Option<&str>) -> Result<Stream, Refused> {
        let answer = self.get(target, after).await?;
        let is_stream = |value: &HeaderValue| value.as_bytes().starts_with(b"text/event-stream");
        if answer.status() == 200 && answer.headers().get(CONTENT_TYPE).is_some_and(is_stream) {
            return Ok(Stream { body: answer.into_body(), parser: Parser::default() });
        }
        Err(self.refusal(answer).await)
    }

    /// Opens the recording `target`.
    pub(in crate::command) async fn record(&self, target: &str) -> Result<Answer, Refused> {
        let answer = self.get(target, None).await?;
        let is_recording = |value: &HeaderValue| value.as_bytes().starts_with(b"application/jsonl");
        if answer.status() == 200 && answer.headers().get(CONTENT_TYPE).is_some_and(is_recording) {
            return Ok(answer.into_body());
        }
        Err(self.refusal(answer).await)
    }

    /// The JSON document `target`; `None` if there is none.
    pub(super) async fn document(&self, target: &str) -> Option<Vec<u8>> {
        let answer = self.get(target, None).await.ok().filter(|answer| answer.status() == 200)?;
        let body = timeout(ANSWER_TIMEOUT, Limited::new(answer.into_body(), 16 * MAX_REFUSAL).collect()).await;
        Some(body.ok()?.ok()?.to_bytes().into())
    }

    async fn get(&self, target: &str, after: Option<&str>) -> Result<Response<Answer>, Refused> {
        let request = Request::builder().method(Method::GET).uri(target).body(Payload::Whole(bytes::Bytes::new()));
        let mut request = request.context("the filter makes no address").map_err(Refused::ForGood)?;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream, application/json"));
        if let Some(token) = &self.token {
            headers.insert(AUTHORIZATION, token.clone());
        }
        if let Some(after) = after.and_then(|after| HeaderValue::from_str(after).ok()) {
            headers.insert("last-event-id", after);
        }
        self.client.open(request).await.map_err(|failure| Refused::ForNow(self.unreachable(&failure)))
    }

    /// Why there is no answer. The party is usher's own listener, not the server behind usher.
    fn unreachable(&self, failure: &Failure) -> anyhow::Error {
        let url = self.url.to_string();
        let url = url.trim_end_matches('/');
        let other = |scheme: &str| {
            let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
            format!("{scheme}://{rest}")
        };
        let is_https = self.url.scheme_str() == Some("https");
        match failure {
            Failure::Connect { source, .. } => {
                anyhow!(
                    "the admin listener at {url} cannot be reached: {}; does usher run, and is this its admin.listen?",
                    cause(source)
                )
            }
            Failure::Resolve { source, .. } => anyhow!("the name in {url} cannot be looked up: {}", cause(source)),
            Failure::ConnectTimeout { .. } | Failure::AnswerTimeout { .. } => {
                anyhow!("the admin listener at {url} does not answer within {ANSWER_TIMEOUT:?}")
            }
            Failure::Tls { source, .. } => anyhow!(
                "TLS with {url} failed: {}; usher itself has none there: try {}, or name the authority of a proxy before it with --ca-file",
                cause(source),
                other("http")
            ),
            Failure::MalformedAnswer { .. } | Failure::ConnectionLost { .. } | Failure::ClosedUnsent { .. }
                if !is_https =>
            {
                anyhow!(
                    "{url} does not answer with HTTP: it may speak TLS (try {}), or is no admin listener of usher",
                    other("https")
                )
            }
            failure => anyhow!("the admin listener at {url} gave no answer: {}", cause(failure)),
        }
    }

    /// Why the answer is no stream.
    async fn refusal(&self, answer: Response<Answer>) -> Refused {
        let url = self.url.to_string();
        let (head, body) = answer.into_parts();
        let body = timeout(ANSWER_TIMEOUT, Limited::new(body, MAX_REFUSAL).collect()).await;
        let body = body.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let json: Value = serde_json::from_slice(&body).unwrap_or_default();
        let said = |key: &str| json[key].as_str().map(|text| Printable(text).to_string());
        let (code, error) = (said("code").unwrap_or_default(), said("error"));
        let status = head.status;
        let url = url.trim_end_matches('/');
        let told = error.map_or_else(|| status.to_string(), |error| format!("{status}, {error}"));
        let message = match (code.as_str(), status.as_u16()) {
            ("token_missing", _) => {
                "the admin listener asks for its token: name a file with --token-file, or set USHER_ADMIN__TOKEN"
                    .to_owned()
            }
            ("token_wrong", _) => {
                "the admin listener refuses the token: it is not admin.token of the usher that runs there".to_owned()
            }
            ("too_many_streams", _) => return Refused::ForNow(anyhow!("{url}: {told}")),
            (_, 400) if told.contains("HTTPS") || code.is_empty() && said("error").is_none() => {
                format!("no admin listener of usher answers there ({told}); if it speaks TLS, write https://")
            }
            ("", _) | (_, 200 | 404) => format!(
                "no stream of triggers is there ({told}): is this the admin listener (admin.listen), and not the port for clients?"
            ),
            (_, 500..) => return Refused::ForNow(anyhow!("the admin listener at {url} answers {told}")),
            _ => format!("the admin listener refuses the request: {told}"),
        };
        Refused::ForGood(anyhow!("{url}: {message}"))
    }
}

impl Stream {
    /// The next events. `None`: the stream has ended, as each does after some minutes.
    ///
    /// # Errors
    /// The connection broke, or was silent for too long.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing that it would return later.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Vec<Event>>> {
        loop {
            let Ok(frame) = timeout(SILENCE, self.body.frame()).await else {
                bail!("nothing came from usher for {} s", SILENCE.as_secs())
            };
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| anyhow!("the connection to usher broke: {}", cause(&error)))?;
            let Ok(piece) = frame.into_data() else { continue };
            let events = self.parser.take(&piece)?;
            if !events.is_empty() {
                return Ok(Some(events));
            }
        }
    }
}
