//! Everything that is no trigger: forwarded as it came, bodies streamed both ways.

use http::request::Parts;
use http::{Request, Response, Version};
use http_body::Body;
use hyper::body::Incoming;

use super::{Gateway, Refusal, Reply, Routing, Slot, body, headers};
use crate::upstream::Payload;

/// Bodies up to this many bytes are received before they are sent on: a slow caller then keeps no connection upstream busy.
const COLLECTED: u64 = 64 * 1024;

/// Forwards one request and streams its answer. A caller who hangs up ends it.
pub(super) async fn handle(gateway: &Gateway, routing: &Routing, head: Parts, body: Incoming, _slot: Slot) -> Result<Response<Reply>, Refusal> {
    let declared = if body.size_hint().lower() > COLLECTED { Payload::stream(body) } else { Err(body) };
    let payload = match declared {
        Ok(payload) => payload,
        Err(body) => Payload::Whole(body::receive(body, &routing.limits).await?),
    };
    let mut head = head;
    head.version = Version::HTTP_11;
    let began = gateway.shared.clock.now();
    let answer = gateway.upstream.send(Request::from_parts(head, payload)).await;
    let took = gateway.shared.clock.now().since(began);
    match answer {
        Ok(answer) => {
            gateway.shared.metrics.upstream_answer(answer.status().as_u16(), took);
            let (mut head, body) = answer.into_parts();
            headers::strip_answer(&mut head.headers);
            head.version = Version::HTTP_11;
            Ok(Response::from_parts(head, Reply::Stream(body)))
        }
        Err(failure) => {
            gateway.shared.metrics.upstream_failure(failure.label(), took);
            tracing::warn!(error = %failure, "upstream gave no answer to a request");
            Err(Refusal::Upstream(failure))
        }
    }
}
