//! The two guests' pages side by side, as lines of text, in colour on a terminal.

use super::guest::Entry;
use crate::command::terminal::{Printable, stdout_has_colours};

/// Characters in a column.
const WIDTH: usize = 38;

/// The style of the lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    colours: bool,
}

/// The text of one page in one line.
#[derive(Debug)]
struct Cell {
    text: String,
    kind: CellKind,
}

/// What a cell holds, for its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CellKind {
    Title,
    /// An announcement of another staff member than the one before.
    News,
    /// An announcement of the same staff member as before.
    Noise,
    Staff,
    Guest,
}

impl Page {
    /// In colour if standard output is a terminal, unless the environment says otherwise.
    pub(super) fn for_stdout() -> Self {
        Self { colours: stdout_has_colours() }
    }

    /// The lines above the columns.
    pub(super) fn head(self) -> [String; 2] {
        let rule = "─".repeat(WIDTH);
        let title = |text: &str| Cell { text: text.to_owned(), kind: CellKind::Title };
        [self.row(Some(&title("guest without usher")), Some(&title("guest with usher"))), format!("  {rule}  {rule}")]
    }

    /// The lines for new entries on both pages, the last entries side by side. `before`: the staff member that each
    /// page showed last, of whom another announcement is noise.
    pub(super) fn lines(self, pages: [&[Entry]; 2], before: [Option<&str>; 2]) -> Vec<String> {
        let height = pages[0].len().max(pages[1].len());
        let column = |side: usize| {
            let mut last = before[side];
            let cells = pages[side].iter().map(move |entry| Some(Cell::of(entry, &mut last)));
            std::iter::repeat_with(|| None).take(height - pages[side].len()).chain(cells)
        };
        column(0).zip(column(1)).map(|(left, right)| self.row(left.as_ref(), right.as_ref())).collect()
    }

    /// Emphasised text.
    pub(super) fn strong(self, text: &str) -> String {
        self.paint(text, CellKind::Title)
    }

    fn row(self, left: Option<&Cell>, right: Option<&Cell>) -> String {
        let column = |cell: Option<&Cell>| {
            let Some(Cell { text, kind }) = cell else { return " ".repeat(WIDTH) };
            let text = cut(text);
            self.paint(&text, *kind) + &" ".repeat(WIDTH - text.chars().count())
        };
        format!("  {}  {}", column(left), column(right)).trim_end().to_owned()
    }

    fn paint(self, text: &str, kind: CellKind) -> String {
        let code = match kind {
            CellKind::Title => "1",
            CellKind::News => "1;32",
            CellKind::Noise => "31",
            CellKind::Staff => "36",
            CellKind::Guest => return text.to_owned(),
        };
        if self.colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

impl Cell {
    fn of<'a>(entry: &'a Entry, last: &mut Option<&'a str>) -> Self {
        match entry {
            Entry::Joined(name) => {
                let kind = if *last == Some(name) { CellKind::Noise } else { CellKind::News };
                *last = Some(name);
                Self { text: format!("* {name} joined the chat"), kind }
            }
            Entry::Message { from: Some(name), text, .. } => {
                Self { text: format!("{name}: {text}"), kind: CellKind::Staff }
            }
            Entry::Message { from: None, text, .. } => Self { text: format!("me: {text}"), kind: CellKind::Guest },
        }
    }
}

/// `text`, cut to the width of a column.
fn cut(text: &str) -> String {
    let text = Printable(text).to_string();
    if text.chars().count() <= WIDTH { text } else { text.chars().take(WIDTH - 1).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Entry {
        Entry::Message { number: 1, from: Some("Anna".to_owned()), text: text.to_owned() }
    }

    #[test]
    fn messages_stand_side_by_side_and_what_is_missing_is_blank() {
        let joined = Entry::Joined("Anna".to_owned());
        let lines = Page { colours: false }.lines([&[joined, said("Hello")], &[said("Hello")]], [None, Some("Anna")]);
        assert_eq!(lines, ["  * Anna joined the chat", "  Anna: Hello                             Anna: Hello"]);
    }

    #[test]
    fn colours_distinguish_news_from_noise_and_do_not_move_columns() {
        let joined = Entry::Joined("Anna".to_owned());
        let page = Page { colours: true };
        let line = |before| page.lines([std::slice::from_ref(&joined), &[said("x")]], [before, None]).remove(0);
        assert!(line(None).starts_with("  \u{1b}[1;32m* Anna joined the chat\u{1b}[0m  "));
        assert!(line(Some("Anna")).starts_with("  \u{1b}[31m* Anna"));
        assert!(line(Some("Boris")).starts_with("  \u{1b}[1;32m* Anna"));
        let plain =
            Page { colours: false }.lines([std::slice::from_ref(&joined), &[said("x")]], [None, None]).remove(0);
        assert_eq!(line(None).replace("\u{1b}[1;32m", "").replace("\u{1b}[36m", "").replace("\u{1b}[0m", ""), plain);
    }

    #[test]
    fn what_is_too_long_or_odd_is_cut_and_spelt_out() {
        let lines = Page { colours: false }.lines([&[said(&"x".repeat(100))], &[said("\u{1b}[2J")]], [None, None]);
        assert_eq!(lines[0], format!("  Anna: {}…  Anna: \\u{{1b}}[2J", "x".repeat(31)));
    }
}
