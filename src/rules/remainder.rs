//! What an announcement says beside its assignment: all of its data outside identity, context and what its rule ignores.
//!
//! One keyed hash says whether two announcements differ there. Where they differ is said by the hashes of their leaves,
//! which are worked out for few of them.

use siphasher::sip128::{Hasher128, SipHasher13};
use smallvec::SmallVec;
use std::hash::Hasher;

use super::pointers::{Node, escaped};
use crate::assignment::Digest;
use crate::pusher::json::{self, Scanner};

/// The largest number of leaves that are told apart.
const MAX_LEAVES: usize = 32;

/// The longest pointer of a leaf, in bytes. A leaf with a longer one is left out.
const MAX_POINTER: usize = 256;

// No token and no key has one of these bytes outside a string, and none of them is in a string unescaped.
const MEMBER: u8 = 1;
const BEGIN: u8 = 2;
const END: u8 = 3;

/// The key of an app's hashes. It is the same for all processes that share the app's secret, and who does not know that
/// cannot choose data with equal hashes.
#[derive(Clone, PartialEq, Eq)]
pub struct RemainderKey([u8; 16]);

/// The remainder of one announcement, as far as its data is read.
#[derive(Debug, Default)]
pub(super) struct Collected(SmallVec<[u8; 512]>);

/// A scalar, or an empty array or object, in the remainder of an announcement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Where it is in the data.
    pub pointer: String,
    /// The hash of its token.
    pub hash: u64,
}

impl RemainderKey {
    /// The key of these random bytes, which nobody else knows.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The digest of a remainder.
    pub(super) fn digest(&self, remainder: &Collected) -> Digest {
        Digest::new(SipHasher13::new_with_key(&self.0).hash(&remainder.0).as_u128(), self.0[0])
    }

    fn leaf(&self, token: &str) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write(token.as_bytes());
        hasher.finish128().h1
    }
}

impl std::fmt::Debug for RemainderKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RemainderKey(..)")
    }
}

impl Collected {
    /// A member of an object, or an element of an array, whose key is empty.
    #[inline]
    pub(super) fn member(&mut self, key: &str, token: &str) {
        self.0.extend_from_slice(key.as_bytes());
        self.0.push(MEMBER);
        self.0.extend_from_slice(token.as_bytes());
        self.0.push(END);
    }

    /// An object or array of which something is no part of the remainder.
    pub(super) fn begin(&mut self, key: &str) {
        self.0.extend_from_slice(key.as_bytes());
        self.0.push(BEGIN);
    }

    /// A value that is neither, where one was expected.
    pub(super) fn scalar(&mut self, token: &str) {
        self.0.extend_from_slice(token.as_bytes());
    }

    /// The end of what began last.
    pub(super) fn end(&mut self) {
        self.0.push(END);
    }
}

/// The first leaves of the remainder of `data`, which is read in the same way as for its digest.
pub(super) fn leaves(data: &str, root: &Node, key: &RemainderKey) -> Vec<Leaf> {
    let mut walk = Walk { key, leaves: Vec::new(), pointer: String::new() };
    // What cannot be read any more has no further leaves.
    let _unreadable = walk.descend(data.trim_ascii(), Some(root));
    walk.leaves
}

struct Walk<'k> {
    key: &'k RemainderKey,
    leaves: Vec<Leaf>,
    /// Of the value that is looked at.
    pointer: String,
}

impl Walk<'_> {
    fn descend(&mut self, token: &str, node: Option<&Node>) -> Option<()> {
        if self.leaves.len() == MAX_LEAVES || node.is_some_and(Node::is_excluded) {
            return Some(());
        }
        let mut is_empty = true;
        match token.as_bytes().first()? {
            b'{' => {
                let mut scanner = Scanner::object(token);
                while let Some((key, value)) = scanner.member().ok()? {
                    is_empty = false;
                    self.step(&escaped(key), value, node.and_then(|node| node.child(key)))?;
                }
            }
            b'[' => {
                for (index, value) in json::elements(token)?.into_iter().enumerate() {
                    is_empty = false;
                    self.step(&index.to_string(), value, node.and_then(|node| node.element(index)))?;
                    if self.leaves.len() == MAX_LEAVES {
                        break;
                    }
                }
            }
            _ => {}
        }
        if is_empty && self.pointer.len() <= MAX_POINTER {
            self.leaves.push(Leaf { pointer: self.pointer.clone(), hash: self.key.leaf(token) });
        }
        Some(())
    }

    fn step(&mut self, step: &str, token: &str, node: Option<&Node>) -> Option<()> {
        let before = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(step);
        let read = self.descend(token, node);
        self.pointer.truncate(before);
        read
    }
}
