//! Several JSON pointers (RFC 6901), evaluated in one strict pass over a text. Each value is the JSON token as it is in
//! the text.

use std::borrow::Cow;

use smallvec::{SmallVec, smallvec};

use super::remainder::Collected;
use crate::pusher::json::{self, MAX_DEPTH, Scanner};

/// A set of pointers as a tree of their reference tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Pointers {
    root: Node,
    count: usize,
}

/// The index of a pointer's value among all values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PointerIndex(usize);

/// The values of all pointers; `None` where a pointer has no value.
#[derive(Debug)]
pub(super) struct PointerValues<'a>(SmallVec<[Option<&'a str>; 8]>);

/// A value that a pointer leads to, or past.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Node {
    index: Option<PointerIndex>,
    /// Whether it, with all below it, is no part of the remainder.
    is_excluded: bool,
    children: Vec<(Box<str>, Node)>,
}

impl Pointers {
    /// Adds `pointer`; the error says what is wrong with it and how to correct it. The same pointer gets the same index
    /// again.
    pub(super) fn add(&mut self, pointer: &str) -> Result<PointerIndex, String> {
        let next = PointerIndex(self.count);
        let index = *self.root.grow(parse(pointer)?).index.get_or_insert(next);
        self.count = self.count.max(index.0 + 1);
        Ok(index)
    }

    /// What `pointer` leads to is no part of the remainder; the error is that of [`Pointers::add`].
    pub(super) fn exclude(&mut self, pointer: &str) -> Result<(), String> {
        self.root.grow(parse(pointer)?).is_excluded = true;
        Ok(())
    }

    /// Adds `pointer`, and excludes what it leads to.
    pub(super) fn add_excluded(&mut self, pointer: &str) -> Result<PointerIndex, String> {
        self.exclude(pointer)?;
        self.add(pointer)
    }

    /// All of `data`.
    pub(super) const fn root(&self) -> &Node {
        &self.root
    }

    /// Evaluates all pointers in `text`. `None` if that cannot be done exactly: `text` is not JSON, has more than
    /// [`MAX_DEPTH`] levels, or an object on the path of a pointer has a key twice or with an escape, so that readers
    /// may differ about it. `remainder`: gets all that is not excluded.
    pub(super) fn read<'a>(&self, text: &'a str, remainder: Option<&mut Collected>) -> Option<PointerValues<'a>> {
        let mut found = smallvec![None; self.count];
        self.root.descend(text, &mut found, remainder)?;
        Some(PointerValues(found))
    }
}

impl<'a> PointerValues<'a> {
    /// The token at `index`.
    pub(super) fn get(&self, index: PointerIndex) -> Option<&'a str> {
        self.0[index.0]
    }
}

impl Node {
    /// The node that `tokens` lead to.
    fn grow(&mut self, tokens: Vec<Box<str>>) -> &mut Self {
        let mut node = self;
        for token in tokens {
            let index = node.children.iter().position(|(name, _)| *name == token).unwrap_or_else(|| {
                node.children.push((token, Self::default()));
                node.children.len() - 1
            });
            node = &mut node.children[index].1;
        }
        node
    }

    /// Whether it is no part of the remainder.
    pub(super) const fn is_excluded(&self) -> bool {
        self.is_excluded
    }

    /// The member with this key.
    #[inline]
    pub(super) fn child(&self, key: &str) -> Option<&Self> {
        self.children.iter().find(|(name, _)| **name == *key).map(|(_, child)| child)
    }

    /// The element at this index.
    pub(super) fn element(&self, index: usize) -> Option<&Self> {
        self.children.iter().find(|(name, _)| array_index(name) == Some(index)).map(|(_, child)| child)
    }

    /// Fills in the values below this node from `text`, which is read to its end.
    fn descend<'a>(
        &self,
        text: &'a str,
        found: &mut [Option<&'a str>],
        remainder: Option<&mut Collected>,
    ) -> Option<()> {
        match text.trim_ascii_start().as_bytes().first() {
            Some(b'{') => self.descend_object(text, found, remainder),
            Some(b'[') => self.descend_array(text, found, remainder),
            _ => {
                remainder.into_iter().for_each(|remainder| remainder.scalar(text));
                json::is_valid(text).then_some(())
            }
        }
    }

