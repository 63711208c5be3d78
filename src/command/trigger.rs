//! `usher trigger`: signs an event and sends it, as a backend's Pusher library does.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use clap::Args;
use http::{Response, StatusCode, Uri};
use serde_json::{Value, json};
use usher::clock::Clock;
use usher::config;
use usher::pusher::{self, Acceptance, App};
use usher::tls;

use super::block_on;
use super::credentials::{Credentials, DEMO_ID};
use super::http_client::HttpClient;
use super::party::Role;
use super::terminal::{Printable, print, print_error};

/// The largest input that is read, in bytes; servers accept far less.
const MAX_INPUT: u64 = 64 * 1024 * 1024;

const EXAMPLES: &str = "\
Examples:
  usher trigger grand-room-101-chat staff-assigned '{\"staff_name\": \"Anna\"}'
  usher trigger --url http://127.0.0.1:6001 --app 1001 --batch events.json --json";

/// An event and where to send it. Exit code 0 if it was accepted (2xx), else 1.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Trigger {
    /// usher, or any Pusher-compatible host: scheme, host and port.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:6001")]
    url: Uri,
    /// The app's id.
    #[arg(long, value_name = "ID", default_value = DEMO_ID)]
    app: String,
    #[command(flatten)]
    credentials: Credentials,
    /// The channel.
    #[arg(value_name = "CHANNEL", required_unless_present = "batch")]
    channel: Option<String>,
    /// The event's name.
    #[arg(value_name = "EVENT", required_unless_present = "batch")]
    event: Option<String>,
    /// The event's data, sent as it stands ({} unless given); - reads it from standard input.
    #[arg(value_name = "DATA")]
    data: Option<String>,
    /// One more channel for the same event; may be repeated. (Commas belong to names: a list would be ambiguous.)
    #[arg(long, value_name = "CHANNEL")]
    also: Vec<String>,
    /// The connection that does not get the event.
    #[arg(long, value_name = "ID")]
    socket_id: Option<String>,
    /// What the answer should tell of the channels: user_count, subscription_count, or both with a comma.
    #[arg(long, value_name = "ATTRIBUTES")]
    info: Option<String>,
    /// Several events in one call: a file (- for standard input) with a JSON array of {"channel", "name", "data"}.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["channel", "event", "data", "also", "socket_id", "info"])]
    batch: Option<PathBuf>,
    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
    /// More certificate authorities (PEM), beside the built-in web roots.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// How long to wait for the answer.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = config::duration)]
    timeout: Duration,
}

