//! `flowgate token verify`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;

use super::{BAD_CONFIG, FAILED, Failure, LoadPolicy, MAX_FILE_BYTES, USAGE, finish, read_file};
use crate::connect::token::{TokenError, Verified, Verifier};

/// A key endpoint may be asked for its first answer this long; somebody is sitting there.
const WAIT_FOR_KEYS: Duration = Duration::from_secs(15);

/// `flowgate token verify`.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// Configuration files or folders
    #[arg(long, value_name = "PATH", env = "FLOWGATE_CONFIG", value_delimiter = ':')]
    pub config: Vec<PathBuf>,
    /// Read the token from this file instead of standard input
    #[arg(long, value_name = "PATH", conflicts_with = "token_env")]
    pub token_file: Option<PathBuf>,
    /// Read the token from this environment variable instead of standard input
    #[arg(long, value_name = "NAME")]
    pub token_env: Option<String>,
}

/// Verifies a token as the sidecar would, and prints what it says or why it is refused.
///
/// Exit codes: 0 accepted, 1 refused, 2 usage, 78 bad configuration.
pub fn verify(args: &VerifyArgs, load: LoadPolicy<'_>) -> ExitCode {
    finish(verify_token(args, load, SystemTime::now(), &mut std::io::stdin()))
}

pub(super) fn verify_token(
    args: &VerifyArgs,
    load: LoadPolicy<'_>,
    now: SystemTime,
    input: &mut dyn Read,
) -> Result<String, Failure> {
    let token = read_token(args.token_file.as_deref(), args.token_env.as_deref(), input)?;
    let policy = load(&args.config).map_err(|text| Failure::new(BAD_CONFIG, text))?;
    let verifier = Verifier::new(&policy.auth).map_err(|error| Failure::new(BAD_CONFIG, error))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(FAILED, format!("cannot start: {error}")))?;
    let verified = runtime.block_on(async {
        let _refreshers = verifier.start();
        wait_for_keys(&verifier, token.trim(), now).await
    });
    match verified {
        Ok(verified) => Ok(describe(&verified, now)),
        Err(error) => {
            let code = error.code().map_or("not now", |code| code.as_str());
            Err(Failure::new(FAILED, format!("refused ({code}): {error}")))
        }
    }
}

/// Tries again while keys are still being fetched.
async fn wait_for_keys(verifier: &Verifier, token: &str, now: SystemTime) -> Result<Verified, TokenError> {
    let deadline = tokio::time::Instant::now() + WAIT_FOR_KEYS;
    loop {
        match verifier.verify(token, now).await {
            Err(TokenError::KeysUnavailable(_)) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            outcome => return outcome,
        }
    }
}

fn describe(verified: &Verified, now: SystemTime) -> String {
    let list = |names: &[std::sync::Arc<str>]| match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    let left = match verified.expires_at.duration_since(now) {
        Ok(left) => format!("in {}", humantime::format_duration(Duration::from_secs(left.as_secs()))),
        Err(_) => "now, within the leeway".into(),
    };
    format!(
        "accepted\nissuer   {}\nsubject  {}\nteams    {}\nroles    {}\nexpires  {left} ({})\n\
         note     revocations are not looked at: flowgate revoke list",
        verified.issuer,
        verified.subject,
        list(&verified.teams),
        list(&verified.roles),
        humantime::format_rfc3339_seconds(verified.expires_at),
    )
}

/// A token from a file, an environment variable, or else from `input`.
pub(in crate::cli) fn read_token(
    file: Option<&Path>,
    variable: Option<&str>,
    input: &mut dyn Read,
) -> Result<String, Failure> {
    if let Some(path) = file {
        let option = format!("--token-file {}", path.display());
        let bytes = read_file(path, &option)?;
        return String::from_utf8(bytes)
            .map_err(|_| Failure::new(USAGE, format!("{option}: this is not text")));
    }
    if let Some(name) = variable {
        return std::env::var(name).map_err(|_| {
            Failure::new(USAGE, format!("--token-env {name}: there is no such text in the environment"))
        });
    }
    let mut text = String::new();
    input.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(|error| {
        Failure::new(USAGE, format!("cannot read the token from standard input: {error}"))
    })?;
    Ok(text)
}
