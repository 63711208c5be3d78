//! Auth tokens: an app's backend gives one to a client for a channel, or for a user, and the client sends it to the
//! server (`pusher-protocol.md` 5.1, 8.7).

use data_encoding::HEXLOWER;
use hmac::Mac;

use crate::pusher::{App, hex};

/// Why a token was refused. No text repeats what was sent, the secret or the right signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not of the form `key:signature`, the signature being 64 lower-case hexadecimal digits.
    #[error("it is not of the form key:signature")]
    Malformed,
    /// The key is not the app's.
    #[error("its key is not that of the app")]
    OtherKey,
    /// The signature is that of another socket, channel, user or secret.
    #[error("its signature does not match")]
    Mismatch,
}

/// What a token permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant<'a> {
    /// To join a channel.
    Channel {
        /// Its name.
        name: &'a str,
        /// On presence channels: the member, as the exact bytes that are sent.
        data: Option<&'a str>,
    },
    /// To sign in.
    User {
        /// The user, as the exact bytes that are sent.
        data: &'a str,
    },
}

impl Grant<'_> {
    /// The token of this grant for the connection `socket_id`, by the app's first pair.
    #[must_use]
    pub fn token(self, app: &App, socket_id: &str) -> String {
        let signature = app.first().secret().authenticate(self.text(socket_id).as_bytes()).finalize().into_bytes();
        format!("{}:{}", app.key(), HEXLOWER.encode(&signature))
    }

    /// Verifies, in constant time, that `token` is the one of this grant for the connection `socket_id`, by the pair
    /// that its key names.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn verify(self, app: &App, socket_id: &str, token: &str) -> Result<(), TokenError> {
        let (key, signature) = token.split_once(':').ok_or(TokenError::Malformed)?;
        let signature = hex::decode::<32>(signature).ok_or(TokenError::Malformed)?;
        let pair = app.pair(key).ok_or(TokenError::OtherKey)?;
        pair.secret()
            .authenticate(self.text(socket_id).as_bytes())
            .verify_slice(&signature)
            .map_err(|_| TokenError::Mismatch)
    }

    /// The string that is signed.
    fn text(self, socket_id: &str) -> String {
        match self {
            Self::Channel { name, data: None } => format!("{socket_id}:{name}"),
            Self::Channel { name, data: Some(data) } => format!("{socket_id}:{name}:{data}"),
            Self::User { data } => format!("{socket_id}::user::{data}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pusher::KeyPair;

    fn channel<'a>(name: &'a str, data: Option<&'a str>) -> Grant<'a> {
        Grant::Channel { name, data }
    }

    /// Secret, socket id, what is granted, signature.
    type Vector = (&'static str, &'static str, Grant<'static>, &'static str);

    /// Those of the documentation (`pusher-protocol.md` 8.7).
    fn documented() -> Vec<Vector> {
        let docs = "7ad3773142a6692b25b8";
        let (id, name) = ("1234.1234", "presence-foobar");
        vec![
            (
                docs,
                id,
                channel("private-foobar", None),
                "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4",
            ),
            (
                docs,
                id,
                Grant::User { data: r#"{"id":"12345"}"# },
                "4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba",
            ),
            (
                docs,
                id,
                channel(name, Some(r#"{"user_id":10,"user_info":{"name":"Mr. Pusher"}}"#)),
                "afaed3695da2ffd16931f457e338e6c9f2921fa133ce7dac49f529792be6304c",
            ),
            (
                docs,
                id,
                channel(name, Some(r#"{"user_id":"10","user_info":{"name":"Mr. Pusher"}}"#)),
                "48dac51d2d7569e1e9c0f48c227d4b26f238fa68e5c0bb04222c966909c4f7c4",
            ),
            (
                docs,
                id,
                channel("private-azAZ9_=@,.;", None),
                "208cbbce2a22fd7d7c3509046b17a97b99d345cf4c195bc0d54af9004a022b0b",
            ),
        ]
    }

    /// Those of the libraries' tests (`pusher-protocol.md` 8.7).
    fn of_libraries() -> Vec<Vector> {
        vec![
            (
                "thisisasecret",
                "1.1",
                channel("testing_pusher-php", None),
                "751ccc12aeaa79d46f7c199bced5fa47527d3480b51fe61a0bd10438241bd52d",
            ),
            (
                "thisisasecret",
                "45055.28877557",
                channel("-azAZ9_=@,.;", None),
                "d1c20ad7684c172271f92c108e11b45aef07499b005796ae1ec5beb924f361c4",
            ),
            (
                "thisisasecret",
                "45055.28877557",
                channel("-azAZ9_=@,.;", Some(r#"{"user_id": "123"}"#)),
                "3b3f1dcc4d7d2f95dd10ed05562397b3287b102d4cccfacbf30eed2f1ffa3d69",
            ),
            (
                "thisisasecret",
                "12345.6789",
                Grant::User { data: r#"{"id":"123"}"# },
                "fc713f433deb729d0d96f9e26ef054285cbc3e833ebe840b93722a2fa16a6a18",
            ),
            (
                "tofu",
                "1.1",
                Grant::User { data: r#"{"id":"ą§¶™€łü€ß£"}"# },
                "620494cee53d6c568b49598313194088afda37218f0d059af03c0c898ed61ff4",
            ),
            (
                "bar",
                "345.23",
                channel("private-channel", None),
                "89955e77e1b40e33df6d515a5ecbba86a01dc816a5b720da18a06fd26f7d92ff",
            ),
            (
                "bar",
                "345.23",
                channel("private-encrypted-channel", None),
                "fff0503dfe4929f5162efe4d1dacbce524b0d8e7e1331117a8651c0e74d369e3",
            ),
            (
                "bar",
                "345.43245",
                channel("presence-channel", Some(r#"{"user_id":"fred","user_info":{"key":"value"}}"#)),
                "e80ba6439492c2113022c39297a87a948de14061cc67b5788e045645a68b8ccd",
            ),
        ]
    }

    #[test]
    fn signs_and_verifies_the_published_tokens() {
        for (secret, socket_id, grant, signature) in documented().into_iter().chain(of_libraries()) {
            let app = App::new("1", "k", secret);
            let token = format!("k:{signature}");
            assert_eq!(grant.token(&app, socket_id), token, "{grant:?}");
            assert_eq!(grant.verify(&app, socket_id, &token), Ok(()), "{grant:?}");
        }
    }

    #[test]
    fn a_token_of_each_pair_verifies() {
        let app = App::new("1", "k", "s").with_pairs(vec![KeyPair::new("l", "t")]);
        let grant = channel("private-c", None);
        for (key, secret, expected) in [
            ("k", "s", Ok(())),
            ("l", "t", Ok(())),
            ("k", "t", Err(TokenError::Mismatch)),
            ("l", "s", Err(TokenError::Mismatch)),
            ("m", "s", Err(TokenError::OtherKey)),
        ] {
            let token = grant.token(&App::new("1", key, secret), "1.2");
            assert_eq!(grant.verify(&app, "1.2", &token), expected, "{key} {secret}");
        }
    }

    /// `threats.md` WS-12.
    #[test]
    fn a_token_is_bound_to_everything() {
        let app = App::new("1", "k", "s");
        let grant = channel("presence-c", Some(r#"{"user_id":"1"}"#));
        let token = grant.token(&app, "1.2");
        for (other, socket_id) in [
            (grant, "1.3"),
            (channel("presence-d", Some(r#"{"user_id":"1"}"#)), "1.2"),
            (channel("presence-c", Some(r#"{"user_id":"2"}"#)), "1.2"),
            (channel("presence-c", None), "1.2"),
            (Grant::User { data: r#"{"user_id":"1"}"# }, "1.2"),
        ] {
            assert_eq!(other.verify(&app, socket_id, &token), Err(TokenError::Mismatch), "{other:?} {socket_id}");
        }
        assert_eq!(grant.verify(&App::new("1", "k", "t"), "1.2", &token), Err(TokenError::Mismatch));
        assert_eq!(grant.verify(&App::new("1", "l", "s"), "1.2", &token), Err(TokenError::OtherKey));
        let zeros = "0".repeat(64);
        assert_eq!(grant.verify(&app, "1.2", &format!("k:{zeros}")), Err(TokenError::Mismatch));
        for malformed in [
            "",
            ":",
            "k",
            "k:",
            "k:00",
            &zeros,
            &format!("k:{}", token["k:".len()..].to_uppercase()),
            &format!("{token}0"),
        ] {
            assert_eq!(grant.verify(&app, "1.2", malformed), Err(TokenError::Malformed), "{malformed}");
        }
    }
}
