//! What can go wrong, in words without secrets.

use std::fmt;
use std::io;
use std::sync::Arc;

use redis::{ServerError, Value};

/// The longest text of a server's error that is kept, in bytes.
const LONGEST_DETAIL: usize = 200;

/// Why a command has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// There is no connection to its server now. It was not sent.
    #[error("Redis is away")]
    Away,
    /// Too many commands wait for their answers, and none of them came for as long as an answer may take. It was not sent.
    #[error("too many commands wait for Redis")]
    Busy,
    /// The connection broke, or was silent for too long, before the answer came. Nobody knows whether it was carried out.
    #[error("the connection to Redis broke before the answer came")]
    Lost,
    /// The server's own error.
    #[error("{0}")]
    Refused(Refusal),
}

/// A server's error: the word that it begins with, such as `NOPERM`, and what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// In capitals, as Redis writes it.
    pub code: Arc<str>,
    /// For people. Never a command's arguments.
    pub detail: Arc<str>,
}

impl Refusal {
    pub(super) fn new(error: &ServerError) -> Self {
        // An unknown command is quoted with its arguments, which may be a password or what somebody sent.
        let detail = error
            .details()
            .unwrap_or_default()
            .split(", with args beginning with")
            .next()
            .unwrap_or_default();
        let cut =
            (0..=LONGEST_DETAIL.min(detail.len())).rev().find(|at| detail.is_char_boundary(*at)).unwrap_or(0);
        Refusal { code: error.code().into(), detail: detail[..cut].into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis refused it: {} {}", self.code, self.detail)
    }
}

/// The answer to a command that its server refused, or not.
pub(super) fn judged(value: Value) -> Result<Value, CallError> {
    match value {
        Value::ServerError(error) => Err(CallError::Refused(Refusal::new(&error))),
        Value::Attribute { data, .. } => judged(*data),
        value => Ok(value),
    }
}

/// Why a connection is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("cannot connect: {0}")]
    Unreachable(io::Error),
    #[error("no welcome within the time for connecting")]
    NoWelcome,
    #[error("the TLS handshake failed: {0}")]
    Tls(io::Error),
    #[error("its name cannot stand in a certificate")]
    Name,
    #[error("it refused the user or the password ({0})")]
    WrongUser(Arc<str>),
    #[error("it refused HELLO 3 ({0}); Redis 6 or later, or Valkey, is needed")]
    NoResp3(Arc<str>),
    #[error("it refused {0}: {1} {2}")]
    Refused(&'static str, Arc<str>, Arc<str>),
    #[error("it closed the connection")]
    Closed,
    #[error("the connection broke: {0}")]
    Io(io::Error),
    #[error("an answer was longer than {} MiB", super::link::LONGEST_VALUE >> 20)]
    TooLong,
    #[error("what it sent is no RESP3")]
    Malformed,
    #[error("no answer within the time for answers")]
    Silent,
    #[error("an answer that nothing asked for")]
    OutOfStep,
    #[error("it is a replica, which takes no writes")]
    ReadOnly,
    #[error("it knows no map of a cluster")]
    NoMap,
    #[error("it is not ready ({0})")]
    NotReady(Arc<str>),
}

impl Broken {
    /// Of an error that answers `command` on a connection which is of no use without it.
    pub(super) fn refused(command: &'static str, error: &ServerError) -> Self {
        let Refusal { code, detail } = Refusal::new(error);
        match (command, &*code) {
            ("HELLO", "ERR" | "NOPROTO") => Broken::NoResp3(code),
            ("HELLO", "WRONGPASS" | "NOAUTH" | "NOPERM") => Broken::WrongUser(code),
            (_, "NOAUTH") => Broken::WrongUser(code),
            (_, "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN") => Broken::NotReady(code),
            _ => Broken::Refused(command, code, detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> ServerError {
        match redis::parse_redis_value(format!("-{text}\r\n").as_bytes()) {
            Ok(Value::ServerError(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn no_argument_is_kept_of_an_unknown_command() {
        let quoted =
            error("ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `u`, `hunter2`");
        let refusal = Refusal::new(&quoted);
        assert_eq!(refusal.to_string(), "Redis refused it: ERR unknown command `HELLO`");
        let broken = Broken::refused("HELLO", &quoted).to_string();
        assert!(broken.contains("Redis 6") && !broken.contains("hunter2"), "{broken}");
    }

    #[test]
    fn long_details_are_cut_between_characters() {
        let refusal = Refusal::new(&error(&format!("ERR {}", "ä".repeat(LONGEST_DETAIL))));
        assert_eq!(refusal.detail.len(), LONGEST_DETAIL);
        assert!(matches!(Broken::refused("HELLO", &error("WRONGPASS no")), Broken::WrongUser(_)));
    }
}