    fn descend_object<'a>(
        &self,
        text: &'a str,
        found: &mut [Option<&'a str>],
        mut remainder: Option<&mut Collected>,
    ) -> Option<()> {
        let mut scanner = Scanner::object(text);
        let mut keys: SmallVec<[&str; 12]> = SmallVec::new();
        while let Some((key, value)) = scanner.member().ok()? {
            keys.push(key);
            match (self.child(key), remainder.as_deref_mut()) {
                (Some(child), remainder) => child.take(key, value, found, remainder)?,
                (None, Some(remainder)) => remainder.member(key, value),
                (None, None) => {}
            }
        }
        (!json::has_duplicates(keys.iter().copied())).then_some(())
    }

    fn descend_array<'a>(
        &self,
        text: &'a str,
        found: &mut [Option<&'a str>],
        mut remainder: Option<&mut Collected>,
    ) -> Option<()> {
        let elements = json::elements(text)?;
        let mut children: SmallVec<[(usize, &Self); 4]> = SmallVec::new();
        children.extend(self.children.iter().filter_map(|(token, child)| Some((array_index(token)?, child))));
        children.sort_unstable_by_key(|(index, _)| *index);
        let mut children = children.into_iter().peekable();
        for (index, element) in elements.into_iter().enumerate() {
            match (children.next_if(|(next, _)| *next == index), remainder.as_deref_mut()) {
                (Some((_, child)), remainder) => child.take("", element, found, remainder)?,
                (None, Some(remainder)) => remainder.member("", element),
                (None, None) => {}
            }
        }
        Some(())
    }

    /// Stores the value of this node, which is that of `key`, and continues below it.
    fn take<'a>(
        &self,
        key: &str,
        value: &'a str,
        found: &mut [Option<&'a str>],
        remainder: Option<&mut Collected>,
    ) -> Option<()> {
        if let Some(PointerIndex(index)) = self.index {
            found[index] = Some(value);
        }
        let mut remainder = remainder.filter(|_| !self.is_excluded);
        if self.children.is_empty() {
            remainder.into_iter().for_each(|remainder| remainder.member(key, value));
            return Some(());
        }
        remainder.as_deref_mut().into_iter().for_each(|remainder| remainder.begin(key));
        self.descend(value, found, remainder.as_deref_mut())?;
        remainder.into_iter().for_each(Collected::end);
        Some(())
    }
}

/// The key of an object as a reference token of a pointer (RFC 6901, section 3).
#[must_use]
pub fn escaped(key: &str) -> Cow<'_, str> {
    match key.contains(['~', '/']) {
        true => Cow::Owned(key.replace('~', "~0").replace('/', "~1")),
        false => Cow::Borrowed(key),
    }
}

