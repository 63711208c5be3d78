//! A strict scanner: one pass over a text checks all of it and returns the tokens of its outermost level.
//!
//! Most of usher's work is reading triggers, so it has a scanner of its own, which neither recurses nor allocates, and
//! examines strings by blocks of bytes. It accepts and refuses the same texts as serde_json (for values that need not
//! be decoded), except for the limit on depth; `tests/properties.rs` compares the two.

use super::MAX_DEPTH;
use super::find::{Spelling, string_end};

/// The text is not JSON of the expected type, has bytes after its end or more than [`MAX_DEPTH`] levels, or has a key
/// with an escape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused;

/// An iteration over the members of an object or the elements of an array. A token that was returned is valid; whether
/// the whole text is valid is known at its end.
#[derive(Debug)]
pub(crate) struct Scanner<'t> {
    text: &'t str,
    /// Everything before this byte was checked.
    at: usize,
    /// What precedes the next member or element: first the opening bracket, then commas.
    separator: u8,
    closing: u8,
}

/// Whether `text` is one JSON value of any type, with at most [`MAX_DEPTH`] levels and nothing after it.
pub(crate) fn is_valid(text: &str) -> bool {
    let mut scanner = Scanner::new(text, 0, 0);
    scanner.value(MAX_DEPTH).is_ok() && scanner.peek().is_none()
}

impl<'t> Scanner<'t> {
    /// A scanner of the object in `text`; see [`Scanner::member`].
    pub(crate) fn object(text: &'t str) -> Self {
        Self::new(text, b'{', b'}')
    }

    /// A scanner of the array in `text`; see [`Scanner::element`].
    pub(crate) fn array(text: &'t str) -> Self {
        Self::new(text, b'[', b']')
    }

    fn new(text: &'t str, opening: u8, closing: u8) -> Self {
        Self { text, at: 0, separator: opening, closing }
    }

    /// The next key, without its quotes, and the token of its value; `None` at the end of the text.
    ///
    /// # Errors
    /// [`Refused`], also for bytes after the object.
    pub(crate) fn member(&mut self) -> Result<Option<(&'t str, &'t str)>, Refused> {
        if !self.step()? {
            return Ok(None);
        }
        self.expect(b'"')?;
        let start = self.at;
        if self.string()? == Spelling::Escaped {
            return Err(Refused);
        }
        let key = self.text.get(start..self.at - 1).ok_or(Refused)?;
        self.expect(b':')?;
        Ok(Some((key, self.value(MAX_DEPTH - 1)?)))
    }

    /// The next token; `None` at the end of the text.
    ///
    /// # Errors
    /// [`Refused`], also for bytes after the array.
    pub(crate) fn element(&mut self) -> Result<Option<&'t str>, Refused> {
        if self.step()? { self.value(MAX_DEPTH - 1).map(Some) } else { Ok(None) }
    }

    /// Advances to the beginning of the next member or element. False at the end of the text.
    fn step(&mut self) -> Result<bool, Refused> {
        let is_first = self.separator != b',';
        match self.peek() {
            Some(byte) if byte == self.separator => {
                self.at += 1;
                self.separator = b',';
                if !is_first || self.peek() != Some(self.closing) {
                    return Ok(true);
                }
            }
            Some(byte) if byte == self.closing && !is_first => {}
            _ => return Err(Refused),
        }
        self.at += 1;
        if self.peek().is_none() { Ok(false) } else { Err(Refused) }
    }

    /// The next token, of any type, with at most `levels` levels of arrays and objects.
    #[inline]
    fn value(&mut self, levels: usize) -> Result<&'t str, Refused> {
        let first = self.peek();
        let start = self.at;
        match first {
            Some(b'{' | b'[') => self.nested(levels)?,
            _ => self.flat(first)?,
        }
        self.text.get(start..self.at).ok_or(Refused)
    }

    /// Skips the string, number or literal that begins with `first`.
    #[inline]
    fn flat(&mut self, first: Option<u8>) -> Result<(), Refused> {
        if first == Some(b'"') {
            self.at += 1;
            self.string().map(drop)
        } else {
            self.scalar()
        }
    }

    /// Skips an array or an object of at most `levels` levels.
    #[inline(never)]
    fn nested(&mut self, levels: usize) -> Result<(), Refused> {
        // The containers around this byte as bits, the innermost one lowest: set for an object.
        let (mut kinds, mut depth) = (0_u128, 0);
        loop {
            match self.peek() {
                Some(opening @ (b'{' | b'[')) => {
                    if depth == levels {
                        return Err(Refused);
                    }
                    self.at += 1;
                    depth += 1;
                    kinds = kinds << 1 | u128::from(opening == b'{');
                    if self.peek() != Some(closing(kinds)) {
                        self.inner_key(kinds)?;
                        continue;
                    }
                }
                first => self.flat(first)?,
            }
            // A value has ended here, and perhaps the containers around it.
            loop {
                if depth == 0 {
                    return Ok(());
                }
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        self.inner_key(kinds)?;
                        break;
                    }
                    Some(byte) if byte == closing(kinds) => {
                        self.at += 1;
                        depth -= 1;
                        kinds >>= 1;
                    }
                    _ => return Err(Refused),
                }
            }
        }
    }

    /// Skips the key of a member and its colon, if the innermost container is an object.
    fn inner_key(&mut self, kinds: u128) -> Result<(), Refused> {
        if is_object(kinds) {
            self.expect(b'"')?;
            self.string()?;
            self.expect(b':')?;
        }
        Ok(())
    }

    /// Skips a string whose first quote was skipped already.
    fn string(&mut self) -> Result<Spelling, Refused> {
        let (end, spelling) = string_end(self.text.as_bytes(), self.at).ok_or(Refused)?;
        self.at = end + 1;
        Ok(spelling)
    }

    /// Skips a number or a literal.
    fn scalar(&mut self) -> Result<(), Refused> {
        let rest = self.text.as_bytes().get(self.at..).ok_or(Refused)?;
        self.at += match rest.first() {
            Some(b't') if rest.starts_with(b"true") => 4,
            Some(b'f') if rest.starts_with(b"false") => 5,
            Some(b'n') if rest.starts_with(b"null") => 4,
            _ => number(rest).ok_or(Refused)?,
        };
        Ok(())
    }

    /// Skips white space and `byte`.
    fn expect(&mut self, byte: u8) -> Result<(), Refused> {
        if self.peek() != Some(byte) {
            return Err(Refused);
        }
        self.at += 1;
        Ok(())
    }

    /// Skips white space. Returns the byte after it, without skipping that.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                other => return other.copied(),
            }
        }
    }
}

const fn is_object(kinds: u128) -> bool {
    kinds & 1 == 1
}

/// The bracket that closes the innermost container.
const fn closing(kinds: u128) -> u8 {
    if is_object(kinds) { b'}' } else { b']' }
}

/// The length of the number at the beginning of `bytes`.
fn number(bytes: &[u8]) -> Option<usize> {
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    at = if bytes.get(at) == Some(&b'0') { at + 1 } else { digits(bytes, at)? };
    if bytes.get(at) == Some(&b'.') {
        at = digits(bytes, at + 1)?;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1;
        at = digits(bytes, at + usize::from(matches!(bytes.get(at), Some(b'+' | b'-'))))?;
    }
    Some(at)
}

/// The end of the digits at `start`; `None` if there is none.
fn digits(bytes: &[u8], start: usize) -> Option<usize> {
    let count = bytes.get(start..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (count > 0).then_some(start + count)
}
