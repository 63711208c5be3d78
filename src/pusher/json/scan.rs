//! A strict scanner: one pass over a text checks all of it and hands out the tokens of its outermost level.
//!
//! Reading triggers is what usher does all day, so it has a scanner of its own, without recursion, allocation or a look
//! at each byte. Any text is taken or refused as serde_json does it (for values that it need not decode), but for the
//! depth; `tests/properties.rs` holds the two against each other.

use super::MAX_DEPTH;
use super::find::{Spelling, string_end};

/// The text is not JSON of the kind that was asked for, has something behind it, has more than [`MAX_DEPTH`] levels, or
/// spells a key with an escape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused;

/// A walk over the members of an object or the elements of an array. What was handed out is right in itself; whether
/// the whole text is, is known at its end.
#[derive(Debug)]
pub(crate) struct Scanner<'t> {
    text: &'t str,
    /// What is before this place was checked.
    at: usize,
    /// What stands before the next member or element: the opening bracket, and then commas.
    separator: u8,
    closing: u8,
}

/// Whether `text` is JSON, of any kind, with at most [`MAX_DEPTH`] levels and nothing behind it.
pub(crate) fn is_valid(text: &str) -> bool {
    let mut scanner = Scanner::new(text, 0, 0);
    scanner.value(MAX_DEPTH).is_ok() && scanner.peek().is_none()
}

impl<'t> Scanner<'t> {
    /// Goes through the object that `text` is to be, by [`Scanner::member`].
    pub(crate) fn object(text: &'t str) -> Self {
        Self::new(text, b'{', b'}')
    }

    /// Goes through the array that `text` is to be, by [`Scanner::element`].
    pub(crate) fn array(text: &'t str) -> Self {
        Self::new(text, b'[', b']')
    }

    fn new(text: &'t str, opening: u8, closing: u8) -> Self {
        Self { text, at: 0, separator: opening, closing }
    }

    /// The next key and the token of its value, both without what is around them; `None` at the end of the text.
    ///
    /// # Errors
    /// [`Refused`], also for what is behind the object.
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
    /// [`Refused`], also for what is behind the array.
    pub(crate) fn element(&mut self) -> Result<Option<&'t str>, Refused> {
        if self.step()? { self.value(MAX_DEPTH - 1).map(Some) } else { Ok(None) }
    }

    /// Goes to where a member or an element must begin. False at the end of the text.
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

    /// The next token, whatever it is, with at most `room` levels of arrays and objects.
    #[inline]
    fn value(&mut self, room: usize) -> Result<&'t str, Refused> {
        let first = self.peek();
        let start = self.at;
        match first {
            Some(b'{' | b'[') => self.nested(room)?,
            _ => self.flat(first)?,
        }
        self.text.get(start..self.at).ok_or(Refused)
    }

    /// Steps over the string, number or literal that begins with `first`.
    #[inline]
    fn flat(&mut self, first: Option<u8>) -> Result<(), Refused> {
        if first == Some(b'"') {
            self.at += 1;
            self.string().map(drop)
        } else {
            self.scalar()
        }
    }

    /// Steps over an array or an object and all that stands in it, with at most `room` levels.
    #[inline(never)]
    fn nested(&mut self, room: usize) -> Result<(), Refused> {
        // The containers around this place as bits, the innermost one lowest: set for an object.
        let (mut kinds, mut depth) = (0_u128, 0);
        loop {
            match self.peek() {
                Some(opening @ (b'{' | b'[')) => {
                    if depth == room {
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
            // A value has ended here, and so may have what it stands in.
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

    /// Steps over the key of a member and its colon, if the innermost container is an object.
    fn inner_key(&mut self, kinds: u128) -> Result<(), Refused> {
        if is_object(kinds) {
            self.expect(b'"')?;
            self.string()?;
            self.expect(b':')?;
        }
        Ok(())
    }

    /// Steps over a string whose first quote is behind us.
    fn string(&mut self) -> Result<Spelling, Refused> {
        let (end, spelling) = string_end(self.text.as_bytes(), self.at).ok_or(Refused)?;
        self.at = end + 1;
        Ok(spelling)
    }

    /// Steps over a number or a literal.
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

    /// Steps over white space and `byte`.
    fn expect(&mut self, byte: u8) -> Result<(), Refused> {
        if self.peek() != Some(byte) {
            return Err(Refused);
        }
        self.at += 1;
        Ok(())
    }

    /// Steps over white space; what comes then.
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

/// What closes the innermost container.
const fn closing(kinds: u128) -> u8 {
    if is_object(kinds) { b'}' } else { b']' }
}

/// The length of the number that `bytes` begins with.
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

/// The end of the digits at `start`, of which there must be one at least.
fn digits(bytes: &[u8], start: usize) -> Option<usize> {
    let count = bytes.get(start..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (count > 0).then_some(start + count)
}
