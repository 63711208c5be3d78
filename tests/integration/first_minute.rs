//! What share of redundant announcements is suppressed in the first minute after each kind of restart, with the real
//! times: a start doubt of 43 s. Run by `tests/long`.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::harness::usher::Signal;
use crate::harness::{Client, Fake, Setup, Usher};

/// The channels, and the pause between two announcements: each channel is announced every 0.4 s.
const CHANNELS: usize = 20;
const PAUSE: Duration = Duration::from_millis(20);
const MINUTE: Duration = Duration::from_secs(60);
/// Every so many announcements another staff member takes over.
const TAKEOVER: usize = 50;

#[derive(Debug, Clone, Copy)]
enum Kind {
    CleanWithState,
    CleanWithStateAndAnotherRule,
    CleanWithout,
    Crash,
    MachineLost,
}

impl Kind {
    const ALL: [Self; 5] =
        [Self::CleanWithState, Self::CleanWithStateAndAnotherRule, Self::CleanWithout, Self::Crash, Self::MachineLost];

    fn state(self, directory: &Path) -> Option<PathBuf> {
        (!matches!(self, Self::CleanWithout)).then(|| directory.to_owned())
    }

    fn ends_cleanly(self) -> bool {
        !matches!(self, Self::Crash | Self::MachineLost)
    }
}

/// What was seen after a start.
#[derive(Debug, Default)]
struct Seen {
    redundant: usize,
    suppressed: usize,
    /// The same within the first 10 s.
    early: (usize, usize),
    /// When the first one was suppressed.
    first: Option<Duration>,
}

fn toml(fake: &Fake, kind: Kind, start_doubt: &'static str, directory: &Path) -> String {
    let mut setup = Setup { start_doubt, timeout: "3s", ..Setup::before(fake) };
    setup.server = setup.server.replace("drain_period = \"10s\"", "drain_period = \"4s\"\ndrain_delay = \"5s\"");
    setup.upstream = setup.upstream.replace("connect_timeout = \"10s\"", "connect_timeout = \"1s\"");
    if let Some(path) = kind.state(directory) {
        setup.more = format!("[state]\npath = \"{}\"\n", path.display());
    }
    setup.toml()
}

/// The staff member of each channel, as guests see them.
struct Announcer {
    shown: Vec<String>,
    announced: usize,
}

impl Announcer {
    /// Announces on the next channel; whether that is redundant, and whether it is suppressed.
    fn announce(&mut self, client: &mut Client) -> (bool, bool) {
        let channel = self.announced % CHANNELS;
        self.announced += 1;
        let is_redundant = !self.announced.is_multiple_of(TAKEOVER);
        if !is_redundant {
            self.shown[channel] = format!("staff {}", self.announced);
        }
        let response = client.announce(&format!("h-room-{channel}-chat"), &self.shown[channel]);
        assert_eq!(response.status, 200, "{response:?}");
        let is_suppressed = response.decision() == "suppressed";
        assert!(is_redundant || !is_suppressed, "news is suppressed");
        (is_redundant, is_suppressed)
    }
}

fn measure(kind: Kind) -> Seen {
    let (fake, directory, other) = (Fake::start(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut announcer = Announcer { shown: vec!["Anna".to_owned(); CHANNELS], announced: 0 };
    let mut usher = Usher::start_with(&toml(&fake, kind, "0s", directory.path()));
    let mut client = usher.client();
    for _ in 0..3 * CHANNELS {
        announcer.announce(&mut client);
    }
    drop(client);
    usher.signal(if kind.ends_cleanly() { Signal::Term } else { Signal::Kill });
    assert_eq!(usher.wait_exit(), if kind.ends_cleanly() { 0 } else { -1 });
    // Another machine has no directory of this one.
    let directory = if matches!(kind, Kind::MachineLost) { other.path() } else { directory.path() };
    let mut toml = toml(&fake, kind, "", directory);
    if matches!(kind, Kind::CleanWithStateAndAnotherRule) {
        toml += "[[rules]]\nname = \"other\"\nevent = \"other\"\nchannel = \"other-{x}\"\nidentity = [\"/x\"]\n";
    }
    let usher = Usher::start_with(&toml);
    let (began, mut seen) = (Instant::now(), Seen::default());
    let mut client = usher.client();
    while began.elapsed() < MINUTE {
        let passed = began.elapsed();
        let (is_redundant, is_suppressed) = announcer.announce(&mut client);
        seen.redundant += usize::from(is_redundant);
        seen.suppressed += usize::from(is_suppressed);
        if passed < Duration::from_secs(10) {
            seen.early = (seen.early.0 + usize::from(is_suppressed), seen.early.1 + usize::from(is_redundant));
        }
        if is_suppressed {
            seen.first.get_or_insert(passed);
        }
        thread::sleep(PAUSE);
    }
    seen
}

#[test]
#[ignore = "long: run by tests/long"]
fn what_is_suppressed_in_the_first_minute() {
    let measured = Kind::ALL.map(|kind| (kind, thread::spawn(move || measure(kind))));
    for (kind, thread) in measured {
        let Seen { redundant, suppressed, early, first } = thread.join().unwrap();
        eprintln!(
            "{kind:?}: {suppressed} of {redundant} redundant announcements suppressed ({} %), {} of {} in the first 10 s; the first after {:?}",
            100 * suppressed / redundant,
            early.0,
            early.1,
            first.unwrap_or(MINUTE),
        );
        match kind {
            Kind::CleanWithState => assert_eq!(suppressed, redundant),
            _ => assert!(first.is_some_and(|first| first > Duration::from_secs(40)), "{kind:?}: {first:?}"),
        }
    }
}
