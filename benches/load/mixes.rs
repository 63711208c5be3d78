//! What the backends ask: a hotel's calls, one after the other, and what a right gateway does with each.
//!
//! No two calls are equal: every body holds a number of its own, as a message's id or a freshly signed picture's
//! address makes it in real life.

use std::collections::VecDeque;
use std::io::Write;

/// A kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mix {
    /// Messages: an event that no rule watches.
    Forward,
    /// Announcements of a new person each time.
    Handoff,
    /// Announcements of the known person.
    Suppress,
    /// A hotel's day: messages with redundant announcements, some handoffs, read marks, batches.
    Hotel,
    /// GET requests that are no triggers.
    Passthrough,
    /// The same with a body.
    PassthroughBody,
    /// GET requests with answers of 1 KiB.
    #[value(name = "answers-1k")]
    #[serde(rename = "answers-1k")]
    Answers1K,
    /// With answers of 32 KiB.
    #[value(name = "answers-32k")]
    #[serde(rename = "answers-32k")]
    Answers32K,
    /// With answers of 1 MiB.
    #[value(name = "answers-1m")]
    #[serde(rename = "answers-1m")]
    Answers1M,
    /// With chunked answers of 1 KiB.
    #[value(name = "chunked-1k")]
    #[serde(rename = "chunked-1k")]
    Chunked1K,
    /// Of 32 KiB, in chunks of 8 KiB.
    #[value(name = "chunked-32k")]
    #[serde(rename = "chunked-32k")]
    Chunked32K,
    /// Of 1 MiB.
    #[value(name = "chunked-1m")]
    #[serde(rename = "chunked-1m")]
    Chunked1M,
}

impl Mix {
    /// As on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Handoff => "handoff",
            Self::Suppress => "suppress",
            Self::Hotel => "hotel",
            Self::Passthrough => "passthrough",
            Self::PassthroughBody => "passthrough-body",
            Self::Chunked1K => "chunked-1k",
            Self::Chunked32K => "chunked-32k",
            Self::Chunked1M => "chunked-1m",
            Self::Answers1K => "answers-1k",
            Self::Answers32K => "answers-32k",
            Self::Answers1M => "answers-1m",
        }
    }

    /// What the requests ask for, where they are no triggers.
    const fn question(self) -> Option<Endpoint> {
        Some(match self {
            Self::Passthrough | Self::PassthroughBody => Endpoint::Channels,
            Self::Answers1K => Endpoint::Answer(1024),
            Self::Answers32K => Endpoint::Answer(32 * 1024),
            Self::Answers1M => Endpoint::Answer(1024 * 1024),
            Self::Chunked1K => Endpoint::Chunked(1024),
            Self::Chunked32K => Endpoint::Chunked(32 * 1024),
            Self::Chunked1M => Endpoint::Chunked(1024 * 1024),
            Self::Forward | Self::Handoff | Self::Suppress | Self::Hotel => return None,
        })
    }

    /// Whether the requests are triggers.
    pub(crate) const fn triggers(self) -> bool {
        self.question().is_none()
    }

    /// Whether the channels have to be known before.
    pub(crate) const fn needs_announcements(self) -> bool {
        matches!(self, Self::Suppress | Self::Hotel)
    }
}

/// The target of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Events,
    Batch,
    /// `GET /channels`.
    Channels,
    /// `GET`, for a response of this many bytes.
    Answer(usize),
    /// The same in chunks.
    Chunked(usize),
}

/// What a right gateway does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    Forwarded,
    /// Part of it is redundant.
    Reduced,
    Suppressed,
}

/// A call without its body, which is stored separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) endpoint: Endpoint,
    pub(crate) expected: Expected,
}

/// Rooms announced at once, by one trigger, before the measurement.
pub(crate) const AT_ONCE: usize = 100;

/// Steps from one room to the next: far apart, so that no cache answers instead of the memory. A prime, so that it
/// visits all rooms of any number that it does not divide.
const STRIDE: usize = 7_919;

/// One in so many staff messages of the hotel is the first after a handoff.
const HANDOFF: u64 = 20;

/// The state of a hotel's story: the next calls, and the person assigned to each room.
#[derive(Debug)]
pub(crate) struct Story {
    mix: Mix,
    room: usize,
    /// Calls so far.
    turn: u64,
    /// Visits to a room so far.
    visits: u64,
    /// The person assigned to each room, by number.
    staff: Vec<u32>,
    /// The remaining steps of the current visit.
    steps: VecDeque<Step>,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Announce(Expected),
    StaffMessage,
    Message,
    GuestMessage,
    Read,
    Batch,
}

impl Story {
    /// A hotel with this many rooms; after [`Story::opening`], a person is known in each.
    pub(crate) fn new(mix: Mix, rooms: usize) -> Self {
        let mut rooms = rooms.max(1);
        if rooms.is_multiple_of(STRIDE) {
            rooms += 1;
        }
        Self { mix, room: 0, turn: 0, visits: 0, staff: vec![0; rooms], steps: VecDeque::new() }
    }

    /// Rooms of the hotel.
    pub(crate) const fn rooms(&self) -> usize {
        self.staff.len()
    }

