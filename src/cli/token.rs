//! `flowgate token`: [`mint`] one, or [`verify`] one as the sidecar would.
//!
//! A token or a secret is never taken from an argument, because every process of the machine can read those.

mod mint;
mod signer;
mod verify;

use std::fmt;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub use mint::{MintArgs, mint};
pub(super) use verify::read_token;
pub use verify::{VerifyArgs, verify};

use crate::config::policy::Policy;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const BAD_CONFIG: u8 = 78;
/// Key and token files are small; anything larger is the wrong file.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Loads the policy from these files and folders, the environment and the defaults; the error is ready to print.
pub type LoadPolicy<'a> = &'a dyn Fn(&[PathBuf]) -> Result<Policy, String>;

/// Why a command ends early: what to print, and the exit code.
#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    pub(super) fn new(code: u8, message: impl fmt::Display) -> Self {
        Failure { code, message: message.to_string() }
    }
}

fn finish(outcome: Result<String, Failure>) -> ExitCode {
    finish_with(outcome.map(|text| (text, 0)))
}

/// Prints what a command says, and ends with its exit code.
pub(super) fn finish_with(outcome: Result<(String, u8), Failure>) -> ExitCode {
    match outcome {
        Ok((text, code)) => match writeln!(std::io::stdout(), "{text}") {
            Ok(()) => ExitCode::from(code),
            Err(_) => ExitCode::from(FAILED),
        },
        Err(Failure { code, message }) => {
            // There is nowhere left to say that standard error is closed.
            let _ = writeln!(std::io::stderr(), "{message}");
            ExitCode::from(code)
        }
    }
}

fn read_file(path: &Path, option: &str) -> Result<Vec<u8>, Failure> {
    let unreadable =
        |error: std::io::Error| Failure::new(USAGE, format!("{option}: cannot read it: {error}"));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Failure::new(
            USAGE,
            format!("{option}: longer than {MAX_FILE_BYTES} bytes; is it the right file?"),
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
