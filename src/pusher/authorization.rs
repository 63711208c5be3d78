//! Channel authorisation: what an auth endpoint answers, so that a client may subscribe to a private or presence channel (pusher-protocol.md 5.1).

use hmac::Mac;

use super::{App, hex};

/// Signs the subscription of the connection `socket_id` to `channel` as `key:hex`. `channel_data` is the text of the member on a presence channel, the
/// very one that is sent; `None` on any other.
#[must_use]
pub fn authorize_channel(app: &App, socket_id: &str, channel: &str, channel_data: Option<&str>) -> String {
    let mut message = format!("{socket_id}:{channel}");
    if let Some(data) = channel_data {
        message.push(':');
        message.push_str(data);
    }
    format!("{}:{}", app.key(), hex::encode(&app.secret().authenticate(message.as_bytes()).finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// pusher-protocol.md 8.7.
    #[test]
    fn signs_as_published() {
        let docs = App::new("3", "278d425bdf160c739803", "7ad3773142a6692b25b8");
        let python = App::new("3", "foo", "bar");
        for (app, socket_id, channel, data, hex) in [
            (&docs, "1234.1234", "private-foobar", None, "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"),
            (
                &docs,
                "1234.1234",
                "presence-foobar",
                Some(r#"{"user_id":10,"user_info":{"name":"Mr. Pusher"}}"#),
                "afaed3695da2ffd16931f457e338e6c9f2921fa133ce7dac49f529792be6304c",
            ),
            (&docs, "1234.1234", "private-azAZ9_=@,.;", None, "208cbbce2a22fd7d7c3509046b17a97b99d345cf4c195bc0d54af9004a022b0b"),
            (&python, "345.23", "private-encrypted-channel", None, "fff0503dfe4929f5162efe4d1dacbce524b0d8e7e1331117a8651c0e74d369e3"),
        ] {
            assert_eq!(authorize_channel(app, socket_id, channel, data), format!("{}:{hex}", app.key()), "{channel}");
        }
    }
}
