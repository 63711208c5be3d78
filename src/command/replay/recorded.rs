//! Reads a recording in the order in which its triggers came: a line is written once its trigger is settled.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{BufRead, Read as _};
use std::time::Duration;

use anyhow::{Context, ensure};
use usher::recording::{Entry, HeadForm, Header, RecordedOutcome, RecordedTrigger, UnixTime};

/// Longest line in bytes: a body may have as many, and its escapes twice as many.
const MAX_LINE: u64 = 128 * 1024 * 1024;

/// Most triggers that are put in order at a time.
const MAX_PENDING: usize = 200_000;

/// A recorded trigger.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) id: Box<str>,
    pub(super) received: UnixTime,
    pub(super) settled: Option<UnixTime>,
    pub(super) app: Box<str>,
    pub(super) path: Box<str>,
    pub(super) body: Box<str>,
    pub(super) head: Option<HeadForm>,
    pub(super) outcome: RecordedOutcome,
    pub(super) decision: Box<str>,
    pub(super) reason: Box<str>,
}

/// A recording that is read.
pub(super) struct Reader<R> {
    input: R,
    line: Vec<u8>,
    number: u64,
    /// Ordered by their arrival.
    pending: BinaryHeap<Reverse<Ordered>>,
    /// The time of the last line: of later lines, none came more than `horizon` before.
    last: UnixTime,
    horizon: Duration,
    lost: u64,
    is_redacted: bool,
    is_over: bool,
}

/// A trigger, ordered by its arrival and its line.
struct Ordered(UnixTime, u64, Recorded);

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

impl<R: BufRead> Reader<R> {
    /// Reads `input`, in which a trigger takes `horizon` at most.
    pub(super) fn new(input: R, horizon: Duration) -> Self {
        Self {
            input,
            line: Vec::new(),
            number: 0,
            pending: BinaryHeap::new(),
            last: UnixTime(0),
            horizon,
            lost: 0,
            is_redacted: false,
            is_over: false,
        }
    }

    /// The next trigger.
    ///
    /// # Errors
    /// The input cannot be read, or a line is none of a recording.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Recorded>> {
        while !self.is_over && !self.is_next_known() {
            self.read_line()?;
        }
        Ok(self.pending.pop().map(|Reverse(Ordered(_, _, recorded))| recorded))
    }

    /// How many triggers are missing.
    pub(super) const fn lost(&self) -> u64 {
        self.lost
    }

    /// Whether its values are hashed.
    pub(super) const fn is_redacted(&self) -> bool {
        self.is_redacted
    }

    /// Whether no later line has an earlier trigger.
    fn is_next_known(&self) -> bool {
        let horizon = u64::try_from(self.horizon.as_micros()).unwrap_or(u64::MAX);
        let is_old = |first: &Reverse<Ordered>| first.0.0.0.saturating_add(horizon) < self.last.0;
        self.pending.len() >= MAX_PENDING || self.pending.peek().is_some_and(is_old)
    }

    fn read_line(&mut self) -> anyhow::Result<()> {
        self.line.clear();
        let length = self.input.by_ref().take(MAX_LINE).read_until(b'\n', &mut self.line)?;
        ensure!(length < MAX_LINE as usize, "line {} is longer than 128 MiB", self.number + 1);
        if length == 0 {
            ensure!(self.number > 0, "the recording is empty");
            self.is_over = true;
            return Ok(());
        }
        self.number += 1;
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        let line = std::str::from_utf8(line).with_context(|| format!("line {} is not UTF-8", self.number))?;
        if self.number == 1 {
            self.is_redacted = Header::read(line)?.redacted;
            return Ok(());
        }
        match Entry::read(line).with_context(|| format!("line {}", self.number))? {
            Entry::Lost(count) => self.lost += count,
            Entry::Trigger(trigger) => {
                self.last = self.last.max(trigger.settled.unwrap_or(trigger.received));
                let recorded = Recorded::of(trigger);
                self.pending.push(Reverse(Ordered(recorded.received, self.number, recorded)));
            }
        }
        Ok(())
    }
}

impl Recorded {
    fn of(trigger: RecordedTrigger<'_>) -> Self {
        let RecordedTrigger { id, received, settled, app, path, body, head, outcome, decision, reason } = trigger;
        Self {
            id: id.into(),
            received,
            settled,
            app: app.into(),
            path: path.into(),
            body: body.into(),
            head,
            outcome,
            decision: decision.into(),
            reason: reason.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "{\"usher_recording\":1,\"version\":\"0.1.0\",\"redacted\":true}\n";

    fn line(id: &str, received: f64, settled: f64) -> String {
        format!(
            "{{\"id\":\"{id}\",\"received\":{received},\"settled\":{settled},\"app\":\"1\",\"path\":\"/apps/1/events\",\"body\":\"\",\"outcome\":\"accepted\",\"decision\":\"forwarded\",\"reason\":\"changed\"}}\n"
        )
    }

    fn ids(text: &str) -> anyhow::Result<(Vec<String>, u64)> {
        let mut reader = Reader::new(text.as_bytes(), Duration::from_secs(5));
        let mut ids = Vec::new();
        while let Some(recorded) = reader.next()? {
            ids.push(recorded.id.to_string());
        }
        Ok((ids, reader.lost()))
    }

    #[test]
    fn triggers_come_in_the_order_of_their_arrival() {
        let lines = [line("b", 2.0, 3.0), line("a", 1.0, 5.0), line("d", 6.0, 6.5), line("c", 4.0, 8.0)];
        let text = format!("{HEADER}{}{{\"lost\":3}}\n{}", lines[..2].concat(), lines[2..].concat());
        let (read, lost) = ids(&text).unwrap();
        assert_eq!((read.join(""), lost), ("abcd".to_owned(), 3));
        assert_eq!(ids(text.trim_end()).unwrap().0.len(), 4, "the last line may have no end");
    }

    #[test]
    fn what_is_no_recording_is_refused_with_its_line() {
        for (text, expected) in
            [("", "is empty"), ("{}\n", "no recording"), (&format!("{HEADER}{{\"id\":1}}\n"), "line 2")]
        {
            let error = format!("{:#}", ids(text).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }
}
