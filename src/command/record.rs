//! `usher record`: writes the triggers of a running usher to a file, whole, as they are settled.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use clap::Args;
use http_body_util::BodyExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};
use usher::recording::{Entry, Header};
use usher::tls::cause;
use usher::upstream::Answer;

use super::admins::Admins;
use super::block_on;
use super::tail::source::{Refused, Source};
use super::terminal::print_error;

const EXAMPLES: &str = "\
Examples:
  usher record --admin http://127.0.0.1:9601 --token-file token -o day.jsonl --for 24h
  usher record --admin http://127.0.0.1:9601 --token-file token -o day.jsonl --redact --max-size 1GiB
  usher replay day.jsonl --config new.toml

The usher needs admin.recording = true, and the token is admin.token. A recording has all data of all triggers: only its
owner may read the file. With --redact the running usher replaces strings and numbers by hashes with a random key before it
sends them; its rules decide on a redacted recording as on the original.";

/// How long the stream may be silent: usher sends a line every 15 s.
const SILENCE: Duration = Duration::from_secs(45);

/// How long a recording takes that has no end: a hundred years.
const NO_END: Duration = Duration::from_secs(3_155_760_000);

/// Longest line in bytes, as for `usher replay`.
const MAX_LINE: usize = 128 * 1024 * 1024;

/// What to record. Ends on Ctrl-C, and after --for or --max-size; exit code 1 if the stream ends before. What was
/// received is in the file then.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Record {
    #[command(flatten)]
    admins: Admins,
    /// The file, which only its owner may read.
    #[arg(short, long = "output", value_name = "FILE")]
    output: PathBuf,
    /// Replace the file if it is there.
    #[arg(long)]
    force: bool,
    /// Have strings and numbers replaced by hashes, but for the names of events and what the rules need.
    #[arg(long)]
    redact: bool,
    /// End after this time, e.g. 10m or 24h.
    #[arg(long = "for", value_name = "DURATION", value_parser = usher::config::duration)]
    period: Option<Duration>,
    /// End before the file is larger, e.g. 1GiB.
    #[arg(long, value_name = "SIZE", value_parser = usher::config::size)]
    max_size: Option<usize>,
}

/// Why a recording ends.
#[derive(Debug)]
enum End {
    Signal,
    Time,
    Size,
}

/// The file that is written.
#[derive(Debug)]
struct Output<'p> {
    file: File,
    path: &'p Path,
    size: usize,
    max_size: usize,
    /// What was received of a line that is not whole yet.
    partial: Vec<u8>,
    has_header: bool,
    triggers: u64,
    missed: u64,
}

impl Record {
    /// Records.
    ///
    /// # Errors
    /// usher cannot be reached, refuses, or ends; the file is there already, or cannot be written.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let path = &self.output;
        ensure!(self.force || !path.exists(), "{} is there already: name another file, or --force", path.display());
        let mut listeners = self.admins.listeners()?;
        ensure!(listeners.len() == 1, "name the usher to record from with one --admin, e.g. http://127.0.0.1:9601");
        let source = Source::new(listeners.remove(0), self.admins.tls()?)?;
        let target = if self.redact { "/record?redact=true" } else { "/record" };
        let began = Instant::now();
        let mut output = None;
        let ended = block_on(async {
            let mut body =
                source.record(target).await.map_err(|(Refused::ForGood(error) | Refused::ForNow(error))| error)?;
            let output = output.insert(Output::create(path, self.force, self.max_size)?);
            self.follow(&mut body, output).await
        });
        let Some(output) = output else { return ended.map(|_never| ExitCode::SUCCESS) };
        output.file.sync_all().with_context(|| format!("{} cannot be written", path.display()))?;
        let why = match &ended {
            Ok(End::Signal) | Err(_) => "",
            Ok(End::Time) => "; the time is over",
            Ok(End::Size) => "; the next trigger would make the file larger than --max-size",
        };
        print_error(format_args!(
            "{}: {} triggers in {} s, {} bytes; {} missed{why}",
            path.display(),
            output.triggers,
            began.elapsed().as_secs(),
            output.size,
            output.missed
        ));
        ended.map(|_end| ExitCode::SUCCESS).context("the recording ended early, and the file has what came before")
    }

    async fn follow(&self, body: &mut Answer, output: &mut Output<'_>) -> anyhow::Result<End> {
        let mut terminated = signal(SignalKind::terminate()).context("SIGTERM cannot be received")?;
        let period = self.period.unwrap_or(NO_END);
        tokio::select! {
            ended = output.receive(body) => ended,
            interrupted = tokio::signal::ctrl_c() => interrupted.context("Ctrl-C cannot be received").map(|()| End::Signal),
            _ = terminated.recv() => Ok(End::Signal),
            () = sleep(period) => Ok(End::Time),
        }
    }
}

