//! An HTTP client: sends one request and receives its whole answer, with the code that forwards to upstream.

use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Limited};
use usher::shutdown::Tasks;
use usher::tls;
use usher::upstream::{Answer, Failure, Options, Payload, Remote, ServerAddress};

use super::party::{Party, Role};

const USER_AGENT_VALUE: HeaderValue = HeaderValue::from_static(concat!("usher/", env!("CARGO_PKG_VERSION")));

/// Largest body of an answer in bytes.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Sends requests to one server, over one connection as long as that stays open.
#[derive(Debug, Clone)]
pub(super) struct HttpClient {
    remote: Remote,
    timeout: Duration,
    /// The value of `Authorization`.
    authorization: Option<HeaderValue>,
    tls: tls::Client,
    party: Party,
}

impl HttpClient {
    /// A client of the server at `url`, which messages name by its `role`; a whole exchange may take `timeout`.
    ///
    /// # Errors
    /// If `url` is not a server's address.
    pub(super) fn new(role: Role, url: &Uri, tls: tls::Client, timeout: Duration) -> anyhow::Result<Self> {
        let is_bare = url.path_and_query().is_none_or(|rest| rest.as_str() == "/" || rest.as_str().is_empty());
        ensure!(is_bare, "{url} has a path or a query: write scheme, host and port alone, e.g. http://127.0.0.1:6001");
        let url = url.clone();
        let server =
            ServerAddress::of(&url).map_err(|error| anyhow::anyhow!("{url} is no server's address: {error}"))?;
        ensure!(
            matches!(url.scheme_str(), Some("http" | "https")),
            "{url} is no HTTP address: write http:// or https://"
        );
        let party = Party::new(role, server);
        let options = Options {
            url,
            websocket_url: None,
            timeout,
            connect_timeout: timeout,
            idle_timeout: Duration::from_secs(20),
            max_connection_age: Duration::from_mins(5),
            max_idle: 1,
            tls: tls.clone(),
        };
        Ok(Self { remote: Remote::new(&options, Tasks::default())?, timeout, authorization: None, tls, party })
    }

    /// The same client, which sends this bearer token.
    ///
    /// # Errors
    /// If the token cannot be sent.
    pub(super) fn with_token(self, token: &str) -> anyhow::Result<Self> {
        let value = HeaderValue::try_from(format!("Bearer {token}"));
        let mut value =
            value.map_err(|_invalid| anyhow::anyhow!("the token has characters that no header may have"))?;
        value.set_sensitive(true);
        Ok(Self { authorization: Some(value), ..self })
    }

    /// `GET target`.
    ///
    /// # Errors
    /// If there is no whole answer in time.
    pub(super) async fn get(&self, target: &str) -> anyhow::Result<Response<Bytes>> {
        self.call(Method::GET, target, Bytes::new()).await
    }

    /// `POST target` with a JSON body.
    ///
    /// # Errors
    /// If there is no whole answer in time.
    pub(super) async fn post(&self, target: &str, body: Bytes) -> anyhow::Result<Response<Bytes>> {
        self.call(Method::POST, target, body).await
    }

    /// Sends a request; its answer is read by the caller.
    ///
    /// # Errors
    /// If there is no answer's head in time.
    pub(super) async fn open(&self, mut request: Request<Payload>) -> Result<Response<Answer>, Failure> {
        request.headers_mut().insert(USER_AGENT, USER_AGENT_VALUE);
        self.remote.send(request).await
    }

    /// Any request.
    ///
    /// # Errors
    /// If there is no whole answer in time. The text names the server, the cause and what to do.
    pub(super) async fn call(&self, method: Method, target: &str, body: Bytes) -> anyhow::Result<Response<Bytes>> {
        let answered = self.exchange(method, target, body).await;
        let Err(error) = answered else { return answered };
        match error.downcast_ref::<Failure>() {
            Some(failure) => {
                let text = self.party.explain(failure, &self.tls);
                // Nothing of a request without TLS is understood by a server with TLS, which closes or answers in TLS.
                let hint = if failure.nothing_sent() { None } else { self.tls_hint().await };
                Err(hint.map_or_else(|| anyhow::anyhow!("{text}"), |hint| anyhow::anyhow!("{text}; {hint}")))
            }
            None => Err(error),
        }
    }

    /// What to do if TLS answers on the port of a plain address.
    pub(super) async fn tls_hint(&self) -> Option<String> {
        self.party.tls_hint(self.timeout).await
    }

    async fn exchange(&self, method: Method, target: &str, body: Bytes) -> anyhow::Result<Response<Bytes>> {
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .body(Payload::Whole(body))
            .context("the request's target is no target")?;
        if request.body().length() > 0 {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        request.headers_mut().insert(USER_AGENT, USER_AGENT_VALUE);
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        let answered = tokio::time::timeout(self.timeout, async {
            let (head, body) = self.remote.send(request).await?.into_parts();
            let body = Limited::new(body, MAX_ANSWER)
                .collect()
                .await
                .map_err(|error| anyhow::anyhow!(error).context("the answer broke off"))?;
            Ok(Response::from_parts(head, body.to_bytes()))
        });
        answered.await.with_context(|| format!("no answer of {} within {:?}", self.party, self.timeout))?
    }
}
