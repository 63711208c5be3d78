//! Output to a terminal: errors whose printing cannot fail, and text from the network without control characters.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;

use tokio::io::Interest;
use tokio::net::unix::pipe;

/// Prints a line to standard error, and ignores a failure.
#[expect(clippy::let_underscore_must_use, reason = "when standard error is gone there is nobody left to tell")]
pub(super) fn print_error(what: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{what}");
}

/// Whether standard output may be coloured: if it is a terminal, unless the environment says otherwise.
pub(super) fn stdout_has_colours() -> bool {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdout().is_terminal() && !plain
}

/// Whether the reader of standard output has closed it (`usher subscribe … | head`). That ends a command, but is no
/// failure.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<StdoutError>())
        .any(|error| error.0.kind() == io::ErrorKind::BrokenPipe)
}

/// Waits until the reader of standard output has closed it: a command that has nothing to print would not notice.
/// Never returns if standard output is a file, or cannot be watched.
pub(super) async fn stdout_closed() {
    // Unchecked: nothing is written through it, so it need not be a pipe, nor in non-blocking mode.
    let watched = io::stdout().as_fd().try_clone_to_owned().and_then(pipe::Sender::from_owned_fd_unchecked);
    if let Ok(watched) = watched
        && watched.ready(Interest::ERROR).await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// Writes a line to standard output at once.
///
/// # Errors
/// If it cannot be written.
pub(super) fn print(line: impl fmt::Display) -> Result<(), StdoutError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(StdoutError)
}

/// Writes a whole text to standard output as it is.
///
/// # Errors
/// If it cannot be written.
pub(super) fn print_whole(text: &[u8]) -> Result<(), StdoutError> {
    let mut out = io::stdout().lock();
    out.write_all(text).and_then(|()| out.flush()).map_err(StdoutError)
}

/// Standard output cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("standard output cannot be written")]
pub(super) struct StdoutError(#[source] io::Error);

/// Text from the network in a printable form: control characters, which could move the cursor or change a title, are
/// escaped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Printable<'a>(pub(super) &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if Self::is_plain(character) {
                f.write_char(character)?;
            } else {
                write!(f, "{}", character.escape_default())?;
            }
        }
        Ok(())
    }
}

impl Printable<'_> {
    /// Whether a character is printed as it is.
    pub(super) fn is_plain(character: char) -> bool {
        !character.is_control() && !is_invisible(character)
    }
}

/// Characters that change the order of others, or are not visible.
const fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_elsewhere_does_nothing_to_the_terminal() {
        for (text, shown) in [
            ("Zoë: \"hello\" 👋", "Zoë: \"hello\" 👋"),
            ("\u{1b}[2J\u{1b}]0;owned\u{7}", "\\u{1b}[2J\\u{1b}]0;owned\\u{7}"),
            ("a\r\nb\tc\0", "a\\r\\nb\\tc\\u{0}"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("abc\u{202e}fed", "abc\\u{202e}fed"),
        ] {
            assert_eq!(Printable(text).to_string(), shown);
        }
    }
}
