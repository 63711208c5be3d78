//! What a replay costs: a day of 1,000,000 triggers of a hotel with 20,000 rooms, by the rules of `config/hotel.toml`.
//!
//! `cargo bench --bench replay` prints the seconds that `usher replay` takes, alone and with `--against`, and fails above
//! the limit. With a path behind `--` it writes the recording there and nothing else.
#![expect(clippy::print_stdout, reason = "the figures are what this program is for")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use usher::recording::{Entry, Header, RecordedOutcome, RecordedTrigger, UnixTime};

const TRIGGERS: u64 = 1_000_000;
const ROOMS: u64 = 20_000;
const DAY: u64 = 86_400_000_000;
/// When the recording begins, in microseconds since the Unix epoch.
const BEGINNING: u64 = 1_764_457_199_000_000;
/// The longest time of a replay by one configuration.
const LONGEST: Duration = Duration::from_secs(20);
const STAFF: [&str; 4] = ["Anna Byrne", "Ben Ortiz", "Chiara Rossi", "Dmitri Volkov"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    // `cargo test --benches` runs this as well, only to check that it works.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let triggers = if is_bench { TRIGGERS } else { TRIGGERS / 1000 };
    if let [path] = &arguments[..] {
        write(Path::new(path), triggers);
        return ExitCode::SUCCESS;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("day.jsonl");
    write(&path, triggers);
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/hotel.toml");
    let config = config.to_str().expect("a path in UTF-8");
    let file = path.to_str().expect("a path in UTF-8");
    let alone = replay(&["replay", file, "--config", config]);
    let both = replay(&["replay", file, "--config", config, "--against", config]);
    println!("{triggers} triggers: {:.1} s; with --against {:.1} s", alone.as_secs_f64(), both.as_secs_f64());
    if is_bench && alone > LONGEST { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// How long usher takes with these arguments.
fn replay(arguments: &[&str]) -> Duration {
    let began = Instant::now();
    let status = Command::new(env!("CARGO_BIN_EXE_usher")).args(arguments).stdout(Stdio::null()).status();
    assert!(status.is_ok_and(|status| status.success()), "usher {arguments:?} failed");
    began.elapsed()
}

/// Writes the recording of a day.
fn write(path: &Path, triggers: u64) {
    let mut file = BufWriter::new(File::create(path).expect("the file is made"));
    let header = serde_json::to_string(&Header::new(false)).expect("a header is JSON");
    writeln!(file, "{header}").expect("the file is written");
    let mut random = Random(7);
    for number in 0..triggers {
        let body = body(number, &mut random);
        let received = BEGINNING + number * (DAY / triggers);
        let trigger = RecordedTrigger {
            id: format!("0000000a-{number}").into(),
            received: UnixTime(received),
            settled: Some(UnixTime(received + 20_000)),
            app: "1001".into(),
            path: "/apps/1001/events".into(),
            body: body.into(),
            head: None,
            outcome: RecordedOutcome::Accepted,
            decision: "forwarded".into(),
            reason: "changed".into(),
        };
        writeln!(file, "{}", Entry::Trigger(trigger)).expect("the file is written");
    }
    file.flush().expect("the file is written");
}

/// Half of the triggers are announcements, a third of the others are in the enveloped form, the rest are messages. One of
/// ten announcements is a handoff.
fn body(number: u64, random: &mut Random) -> String {
    let room = random.below(ROOMS);
    let handoffs = if random.below(10) == 0 { random.below(4) } else { 0 };
    let person = ((room + number / 100_000 + handoffs) % 4) as usize;
    let (event, data) = match random.below(6) {
        0..=2 => {
            let image = format!(
                "https://cdn.example.com/staff/{:x}.png?Expires={number}&Signature={:x}{:x}",
                random.next(),
                random.next(),
                random.next()
            );
            let data =
                json!({ "staff_name": STAFF[person], "staff_role": "Receptionist", "staff_profile_image": image });
            ("staff-assigned", data)
        }
        3 => {
            let meta = json!({ "event_id": format!("{:x}", random.next()), "ts": number });
            let payload = json!({ "staff_id": person, "staff_name": STAFF[person] });
            (
                "realtime_event",
                json!({ "category": "guest_chat", "type": "staff_assigned", "payload": payload, "meta": meta }),
            )
        }
        _ => {
            let message = "Your towels are on the way, and so is the extra pillow you asked for.";
            ("new-staff-message", json!({ "id": number, "message": message, "sender": "staff" }))
        }
    };
    json!({ "name": event, "channels": [format!("seaview-room-{room}-chat")], "data": data.to_string() }).to_string()
}

/// Numbers that are the same in each run (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }
}
