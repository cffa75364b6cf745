//! Tests of a policy: who connects, what they send and when, and what is expected of it. Read from TOML by [`read()`], run by
//! [`run`]. The format is documented in docs/policy-tests.md.

mod json;
mod read;
pub mod run;
mod table;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

pub use self::read::read;
use super::Arrival;

/// What a file of tests ends with. It stands beside a policy and is none.
pub use crate::config::TESTS as FILE_END;

/// The peer that a test describes itself.
const OWN_PEER: &str = "me";

/// One file of tests.
#[derive(Debug)]
pub struct Suite {
    /// The file, as messages name it.
    pub origin: String,
    /// The policy under test, lowest layer first; `None` where the file names none.
    pub policy: Option<Vec<PathBuf>>,
    /// When every test begins.
    pub now: SystemTime,
    /// The tests, each with a name of its own.
    pub tests: Vec<Test>,
}

/// One test.
#[derive(Debug)]
pub struct Test {
    /// Its name.
    pub name: String,
    /// Who connects at its beginning, in this order.
    peers: Vec<Arc<Cast>>,
    /// What happens, in this order; at least one.
    steps: Vec<Step>,
}

/// A client with a name.
#[derive(Debug)]
struct Cast {
    name: String,
    arrival: Arrival,
}

/// Something that happens, and what is expected of it.
#[derive(Debug)]
struct Step {
    /// How long after the beginning.
    at: Duration,
    /// The place of its peer among the test's.
    from: usize,
    /// What it sends; `None` where the handshake is what the expectations are about.
    event: Option<Event>,
    /// How often, each time with the same expectations.
    repeat: u32,
    expect: Expect,
}

/// What is sent.
#[derive(Clone, Debug)]
struct Event {
    /// `None` for the policy's only event, or the usual one.
    name: Option<String>,
    /// JSON text; `None` for an event without an argument.
    payload: Option<String>,
}

/// What is expected. What is `None` may be anything.
#[derive(Debug, Default)]
struct Expect {
    admitted: Option<bool>,
    accepted: Option<bool>,
    code: Option<String>,
    rule: Option<String>,
    rooms: Option<Vec<String>>,
    recipients: Option<Vec<String>>,
    relayed: Option<Value>,
    observed: Option<Vec<String>>,
    closes: Option<String>,
    answer: Option<Map<String, Value>>,
}
