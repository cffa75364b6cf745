//! What each fuzz target does with a fuzzer's bytes: one function a target, called by libFuzzer (`fuzz_targets/`) and by
//! the replay of the corpus (`tests/corpus.rs`) alike. A function returns for every input, or panics where flowgate
//! does, or where it breaks a promise that the function checks.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod config;
mod envelope;
mod frames;
mod json;
mod jwks;
mod jwt;
mod node_format;
mod packets;
mod policies;
mod proxy_header;

use std::pin::pin;
use std::task::{Context, Poll, Waker};

pub use config::config;
pub use envelope::envelope;
pub use frames::frames;
pub use jwks::jwks;
pub use jwt::jwt;
pub use node_format::node_format;
pub use packets::packets;
pub use proxy_header::proxy_header;

/// What is done with one input.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also its folder's in `corpus/`.
pub const TARGETS: &[(&str, Target)] = &[
    ("config", config),
    ("envelope", envelope),
    ("frames", frames),
    ("jwks", jwks),
    ("jwt", jwt),
    ("node_format", node_format),
    ("packets", packets),
    ("proxy_header", proxy_header),
];

/// 2026-03-01T12:00:00Z: every target takes place at this moment, so that an input always does the same.
fn noon() -> flowgate::event::Now {
    flowgate::event::fixtures::noon()
}

/// What a future says that waits for nobody; a panic if it does wait.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(said) => said,
        Poll::Pending => panic!("there is nothing to wait for"),
    }
}

/// A text that a log line may hold: nothing in it can end the line or speak to a terminal.
fn is_one_line(text: &str) -> bool {
    !text.chars().any(char::is_control)
}
