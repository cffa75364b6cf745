//! Colours, where a terminal is there that shows them.

use std::ffi::OsStr;
use std::io::IsTerminal;

/// Whether to colour.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    colours: bool,
}

impl Paint {
    /// For standard output: coloured on a terminal, unless `NO_COLOR` (<https://no-color.org>) or a dumb one says no.
    pub(super) fn of_stdout() -> Self {
        let (no_color, term) = (std::env::var_os("NO_COLOR"), std::env::var_os("TERM"));
        Self::decide(std::io::stdout().is_terminal(), no_color.as_deref(), term.as_deref())
    }

    fn decide(is_terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> Self {
        let wanted = no_color.is_none_or(OsStr::is_empty);
        let able = term.is_none_or(|term| term != "dumb");
        Paint { colours: is_terminal && wanted && able }
    }

    /// What is well.
    pub(super) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    /// What is refused, or failed.
    pub(super) fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }

    /// What deserves a second look.
    pub(super) fn doubtful(self, text: &str) -> String {
        self.with("33", text)
    }

    /// What stands in the background.
    pub(super) fn faint(self, text: &str) -> String {
        self.with("2", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        let (yes, dumb, empty) = (OsStr::new("1"), OsStr::new("dumb"), OsStr::new(""));
        let good = |paint: Paint| paint.good("fine");
        for on in [Paint::decide(true, None, None), Paint::decide(true, Some(empty), Some(yes))] {
            assert_eq!(good(on), "\u{1b}[32mfine\u{1b}[0m");
        }
        for off in [
            Paint::decide(false, None, None),
            Paint::decide(true, Some(yes), None),
            Paint::decide(true, None, Some(dumb)),
        ] {
            assert_eq!(good(off), "fine");
        }
    }
}
