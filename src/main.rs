//! The `usher` command.

mod command;

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

/// The system's allocator took a tenth of the time of a forwarded trigger.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    command::Arguments::parse().run()
}
