//! What upstream says of an error, in one line for the log and the record.

use serde_json::Value;

use super::settle::Answered;
use crate::triggers::cut;

/// Most bytes of upstream's own words.
const MAX_WORDS: usize = 200;

/// The `error` or `message` of a JSON answer, escaped and cut. Of any other answer only type and length: error pages
/// repeat the request.
pub(super) fn describe(answered: Answered<'_>) -> String {
    let Answered { is_encoded, content_type, body, .. } = answered;
    if body.is_empty() {
        return "an empty answer".to_owned();
    }
    let words = if is_encoded { None } else { serde_json::from_slice(body).ok().as_ref().and_then(words) };
    words.unwrap_or_else(|| {
        let media = content_type.and_then(|media| std::str::from_utf8(media).ok()).unwrap_or("no Content-Type");
        format!("an answer of {} bytes, {}", body.len(), escape(media))
    })
}

/// The words in `error` or `message`, of the answer itself or of its `error`.
fn words(answer: &Value) -> Option<String> {
    let found = answer.get("error").or_else(|| answer.get("message"))?;
    let text = match found {
        Value::String(text) => text,
        nested => nested.get("message")?.as_str()?,
    };
    Some(escape(text))
}

/// `text` in one line without control characters, cut.
fn escape(text: &str) -> String {
    let escaped: String = text.chars().take(MAX_WORDS).flat_map(char::escape_debug).collect();
    let short = cut(&escaped, MAX_WORDS);
    if short.len() < escaped.len() || text.chars().nth(MAX_WORDS).is_some() { format!("{short}…") } else { escaped }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn describe(content_type: Option<&str>, body: &str) -> String {
        super::describe(Answered {
            status: 400,
            is_encoded: false,
            content_type: content_type.map(str::as_bytes),
            body: body.as_bytes(),
        })
    }

    #[test]
    fn only_the_words_of_a_json_answer_are_repeated() {
        let json = Some("application/json");
        assert_eq!(describe(json, r#"{"error":"Over quota"}"#), "Over quota");
        assert_eq!(describe(json, r#"{"message":"Unauthorized","code":401}"#), "Unauthorized");
        assert_eq!(describe(json, r#"{"error":{"code":4009,"message":"no"}}"#), "no");
        assert_eq!(describe(json, r#"{"error":7}"#), "an answer of 11 bytes, application/json");
        assert_eq!(describe(Some("text/html"), "<h1>secret"), "an answer of 10 bytes, text/html");
        assert_eq!(describe(None, "x"), "an answer of 1 bytes, no Content-Type");
        assert_eq!(describe(None, ""), "an empty answer");
    }

    #[test]
    fn words_are_cut_and_in_one_line() {
        assert_eq!(describe(None, "{\"error\":\"a\\nb\\u001b[31m\"}"), "a\\nb\\u{1b}[31m");
        let long = describe(None, &format!("{{\"error\":\"{}\"}}", "é".repeat(5000)));
        assert!(long.len() <= MAX_WORDS + "…".len() && long.ends_with('…'), "{long}");
    }
}
