//! Handing late subscribers of the embedded broker the last announcement, behind the confirmation of their subscription
//! ([`crate::replay`]). The broker asks with the channel locked, and publishes under the same lock: so whatever is claimed
//! after the look-up is delivered after what was handed out.

use std::sync::{Arc, Weak};

use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::Shared;
use crate::assignment::{Settlement, Socket};
use crate::broker::{Greeter, Newcomer};
use crate::pusher::socket_id;
use crate::replay::LookUp;

/// Knows what the broker's new subscribers have missed.
#[derive(Debug)]
pub struct Greetings {
    /// Weak: what all workers share knows the broker's apps.
    shared: Weak<Shared>,
    /// Of this rule alone; `None`: of all.
    rule: Option<Arc<str>>,
}

impl Greetings {
    /// By the present rules of `shared`.
    #[must_use]
    pub fn new(shared: &Arc<Shared>) -> Arc<Self> {
        Arc::new(Self { shared: Arc::downgrade(shared), rule: None })
    }

    /// Asks again once what is in flight is settled.
    fn ask_again(shared: &Arc<Shared>, rule: &Arc<str>, newcomer: Newcomer, settlement: Settlement) {
        let again = Self { shared: Arc::downgrade(shared), rule: Some(Arc::clone(rule)) };
        let _detached = shared.tasks.spawn(async move {
            settlement.await;
            newcomer.greet(&again);
        });
    }
}

impl Greeter for Greetings {
    fn greet(&self, newcomer: &Newcomer) -> Vec<Utf8Bytes> {
        let mut frames = Vec::new();
        let Some(shared) = self.shared.upgrade() else { return frames };
        let routing = shared.routing.load();
        let Some(app) = routing.app(&newcomer.app()).filter(|app| app.replays()) else { return frames };
        let socket = socket_id(&newcomer.socket_id()).map(Socket::of);
        let replaying = app.replaying(newcomer.channel());
        for (route, rule) in replaying.filter(|(route, _)| self.rule.as_ref().is_none_or(|name| *name == route.name)) {
            if newcomer.is_filtered() {
                rule.missed(newcomer.channel());
                continue;
            }
            match rule.look_up(newcomer.channel(), socket) {
                LookUp::Replay(replayed) => {
                    route.metrics.replayed();
                    frames.push(replayed.frame);
                }
                LookUp::Wait(settlement) => Self::ask_again(&shared, &route.name, newcomer.clone(), settlement),
                LookUp::Nothing => {}
            }
        }
        frames
    }
}
