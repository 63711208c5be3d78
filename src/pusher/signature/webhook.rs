//! The signature of a webhook: the HMAC-SHA256 of its raw body (`pusher-protocol.md` 5.2, 8.8).

use data_encoding::HEXLOWER;
use hmac::Mac;

use crate::pusher::{KeyPair, hex};

/// The signature of a webhook's body, which its header `X-Pusher-Signature` has in lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WebhookSignature([u8; 32]);

impl WebhookSignature {
    /// The signature of `body` by `pair`.
    #[must_use]
    pub fn of(pair: &KeyPair, body: &[u8]) -> Self {
        Self(pair.secret().authenticate(body).finalize().into_bytes().into())
    }

    /// The signature in the header's value; `None`: it is not 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        hex::decode(text).map(Self)
    }

    /// Whether this is the signature of `body` by `pair`. Compared in constant time.
    #[must_use]
    pub fn verifies(&self, pair: &KeyPair, body: &[u8]) -> bool {
        pair.secret().authenticate(body).verify_slice(&self.0).is_ok()
    }

    /// The header's value.
    #[must_use]
    pub fn text(&self) -> String {
        HEXLOWER.encode(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `pusher-protocol.md` 8.8.
    const VECTORS: [(&str, &str, &str); 4] = [
        ("thisisasecret", r#"{"hello":"world"}"#, "40e0ad3b9aa49529322879e84de1aaaf18bde1efe839ca263d540cc865510d25"),
        (
            "thisisasecret",
            r#"{"time_ms":1530710011901,"events":[{"name":"client_event","channel":"private-my-channel","event":"client-event","data":"Unencrypted","socket_id":"240621.35780774"}]}"#,
            "a19cab2af3ca1029257570395e78d5d675e9e700ca676d18a375a7083178df1c",
        ),
        (
            "tofu",
            r#"{"time_ms":1403175510755,"events":[{"channel":"test_channel","name":"channel_vacated"}]}"#,
            "c17257e92037cd7de407ebc1ed174ceb7b2e518db127f44411b9ffc4f5b28cc5",
        ),
        ("secret", r#"{"hello":"world"}"#, "2677ad3e7c090b2fa2c0fb13020d66d5420879b8316eb356a2d60fb9073bc778"),
    ];

    #[test]
    fn the_libraries_signatures_are_computed_and_verified() {
        for (secret, body, signature) in VECTORS {
            let pair = KeyPair::new("key", secret);
            assert_eq!(WebhookSignature::of(&pair, body.as_bytes()).text(), signature);
            let parsed = WebhookSignature::parse(signature).unwrap();
            assert!(parsed.verifies(&pair, body.as_bytes()));
            assert!(!parsed.verifies(&pair, format!("{body} ").as_bytes()));
            assert!(!parsed.verifies(&KeyPair::new("key", "another"), body.as_bytes()));
        }
    }

    #[test]
    fn anything_else_is_no_signature() {
        let valid = VECTORS[0].2;
        for text in ["", "00", &valid[1..], &valid.to_uppercase(), &format!("{valid}0"), &format!(" {valid}")] {
            assert_eq!(WebhookSignature::parse(text), None, "{text:?}");
        }
    }
}
