//! Redacted names of channels.

use std::ops::Range;

use super::AppRules;
use crate::pusher::channel::MAX_NAME;
use crate::pusher::{ChannelKind, is_valid_name};

/// What a name may begin with by the protocol.
const PREFIXES: [&str; 8] = [
    "#",
    "private-encrypted-cache-",
    "private-encrypted-",
    "private-cache-",
    "presence-cache-",
    "cache-",
    "private-",
    "presence-",
];

/// Digits of a hash in a name, if there is room.
const DIGITS: usize = 16;

/// How often a name is hashed in another way if the first one belongs to other rules than the original.
const ATTEMPTS: u64 = 32;

impl AppRules<'_> {
    /// The redacted form of a channel's name: of the same kind, valid if it is, and of the same rules.
    pub(super) fn channel(&self, name: &str) -> String {
        if !is_valid_name(name) {
            // No valid name has this sign.
            return format!("!{}", self.key.text(name));
        }
        let variable = self.variable_parts(name);
        let kept = name.len() - variable.iter().map(Range::len).sum::<usize>();
        let digits = ((MAX_NAME - kept) / variable.len().max(1)).clamp(1, DIGITS);
        let mut redacted = String::new();
        for attempt in 0..ATTEMPTS {
            redacted.clear();
            let mut at = 0;
            for part in &variable {
                redacted.push_str(&name[at..part.start]);
                let hash = match attempt {
                    0 => self.key.text(&name[part.clone()]),
                    _ => self.key.text(&format!("{attempt} {}", &name[part.clone()])),
                };
                redacted.push_str(&hash[..digits]);
                at = part.end;
            }
            redacted.push_str(&name[at..]);
            if self.is_alike(name, &redacted) {
                break;
            }
        }
        redacted
    }

    /// The parts of a valid name that no template and no protocol prescribes.
    fn variable_parts(&self, name: &str) -> Vec<Range<usize>> {
        let mut is_kept = vec![false; name.len()];
        let prefix = PREFIXES.iter().map(|prefix| prefix.len()).zip(PREFIXES);
        let prefix = prefix
            .filter(|(length, prefix)| name.get(..*length).is_some_and(|start| start.eq_ignore_ascii_case(prefix)));
        let prefix = prefix.map(|(length, _)| length).max().unwrap_or_default();
        is_kept[..prefix].fill(true);
        for part in self.rules.iter().filter_map(|rule| rule.literals_in(name)).flatten() {
            is_kept[part].fill(true);
        }
        let mut parts: Vec<Range<usize>> = Vec::new();
        for (at, _) in is_kept.iter().enumerate().filter(|(_, is_kept)| !**is_kept) {
            match parts.last_mut() {
                Some(part) if part.end == at => part.end += 1,
                _ => parts.push(at..at + 1),
            }
        }
        parts
    }

    fn is_alike(&self, name: &str, redacted: &str) -> bool {
        is_valid_name(redacted)
            && ChannelKind::of(name) == ChannelKind::of(redacted)
            && self.rules.iter().all(|rule| rule.literals_in(name).is_some() == rule.literals_in(redacted).is_some())
    }
}