    /// The body with the announcements of the rooms from `first` on, at most [`AT_ONCE`] of them.
    pub(crate) fn opening(&self, first: usize) -> Vec<u8> {
        let channels: Vec<String> =
            (first..self.rooms().min(first + AT_ONCE)).map(|room| format!("\"{}\"", room_channel(room))).collect();
        format!(r#"{{"name": "staff-assigned", "channels": [{}], "data": "{}"}}"#, channels.join(", "), assigned(0, 0))
            .into_bytes()
    }

    /// Writes the next call's body.
    pub(crate) fn next(&mut self, body: &mut Vec<u8>) -> Call {
        self.turn += 1;
        match self.mix {
            Mix::Hotel => self.step(body),
            _ => {
                self.visit();
                if let Some(endpoint) = self.mix.question() {
                    if self.mix == Mix::PassthroughBody {
                        body.extend_from_slice(message(self.room, self.turn).as_bytes());
                    }
                    return Call { endpoint, expected: Expected::Forwarded };
                }
                match self.mix {
                    Mix::Handoff => self.write(Step::Announce(Expected::Forwarded), body),
                    Mix::Suppress => self.write(Step::Announce(Expected::Suppressed), body),
                    _ => self.write(Step::Message, body),
                }
            }
        }
    }

    fn visit(&mut self) {
        self.visits += 1;
        self.room = (self.room + STRIDE) % self.rooms();
    }

    fn step(&mut self, body: &mut Vec<u8>) -> Call {
        let step = loop {
            if let Some(step) = self.steps.pop_front() {
                break step;
            }
            self.visit();
            // Of 20 visits 9 are a staff message, 6 a guest's, 3 a look at what came, 2 a batch.
            match self.visits * 7 % 20 {
                0..9 => {
                    let expected =
                        if self.visits.is_multiple_of(HANDOFF) { Expected::Forwarded } else { Expected::Suppressed };
                    self.steps.extend([Step::Announce(expected), Step::StaffMessage, Step::Message]);
                }
                9..15 => self.steps.push_back(Step::GuestMessage),
                15..18 => self.steps.push_back(Step::Read),
                _ => self.steps.push_back(Step::Batch),
            }
        };
        self.write(step, body)
    }

    fn write(&mut self, step: Step, body: &mut Vec<u8>) -> Call {
        let (room, turn) = (self.room, self.turn);
        if matches!(step, Step::Announce(Expected::Forwarded)) {
            self.staff[room] += 1;
        }
        let assigned = assigned(self.staff[room], turn);
        let (channel, conversation) = (room_channel(room), format!("sea-view-inn-conversation-{room:07}-chat"));
        let message = message(room, turn);
        let written = match step {
            Step::Announce(_) => {
                write!(body, r#"{{"name": "staff-assigned", "channels": ["{channel}"], "data": "{assigned}"}}"#)
            }
            Step::StaffMessage => {
                write!(body, r#"{{"name": "new-staff-message", "channels": ["{channel}"], "data": "{message}"}}"#)
            }
            Step::Message => {
                write!(body, r#"{{"name": "new-message", "channels": ["{conversation}"], "data": "{message}"}}"#)
            }
            Step::GuestMessage => write!(
                body,
                r#"{{"name": "new-message", "channels": ["{conversation}", "{channel}"], "data": "{message}"}}"#
            ),
            Step::Read => {
                write!(
                    body,
                    r#"{{"name": "messages-read-by-staff", "channels": ["{channel}"], "data": "{{\"message_ids\": [{turn}]}}"}}"#
                )
            }
            Step::Batch => write!(
                body,
                r#"{{"batch": [{{"name": "staff-assigned", "channel": "{channel}", "data": "{assigned}"}}, {{"name": "new-staff-message", "channel": "{channel}", "data": "{message}"}}]}}"#
            ),
        };
        written.expect("a vector takes all that is written");
        match step {
            Step::Announce(expected) => Call { endpoint: Endpoint::Events, expected },
            Step::Batch => Call { endpoint: Endpoint::Batch, expected: Expected::Reduced },
            Step::StaffMessage | Step::Message | Step::GuestMessage | Step::Read => {
                Call { endpoint: Endpoint::Events, expected: Expected::Forwarded }
            }
        }
    }
}

/// 30 bytes.
fn room_channel(room: usize) -> String {
    format!("sea-view-inn-room-{room:07}-chat")
}

/// The data of an announcement, escaped for a JSON string: an identity of 12 bytes, and a picture's address that is
/// signed anew in every call.
fn assigned(person: u32, turn: u64) -> String {
    let signature = turn.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!(
        r#"{{\"staff_name\": \"Anna {:05}\", \"staff_role\": \"Receptionist\", \"staff_profile_image\": \"https://media.sea-view-inn.example/staff/anna.jpg?at={turn:010}&signature={signature:016x}{signature:016x}\"}}"#,
        person % 100_000
    )
}

/// The data of a message.
fn message(room: usize, turn: u64) -> String {
    format!(
        r#"{{\"id\": {turn:010}, \"conversation_id\": {room:07}, \"sender\": \"staff\", \"message\": \"Good evening! Your towels are on their way, they will be at your door in ten minutes.\", \"timestamp\": \"2026-01-01T20:15:00Z\", \"read\": false, \"attachments\": []}}"#
    )
}
