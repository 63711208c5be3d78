//! The online users of one app, and the connections that watch them (`pusher-protocol.md` 4.5). A user is online while
//! at least one connection is signed in as this user. A connection receives the state of the users on its watchlist
//! when it signs in, and then every change.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::{Entry, OccupiedEntry};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::frame::{self, Frame};
use super::mailbox::{Mailbox, PendingWakes, wake_after};
use super::socket_id::SocketId;

/// The largest number of users on one watchlist (`pusher-protocol.md` 4.5).
pub(super) const MAX_WATCHED: usize = 100;

/// The users of one app, shared by all threads.
#[derive(Debug, Default)]
pub(super) struct Watchlists {
    /// A lock: held while one user signs in or out or one watchlist is looked up, never across an await. One lock
    /// for all users: a watchlist is read at a single moment, and all watchers see the same history.
    users: Mutex<Users>,
}

/// The users that are online or watched. Their number is bounded by the connections and the lengths of their
/// watchlists.
#[derive(Debug, Default)]
struct Users(HashMap<Arc<str>, User>);

#[derive(Debug, Default)]
struct User {
    /// The number of connections that are signed in as this user.
    connections: usize,
    /// The connections that watch this user.
    watchers: HashMap<SocketId, Arc<Mailbox>>,
}

/// The sign-in of one connection. Dropping it signs the connection out and clears its watchlist.
#[derive(Debug)]
#[must_use = "dropped, the connection is signed out"]
pub(super) struct SignedIn {
    watchlists: Arc<Watchlists>,
    mailbox: Arc<Mailbox>,
    user: Arc<str>,
    /// The watched users, without duplicates.
    watched: Vec<Arc<str>>,
}

impl Watchlists {
    /// Signs the connection with this mailbox in as `user`. The watchers of the user are notified if it is the user's
    /// first connection.
    pub(super) fn sign_in(self: &Arc<Self>, user: Arc<str>, mailbox: &Arc<Mailbox>) -> SignedIn {
        let user = wake_after(|wakes| self.lock().sign_in(user, wakes));
        SignedIn { watchlists: Arc::clone(self), mailbox: Arc::clone(mailbox), user, watched: Vec::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Users> {
        // Every change is complete before anything can panic, so they can be used after a panic under the lock.
        self.users.lock()
    }
}

impl SignedIn {
    /// Replaces the connection's watchlist, and sends the connection which of the users are online and which are not.
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
            users.sign_out(&self.user, wakes);
        });
    }
}

impl Users {
    /// Adds a connection of the user `id`. Returns the shared copy of the id.
    fn sign_in(&mut self, id: Arc<str>, wakes: &mut PendingWakes) -> Arc<str> {
        let entry = self.0.entry(id);
        let id = Arc::clone(entry.key());
        let user = entry.or_default();
        user.connections += 1;
        if user.connections == 1 {
            user.notify(|| frame::watchlist_events(&[&id], &[]), wakes);
        }
        id
    }

    /// Removes a connection of the user `id`.
    fn sign_out(&mut self, id: &Arc<str>, wakes: &mut PendingWakes) {
        let Entry::Occupied(mut entry) = self.0.entry(Arc::clone(id)) else { return };
        let user = entry.get_mut();
        user.connections -= 1;
        if user.connections == 0 {
            user.notify(|| frame::watchlist_events(&[], &[id]), wakes);
        }
        remove_unused(entry);
    }

    /// Adds a connection to the watchers of these users and sends it their state. Returns the shared copies of their
    /// ids, without duplicates.
    fn watch(&mut self, watchlist: Vec<Arc<str>>, mailbox: &Arc<Mailbox>, wakes: &mut PendingWakes) -> Vec<Arc<str>> {
        let mut watched = Vec::with_capacity(watchlist.len());
        let (mut online, mut offline) = (Vec::new(), Vec::new());
        for id in &watchlist {
            let entry = self.0.entry(Arc::clone(id));
            let shared_id = Arc::clone(entry.key());
            let user = entry.or_default();
            if user.watchers.insert(mailbox.id(), Arc::clone(mailbox)).is_none() {
                watched.push(shared_id);
                if user.connections > 0 { online.push(&**id) } else { offline.push(&**id) }
            }
        }
        if !watched.is_empty() {
            mailbox.push(frame::watchlist_events(&online, &offline), wakes);
        }
        watched
    }

    /// Removes a connection from the watchers of these users.
    fn unwatch(&mut self, watched: &[Arc<str>], id: SocketId) {
        for user in watched {
            let Entry::Occupied(mut entry) = self.0.entry(Arc::clone(user)) else { continue };
            entry.get_mut().watchers.remove(&id);
            remove_unused(entry);
        }
    }
}

impl User {
    /// Sends a frame to the watchers of this user, if there are any.
    fn notify(&self, frame: impl FnOnce() -> Frame, wakes: &mut PendingWakes) {
        if self.watchers.is_empty() {
            return;
        }
        let frame = frame();
        self.watchers.values().for_each(|mailbox| mailbox.push(frame.clone(), wakes));
    }
}

/// Removes a user that is offline and has no watchers.
fn remove_unused(entry: OccupiedEntry<'_, Arc<str>, User>) {
    if entry.get().connections == 0 && entry.get().watchers.is_empty() {
        entry.remove();
    }
}
