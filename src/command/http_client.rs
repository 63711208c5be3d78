//! An HTTP client: sends one request and receives its whole answer, with the code that forwards to upstream.

use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Limited};
use usher::shutdown::Tasks;
use usher::tls;
use usher::upstream::{Options, Payload, Remote};

/// Largest body of an answer in bytes.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Sends requests to one server, over one connection as long as that stays open.
#[derive(Debug, Clone)]
pub(super) struct HttpClient {
    remote: Remote,
    timeout: Duration,
    /// The value of `Authorization`.
    authorization: Option<HeaderValue>,
}

impl HttpClient {
    /// A client of the server at `url`; a whole exchange may take `timeout`.
    ///
    /// # Errors
    /// If `url` is not a server's address.
    pub(super) fn new(url: &Uri, tls: tls::Client, timeout: Duration) -> anyhow::Result<Self> {
        let is_bare = url.path_and_query().is_none_or(|rest| rest.as_str() == "/" || rest.as_str().is_empty());
        ensure!(is_bare, "{url} has a path or a query: write scheme, host and port alone, e.g. http://127.0.0.1:6001");
        let url = url.clone();
        let options = Options {
            url,
            websocket_url: None,
            timeout,
            connect_timeout: timeout,
            idle_timeout: Duration::from_secs(20),
            max_connection_age: Duration::from_mins(5),
            max_idle: 1,
            tls,
        };
        Ok(Self { remote: Remote::new(&options, Tasks::default())?, timeout, authorization: None })
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

    /// Any request.
    ///
    /// # Errors
    /// If there is no whole answer in time.
    pub(super) async fn call(&self, method: Method, target: &str, body: Bytes) -> anyhow::Result<Response<Bytes>> {
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .body(Payload::Whole(body))
            .context("the request's target is no target")?;
        if request.body().length() > 0 {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        request
            .headers_mut()
            .insert(USER_AGENT, HeaderValue::from_static(concat!("usher/", env!("CARGO_PKG_VERSION"))));
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
        answered.await.with_context(|| format!("no answer within {:?}", self.timeout))?
    }
}
