//! Bounds the log lines about each app and code, and counts those that are left out.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Most lines about one key within a [`WINDOW`].
const LINES: u32 = 5;
const WINDOW: Duration = Duration::from_secs(5);
/// Apps that are not configured share this many keys of each code: a scanner makes no more, and rarely hides the app of
/// which a caller is meant.
const UNKNOWN_APPS: u64 = 16;
/// Most keys. More than all apps and codes of any usual configuration.
const MAX_KEYS: usize = 4096;

/// What a line is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) app: AppKey,
    /// The code of the error.
    pub(super) code: &'static str,
    /// Upstream's status, or 0.
    pub(super) status: u16,
}

/// The app in a [`Key`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum AppKey {
    /// A configured one.
    Configured(Arc<str>),
    /// One of several that are not configured.
    Unknown(u64),
    /// The request names none.
    None,
}

impl AppKey {
    /// The key of the app `name`, which is not configured.
    pub(super) fn unknown(name: &str) -> Self {
        Self::Unknown(BuildHasherDefault::<DefaultHasher>::default().hash_one(name) % UNKNOWN_APPS)
    }

    /// The name of a configured app.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Configured(name) => Some(name),
            Self::Unknown(_) | Self::None => None,
        }
    }
}

/// The lines about each key within its [`WINDOW`]. Its size is bounded by [`MAX_KEYS`].
#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<HashMap<Key, Window>>);

#[derive(Debug)]
struct Window {
    began: Instant,
    lines: u32,
    /// Lines that were left out and not reported yet.
    left_out: u64,
}

impl Throttle {
    /// Whether a line about `key` may be written: if so, how many were left out before it.
    pub(super) fn admit(&self, key: Key, now: Instant) -> Option<u64> {
        let mut windows = self.0.lock();
        if windows.len() >= MAX_KEYS && !windows.contains_key(&key) {
            windows.retain(|_, window| now.duration_since(window.began) < WINDOW || window.left_out > 0);
            if windows.len() >= MAX_KEYS {
                return None;
            }
        }
        let window = windows.entry(key).or_insert(Window { began: now, lines: 0, left_out: 0 });
        if now.duration_since(window.began) >= WINDOW {
            (window.began, window.lines) = (now, 0);
        }
        window.lines += 1;
        if window.lines > LINES {
            window.left_out += 1;
            return None;
        }
        Some(std::mem::take(&mut window.left_out))
    }

    /// The keys of whose lines some were left out and no line has reported it since; forgets them.
    pub(super) fn take_left_out(&self, now: Instant) -> Vec<(Key, u64)> {
        let mut windows = self.0.lock();
        let over = windows.extract_if(|_, window| now.duration_since(window.began) >= WINDOW);
        over.filter(|(_, window)| window.left_out > 0).map(|(key, window)| (key, window.left_out)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(app: AppKey) -> Key {
        Key { app, code: "c", status: 0 }
    }

    #[tokio::test(start_paused = true)]
    async fn lines_beyond_the_bound_are_counted_for_the_next_line() {
        let throttle = Throttle::default();
        let now = Instant::now();
        let admit = |now| throttle.admit(key(AppKey::None), now);
        for _ in 0..LINES {
            assert_eq!(admit(now), Some(0));
        }
        assert_eq!([admit(now), admit(now)], [None, None]);
        assert_eq!(throttle.admit(key(AppKey::Configured("3".into())), now), Some(0), "another key");
        assert_eq!(throttle.take_left_out(now), []);
        assert_eq!(admit(now + WINDOW), Some(2));
        assert_eq!(admit(now + WINDOW), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_line_reports_is_taken_once() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for _ in 0..LINES + 7 {
            throttle.admit(key(AppKey::None), now);
        }
        assert_eq!(throttle.take_left_out(now + WINDOW), [(key(AppKey::None), 7)]);
        assert_eq!(throttle.take_left_out(now + WINDOW), []);
        assert!(throttle.0.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn any_number_of_unknown_apps_has_few_keys() {
        let throttle = Throttle::default();
        for number in 0..100_000 {
            throttle.admit(key(AppKey::unknown(&number.to_string())), Instant::now());
        }
        assert!(throttle.0.lock().len() as u64 <= UNKNOWN_APPS);
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_keys_is_bounded() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for number in 0..2 * MAX_KEYS {
            throttle.admit(key(AppKey::Configured(number.to_string().into())), now);
        }
        assert_eq!(throttle.0.lock().len(), MAX_KEYS);
        assert_eq!(throttle.admit(key(AppKey::Configured("new".into())), now + WINDOW), Some(0));
    }
}
