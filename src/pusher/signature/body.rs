//! A request's body as its signature sees it: by its MD5 digest.

use md5::{Digest, Md5};
use smallvec::SmallVec;

use super::lanes::{self, LANES};

/// Longer bodies are digested alone: the lanes go on until the longest message ends.
const MAX_ABREAST: usize = 2 * 1024;

/// A request's raw body, perhaps with its digest.
#[derive(Debug, Clone, Copy)]
pub struct Body<'b> {
    bytes: &'b [u8],
    /// If it is known already.
    md5: Option<[u8; 16]>,
}

impl<'b> Body<'b> {
    /// Each of `bodies` with its digest, in their order. Where there are several of common length, this costs a third of what it costs to digest one after
    /// the other.
    pub fn digested<const N: usize>(bodies: impl IntoIterator<Item = &'b [u8]>) -> SmallVec<[Self; N]> {
        let mut digested: SmallVec<[Self; N]> = bodies.into_iter().map(Self::from).collect();
        {
            let mut common: SmallVec<[&mut Self; N]> = digested.iter_mut().filter(|body| body.bytes.len() <= MAX_ABREAST).collect();
            for several in common.chunks_mut(LANES).filter(|several| several.len() > 1) {
                let messages = std::array::from_fn(|lane| several.get(lane).map_or(&b""[..], |body| body.bytes));
                for (body, md5) in several.iter_mut().zip(lanes::digests(messages)) {
                    body.md5 = Some(md5);
                }
            }
        }
        digested
    }

    /// The body itself.
    #[must_use]
    pub const fn bytes(self) -> &'b [u8] {
        self.bytes
    }

    pub(super) const fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// Its MD5 digest, as `body_md5` tells it.
    pub(super) fn md5(self) -> [u8; 16] {
        self.md5.unwrap_or_else(|| Md5::digest(self.bytes).into())
    }
}

impl<'b, B: AsRef<[u8]> + ?Sized> From<&'b B> for Body<'b> {
    fn from(bytes: &'b B) -> Self {
        Self { bytes: bytes.as_ref(), md5: None }
    }
}
