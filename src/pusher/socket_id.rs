//! The ids of WebSocket connections.

/// The two numbers of a socket id, between which there is a dot (`123.456`; `pusher-protocol.md` 4.1). `None`: it is not
/// written so, without leading zeros; a server compares ids as texts, and may take it for that of another connection or
/// of none.
#[must_use]
pub fn socket_id(text: &str) -> Option<(u64, u64)> {
    let (first, second) = text.split_once('.')?;
    Some((number(first)?, number(second)?))
}

/// A whole number in decimal digits, without a sign and without leading zeros.
fn number(text: &str) -> Option<u64> {
    let is_canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_canonical)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_id_is_two_numbers() {
        for (id, numbers) in [
            ("0.0", (0, 0)),
            ("1.20", (1, 20)),
            ("123456.7890123", (123_456, 7_890_123)),
            ("18446744073709551615.18446744073709551615", (u64::MAX, u64::MAX)),
        ] {
            assert_eq!(socket_id(id), Some(numbers), "{id}");
        }
        let long = "18446744073709551616.1";
        for id in
            ["", ".", "1", "1.", ".1", "1.2.3", "01.2", "1.02", "+1.2", "1.-2", " 1.2", "1.2 ", "a.b", "٣.1", long]
        {
            assert_eq!(socket_id(id), None, "{id:?}");
        }
    }
}
