//! `usher demo`: the story of README.md, played against usher itself in one process. A backend announces with every
//! message who serves the room; one guest is reached without usher and one through it. Everything is real (triggers
//! over HTTP, guests over WebSocket), on loopback ports of the system's choice; the figures are counted from what
//! arrived.

mod backend;
mod guest;
mod page;
mod plain;
mod stage;
mod story;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::time::sleep;
use usher::config;

use self::backend::Backend;
use self::guest::{Entry, Guest};
use self::page::Page;
use self::stage::Stage;
use self::story::Act;
use super::block_on;
use super::terminal::{print, say_error};

/// How to play.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// The pause after each message.
    #[arg(long, value_name = "DURATION", default_value = "120ms", value_parser = config::duration)]
    pace: Duration,
    /// Do not pause.
    #[arg(long, conflicts_with = "pace")]
    fast: bool,
}

/// A backend, its Pusher host, and a guest of the room.
#[derive(Debug)]
struct Side<'a> {
    backend: Backend,
    guest: Guest<'a>,
}

/// What was counted at one side.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Count {
    announced: usize,
    suppressed: usize,
    joined: Vec<String>,
    messages: usize,
}

impl Demo {
    /// Plays; the exit code tells whether each guest saw what it should have.
    ///
    /// # Errors
    /// If the play breaks off.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        block_on(async {
            let stage = Stage::set().await?;
            let played = self.play(&stage).await;
            stage.clear().await;
            played
        })
    }

    async fn play(&self, stage: &Stage) -> anyhow::Result<ExitCode> {
        let page = Page::for_stdout();
        let room = guest::room();
        let mut sides = [Side::new(&stage.without, &room).await?, Side::new(&stage.with, &room).await?];
        print("A hotel's backend announces with every message who serves the room.")?;
        print("usher lets an announcement through only when it is news.\n")?;
        for line in page.head() {
            print(line)?;
        }
        let acts = story::evening();
        for (number, act) in acts.iter().enumerate() {
            let before = sides.each_ref().map(|side| side.guest.joined.last().cloned());
            let [left, right] = &mut sides;
            let pages = [left.act(number, act).await?, right.act(number, act).await?];
            for line in page.lines([&pages[0], &pages[1]], before.each_ref().map(Option::as_deref)) {
                print(line)?;
            }
            if !self.fast {
                sleep(self.pace).await;
            }
        }
        let [without, with] = sides.map(Side::leave);
        conclude(page, &without, &with, &acts)
    }
}

impl<'a> Side<'a> {
    async fn new(house: &stage::House, room: &'a super::listener::Wanted) -> anyhow::Result<Self> {
        Ok(Self { backend: Backend::new(&house.api)?, guest: Guest::arrive(&house.sockets, room).await? })
    }

    /// The backend does what the act makes it do; returns what appeared on the guest's page by then.
    async fn act(&mut self, number: usize, act: &Act) -> anyhow::Result<Vec<Entry>> {
        for event in act.events(number) {
            self.backend.trigger(&event).await?;
        }
        // A channel keeps its order: with the message, which is the last, everything before it has arrived.
        self.guest.until(u64::try_from(number).context("a number of an act")?).await
    }

    fn leave(self) -> Count {
        let Self { backend, guest } = self;
        Count {
            announced: backend.announced,
            suppressed: backend.suppressed,
            joined: guest.joined,
            messages: guest.messages,
        }
    }
}

/// Prints the figures and judges them.
fn conclude(page: Page, without: &Count, with: &Count, acts: &[Act]) -> anyhow::Result<ExitCode> {
    print("\n                                   without usher   with usher")?;
    for (what, left, right) in [
        ("announcements sent by the backend", without.announced, with.announced),
        ("\"… joined the chat\" on the page", without.joined.len(), with.joined.len()),
        ("messages on the page", without.messages, with.messages),
    ] {
        print(format_args!("  {what:<33}  {left:>12}  {right:>11}"))?;
    }
    print(format_args!("\n{}", page.strong(&summary(with))))?;
    let faults = faults(without, with, acts);
    for fault in &faults {
        say_error(format_args!("usher: not as it should be: {fault}"));
    }
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Pusher counts an event once for the trigger and once for each who gets it.
fn summary(with: &Count) -> String {
    let Count { announced, suppressed, joined, .. } = with;
    format!(
        "backend sent {announced} announcements, the guest saw {}; {suppressed} × (1 + audience) messages saved",
        joined.len()
    )
}

/// What came out otherwise than the story says.
fn faults(without: &Count, with: &Count, acts: &[Act]) -> Vec<String> {
    let written: Vec<String> = acts.iter().filter_map(|act| Some(act.from?.name.to_owned())).collect();
    let news = story::handoffs(acts);
    let mut faults = Vec::new();
    let mut check = |what: &str, found: &dyn std::fmt::Debug, expected: &dyn std::fmt::Debug| {
        let (found, expected) = (format!("{found:?}"), format!("{expected:?}"));
        if found != expected {
            faults.push(format!("{what}: {found} instead of {expected}"));
        }
    };
    for (side, count, joined) in [("without usher", without, &written), ("with usher", with, &news)] {
        check(&format!("announcements accepted {side}"), &count.announced, &written.len());
        check(&format!("whom the guest {side} was told of"), &count.joined, joined);
        check(&format!("messages that the guest {side} read"), &count.messages, &acts.len());
        check(&format!("announcements suppressed {side}"), &count.suppressed, &(written.len() - joined.len()));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(acts: &[Act]) -> (Count, Count) {
        let written: Vec<String> = acts.iter().filter_map(|act| Some(act.from?.name.to_owned())).collect();
        let announced = written.len();
        let with = Count { announced, suppressed: announced - 3, joined: story::handoffs(acts), messages: acts.len() };
        (Count { announced, suppressed: 0, joined: written, messages: acts.len() }, with)
    }

    #[test]
    fn the_summary_tells_what_was_counted() {
        let (without, with) = counts(&story::evening());
        assert_eq!(faults(&without, &with, &story::evening()), Vec::<String>::new());
        assert_eq!(
            summary(&with),
            "backend sent 41 announcements, the guest saw 3; 38 × (1 + audience) messages saved"
        );
        let lame = Count { joined: with.joined[..2].to_vec(), suppressed: 39, ..with };
        assert_eq!(
            summary(&lame),
            "backend sent 41 announcements, the guest saw 2; 39 × (1 + audience) messages saved"
        );
    }

    #[test]
    fn every_deviation_is_a_fault() {
        let acts = story::evening();
        let (without, with) = counts(&acts);
        let mut lost = with.clone();
        lost.joined.pop();
        let mut swapped = with.clone();
        swapped.joined.swap(0, 1);
        let mut unread = with.clone();
        unread.messages -= 1;
        let mut unsent = with.clone();
        unsent.announced -= 1;
        let mut leaky = with.clone();
        leaky.suppressed -= 1;
        for wrong in [&lost, &swapped, &unread, &unsent, &leaky] {
            assert_eq!(faults(&without, wrong, &acts).len(), 1, "{wrong:?}");
        }
        assert!(!faults(&with, &with, &acts).is_empty() && !faults(&without, &without, &acts).is_empty());
    }
}
