//! The API of a running flowgate, for the commands that ask it.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use reqwest::{Client, Method, Response, header, redirect};
use serde_json::Value;
use tokio_rustls::rustls;

use super::{ConfigPaths, USAGE, health};
use crate::config::InternalPort;

/// Longer than a disk and ten thousand sockets take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A thousand of the longest revocations are some 2 MiB.
const LONGEST_ANSWER: usize = 8 << 20;

/// Longer than any admin token; more is the wrong file.
const LONGEST_FILE: u64 = 4096;

/// Which flowgate, and what opens its API.
#[derive(Args, Debug)]
pub struct ApiArgs {
    /// The internal port; without it, internal.listen of the configuration
    #[arg(long = "internal", value_name = "URL")]
    url: Option<String>,
    /// A file with the admin token; without it, the environment variable that internal.admin_token_env names
    #[arg(long, value_name = "PATH")]
    admin_token_file: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigPaths,
    /// JSON for tools instead of text
    #[arg(long)]
    pub json: bool,
}

/// The API of one flowgate.
pub struct Api {
    client: Client,
    base: String,
    token: String,
    /// Where that is from, for people.
    token_from: String,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Nobody is there.
    #[error("no flowgate answers at {0}: {1}")]
    NotThere(String, &'static str),
    /// Somebody else is there.
    #[error(
        "{0} is not the internal port of a flowgate: name that with {1}, http://127.0.0.1:3001 if nothing else is configured"
    )]
    NotInternal(String, &'static str),
    /// It was taken for a port with TLS.
    #[error("{0} speaks plain HTTP: write http://")]
    Plain(String),
    /// The outcome is not known.
    #[error("no whole answer from {0}: {1}")]
    Lost(String, String),
    /// It was declined.
    #[error("{code}: {message}")]
    Declined {
        /// The stable code.
        code: String,
        /// For people.
        message: String,
    },
}

impl ApiArgs {
    /// The API that these mean.
    ///
    /// # Errors
    /// The exit code, after the reason was said.
    pub fn open(&self) -> Result<Api, ExitCode> {
        let port = InternalPort::of(&self.config.sources());
        let base = match &self.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => health::base_of(&port),
        };
        let (token, token_from) = self.token(&port)?;
        // The API sends nobody elsewhere, and whoever does is not to be shown the token.
        let client =
            Client::builder().no_proxy().redirect(redirect::Policy::none()).timeout(ANSWER_WITHIN).build();
        let client = client.map_err(|error| super::failed(&error.into()))?;
        Ok(Api { client, base, token, token_from })
    }

    /// The token, and where it is from.
    fn token(&self, port: &InternalPort) -> Result<(String, String), ExitCode> {
        let usage = |text: String| {
            eprintln!("flowgate: {text}");
            ExitCode::from(USAGE)
        };
        let (text, from) = match &self.admin_token_file {
            Some(path) => {
                let text = read_token(path)
                    .map_err(|error| usage(format!("--admin-token-file {}: {error}", path.display())))?;
                (text, path.display().to_string())
            }
            None => {
                let name = port.admin_token_env.clone();
                if self.url.is_some() {
                    port.unusable
                        .iter()
                        .for_each(|what| eprintln!("flowgate: {what}; the admin token is that in {name}"));
                }
                let text = std::env::var(&name).map_err(|_| {
                    usage(format!(
                        "this needs the admin token: set the environment variable {name} to that with which flowgate was \
                         started, or name a file that holds it with --admin-token-file"
                    ))
                })?;
                (text, name)
            }
        };
        let token = text.trim_end_matches(['\n', '\r']).to_owned();
        match !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok((token, from)),
            false => {
                Err(usage("that is no admin token: it is empty, or holds what no header can carry".into()))
            }
        }
    }
}

impl Api {
    /// Asks, and returns what a request that was carried out is answered with: `null` where that is nothing.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn ask(&self, method: Method, target: &str, body: Option<&Value>) -> Result<Value, ApiError> {
        let url = format!("{}{target}", self.base);
        let request = self.client.request(method, &url).bearer_auth(&self.token);
        let request = match body {
            Some(body) => request.header(header::CONTENT_TYPE, "application/json").body(body.to_string()),
            None => request,
        };
        let lost = |error: String| ApiError::Lost(self.base.clone(), error);
        let answer = request.send().await.map_err(|error| ApiError::unanswered(&self.base, &error))?;
        let status = answer.status();
        let is_done = status.is_success();
        let wait = answer.headers().get(header::RETRY_AFTER).and_then(|wait| wait.to_str().ok());
        let wait = wait.map(str::to_owned);
        let text = read(answer).await.map_err(lost)?;
        if is_done && text.is_empty() {
            return Ok(Value::Null);
        }
        let body = serde_json::from_slice::<Value>(&text).unwrap_or_default();
        match (is_done, &body) {
            (true, Value::Object(_)) => Ok(body),
            (false, _) => match ApiError::said_in(&body, &self.base, "--internal") {
                Some(error) => Err(self.explained(error, wait)),
                None => Err(lost(format!("its answer, {status}, is none of flowgate's API"))),
            },
            _ => Err(lost(format!("its answer, {status}, is none of flowgate's API"))),
        }
    }

    /// What flowgate says of a token, which it answers alike whether there is one, in the words of whoever sent one.
    fn explained(&self, error: ApiError, wait: Option<String>) -> ApiError {
        let ApiError::Declined { code, message } = error else { return error };
        let wrong =
            format!("the token in {} is not the one with which flowgate was started", self.token_from);
        let message = match (code.as_str(), wait) {
            ("unauthorized", _) => wrong,
            ("too_many_attempts", Some(wait)) => {
                format!("{wrong}, and it was tried too often; try again in {wait} s, with the right one")
            }
            _ => message,
        };
        ApiError::Declined { code, message }
    }
}

impl ApiError {
    /// Why whoever is at `base` did not answer.
    pub(super) fn unanswered(base: &str, error: &reqwest::Error) -> Self {
        let not_there = |why| ApiError::NotThere(base.to_owned(), why);
        if error.is_builder() {
            not_there("this is not a URL such as http://127.0.0.1:3001")
        } else if is_plain(error) {
            ApiError::Plain(base.to_owned())
        } else if error.is_connect() {
            not_there("it cannot be connected to")
        } else {
            ApiError::Lost(base.to_owned(), reason(error))
        }
    }

    /// What the body of a refusal says, if it is one of flowgate's. The public port's have a code and nothing for people.
    pub(super) fn said_in(body: &Value, base: &str, option: &'static str) -> Option<Self> {
        let code = body["code"].as_str()?;
        Some(match body["message"].as_str() {
            None => ApiError::NotInternal(base.to_owned(), option),
            Some(message) => ApiError::Declined { code: code.to_owned(), message: message.to_owned() },
        })
    }
}

/// Whether what was taken for TLS is none.
fn is_plain(error: &reqwest::Error) -> bool {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidMessage(_)) = error.downcast_ref() {
            return true;
        }
        // The `source` of an error of input and output passes over what that holds.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

fn read_token(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LONGEST_FILE).read_to_string(&mut text)?;
    Ok(text)
}

/// Without the URL, which is said anyway.
fn reason(error: &reqwest::Error) -> String {
    match error.is_timeout() {
        true => "it took too long".into(),
        false => "the connection broke off".into(),
    }
}

/// The whole body, if it is not too long.
pub(super) async fn read(mut answer: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| reason(&error))? {
        if body.len() + chunk.len() > LONGEST_ANSWER {
            return Err("its answer is too long".into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
