//! What the body of a 2xx answer to a trigger says of the trigger.
//!
//! soketi 1.x writes its CORS headers before the status, so its refusals arrive as `200 OK` with
//! `{"error": "…", "code": 429}` (docs/servers.md).

use super::json::{AllMembers, string};

/// What a complete 2xx answer says of its trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// The server accepted it: a JSON object without an error, as every Pusher server sends.
    Accepted,
    /// The server refused it, with this code from 400 to 499, if it gave one.
    Refused(Option<u16>),
    /// The server failed, with this code of 500 or more: the trigger may have been applied, or be applied later.
    Failed(u16),
    /// It is not the JSON object of a Pusher server: perhaps something else on the way has answered.
    NoObject,
}

impl Acceptance {
    /// Reads the body of a 2xx answer.
    ///
    /// A member `error` counts unless it is `null` or `false`, a member `code` if it is a number, or a string of
    /// digits, of 400 or more. Of a member that is there twice, the worst counts; members of other names are ignored.
    #[must_use]
    pub fn read(body: &[u8]) -> Self {
        // Pusher's own answer (docs/servers.md).
        if body == b"{}" {
            return Self::Accepted;
        }
        let Ok(AllMembers(members)) = serde_json::from_slice(body) else { return Self::NoObject };
        let named = |name: &'static str| members.iter().filter(move |(key, _)| key == name).map(|(_, value)| *value);
        let error = named("error").any(|error| !matches!(error, "null" | "false"));
        match named("code").filter_map(error_code).max() {
            Some(code @ 500..) => Self::Failed(code),
            Some(code) => Self::Refused(Some(code)),
            None if error => Self::Refused(None),
            None => Self::Accepted,
        }
    }
}

/// The error code in this token: a number, or a string of digits, of 400 or more.
fn error_code(token: &str) -> Option<u16> {
    let decoded = if token.starts_with('"') {
        string(token).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
    } else {
        Some(token.into())
    };
    let code: f64 = decoded?.parse().ok()?;
    // A code beyond u16 is an error as well: the conversion saturates.
    (code >= 400.0).then_some(code as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn all(expected: Acceptance, bodies: &[&str]) {
        for body in bodies {
            assert_eq!(Acceptance::read(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn an_object_without_an_error_is_accepted() {
        all(
            Acceptance::Accepted,
            &[
                "{}",
                " {}\r\n",
                r#"{"ok":true}"#,
                r#"{"error":null}"#,
                r#"{"error":false,"code":200}"#,
                r#"{"code":399}"#,
                r#"{"code":"202"}"#,
                r#"{"code":"E429"}"#,
                r#"{"code":null}"#,
                r#"{"code":[500]}"#,
                r#"{"channels":{"error":{"error":"x"}},"event_ids":{"error":"1"}}"#,
                r#"{"batch":[{"error":"x","code":429}]}"#,
            ],
        );
    }

    #[test]
    fn an_error_or_a_code_of_400_is_a_refusal() {
        let refused = |code| Acceptance::Refused(Some(code));
        all(
            refused(429),
            &[
                r#"{"error":"Too many requests.","code":429}"#,
                r#"{"code":429}"#,
                r#"{"code":"429"}"#,
                r#"{"code":4.29e2,"error":null}"#,
            ],
        );
        all(refused(400), &[r#"{"code":400}"#, r#"{"code":400.5}"#, r#"{"code":"0400"}"#]);
        all(
            Acceptance::Refused(None),
            &[
                r#"{"error":""}"#,
                r#"{"error":0}"#,
                r#"{"error":true}"#,
                r#"{"error":{}}"#,
                r#"{"error":"x","code":200}"#,
            ],
        );
        all(
            Acceptance::Refused(None),
            &[r#"{"error":null,"error":"x"}"#, r#"{"error":"x","error":null}"#, r#"{"\u0065rror":"x"}"#],
        );
    }

    #[test]
    fn a_code_of_500_is_a_failure() {
        all(
            Acceptance::Failed(500),
            &[r#"{"code":500,"error":"x"}"#, r#"{"code":500,"code":429}"#, r#"{"code":"500"}"#],
        );
        all(
            Acceptance::Failed(u16::MAX),
            &[r#"{"code":1e999}"#, r#"{"code":65536}"#, r#"{"code":"99999999999999999999"}"#],
        );
    }

    #[test]
    fn anything_else_is_no_object() {
        let texts =
            ["", " ", "null", "[]", r#""ok""#, "ok", "true", "<html></html>", r#"{"a":"#, "{} x", "{}{}", "\u{feff}{}"];
        all(Acceptance::NoObject, &texts);
        assert_eq!(Acceptance::read(b"{\"a\":\"\xff\"}"), Acceptance::NoObject);
        assert_eq!(Acceptance::read(&[0x1f, 0x8b, 8, 0]), Acceptance::NoObject);
    }
}
