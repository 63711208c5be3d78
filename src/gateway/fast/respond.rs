//! The answers of the fast way: written, and counted.

use super::render;
use crate::clock::Date;
use crate::gateway::trigger::Disposition;
use crate::gateway::{Refusal, Shared};
use crate::metrics::RequestKind;
use crate::upstream::Collected;

/// Whether a connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Request,
    Close,
}

/// Answers one request.
#[derive(Debug)]
pub(super) struct Responder<'a> {
    pub(super) shared: &'a Shared,
    pub(super) date: &'a Date,
    /// Here goes the answer.
    pub(super) reply: &'a mut Vec<u8>,
}

impl Responder<'_> {
    /// Answers a redundant trigger.
    pub(super) fn suppressed(self) -> Next {
        let last = self.is_last();
        render::suppressed(self.reply, self.date, last);
        self.answered(200, last)
    }

    /// Passes on what upstream answered.
    pub(super) fn forwarded(self, answer: &Collected, disposition: Disposition) -> Next {
        let last = self.is_last();
        render::forwarded(self.reply, answer, disposition, self.date, last);
        self.answered(answer.status, last)
    }

    /// Refuses a request.
    pub(super) fn refuse(self, kind: RequestKind, refusal: &Refusal) -> Next {
        self.shared.metrics.error(refusal.code());
        let last = self.is_last();
        let last = render::refused(self.reply, refusal, self.date, last);
        self.shared.metrics.request(kind, refusal.status().as_u16());
        Next::after(last)
    }

    fn answered(self, status: u16, last: bool) -> Next {
        self.shared.metrics.request(RequestKind::Trigger, status);
        Next::after(last)
    }

    /// Whether the connection takes no further request.
    fn is_last(&self) -> bool {
        self.shared.drain.has_begun()
    }
}

impl Next {
    const fn after(last: bool) -> Self {
        if last { Self::Close } else { Self::Request }
    }
}
