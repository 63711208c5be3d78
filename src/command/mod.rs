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
mod judged;
mod listener;
mod party;
mod record;
mod replay;
mod serve;
mod subscribe;
mod tail;
mod terminal;
mod test;
mod trigger;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

use self::configuration::Configuration;

/// A Pusher-compatible realtime gateway that announces an assignment only when it changes.
#[derive(Debug, Parser)]
#[command(name = "usher", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Configuration,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve (also without any command).
    Serve(Configuration),
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
    /// Sign an event and send it, to usher or to any Pusher-compatible host.
    Trigger(Box<trigger::Trigger>),
    /// Listen to channels and print what comes, from usher or from any Pusher-compatible host.
    Subscribe(Box<subscribe::Subscribe>),
    /// Follow the triggers of one or several running ushers: what was decided on each, and why.
    Tail(Box<tail::Tail>),
}

impl Arguments {
    /// Runs the command; an error is printed to standard error.
    pub(crate) fn run(self) -> ExitCode {
        let outcome = match self.command {
            Some(Command::Serve(configuration)) => serve::run(configuration),
            Some(Command::Check(check)) => check.run(),
            Some(Command::Explain(explain)) => explain.run(),
            Some(Command::Test(test)) => test.run(),
            Some(Command::Record(record)) => record.run(),
            Some(Command::Replay(replay)) => replay.run(),
            Some(Command::Doctor(doctor)) => doctor.run(),
            Some(Command::Healthcheck(healthcheck)) => healthcheck.run(),
            Some(Command::Demo(demo)) => demo.run(),
            Some(Command::Trigger(trigger)) => trigger.run(),
            Some(Command::Subscribe(subscribe)) => subscribe.run(),
            Some(Command::Tail(tail)) => tail.run(),
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
