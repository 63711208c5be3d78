//! When a file was written, by clocks that the next process can compare: which boot of the machine, how long after its
//! begin, and the time of day.

use std::io;
use std::time::Duration;

use crate::clock::Clock;

/// Where Linux tells the random id of the present boot: a UUID and a line's end.
#[cfg(target_os = "linux")]
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The length of a boot's id: a UUID's text.
pub(super) const BOOT_ID_LENGTH: usize = 36;

/// One reading of the machine's clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The id of the present boot.
    pub boot: [u8; BOOT_ID_LENGTH],
    /// The time since the boot. It counts while the machine sleeps, and nobody can set it.
    pub since_boot: Duration,
    /// The time since the Unix epoch.
    pub wall: Duration,
}

impl Reading {
    /// Reads the clocks.
    ///
    /// # Errors
    /// If the boot's id cannot be read (systemd: `ProcSubset=pid` hides it), or the platform has none.
    #[cfg(target_os = "linux")]
    pub fn now() -> io::Result<Self> {
        let text = std::fs::read_to_string(BOOT_ID)?;
        let boot = text.trim_end().as_bytes().try_into().map_err(|_| io::Error::other("the boot's id is no UUID"))?;
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
        let since_boot = Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), nanos);
        Ok(Self { boot, since_boot, wall: Clock::unix_now_exact() })
    }

    /// Reads the clocks.
    ///
    /// # Errors
    /// Always: this platform has no id of the boot, so that no file is ever trusted.
    #[cfg(not(target_os = "linux"))]
    pub fn now() -> io::Result<Self> {
        let _not_needed = Clock::unix_now_exact;
        Err(io::ErrorKind::Unsupported.into())
    }
}
