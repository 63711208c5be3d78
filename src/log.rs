//! Logging to standard error, as text or as JSON, without blocking a request.
//!
//! A thread of its own writes the lines; if nobody reads them, they are dropped. A line that repeats too often is left
//! out and counted, so that a flood of bad requests causes no flood of lines.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::config::{Log, LogFormat, Problem, Problems};

/// Most lines of one place in the code within a [`WINDOW`].
const LINES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(1);
/// Most lines that wait to be written; more are dropped.
const WAITING: usize = 8192;

/// The directives that silence libraries.
const QUIET: &str =
    "rustls=off,tokio_rustls=off,hyper=off,hyper_util=off,tungstenite=off,tokio_tungstenite=off,mio=off,";

/// The target of lines about faults of a configuration, one for each, and about a start that failed. They are written at
/// any level, and not throttled: the file bounds their number.
const FAULTS: &str = "usher::faults";

/// The logging of the process. Dropping the last clone writes what is still unwritten.
#[derive(Debug, Clone)]
pub struct Logging {
    dropped: Arc<AtomicU64>,
    filter: reload::Handle<EnvFilter, Registry>,
    _writer: Arc<WorkerGuard>,
}

impl Logging {
    /// Sets up logging for the whole process, once.
    ///
    /// # Errors
    /// If the level is no valid filter.
    pub fn start(options: &Log) -> Result<Self, ParseError> {
        let (filter, handle) = reload::Layer::new(filter(&options.level)?);
        let (writer, guard) = NonBlockingBuilder::default().buffered_lines_limit(WAITING).finish(std::io::stderr());
        let dropped = Arc::new(AtomicU64::new(0));
        let throttle = Throttle { dropped: Arc::clone(&dropped), windows: Mutex::default() };
        let registry = tracing_subscriber::registry().with(filter).with(throttle);
        match options.format {
            LogFormat::Human => registry
                .with(fmt::layer().with_writer(writer).with_target(false).with_ansi(std::io::stderr().is_terminal()))
                .init(),
            LogFormat::Json => registry
                .with(fmt::layer().json().flatten_event(true).with_writer(writer).with_current_span(false))
                .init(),
        }
        Ok(Self { dropped, filter: handle, _writer: Arc::new(guard) })
    }

    /// Takes another level or filter from now on.
    ///
    /// # Errors
    /// If it is no valid filter; the old one stays.
    pub fn set_level(&self, level: &str) -> Result<(), ParseError> {
        let filter = filter(level)?;
        if let Err(error) = self.filter.reload(filter) {
            tracing::error!(%error, "the log level could not be changed");
        }
        Ok(())
    }

    /// How many lines were left out since the last call.
    #[must_use]
    pub fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }
}

/// The filter of a level. What libraries log of their own is left out, unless the level itself is `trace`: rustls warns
/// of what callers send (`usher_tls_handshake_failures_total` counts that), and the HTTP and WebSocket libraries write
/// several lines for each request. A directive for a library in the level comes later, and overrides this.
fn filter(level: &str) -> Result<EnvFilter, ParseError> {
    let is_trace = level.split(',').any(|directive| directive.trim().eq_ignore_ascii_case("trace"));
    let quiet = if is_trace { "" } else { QUIET };
    EnvFilter::try_new(format!("{quiet}{level},{FAULTS}=error"))
}

/// Logs why usher cannot start.
pub fn fatal(error: &str) {
    tracing::error!(target: FAULTS, error, "usher cannot start");
}

/// Logs each problem of a configuration in a line of its own.
pub fn faults(problems: &Problems) {
    for Problem { origin, key, message, suggestion, code } in problems {
        let (key, suggestion) = ((!key.is_empty()).then_some(key.as_str()), suggestion.as_deref());
        tracing::error!(target: FAULTS, origin = origin.to_string(), key, code, suggestion, "{message}");
    }
}

/// Leaves out lines that repeat. Its size is bounded by the number of places in the code that log.
#[derive(Debug)]
struct Throttle {
    dropped: Arc<AtomicU64>,
    windows: Mutex<HashMap<Identifier, Window>>,
}

/// The lines of one place in the code within a [`WINDOW`].
#[derive(Debug)]
struct Window {
    began: Instant,
    lines: u32,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Throttle {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        if *event.metadata().level() > Level::INFO || event.metadata().target() == FAULTS {
            return true;
        }
        let now = Instant::now();
        let mut windows = self.windows.lock();
        let window = windows.entry(event.metadata().callsite()).or_insert(Window { began: now, lines: 0 });
        if now.duration_since(window.began) > WINDOW {
            *window = Window { began: now, lines: 0 };
        }
        window.lines += 1;
        let enabled = window.lines <= LINES;
        drop(windows);
        if !enabled {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        enabled
    }
}
