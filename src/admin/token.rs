//! JSON tokens of a payload that are copied into an answer.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// The text of a JSON token. It is serialised unchanged; if it is not valid JSON, e.g. because a log has truncated it,
/// it is serialised as a string.
#[derive(Debug, Clone, Copy)]
pub(super) struct JsonToken<'a>(pub(super) &'a str);

impl Serialize for JsonToken<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serde_json::from_str::<&RawValue>(self.0) {
            Ok(value) => value.serialize(serializer),
            Err(_) => self.0.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_written_as_it_is() {
        for token in ["7", "\"7\"", "1e400", "\"\\ud800\"", "{\"a\":1,\"a\":2}", "null", "\"</script>\""] {
            assert_eq!(serde_json::to_string(&[JsonToken(token)]).unwrap(), format!("[{token}]"));
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(serde_json::to_string(&JsonToken(&deep)).unwrap(), deep);
    }

    #[test]
    fn what_is_no_value_cannot_break_out() {
        for text in ["", "\"Anna", "1,\"admin\":true", "\"a\" \"b\"", "\"a\nb\"", "NaN", "\u{0}"] {
            let written = serde_json::to_string(&JsonToken(text)).unwrap();
            assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
        }
    }
}
