//! A GET request's way to upstream and back: its answer is passed on while it is received.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::request::Request;
use super::responder::AfterReply;
use super::{FastConnection, render};
use crate::gateway::Refusal;
use crate::metrics::RequestKind;
use crate::upstream::{Failure, StreamedBody};

/// What became of an answer.
#[derive(Debug)]
pub(super) enum Passed {
    /// It is passed on, but for what the request's reply holds.
    Reply(AfterReply),
    /// The caller is gone, or the answer has no end.
    Broken,
}

impl<S: AsyncRead + AsyncWrite + Unpin> FastConnection<'_, S> {
    /// Sends the request in `request.outgoing`, and passes the answer on; the last part of it is in the reply.
    pub(super) async fn pass(&mut self, request: &mut Request, is_repeatable: bool) -> Passed {
        let began = self.now;
        let opened =
            self.upstream.open((&request.outgoing, is_repeatable), &mut self.answer, &mut self.timer, began).await;
        self.update_clock();
        let metrics = &self.shared.metrics;
        match opened {
            Ok(body) => {
                metrics.upstream_answer(self.answer.status, self.now - began);
                let after = self.responder(request).passed_on(&self.answer, body.declared());
                let copied = self.copy(body, &mut request.reply).await;
                self.answer.shrink();
                match copied {
                    Ok(true) => Passed::Reply(after),
                    Ok(false) => Passed::Broken,
                    Err(error) => {
                        tracing::debug!(%error, "an answer of upstream is passed on in part");
                        Passed::Broken
                    }
                }
            }
            Err(failure) => {
                metrics.upstream_failure(failure.label(), self.now - began);
                self.shared.trigger_log.request_unanswered(&failure);
                let refusal = Refusal::Upstream(failure);
                Passed::Reply(self.responder(request).refuse(RequestKind::Passthrough, &refusal, None))
            }
        }
    }

    /// Passes a body, the begin of which was received, on behind the head in `reply`, which its last part is left in. Returns
    /// whether the caller reads.
    async fn copy(&mut self, mut body: StreamedBody, reply: &mut Vec<u8>) -> Result<bool, Failure> {
        // Upstream may hold a message of an answer for as long.
        let silence = self.shared.routing.load().limits.websocket_idle_timeout;
        loop {
            let piece = &mut self.answer.body;
            match (body.is_open_ended(), reply.is_empty()) {
                (true, _) => render::chunk(reply, piece, body.is_complete()),
                (false, true) => std::mem::swap(reply, piece),
                (false, false) => reply.extend_from_slice(piece),
            }
            if body.is_complete() {
                return Ok(true);
            }
            if !self.write(reply).await {
                return Ok(false);
            }
            reply.clear();
            self.set_clock(Instant::now());
            body.next(&mut self.answer, &mut self.timer, self.now, silence).await?;
        }
    }
}
