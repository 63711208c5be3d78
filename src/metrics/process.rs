//! Process metrics, read from `/proc` at each scrape. A value that cannot be read is omitted: no series is better than
//! a wrong one.
//!
//! Read here and not by the prometheus crate's collector, because that collector counts CPU time in whole seconds and
//! adds two dependencies.

use std::fs;

use prometheus::{Counter, IntGauge, Opts, Registry};

use super::register;

/// Clock ticks a second in `/proc/self/stat`: `USER_HZ`, part of Linux's ABI (time(7)) and 100 on every architecture
/// that Rust's standard library runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// One reading. `None`: it could not be read.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Process {
    /// User and system time of all threads, in seconds.
    cpu_seconds: Option<f64>,
    threads: Option<i64>,
    virtual_bytes: Option<i64>,
    resident_bytes: Option<i64>,
    open_fds: Option<i64>,
    max_fds: Option<i64>,
}

impl Process {
    /// Reads the current values from a few small files in `/proc`, without disk access.
    pub(super) fn read() -> Self {
        let mut process = Self::default();
        if let Ok(stat) = fs::read_to_string("/proc/self/stat") {
            process.parse_stat(&stat);
        }
        if let Ok(status) = fs::read_to_string("/proc/self/status") {
            process.resident_bytes = resident_bytes(&status);
        }
        if let Ok(limits) = fs::read_to_string("/proc/self/limits") {
            process.max_fds = max_fds(&limits);
        }
        process.open_fds = open_fds();
        process
    }

    /// The fields of proc_pid_stat(5) after the command's name, which may contain spaces and parentheses.
    fn parse_stat(&mut self, stat: &str) {
        let Some((_, rest)) = stat.rsplit_once(')') else { return };
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // `state` is field 3 in the manual and index 0 here.
        let field = |number: usize| fields.get(number - 3).copied();
        let ticks = |number| field(number).and_then(|ticks| ticks.parse::<u32>().ok()).map(f64::from);
        self.cpu_seconds = ticks(14).zip(ticks(15)).map(|(user, system)| (user + system) / TICKS_PER_SECOND);
        self.threads = field(20).and_then(|count| count.parse().ok());
        self.virtual_bytes = field(23).and_then(|bytes| bytes.parse().ok());
    }

    /// Registers the values in the registry of a scrape.
    pub(super) fn register(&self, scrape: &Registry) {
        if let Some(seconds) = self.cpu_seconds {
            let name = Opts::new("process_cpu_seconds_total", "User and system CPU time spent.");
            register(scrape, Counter::with_opts(name)).inc_by(seconds);
        }
        let gauges = [
            ("process_threads", "Threads of the process.", self.threads),
            ("process_virtual_memory_bytes", "Virtual memory size.", self.virtual_bytes),
            ("process_resident_memory_bytes", "Resident memory size.", self.resident_bytes),
            ("process_open_fds", "Open file descriptors.", self.open_fds),
            ("process_max_fds", "The largest number of open file descriptors.", self.max_fds),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                register(scrape, IntGauge::new(name, help)).set(value);
            }
        }
    }
}

/// `VmRSS` of proc_pid_status(5), which is in kB, independent of the page size.
fn resident_bytes(status: &str) -> Option<i64> {
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    kilobytes.trim().strip_suffix("kB")?.trim_end().parse::<i64>().ok()?.checked_mul(1024)
}

/// The soft limit of `Max open files`; `None` when it is unlimited.
fn max_fds(limits: &str) -> Option<i64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Linux 6.2 and later report the number as the directory's size; earlier versions require reading the directory, which
/// is linear in the number of connections.
fn open_fds() -> Option<i64> {
    let size = fs::metadata("/proc/self/fd").ok()?.len();
    let count = if size > 0 { size } else { u64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()? };
    i64::try_from(count).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (us) her (x) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 9 0 4242 8192 3 18446744073709551615";
        let mut process = Process::default();
        process.parse_stat(stat);
        assert_eq!(
            process,
            Process { cpu_seconds: Some(3.0), threads: Some(9), virtual_bytes: Some(8192), ..Process::default() }
        );
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let mut process = Process::default();
        for broken in ["", "7 (usher", "7 (usher) S", "7 (usher) S 1 x"] {
            process.parse_stat(broken);
            assert_eq!(process, Process::default(), "{broken:?}");
        }
        assert_eq!(resident_bytes("VmSize: 5 kB\n"), None);
        assert_eq!(max_fds("Max open files            unlimited            unlimited            files"), None);
    }

    #[test]
    fn files_are_read_as_the_kernel_writes_them() {
        assert_eq!(resident_bytes("Name:\tusher\nVmRSS:\t    5120 kB\n"), Some(5_242_880));
        assert_eq!(
            max_fds(
                "Limit Soft Hard Units\nMax open files            1024                 524288               files     \n"
            ),
            Some(1024)
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_can_be_read() {
        let process = Process::read();
        assert!(
            process.cpu_seconds.is_some()
                && process.threads >= Some(1)
                && process.virtual_bytes > process.resident_bytes,
            "{process:?}"
        );
        assert!(
            process.resident_bytes > Some(500_000) && process.open_fds >= Some(3) && process.open_fds < process.max_fds,
            "{process:?}"
        );
    }
}