/// The key of an object that a reference token means.
#[must_use]
pub fn unescaped(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// The reference tokens of `pointer`, decoded.
fn parse(pointer: &str) -> Result<Vec<Box<str>>, String> {
    let tokens = pointer.strip_prefix('/').ok_or_else(|| match pointer {
        "" => "an empty pointer means the whole of data: point at one value in it, e.g. /staff_id".to_owned(),
        _ => format!("`{pointer}` is no JSON pointer: it must begin with a slash, e.g. /{}", pointer.replace('.', "/")),
    })?;
    let tokens =
        tokens.split('/').map(|token| match token.split('~').skip(1).all(|after| after.starts_with(['0', '1'])) {
            true => Ok(unescaped(token).into_boxed_str()),
            false => Err(format!(
                "`{pointer}` has a `~` that is neither ~0 (for ~) nor ~1 (for /): write ~0 for a tilde in a key"
            )),
        });
    let tokens = tokens.collect::<Result<Vec<_>, _>>()?;
    if tokens.len() >= MAX_DEPTH {
        return Err(format!(
            "`{pointer}` goes deeper than the {MAX_DEPTH} levels that data may have: point at a value that can exist"
        ));
    }
    Ok(tokens)
}

/// The array index that a reference token spells: digits without leading zeros.
fn array_index(token: &str) -> Option<usize> {
    let is_index = token == "0" || !token.starts_with('0') && token.bytes().all(|byte| byte.is_ascii_digit());
    token.parse().ok().filter(|_| is_index)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `pointer` finds in `text`: outer `None` if the text is unreadable.
    fn find<'a>(pointer: &str, text: &'a str) -> Option<Option<&'a str>> {
        let mut pointers = Pointers::default();
        let index = pointers.add(pointer).unwrap();
        pointers.read(text, None).map(|found| found.get(index))
    }

    /// The examples of RFC 6901, section 5, but for the empty pointer.
    #[test]
    fn follows_the_examples_of_the_standard() {
        let text = r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"k l":6,"m~n":8}"#;
        for (pointer, token) in [
            ("/foo", "[\"bar\",\"baz\"]"),
            ("/foo/0", "\"bar\""),
            ("/", "0"),
            ("/a~1b", "1"),
            ("/c%d", "2"),
            ("/e^f", "3"),
            ("/g|h", "4"),
            ("/k l", "6"),
            ("/m~0n", "8"),
        ] {
            assert_eq!(find(pointer, text), Some(Some(token)), "{pointer}");
        }
        assert_eq!(find("/~01", r#"{"~1":5}"#), Some(Some("5")));
    }

    #[test]
    fn what_is_not_there_is_absent() {
        for pointer in [
            "/x",
            "/a/x",
            "/a/0/x",
            "/list/2",
            "/list/-",
            "/list/00",
            "/list/+1",
            "/list/x",
            "/list/99999999999999999999",
            "/s/0",
            "/n/0",
        ] {
            assert_eq!(
                find(pointer, r#" { "a" : {} , "list":[1,2], "s":"text", "n":null } "#),
                Some(None),
                "{pointer}"
            );
        }
        for text in ["[]", "7", "\"text\"", "null", " true\n"] {
            assert_eq!(find("/a", text), Some(None), "{text}");
        }
        assert_eq!(find("/1/a", "[0,{\"a\":1.50}]"), Some(Some("1.50")));
    }

    #[test]
    fn what_readers_may_differ_about_is_unreadable() {
        let levels = |count: usize| format!("{}{}", "[".repeat(count), "]".repeat(count));
        for text in [
            "",
            "{",
            "nope",
            "[1",
            "{} {}",
            "[] x",
            "7 7",
            "{\"a\":1,}",
            "{\"a\":{\"b\":1},\"a\":{\"b\":1}}",
            "{\"x\":1,\"x\":1,\"a\":{\"b\":1}}",
            "{\"a\":{\"b\":1,\"b\":2}}",
            "{\"\\u0061\":1}",
            "{\"a\":{\"\\u0062\":1}}",
            "{\"a\":[\"\u{1}\"]}",
            "{\"a\":NaN}",
            &format!("{{\"a\":{}}}", levels(127)),
            &format!("{{\"x\":{}}}", levels(10_000)),
            &levels(128),
            &"[".repeat(10_000),
        ] {
            assert_eq!(find("/a/b", text), None, "{text:.60}");
        }
        // Not on the path of a pointer: not read.
        assert_eq!(find("/a/b", "{\"x\":{\"y\":1,\"y\":2},\"a\":{\"b\":1}}"), Some(Some("1")));
        assert_eq!(find("/a/b", &format!("{{\"x\":{},\"a\":{{\"b\":1}}}}", levels(126))), Some(Some("1")));
        assert_eq!(find("/a/b", &levels(127)), Some(None));
    }

    #[test]
    fn several_pointers_share_one_walk() {
        let mut pointers = Pointers::default();
        let slots = ["/p/id", "/p", "/q", "/p/id", "/p/name"].map(|pointer| pointers.add(pointer).unwrap());
        assert_eq!(slots[0], slots[3]);
        let found = pointers.read(r#"{"p":{"id":7,"name":"A"}}"#, None).unwrap();
        assert_eq!(
            slots.map(|index| found.get(index)),
            [Some("7"), Some(r#"{"id":7,"name":"A"}"#), None, Some("7"), Some("\"A\"")]
        );
    }

    #[test]
    fn what_is_no_pointer_is_refused() {
        let mut pointers = Pointers::default();
        for (pointer, reason) in [
            ("", "whole of data"),
            ("staff.id", "e.g. /staff/id"),
            ("a/b", "begin with a slash"),
            ("/a~2", "neither ~0"),
            ("/a~", "neither ~0"),
        ] {
            let problem = pointers.add(pointer).unwrap_err();
            assert!(problem.contains(reason), "{pointer}: {problem}");
        }
        assert!(pointers.add(&"/a".repeat(126)).is_ok());
        assert!(pointers.add(&"/a".repeat(127)).unwrap_err().contains("deeper"));
    }
}