impl Trigger {
    /// Sends it and prints the answer.
    ///
    /// # Errors
    /// If it could not be sent, or no answer came.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let is_id = self.app.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        ensure!(is_id && !self.app.is_empty(), "{:?} is no app id: it is made of letters, digits, - and _", self.app);
        let secret = self.credentials.needed_secret("a trigger")?;
        let app = App::new(&self.app, &self.credentials.key, &secret);
        let (endpoint, body) = self.request()?;
        let tls = tls::Client::read(self.ca_file.as_deref())?;
        let sent = HttpClient::new(Role::Url, &self.url, tls, self.timeout)
            .and_then(|client| block_on(exchange(&client, &app, endpoint, body)));
        match sent {
            Ok((answer, hint)) => self.print_answer(&answer, hint.as_deref()),
            Err(error) if self.json => {
                print(json!({ "error": format!("{error:#}") }))?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// The endpoint below the app, and the body.
    fn request(&self) -> anyhow::Result<(&'static str, Value)> {
        if let Some(path) = &self.batch {
            return Ok(("batch_events", batch(&read(path)?)?));
        }
        let data = match self.data.as_deref() {
            Some("-") => read(Path::new("-"))?,
            Some(data) => data.to_owned(),
            None => "{}".to_owned(),
        };
        let channels: Vec<_> = self.channel.iter().chain(&self.also).collect();
        let mut body = json!({ "name": self.event, "channels": channels, "data": data });
        for (key, value) in [("socket_id", &self.socket_id), ("info", &self.info)] {
            if let Some(value) = value {
                body[key] = Value::from(value.as_str());
            }
        }
        Ok(("events", body))
    }

    fn print_answer(&self, answer: &Response<Bytes>, hint: Option<&str>) -> anyhow::Result<ExitCode> {
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let (decision, code) = (header("usher-decision"), header("usher-error"));
        let text = String::from_utf8_lossy(answer.body());
        let accepted = answer.status().is_success() && Acceptance::read(answer.body()) == Acceptance::Accepted;
        if self.json {
            let body = serde_json::from_slice::<Value>(answer.body()).unwrap_or_else(|_| Value::from(&*text));
            print(json!({ "status": answer.status().as_u16(), "decision": decision, "code": code, "body": body }))?;
        } else {
            let decision =
                decision.map(|decision| format!("  usher-decision: {}", Printable(decision))).unwrap_or_default();
            print(format_args!("{}{decision}", answer.status()))?;
            if accepted && !text.trim().is_empty() {
                print(Printable(text.trim()))?;
            }
        }
        if accepted {
            return Ok(ExitCode::SUCCESS);
        }
        let sentence = serde_json::from_slice::<Value>(answer.body())
            .ok()
            .and_then(|body| Some(body["error"].as_str()?.to_owned()));
        print_error(format_args!(
            "usher: the trigger was not accepted: {}{}",
            Printable(sentence.as_deref().unwrap_or_else(|| text.trim())),
            hint.map(|hint| format!("; {hint}")).unwrap_or_default()
        ));
        Ok(ExitCode::FAILURE)
    }
}

/// Sends the trigger. Some servers answer a request without TLS on a port with TLS by 400: what to do then comes with the
/// answer.
async fn exchange(
    client: &HttpClient,
    app: &App,
    endpoint: &str,
    body: Value,
) -> anyhow::Result<(Response<Bytes>, Option<String>)> {
    let answer = send(client, app, endpoint, body).await?;
    let hint = if answer.status() == StatusCode::BAD_REQUEST { client.tls_hint().await } else { None };
    Ok((answer, hint))
}

/// Signs `body` for `app` and posts it to one of the trigger endpoints (`events`, `batch_events`).
///
/// # Errors
/// If no answer came.
pub(super) async fn send(
    client: &HttpClient,
    app: &App,
    endpoint: &str,
    body: Value,
) -> anyhow::Result<Response<Bytes>> {
    let body = Bytes::from(body.to_string());
    let path = format!("/apps/{}/{endpoint}", app.id());
    let query = pusher::sign_query(app, "POST", &path, &[], Some(&body), Clock::unix_now());
    client.post(&format!("{path}?{query}"), body).await
}

/// The body of a batch. `data` that is not text yet becomes the text of its JSON, as the libraries send it
/// (pusher-protocol.md 3.1).
fn batch(text: &str) -> anyhow::Result<Value> {
    let mut events: Vec<Value> = serde_json::from_str(text).context("a batch is a JSON array of events")?;
    for (index, event) in events.iter_mut().enumerate() {
        let Some(event) = event.as_object_mut() else { bail!("event {index} of the batch is no object") };
        for key in ["channel", "name"] {
            ensure!(event.get(key).is_some_and(Value::is_string), "event {index} of the batch has no \"{key}\"");
        }
        let data = event.entry("data").or_insert_with(|| json!({}));
        if !data.is_string() {
            *data = Value::from(data.to_string());
        }
    }
    Ok(json!({ "batch": events }))
}

/// The text of a file, or of standard input for `-`; one line end at the end is not part of it.
fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(MAX_INPUT + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_INPUT + 1).read_to_string(&mut text))
    };
    let length = read.with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(length as u64 <= MAX_INPUT, "{} is larger than 64 MiB", path.display());
    let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    Ok(line.map(str::to_owned).unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_holds_text_as_data() {
        let made = batch(
            r#"[{"channel":"a","name":"n","data":{"k":[1]}},{"channel":"b","name":"n","data":"as is"},{"channel":"c","name":"n"}]"#,
        );
        let expected = json!({ "batch": [
            { "channel": "a", "name": "n", "data": "{\"k\":[1]}" },
            { "channel": "b", "name": "n", "data": "as is" },
            { "channel": "c", "name": "n", "data": "{}" },
        ] });
        assert_eq!(made.unwrap(), expected);
        for wrong in ["", "{}", "[1]", r#"[{"name":"n"}]"#, r#"[{"channel":"c","name":7}]"#] {
            assert!(batch(wrong).is_err(), "{wrong}");
        }
    }
}
