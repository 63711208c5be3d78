//! `usher demo`: the example of README.md, run against usher itself in one process. A backend announces with every
//! message who serves the room; one guest is connected without usher and one through it. Triggers use HTTP and guests
//! WebSocket, on loopback ports that the system chooses. The figures are counted from the received events.

mod backend;
mod conversation;
mod guest;
mod page;
mod servers;
mod standalone;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::time::sleep;
use usher::config;

use self::backend::Backend;
use self::conversation::Message;
use self::guest::{Entry, Guest};
use self::page::Page;
use self::servers::Servers;
use super::block_on;
use super::terminal::{print, print_error};

const EXAMPLES: &str = "\
Examples:
  usher demo
  usher demo --pace 500ms";

/// How to play.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Demo {
    /// The pause after each message.
    #[arg(long, value_name = "DURATION", default_value = "120ms", value_parser = config::duration)]
    pace: Duration,
    /// Do not pause.
    #[arg(long, conflicts_with = "pace")]
    fast: bool,
}

/// A backend and a guest of the room, on the same Pusher host.
#[derive(Debug)]
struct Scenario<'a> {
    backend: Backend,
    guest: Guest<'a>,
}

/// The figures of one scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Count {
    announced: usize,
    suppressed: usize,
    joined: Vec<String>,
    messages: usize,
}

impl Demo {
    /// Runs the demo; the exit code says whether each guest received what it should.
    ///
    /// # Errors
    /// If the demo cannot be completed.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        block_on(async {
            let servers = Servers::start().await?;
            let outcome = self.run_scenarios(&servers).await;
            servers.stop().await;
            outcome
        })
    }

    async fn run_scenarios(&self, servers: &Servers) -> anyhow::Result<ExitCode> {
        let page = Page::for_stdout();
        let room = guest::room();
        let mut scenarios = [Scenario::new(&servers.without, &room).await?, Scenario::new(&servers.with, &room).await?];
        print("A hotel's backend announces with every message who serves the room.")?;
        print("usher lets an announcement through only when it is news.\n")?;
        for line in page.head() {
            print(line)?;
        }
        let messages = conversation::messages();
        for (number, message) in messages.iter().enumerate() {
            let before = scenarios.each_ref().map(|scenario| scenario.guest.joined.last().cloned());
            let [left, right] = &mut scenarios;
            let pages = [left.send(number, message).await?, right.send(number, message).await?];
            for line in page.lines([&pages[0], &pages[1]], before.each_ref().map(Option::as_deref)) {
                print(line)?;
            }
            if !self.fast {
                sleep(self.pace).await;
            }
        }
        let [without, with] = scenarios.map(Scenario::into_counts);
        print_results(page, &without, &with, &messages)
    }
}

impl<'a> Scenario<'a> {
    async fn new(host: &servers::PusherHost, room: &'a super::listener::Subscriptions) -> anyhow::Result<Self> {
        Ok(Self { backend: Backend::new(&host.api)?, guest: Guest::connect(&host.sockets, room).await? })
    }

    /// Has the backend trigger the events of `message`; returns the entries that appeared on the guest's page.
    async fn send(&mut self, number: usize, message: &Message) -> anyhow::Result<Vec<Entry>> {
        for event in message.events(number) {
            self.backend.trigger(&event).await?;
        }
        // A channel keeps its order: when the message, which is the last event, has arrived, so have all others.
        self.guest.read_until(u64::try_from(number).context("the number of a message")?).await
    }

    fn into_counts(self) -> Count {
        let Self { backend, guest } = self;
        Count {
            announced: backend.announced,
            suppressed: backend.suppressed,
            joined: guest.joined,
            messages: guest.messages,
        }
    }
}

/// Prints the figures and the deviations from the expected ones.
fn print_results(page: Page, without: &Count, with: &Count, messages: &[Message]) -> anyhow::Result<ExitCode> {
    print("\n                                   without usher   with usher")?;
    for (what, left, right) in [
        ("announcements sent by the backend", without.announced, with.announced),
        ("\"… joined the chat\" on the page", without.joined.len(), with.joined.len()),
        ("messages on the page", without.messages, with.messages),
    ] {
        print(format_args!("  {what:<33}  {left:>12}  {right:>11}"))?;
    }
    print(format_args!("\n{}", page.strong(&summary(with))))?;
    let deviations = deviations(without, with, messages);
    for deviation in &deviations {
        print_error(format_args!("usher: not as it should be: {deviation}"));
    }
    Ok(if deviations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The last line. Pusher counts an event once for the trigger and once for each recipient.
fn summary(with: &Count) -> String {
    let Count { announced, suppressed, joined, .. } = with;
    format!(
        "backend sent {announced} announcements, the guest saw {}; {suppressed} × (1 + audience) messages saved",
        joined.len()
    )
}

/// The deviations of the figures from those that the conversation implies.
fn deviations(without: &Count, with: &Count, messages: &[Message]) -> Vec<String> {
    let written: Vec<String> = messages.iter().filter_map(|message| Some(message.from?.name.to_owned())).collect();
    let news = conversation::handoffs(messages);
    let mut deviations = Vec::new();
    let mut check = |what: &str, found: &dyn std::fmt::Debug, expected: &dyn std::fmt::Debug| {
        let (found, expected) = (format!("{found:?}"), format!("{expected:?}"));
        if found != expected {
            deviations.push(format!("{what}: {found} instead of {expected}"));
        }
    };
    for (side, count, joined) in [("without usher", without, &written), ("with usher", with, &news)] {
        check(&format!("announcements accepted {side}"), &count.announced, &written.len());
        check(&format!("whom the guest {side} was told of"), &count.joined, joined);
        check(&format!("messages that the guest {side} read"), &count.messages, &messages.len());
        check(&format!("announcements suppressed {side}"), &count.suppressed, &(written.len() - joined.len()));
    }
    deviations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(messages: &[Message]) -> (Count, Count) {
        let written: Vec<String> = messages.iter().filter_map(|message| Some(message.from?.name.to_owned())).collect();
        let announced = written.len();
        let with = Count {
            announced,
            suppressed: announced - 3,
            joined: conversation::handoffs(messages),
            messages: messages.len(),
        };
        (Count { announced, suppressed: 0, joined: written, messages: messages.len() }, with)
    }

    #[test]
    fn the_summary_shows_the_figures() {
        let (without, with) = counts(&conversation::messages());
        assert_eq!(deviations(&without, &with, &conversation::messages()), Vec::<String>::new());
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
    fn every_deviation_is_reported() {
        let messages = conversation::messages();
        let (without, with) = counts(&messages);
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
            assert_eq!(deviations(&without, wrong, &messages).len(), 1, "{wrong:?}");
        }
        assert!(
            !deviations(&with, &with, &messages).is_empty() && !deviations(&without, &without, &messages).is_empty()
        );
    }
}
