//! How a process under measurement starts: on its processor, and never longer alive than the harness.
//!
//! The harness starts itself as `load launch CPUS PROGRAM …`; that process settles down and then becomes the program.
//! So no code runs between fork and exec, which safe Rust could not do.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// The first argument of the process that becomes another.
pub(crate) const ROLE: &str = "launch";

/// Processors that a process may run on; none: all of them.
pub(crate) type Cpus = Vec<usize>;

/// The command that starts `program` on `cpus`.
pub(crate) fn command(program: &Path, cpus: &[usize]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("the harness does not find itself")?);
    let list: Vec<String> = cpus.iter().map(ToString::to_string).collect();
    command.arg(ROLE).arg(list.join(",")).arg(program);
    Ok(command)
}

/// Becomes the program; returns only if that fails.
pub(crate) fn run(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let cpus = arguments.next().unwrap_or_default();
    let cpus: Result<Cpus, _> = cpus.split(',').filter(|cpu| !cpu.is_empty()).map(str::parse).collect();
    settle(&cpus.context("not a list of processors")?)?;
    let program = arguments.next().context("no program to launch")?;
    Err(Command::new(&program).args(arguments).exec()).with_context(|| format!("{program} cannot be started"))
}

/// Keeps this process on `cpus`, and ends it when the one that started it ends.
pub(crate) fn settle(cpus: &[usize]) -> Result<()> {
    set_pdeathsig(Signal::SIGTERM).context("the death of the harness cannot be heard")?;
    pin(cpus)
}

/// Keeps this process on `cpus`.
pub(crate) fn pin(cpus: &[usize]) -> Result<()> {
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for &cpu in cpus {
        ensure!(set.set(cpu).is_ok(), "there is no processor {cpu}");
    }
    sched_setaffinity(Pid::from_raw(0), &set)
        .with_context(|| format!("cannot run on processors {cpus:?}; choose others, or give --no-pin"))
}
