//! The `flowgate` command.
#![warn(clippy::unwrap_used, clippy::expect_used)]

fn main() {}
