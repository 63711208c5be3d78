//! The command line of `usher`: one file for each command, and what they share (`admins`, `configuration`,
//! `credentials`, `http_client`, `judged`, `listener`, `party`, `terminal`).

mod admins;
mod check;
mod configuration;
mod credentials;
mod demo;
mod differences;
mod doctor;
mod explain;
mod healthcheck;
mod http_client;
mod init;
mod judged;
mod listener;
mod manual;
mod party;
mod record;
mod replay;
mod serve;
mod subscribe;
mod suggest;
mod tail;
mod terminal;
mod test;
mod trigger;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

use self::configuration::Configuration;

const EXAMPLES: &str = "\
Examples:
  usher                                       # on 127.0.0.1:6001, with the embedded broker and a demo app
  usher demo
  usher init --cluster eu --app-id 1001 --key app-key --secret-file secret
  usher serve --config usher.toml

Every command has examples: usher help <command>.";

const SERVING: &str = "\
Examples:
  usher serve --config usher.toml
  usher serve --config usher.toml --observe
  usher serve --upstream http://127.0.0.1:6002 --set log.level=debug";

/// A Pusher-compatible realtime gateway that announces an assignment only when it changes.
#[derive(Debug, Parser)]
#[command(name = "usher", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Configuration,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve (also without any command).
    #[command(after_help = SERVING)]
    Serve(Configuration),
    /// Write a configuration that observes, check it, and say what to change in the backend.
    Init(Box<init::Init>),
    /// Check the configuration, say everything that is wrong with it, and exit with 78 if anything is.
    Check(check::Check),
    /// Say what the rules make of a trigger, and why: of one in a file or made of flags, or of one that a running usher
    /// has recorded.
    Explain(Box<explain::Explain>),
    /// Run the tests of the rules ([[tests]]): exit with 1 if one fails, with 78 if the configuration or a test cannot be
    /// used.
    Test(test::Test),
    /// Write the triggers of a running usher to a file, as they are settled: to replay them, and to test rules on them.
    Record(record::Record),
    /// Decide on recorded triggers by other rules, and compare.
    Replay(replay::Replay),
    /// Look at everything that has to be right around usher (upstream, certificates, clocks, ports, limits), or at
    /// ushers that run (--admin), and say what to do: exit with 1 if anything is wrong.
    Doctor(Box<doctor::Doctor>),
    /// Ask the usher of this configuration whether it takes traffic: exit with 0 if it does, else with 1. For
    /// containers.
    Healthcheck(healthcheck::Healthcheck),
    /// Play a hotel's evening in the terminal: what a guest sees without usher, and with it. Needs nothing and no
    /// network.
    Demo(demo::Demo),
    /// Propose rules, in observe mode and with tests, by what a running usher saw (--admin) or a recording has
    /// (--recording).
    Suggest(suggest::Suggest),
    /// Sign an event and send it, to usher or to any Pusher-compatible host.
    Trigger(Box<trigger::Trigger>),
    /// Listen to channels and print what comes, from usher or from any Pusher-compatible host.
    Subscribe(Box<subscribe::Subscribe>),
    /// Follow the triggers of one or several running ushers: what was decided on each, and why.
    Tail(Box<tail::Tail>),
    /// Print a script that completes usher's commands and flags in a shell.
    Completions(manual::Completions),
    /// Print the manual page, or write all of them into a folder.
    Man(manual::Man),
}

impl Arguments {
    /// Runs the command; an error is printed to standard error.
    pub(crate) fn run(self) -> ExitCode {
        let outcome = match self.command {
            Some(Command::Serve(configuration)) => serve::run(configuration),
            Some(Command::Init(init)) => init.run(),
            Some(Command::Check(check)) => check.run(),
            Some(Command::Explain(explain)) => explain.run(),
            Some(Command::Test(test)) => test.run(),
            Some(Command::Record(record)) => record.run(),
            Some(Command::Replay(replay)) => replay.run(),
            Some(Command::Doctor(doctor)) => doctor.run(),
            Some(Command::Healthcheck(healthcheck)) => healthcheck.run(),
            Some(Command::Demo(demo)) => demo.run(),
            Some(Command::Suggest(suggest)) => suggest.run(),
            Some(Command::Trigger(trigger)) => trigger.run(),
            Some(Command::Subscribe(subscribe)) => subscribe.run(),
            Some(Command::Tail(tail)) => tail.run(),
            Some(Command::Completions(completions)) => completions.run(),
            Some(Command::Man(man)) => man.run(),
            None => serve::run(self.serve),
        };
        outcome.unwrap_or_else(|error| {
            if terminal::is_broken_pipe(&error) {
                return ExitCode::SUCCESS;
            }
            terminal::print_error(format_args!("usher: {error:#}"));
            ExitCode::FAILURE
        })
    }
}

/// Runs `task` to its end on a runtime of its own.
fn block_on<T>(task: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime could be made")?;
    runtime.block_on(task)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// The words of a line for a shell, as far as examples need it: single quotes, and no redirection.
    fn words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut is_quoted = false;
        for one in line.chars() {
            match one {
                '\'' => is_quoted = !is_quoted,
                ' ' if !is_quoted => words.push(String::new()),
                one => words.last_mut().expect("at least one").push(one),
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }

    #[test]
    fn every_command_has_examples_and_they_are_ones() {
        let mut command = Arguments::command();
        command.build();
        let commands = std::iter::once(&command).chain(command.get_subcommands());
        for command in commands.filter(|command| command.get_name() != "help") {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let help = help.replace("\\\n", " ");
            let examples = help
                .lines()
                .filter_map(|line| line.find("usher").filter(|_| line.starts_with("  ")).map(|at| &line[at..]));
            let mut count = 0;
            for example in examples {
                let example = example.split(['#', '|', '>']).next().unwrap_or_default();
                if let Err(error) = Arguments::try_parse_from(words(example)) {
                    panic!("{example}: {error}");
                }
                count += 1;
            }
            assert!(count > 0, "usher {} --help has no examples", command.get_name());
        }
    }

    #[test]
    fn the_commands_are_defined_consistently() {
        Arguments::command().debug_assert();
    }
}
