//! Amounts with their units: durations such as `3s` and sizes such as `16KiB`.

use std::time::Duration;

use super::problem::quote;

/// Bytes in a KiB.
pub(super) const KIB: usize = 1024;
/// Bytes in a MiB.
pub(super) const MIB: usize = 1024 * KIB;
/// Bytes in a GiB.
pub(super) const GIB: usize = 1024 * MIB;

const DURATIONS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SIZES: [(&str, u64); 4] = [("GiB", GIB as u64), ("MiB", MIB as u64), ("KiB", KIB as u64), ("B", 1)];

/// A duration: a whole number and one of `ms`, `s`, `m`, `h`, `d`.
///
/// # Errors
/// A sentence that names the accepted forms.
pub fn duration(text: &str) -> Result<Duration, String> {
    amount(text, &DURATIONS)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{} is not a duration. {DURATION_FORMS}", quote(text)))
}

/// A size in bytes: a whole number and one of `B`, `KiB`, `MiB`, `GiB`.
///
/// # Errors
/// A sentence that names the accepted forms.
pub fn size(text: &str) -> Result<usize, String> {
    let bytes = amount(text, &SIZES).and_then(|bytes| usize::try_from(bytes).ok());
    bytes.ok_or_else(|| format!("{} is not a size. {SIZE_FORMS}", quote(text)))
}

/// The accepted forms of a duration, for messages.
pub(super) const DURATION_FORMS: &str =
    "Write a whole number and a unit, in quotes: \"500ms\", \"3s\", \"30m\", \"24h\" or \"7d\".";
/// The accepted forms of a size, for messages.
pub(super) const SIZE_FORMS: &str =
    "Write a whole number and a unit, in quotes: \"512B\", \"16KiB\", \"1MiB\" or \"1GiB\".";

/// `duration` as a whole number of the largest possible unit.
pub(super) fn format_duration(duration: Duration) -> String {
    show(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), &DURATIONS)
}

/// `bytes` as a whole number of the largest possible unit.
pub(super) fn format_size(bytes: usize) -> String {
    show(u64::try_from(bytes).unwrap_or(u64::MAX), &SIZES)
}

fn amount(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn show(amount: u64, units: &[(&str, u64)]) -> String {
    let whole = units.iter().find(|(_, factor)| amount != 0 && amount.is_multiple_of(*factor));
    let (name, factor) = whole.or_else(|| units.last()).copied().unwrap_or(("", 1));
    format!("{}{name}", amount / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_whole_number_and_a_unit() {
        for (text, millis) in
            [("500ms", 500), ("3s", 3_000), ("30m", 1_800_000), ("24h", 86_400_000), ("7d", 604_800_000), ("0s", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "3",
            "s",
            "3 s",
            " 3s",
            "3S",
            "3sec",
            "1.5s",
            "-3s",
            "+3s",
            "1h30m",
            "3KiB",
            "99999999999999999999s",
            "999999999999999999d",
            "٣s",
        ] {
            let refused = duration(text).unwrap_err();
            assert!(refused.contains("\"500ms\"") && refused.contains("\"7d\""), "{text}: {refused}");
        }
    }

    #[test]
    fn sizes_have_a_whole_number_and_a_unit() {
        for (text, bytes) in [("512B", 512), ("16KiB", 16_384), ("1MiB", 1_048_576), ("2GiB", 2 << 30), ("0B", 0)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "16",
            "KiB",
            "16KB",
            "16kib",
            "16 KiB",
            "16K",
            "1.5MiB",
            "-1B",
            "3s",
            "99999999999999999999B",
            "18446744073709551615GiB",
        ] {
            let refused = size(text).unwrap_err();
            assert!(refused.contains("\"16KiB\"") && refused.contains("\"1MiB\""), "{text}: {refused}");
        }
    }

    #[test]
    fn bounds_are_shown_in_their_natural_unit() {
        assert_eq!(
            [format_size(8 * KIB), format_size(MIB), format_size(1000), format_size(0)],
            ["8KiB", "1MiB", "1000B", "0B"]
        );
        assert_eq!(
            [
                format_duration(Duration::from_hours(24)),
                format_duration(Duration::from_millis(1500)),
                format_duration(Duration::ZERO)
            ],
            ["1d", "1500ms", "0ms"]
        );
    }
}
