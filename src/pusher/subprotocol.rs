//! The WebSocket subprotocols by which clients may request a version of Pusher's protocol (RFC 6455 1.9). Pusher's
//! documents do not mention them. A client that follows the WHATWG's rules fails the connection if it offers one and
//! the server selects none (docs/broker.md).

/// The supported subprotocols, as pusher-websocket-swift offers them.
const SUPPORTED: [&str; 3] = ["pusher-channels-protocol-5", "pusher-channels-protocol-6", "pusher-channels-protocol-7"];

/// The first supported subprotocol in `offers`, the values of `Sec-WebSocket-Protocol` in the client's order of
/// preference.
pub fn subprotocol<'o>(offers: impl IntoIterator<Item = &'o [u8]>) -> Option<&'static str> {
    let mut offered = offers.into_iter().flat_map(|offer| offer.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    offered.find_map(|offer| SUPPORTED.into_iter().find(|supported| supported.as_bytes() == offer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_is_supported_is_chosen() {
        for (offers, chosen) in [
            (&["pusher-channels-protocol-7"][..], Some("pusher-channels-protocol-7")),
            (&["chat , pusher-channels-protocol-6,pusher-channels-protocol-7"], Some("pusher-channels-protocol-6")),
            (&["chat", " pusher-channels-protocol-5 "], Some("pusher-channels-protocol-5")),
            (&["pusher-channels-protocol-8", "pusher-channels-protocol", "PUSHER-CHANNELS-PROTOCOL-7", ""], None),
            (&[], None),
        ] {
            assert_eq!(subprotocol(offers.iter().map(|offer| offer.as_bytes())), chosen, "{offers:?}");
        }
    }
}
