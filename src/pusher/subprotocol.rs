//! The WebSocket subprotocols by which clients may ask for a version of Pusher's protocol (RFC 6455 1.9). Pusher's
//! documents do not mention them; clients that follow the WHATWG's rules fail the connection if one is offered and none
//! is answered (docs/broker.md).

/// Those that are spoken here, as pusher-websocket-swift offers them.
const SPOKEN: [&str; 3] = ["pusher-channels-protocol-5", "pusher-channels-protocol-6", "pusher-channels-protocol-7"];

/// The first subprotocol that is spoken here of those in `offers`, the values of `Sec-WebSocket-Protocol` in the order
/// in which a client prefers them.
pub fn subprotocol<'o>(offers: impl IntoIterator<Item = &'o [u8]>) -> Option<&'static str> {
    let mut offered = offers.into_iter().flat_map(|offer| offer.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    offered.find_map(|offer| SPOKEN.into_iter().find(|spoken| spoken.as_bytes() == offer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_is_spoken_is_chosen() {
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
