//! The trigger that is explained, and those before it.

use std::io::Read as _;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::{Value, json};
use usher::config::Config;
use usher::recording::{Entry, HeadForm, Header, RecordedOutcome, RecordedTrigger};
use usher::simulation::{Request, Settled, Upstream, UpstreamOutcome};

/// The largest input that is read, in bytes; servers accept far less.
const MAX_INPUT: u64 = 64 * 1024 * 1024;

/// The parts of a trigger.
#[derive(Debug, Args)]
pub(super) struct PayloadFlags {
    /// The app's id; else the first app of the configuration.
    #[arg(long, value_name = "ID")]
    app: Option<String>,
    /// The event's name.
    #[arg(long, value_name = "NAME", requires = "channel")]
    event: Option<String>,
    /// The event's channel; may be repeated.
    #[arg(long, value_name = "NAME", requires = "event")]
    channel: Vec<String>,
    /// The event's data, as text ({} unless given).
    #[arg(long, value_name = "TEXT", requires = "event")]
    data: Option<String>,
    /// The connection that does not get the event.
    #[arg(long, value_name = "ID", requires = "event")]
    socket_id: Option<String>,
}

/// A trigger.
#[derive(Debug, Clone)]
pub(super) struct Payload {
    pub(super) app: String,
    pub(super) path: String,
    pub(super) body: String,
    head: Option<HeadForm>,
}

/// A trigger before the explained one.
#[derive(Debug)]
pub(super) struct Earlier {
    pub(super) payload: Payload,
    /// How long after the beginning it came.
    pub(super) after: Duration,
    pub(super) upstream: Upstream,
}

impl Payload {
    /// The trigger in the file `input`, of standard input, or of `flags`.
    ///
    /// # Errors
    /// It cannot be read, or there is no app.
    pub(super) fn read(input: Option<&str>, flags: &PayloadFlags, config: &Config) -> anyhow::Result<Self> {
        let first = config.apps.first().map(|app| app.id().to_owned());
        let app = flags.app.clone().or(first).context("the configuration has no app: name one with --app")?;
        let body = match (&flags.event, input) {
            (Some(event), _) => made(event, flags).to_string(),
            (None, None | Some("-")) => limited(std::io::stdin().lock()).context("standard input cannot be read")?,
            (None, Some(file)) => {
                let opened = std::fs::File::open(file).and_then(limited);
                opened.with_context(|| format!("{file} cannot be read"))?
            }
        };
        Ok(Self::of(app, body))
    }

    /// A body to the endpoint that it is for.
    pub(super) fn of(app: String, body: String) -> Self {
        let is_batch = serde_json::from_str::<Value>(&body).is_ok_and(|body| body.get("batch").is_some());
        let path = format!("/apps/{app}/{}", if is_batch { "batch_events" } else { "events" });
        Self { app, path, body, head: None }
    }

    pub(super) fn request(&self) -> Request<'_> {
        Request { app: &self.app, path: &self.path, body: self.body.as_bytes(), head: self.head }
    }
}

fn limited(from: impl std::io::Read) -> std::io::Result<String> {
    let mut text = String::new();
    from.take(MAX_INPUT).read_to_string(&mut text)?;
    Ok(text)
}

/// The body of an event, as a library writes it.
fn made(event: &str, PayloadFlags { channel, data, socket_id, .. }: &PayloadFlags) -> Value {
    let data = data.as_deref().unwrap_or("{}");
    let mut body = match &channel[..] {
        [channel] => json!({ "name": event, "channel": channel, "data": data }),
        channels => json!({ "name": event, "channels": channels, "data": data }),
    };
    if let Some(socket_id) = socket_id {
        body["socket_id"] = Value::from(socket_id.as_str());
    }
    body
}

impl Earlier {
    /// The triggers in `text`, one a line: bodies for `app`, or a recording.
    ///
    /// # Errors
    /// A line cannot be read.
    pub(super) fn read(text: &str, app: &str) -> anyhow::Result<Vec<Self>> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).peekable();
        if let Some((_, first)) = lines.peek()
            && first.contains("\"usher_recording\"")
        {
            Header::read(first)?;
            return Self::recorded(lines.skip(1));
        }
        let earlier = lines.enumerate().map(|(index, (number, line))| {
            ensure!(serde_json::from_str::<Value>(line).is_ok(), "line {} is no JSON", number + 1);
            let payload = Payload::of(app.to_owned(), line.to_owned());
            let after = Duration::from_secs(u64::try_from(index)?);
            Ok(Self { payload, after, upstream: Upstream::default() })
        });
        earlier.collect()
    }

    /// The triggers of a recording, in the order in which they came.
    fn recorded<'l>(lines: impl Iterator<Item = (usize, &'l str)>) -> anyhow::Result<Vec<Self>> {
        let mut triggers = Vec::new();
        for (number, line) in lines {
            if let Entry::Trigger(trigger) = Entry::read(line).with_context(|| format!("line {}", number + 1))? {
                triggers.push(trigger);
            }
        }
        triggers.sort_by_key(|trigger| trigger.received);
        let first = triggers.first().map_or(0, |trigger| trigger.received.0);
        Ok(triggers.iter().map(|trigger| Self::of(trigger, first)).collect())
    }

    fn of(trigger: &RecordedTrigger<'_>, first: u64) -> Self {
        let after = Duration::from_micros(trigger.received.0 - first);
        let took = trigger.settled.map_or(0, |settled| settled.0.saturating_sub(trigger.received.0));
        let payload = Payload {
            app: trigger.app.to_string(),
            path: trigger.path.to_string(),
            body: trigger.body.to_string(),
            head: trigger.head,
        };
        let upstream =
            Upstream { outcome: outcome(trigger.outcome), settled: Settled::After(Duration::from_micros(took)) };
        Self { payload, after, upstream }
    }
}

/// What upstream does with a recorded trigger if it is sent. One that was dropped is taken to be accepted.
pub(in crate::command) const fn outcome(recorded: RecordedOutcome) -> UpstreamOutcome {
    match recorded {
        RecordedOutcome::Accepted | RecordedOutcome::Suppressed => UpstreamOutcome::Accepted,
        RecordedOutcome::Refused => UpstreamOutcome::Refused,
        RecordedOutcome::Ambiguous => UpstreamOutcome::Ambiguous,
        RecordedOutcome::NotSent => UpstreamOutcome::NotSent,
    }
}
