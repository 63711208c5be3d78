//! Announcements that came another way: what the store says of them, since other members forward as well.

use super::channel::{Present, SharedChannel, snapshot};
use super::listing::{ATTEMPTS, NotReached};
use super::{Shared, SharedRule};
use crate::assignment::Assignment;
use crate::clock::Moment;
use crate::cluster::{Read, Swap, Swapped};

impl Shared {
    /// Whether nothing at the store explains that `said` is delivered on `channel`, for the app's rule of this number. If
    /// so, the channel is in doubt there afterwards. Whatever has changed within the doubt period explains everything:
    /// the store does not keep what it has known before.
    pub(in crate::assignment) async fn doubt_beside(
        &self,
        rule: usize,
        channel: &str,
        said: Option<&Assignment>,
    ) -> Result<bool, NotReached> {
        let Some(SharedRule { name, remember_for, .. }) = self.rules.get(rule) else { return Ok(false) };
        let (store, doubt_period) = (&self.app.store, self.app.context.bounds.doubt_period);
        let key = self.app.keys().channel(name, channel);
        for _ in 0..ATTEMPTS {
            let tenure = store.member().tenure().ok_or(NotReached::NoMember)?;
            let read = store.look(&tenure, std::slice::from_ref(&key)).await?;
            let bytes = read.channels.first().map_or(&[][..], Vec::as_slice);
            let now = Moment::from_millis(read.now);
            // What a later version has written is not changed.
            let Ok(mut found) = SharedChannel::decode(bytes, Present::of(&read, doubt_period)) else {
                return Err(NotReached::Busy);
            };
            if self.explains(&found, said, &read) {
                return Ok(false);
            }
            found.channel.doubt(now, doubt_period);
            let swapped = found.swapped((&key, *remember_for), now, self.app.tokens.number(), false);
            let swap = Swap { channels: vec![swapped], ..Swap::default() };
            if store.swap(&tenure, swap).await? == Swapped::Done {
                return Ok(true);
            }
        }
        Err(NotReached::Busy)
    }

    fn explains(&self, found: &SharedChannel, said: Option<&Assignment>, read: &Read) -> bool {
        let (now, app) = (Moment::from_millis(read.now), snapshot(read));
        let doubt_period = self.app.context.bounds.doubt_period;
        let is_settling = found.channel.in_flight() > 0 || found.channel.in_doubt(now) || app.is_uncertain();
        is_settling
            || found.channel.known(now, app).is_some_and(|known| {
                said.is_some_and(|said| known.assignment == *said) || now.since(known.since) <= doubt_period
            })
    }
}
