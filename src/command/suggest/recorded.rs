//! The events of a recording, in the order in which they came.

use std::collections::BTreeMap;
use std::io::{BufRead, Read as _};

use anyhow::{Context, ensure};
use usher::clock::Moment;
use usher::discovery::{Sighting, Table};
use usher::pusher::{Endpoint, Trigger};
use usher::recording::{Entry, Header, RecordedTrigger, UnixTime};

use super::Evidence;

/// Longest line in bytes.
const MAX_LINE: u64 = 128 * 1024 * 1024;

/// A line is written once its trigger is settled: so many are held to put them in order.
const MAX_PENDING: usize = 10_000;

/// Most bytes that are held.
const MAX_PENDING_BYTES: usize = 64 * 1024 * 1024;

/// A trigger that is yet to be taken in.
struct Pending {
    app: String,
    path: String,
    body: String,
}

/// Reads a recording.
///
/// # Errors
/// It cannot be read, or is none.
pub(super) fn read(mut input: impl BufRead) -> anyhow::Result<Evidence> {
    let mut table = Table::default();
    let mut evidence = Evidence::default();
    let mut pending: BTreeMap<(UnixTime, u64), Pending> = BTreeMap::new();
    let (mut bytes, mut lost, mut unread) = (0, 0, 0);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let length = input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
        ensure!((length as u64) < MAX_LINE, "line {number} is longer than 128 MiB");
        if length == 0 {
            ensure!(number > 1, "the recording is empty");
            break;
        }
        let text = std::str::from_utf8(&line).with_context(|| format!("line {number} is not UTF-8"))?.trim_end();
        if number == 1 {
            if Header::read(text)?.redacted {
                evidence.notes.push(
                    "note: the recording is redacted: it shows neither which addresses are signed anew, nor the kinds of \
                     enveloped events and the names of channels that no rule of its usher named; a running usher suggests more"
                        .to_owned(),
                );
            }
            continue;
        }
        match Entry::read(text).with_context(|| format!("line {number}"))? {
            Entry::Lost(count) => lost += count,
            Entry::Trigger(RecordedTrigger { received, app, path, body, head: None, .. }) => {
                bytes += body.len();
                let (app, path, body) = (app.into_owned(), path.into_owned(), body.into_owned());
                pending.insert((received, number), Pending { app, path, body });
            }
            // What cannot be read exactly is never dropped.
            Entry::Trigger(_) => unread += 1,
        }
        while pending.len() > MAX_PENDING || bytes > MAX_PENDING_BYTES {
            let Some(((at, _), next)) = pending.pop_first() else { break };
            bytes -= next.body.len();
            unread += see(&mut table, at, &next);
        }
    }
    for ((at, _), next) in pending {
        unread += see(&mut table, at, &next);
    }
    if lost > 0 {
        evidence.notes.push(format!("note: {lost} triggers are missing in the recording"));
    }
    if unread > 0 {
        evidence.notes.push(format!("note: {unread} triggers cannot be read exactly, and are left out"));
    }
    evidence.families = table.report().families;
    Ok(evidence)
}

/// Takes in a trigger. Returns 1 if it cannot be read exactly.
fn see(table: &mut Table, at: UnixTime, Pending { app, path, body }: &Pending) -> u64 {
    let endpoint = if path.ends_with("/batch_events") { Endpoint::Batch } else { Endpoint::Events };
    let Ok(trigger) = Trigger::parse(endpoint, body.as_bytes()) else { return 1 };
    for event in &trigger.events {
        let mut buffer = [0; 4096];
        let text = event.data(&mut buffer);
        let Some(data) = table.read(text.as_deref().unwrap_or_else(|| event.data_token())) else { continue };
        for (position, channel) in event.channels.iter().enumerate() {
            let sighting = Sighting {
                app,
                event: &event.name,
                channel,
                audience: None,
                is_call: position == 0,
                at: Moment::from_millis(at.as_millis()),
            };
            table.see(sighting, &data);
        }
    }
    0
}
