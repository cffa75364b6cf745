//! The `flowgate` command: arguments → command → exit code.
#![warn(clippy::unwrap_used, clippy::expect_used)]

use std::process::ExitCode;

use flowgate::cli::Cli;

fn main() -> ExitCode {
    Cli::read().run()
}
