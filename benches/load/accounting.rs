//! What processes cost, by the kernel's accounting: CPU time and resident memory of a process and all that it started.
//!
//! The sum is the process's CPU clock, exact to the nanosecond; its division into user space and kernel is that of
//! `/proc/PID/stat`, which counts in ticks of 10 ms.

use std::collections::HashMap;
use std::fs;
use std::ops::{Add, Sub};

use anyhow::{Context, Result};
use nix::time::ClockId;
use nix::unistd::Pid;

/// CPU time of one or several processes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Seconds, by the CPU clocks.
    seconds: f64,
    /// Ticks in user space.
    user: u64,
    /// Ticks in the kernel.
    system: u64,
}

impl Usage {
    /// Seconds in all.
    pub(crate) const fn seconds(&self) -> f64 {
        self.seconds
    }

    /// The fraction in user space, from 0 to 1.
    pub(crate) fn user_share(&self) -> f64 {
        let ticks = self.user + self.system;
        if ticks == 0 { 0.0 } else { self.user as f64 / ticks as f64 }
    }
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { seconds: self.seconds + other.seconds, user: self.user + other.user, system: self.system + other.system }
    }
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            seconds: self.seconds - before.seconds,
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
        }
    }
}

/// A process, and those that it had started when it was looked at.
#[derive(Debug, Clone)]
pub(crate) struct Tree(Vec<u32>);

impl Tree {
    /// This process only, without its children.
    pub(crate) fn own() -> Self {
        Self(vec![std::process::id()])
    }

    /// No process.
    pub(crate) const fn none() -> Self {
        Self(Vec::new())
    }

    /// All processes of both.
    pub(crate) fn and(mut self, mut other: Self) -> Self {
        self.0.append(&mut other.0);
        self
    }

    /// `root`, its children, and theirs.
    pub(crate) fn of(root: u32) -> Result<Self> {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for entry in fs::read_dir("/proc").context("/proc cannot be read")? {
            let name = entry.context("/proc cannot be read")?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            // A process that has ended meanwhile is skipped.
            let Ok(stat) = Stat::read(pid) else { continue };
            children.entry(stat.parent).or_default().push(pid);
        }
        let mut pids = vec![root];
        let mut next = 0;
        while let Some(pid) = pids.get(next) {
            pids.extend(children.remove(pid).unwrap_or_default());
            next += 1;
        }
        Ok(Self(pids))
    }

    /// CPU time so far.
    pub(crate) fn usage(&self) -> Result<Usage> {
        self.0.iter().try_fold(Usage::default(), |sum, &pid| Ok(sum + usage(pid)?))
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        self.0.iter().try_fold(0, |sum, &pid| Ok(sum + resident(pid)?))
    }
}

fn usage(pid: u32) -> Result<Usage> {
    let clock = i32::try_from(pid).ok().and_then(|pid| ClockId::pid_cpu_clock_id(Pid::from_raw(pid)).ok());
    let time = clock.and_then(|clock| clock.now().ok()).with_context(|| format!("process {pid} has ended"))?;
    let stat = Stat::read(pid)?;
    Ok(Usage { seconds: std::time::Duration::from(time).as_secs_f64(), user: stat.user, system: stat.system })
}

fn resident(pid: u32) -> Result<u64> {
    let status =
        fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid} has ended"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().context("VmRSS is no number")?;
    Ok(kibibytes * 1024)
}

/// A line of `/proc/PID/stat`.
struct Stat {
    parent: u32,
    user: u64,
    system: u64,
}

impl Stat {
    fn read(pid: u32) -> Result<Self> {
        let line =
            fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} has ended"))?;
        // The name before the last parenthesis may contain any characters. After it follow state and parent; utime and
        // stime are fields 14 and 15 of proc(5).
        let (_, rest) = line.rsplit_once(") ").context("an odd line")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |index: usize| fields.get(index).and_then(|field| field.parse().ok()).context("an odd line");
        Ok(Self { parent: u32::try_from(field(1)?)?, user: field(11)?, system: field(12)? })
    }
}
