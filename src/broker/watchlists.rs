//! Who is online in one app, and who is told of it (`pusher-protocol.md` 4.5). A user is online while at least one
//! connection is signed in as it; a connection is told of the users on its watchlist once when it signs in, and then of
//! every one that comes or goes.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::{Entry, OccupiedEntry};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::frame::{self, Frame};
use super::mailbox::{Mailbox, PendingWakes, wake_after};
use super::socket_id::SocketId;

/// Most users on one watchlist (`pusher-protocol.md` 4.5).
pub(super) const MAX_WATCHED: usize = 100;

/// The users of one app, shared by all threads.
#[derive(Debug, Default)]
pub(super) struct Watchlists {
    /// A std lock: held while one user comes or goes or one watchlist is looked up, never across an await. One for all
    /// users: a watchlist is looked up in a single moment, and all who watch see one history.
    users: Mutex<Users>,
}

/// The users that are online or watched, at most one for each connection and each place on its watchlist.
#[derive(Debug, Default)]
struct Users(HashMap<Arc<str>, User>);

#[derive(Debug, Default)]
struct User {
    /// How many are signed in as this user.
    connections: usize,
    /// The connections that watch this user.
    watchers: HashMap<SocketId, Arc<Mailbox>>,
}

/// One connection is signed in as a user. Dropped, it is signed out and watches nobody.
#[derive(Debug)]
#[must_use = "dropped, the connection is signed out"]
pub(super) struct SignedIn {
    watchlists: Arc<Watchlists>,
    mailbox: Arc<Mailbox>,
    user: Arc<str>,
    /// Whom the connection watches, each once.
    watched: Vec<Arc<str>>,
}

impl Watchlists {
    /// The connection with this mailbox signs in as `user`; those who watch that user learn of it if it is the first.
    pub(super) fn sign_in(self: &Arc<Self>, user: Arc<str>, mailbox: &Arc<Mailbox>) -> SignedIn {
        let user = wake_after(|wakes| self.lock().come(user, wakes));
        SignedIn { watchlists: Arc::clone(self), mailbox: Arc::clone(mailbox), user, watched: Vec::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Users> {
        // Nothing is left half done when a thread panics, so a poisoned lock is as good as any.
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SignedIn {
    /// The connection watches these users from now on, and no others. It is told at once who of them is online and who
    /// is not.
    pub(super) fn watch(&mut self, watchlist: Vec<Arc<str>>) {
        self.watched = wake_after(|wakes| {
            let mut users = self.watchlists.lock();
            users.unwatch(&self.watched, self.mailbox.id());
            users.watch(watchlist, &self.mailbox, wakes)
        });
    }
}

impl Drop for SignedIn {
    fn drop(&mut self) {
        wake_after(|wakes| {
            let mut users = self.watchlists.lock();
            users.unwatch(&self.watched, self.mailbox.id());
            users.go(&self.user, wakes);
        });
    }
}

impl Users {
    /// One more connection of the user `id`; the id as it is kept here.
    fn come(&mut self, id: Arc<str>, wakes: &mut PendingWakes) -> Arc<str> {
        let entry = self.0.entry(id);
        let id = Arc::clone(entry.key());
        let user = entry.or_default();
        user.connections += 1;
        if user.connections == 1 {
            user.tell(|| frame::watchlist_events(&[&id], &[]), wakes);
        }
        id
    }

    /// One connection of the user `id` less.
    fn go(&mut self, id: &Arc<str>, wakes: &mut PendingWakes) {
        let Entry::Occupied(mut entry) = self.0.entry(Arc::clone(id)) else { return };
        let user = entry.get_mut();
        user.connections -= 1;
        if user.connections == 0 {
            user.tell(|| frame::watchlist_events(&[], &[id]), wakes);
        }
        forget_idle(entry);
    }

    /// Adds a connection to the watchers of these users and tells it of them. Returns their ids as they are kept here,
    /// each once.
    fn watch(&mut self, watchlist: Vec<Arc<str>>, mailbox: &Arc<Mailbox>, wakes: &mut PendingWakes) -> Vec<Arc<str>> {
        let mut watched = Vec::with_capacity(watchlist.len());
        let (mut online, mut offline) = (Vec::new(), Vec::new());
        for id in &watchlist {
            let entry = self.0.entry(Arc::clone(id));
            let kept = Arc::clone(entry.key());
            let user = entry.or_default();
            if user.watchers.insert(mailbox.id(), Arc::clone(mailbox)).is_none() {
                watched.push(kept);
                if user.connections > 0 { online.push(&**id) } else { offline.push(&**id) }
            }
        }
        if !watched.is_empty() {
            mailbox.push(frame::watchlist_events(&online, &offline), wakes);
        }
        watched
    }

    /// Takes a connection from the watchers of these users.
    fn unwatch(&mut self, watched: &[Arc<str>], id: SocketId) {
        for user in watched {
            let Entry::Occupied(mut entry) = self.0.entry(Arc::clone(user)) else { continue };
            entry.get_mut().watchers.remove(&id);
            forget_idle(entry);
        }
    }
}

impl User {
    /// Hands a frame to all who watch this user, if anybody does.
    fn tell(&self, frame: impl FnOnce() -> Frame, wakes: &mut PendingWakes) {
        if self.watchers.is_empty() {
            return;
        }
        let frame = frame();
        self.watchers.values().for_each(|mailbox| mailbox.push(frame.clone(), wakes));
    }
}

/// Forgets a user who is offline and whom nobody watches.
fn forget_idle(entry: OccupiedEntry<'_, Arc<str>, User>) {
    if entry.get().connections == 0 && entry.get().watchers.is_empty() {
        entry.remove();
    }
}
