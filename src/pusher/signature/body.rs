//! A request's body and its MD5 digest, which the signature covers.

use md5::{Digest, Md5};
use smallvec::SmallVec;

use super::lanes::{self, COST, LANES};

/// A request's raw body, with its digest if that is computed already.
#[derive(Debug, Clone, Copy)]
pub struct Body<'b> {
    bytes: &'b [u8],
    /// `None`: not computed yet.
    md5: Option<[u8; 16]>,
}

impl<'b> Body<'b> {
    /// Each of `bodies`, in their order. Where several of them have similar lengths, their digests are computed
    /// together, which takes a quarter of the time of one after the other.
    pub fn digested<const N: usize>(bodies: impl IntoIterator<Item = &'b [u8]>) -> SmallVec<[Self; N]> {
        let mut digested: SmallVec<[Self; N]> = bodies.into_iter().map(Self::from).collect();
        for several in digested.chunks_mut(LANES) {
            let lengths = several.iter().map(|body| body.bytes.len());
            if lengths.clone().sum::<usize>() <= COST * lengths.max().unwrap_or_default() {
                continue;
            }
            let messages = std::array::from_fn(|lane| several.get(lane).map_or(&b""[..], |body| body.bytes));
            for (body, md5) in several.iter_mut().zip(lanes::digests(messages)) {
                body.md5 = Some(md5);
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

    /// Its MD5 digest, the value of `body_md5`.
    pub(super) fn md5(self) -> [u8; 16] {
        self.md5.unwrap_or_else(|| Md5::digest(self.bytes).into())
    }
}

impl<'b, B: AsRef<[u8]> + ?Sized> From<&'b B> for Body<'b> {
    fn from(bytes: &'b B) -> Self {
        Self { bytes: bytes.as_ref(), md5: None }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1321 A.5.
    const PUBLISHED: [(&str, &str); 7] = [
        ("", "d41d8cd98f00b204e9800998ecf8427e"),
        ("a", "0cc175b9c0f1b6a831c399e269772661"),
        ("abc", "900150983cd24fb0d6963f7d28e17f72"),
        ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
        ("abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"),
        ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "d174ab98d277d9f5a5611c2c9f419d9f"),
        (
            "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
            "57edf4a22be3c955ac49da2e2107b67a",
        ),
    ];

    #[test]
    fn published_digests_are_made_together_as_alone() {
        let bodies = Body::digested::<8>(PUBLISHED.iter().map(|(text, _)| text.as_bytes()));
        for (body, (text, digest)) in bodies.into_iter().zip(PUBLISHED) {
            assert!(body.md5.is_some(), "{text:?}");
            assert_eq!(data_encoding::HEXLOWER.encode(&body.md5()), digest, "{text:?}");
            assert_eq!(Body::from(text).md5(), body.md5(), "{text:?}");
        }
    }

    #[test]
    fn every_length_is_padded_right() {
        let text: Vec<u8> = (0..=255).cycle().take(200).collect();
        let bodies = Body::digested::<8>((0..text.len()).map(|length| &text[..length]));
        for body in bodies {
            assert!(body.md5.is_some());
            assert_eq!(body.md5(), <[u8; 16]>::from(Md5::digest(body.bytes)), "{} bytes", body.bytes.len());
        }
    }

    proptest! {
        #[test]
        fn each_body_has_its_own_digest_whoever_is_beside_it(lengths in prop::collection::vec(0..1_000_usize, 0..40), seed in any::<u8>()) {
            let bytes: Vec<Vec<u8>> = lengths.iter().map(|length| (0..*length).map(|at| (at as u8).wrapping_mul(seed)).collect()).collect();
            let bodies = Body::digested::<16>(bytes.iter().map(Vec::as_slice));
            prop_assert_eq!(bodies.len(), bytes.len());
            for (body, bytes) in bodies.into_iter().zip(&bytes) {
                prop_assert_eq!(body.bytes(), &bytes[..]);
                prop_assert_eq!(body.md5(), <[u8; 16]>::from(Md5::digest(bytes)));
            }
        }
    }
}
