//! The `usher` command: arguments in, exit code out.

mod command;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    command::Arguments::parse().run()
}
