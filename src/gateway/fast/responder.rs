//! The answers of the fast path: writing and counting them.

use super::render;
use crate::clock::Date;
use crate::gateway::disposition::Disposition;
use crate::gateway::record::Tag;
use crate::gateway::{Refusal, Shared};
use crate::metrics::RequestKind;
use crate::shutdown::Phase;
use crate::upstream::{Collected, Framing};

/// What a connection does once its answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterReply {
    /// Reads the next request.
    KeepOpen,
    Close,
}

/// Answers one request.
#[derive(Debug)]
pub(super) struct Responder<'a> {
    pub(super) shared: &'a Shared,
    pub(super) date: &'a Date,
    /// The buffer that receives the answer.
    pub(super) reply: &'a mut Vec<u8>,
}

impl Responder<'_> {
    /// Answers a redundant trigger.
    pub(super) fn suppressed(self, tag: Tag) -> AfterReply {
        let last = self.is_last();
        render::suppressed(self.reply, tag, self.date, last);
        self.answered(RequestKind::Trigger, 200, last)
    }

    /// Passes on upstream's answer.
    pub(super) fn forwarded(self, answer: &Collected, disposition: Disposition, tag: Tag) -> AfterReply {
        let last = self.is_last();
        render::forwarded(self.reply, answer, disposition, tag, self.date, last);
        self.answered(RequestKind::Trigger, answer.status, last)
    }

    /// Writes the head of upstream's answer to a request that is no trigger.
    pub(super) fn passed_on(self, answer: &Collected, declared: Framing) -> AfterReply {
        let last = self.is_last();
        render::passed_on(self.reply, answer, declared, self.date, last);
        self.answered(RequestKind::Passthrough, answer.status, last)
    }

    /// Refuses a request; `tag`: of a trigger.
    pub(super) fn refuse(self, kind: RequestKind, refusal: &Refusal, tag: Option<Tag>) -> AfterReply {
        self.shared.metrics.error(refusal.code());
        let last = self.is_last();
        let last = render::refused(self.reply, refusal, tag, self.date, last);
        self.shared.metrics.request(kind, refusal.status().as_u16());
        AfterReply::after(last)
    }

    fn answered(self, kind: RequestKind, status: u16, last: bool) -> AfterReply {
        self.shared.metrics.request(kind, status);
        AfterReply::after(last)
    }

    /// Whether the connection takes no further request.
    fn is_last(&self) -> bool {
        self.shared.drain.has_reached(Phase::Leaving)
    }
}

impl AfterReply {
    const fn after(last: bool) -> Self {
        if last { Self::Close } else { Self::KeepOpen }
    }
}