impl<'p> Output<'p> {
    fn create(path: &'p Path, force: bool, max_size: Option<usize>) -> anyhow::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).mode(0o600);
        if force {
            options.create(true).truncate(true)
        } else {
            options.create_new(true)
        };
        let written = || format!("{} cannot be written", path.display());
        let file = options.open(path).with_context(written)?;
        // One that is replaced has its own mode.
        file.set_permissions(Permissions::from_mode(0o600)).with_context(written)?;
        let max_size = max_size.unwrap_or(usize::MAX);
        Ok(Self { file, path, size: 0, max_size, partial: Vec::new(), has_header: false, triggers: 0, missed: 0 })
    }

    /// Writes what comes, until the file is full.
    ///
    /// # Cancel safety
    /// Dropped, the file ends with a whole line.
    async fn receive(&mut self, body: &mut Answer) -> anyhow::Result<End> {
        loop {
            let Ok(frame) = timeout(SILENCE, body.frame()).await else {
                bail!("nothing came from usher for {} s", SILENCE.as_secs())
            };
            let Some(frame) = frame else { bail!("usher ended it: it ends itself, or admin.recording is off now") };
            let frame = frame.map_err(|error| anyhow!("the connection to usher broke: {}", cause(&error)))?;
            let Ok(piece) = frame.into_data() else { continue };
            if let Some(end) = self.take(&piece)? {
                return Ok(end);
            }
        }
    }

    /// Writes the whole lines of what was received.
    fn take(&mut self, piece: &[u8]) -> anyhow::Result<Option<End>> {
        self.partial.extend_from_slice(piece);
        ensure!(self.partial.len() <= MAX_LINE, "a line is longer than 128 MiB");
        let Some(last) = self.partial.iter().rposition(|byte| *byte == b'\n') else { return Ok(None) };
        let rest = self.partial.split_off(last + 1);
        let lines = std::mem::replace(&mut self.partial, rest);
        let mut kept = Vec::with_capacity(lines.len());
        let mut end = None;
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            if !self.is_kept(line)? {
                continue;
            }
            if self.size + kept.len() + line.len() > self.max_size {
                end = Some(End::Size);
                break;
            }
            self.count(line)?;
            kept.extend_from_slice(line);
        }
        self.file.write_all(&kept).with_context(|| format!("{} cannot be written", self.path.display()))?;
        self.size += kept.len();
        Ok(end)
    }

    /// Whether the line says anything: one that says that nothing is lost shows that the stream lives.
    fn is_kept(&self, line: &[u8]) -> anyhow::Result<bool> {
        Ok(!self.has_header || lost(line)? != Some(0))
    }

    fn count(&mut self, line: &[u8]) -> anyhow::Result<()> {
        if self.has_header {
            match lost(line)? {
                Some(count) => self.missed += count,
                None => self.triggers += 1,
            }
        } else {
            Header::read(text(line)?)?;
            self.has_header = true;
        }
        Ok(())
    }
}

/// How many triggers the line says are lost; `None`: it is a trigger.
fn lost(line: &[u8]) -> anyhow::Result<Option<u64>> {
    if !line.starts_with(b"{\"lost\"") {
        return Ok(None);
    }
    match Entry::read(text(line)?)? {
        Entry::Lost(count) => Ok(Some(count)),
        Entry::Trigger(_) => Ok(None),
    }
}

fn text(line: &[u8]) -> anyhow::Result<&str> {
    std::str::from_utf8(line.trim_ascii_end()).context("usher sent a line that is not UTF-8")
}
