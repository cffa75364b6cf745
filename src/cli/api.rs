//! The API of a running flowgate, for the commands that ask it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use reqwest::{Client, Method, Response, redirect};
use serde_json::Value;

use super::{ConfigPaths, USAGE, health, load_or_explain};

/// Longer than a disk and ten thousand sockets take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A thousand of the longest revocations are some 2 MiB.
const LONGEST_ANSWER: usize = 8 << 20;

/// Longer than any admin token; more is the wrong file.
const LONGEST_FILE: u64 = 4096;

/// Where the admin token is when nothing says otherwise, as in config/default.toml.
const DEFAULT_VARIABLE: &str = "FLOWGATE_ADMIN_TOKEN";

/// The environment's setting for `internal.admin_token_env`, which ranks above files.
const VARIABLE_VARIABLE: &str = "FLOWGATE__INTERNAL__ADMIN_TOKEN_ENV";

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
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Nobody is there.
    #[error("no flowgate answers at {0}: {1}")]
    NotThere(String, &'static str),
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
        let base = match &self.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{}", health::listen_address(&self.config)?),
        };
        let token = self.token()?;
        // The API sends nobody elsewhere, and whoever does is not to be shown the token.
        let client =
            Client::builder().no_proxy().redirect(redirect::Policy::none()).timeout(ANSWER_WITHIN).build();
        let client = client.map_err(|error| super::failed(&error.into()))?;
        Ok(Api { client, base, token })
    }

    fn token(&self) -> Result<String, ExitCode> {
        let usage = |text: String| {
            eprintln!("flowgate: {text}");
            ExitCode::from(USAGE)
        };
        let text = match &self.admin_token_file {
            Some(path) => read_token(path)
                .map_err(|error| usage(format!("--admin-token-file {}: {error}", path.display())))?,
            None => {
                let name = self.variable()?;
                std::env::var(&name).map_err(|_| {
                    usage(format!(
                        "this needs the admin token: set the environment variable {name} to that with which flowgate was \
                         started, or name a file that holds it with --admin-token-file"
                    ))
                })?
            }
        };
        let token = text.trim_end_matches(['\n', '\r']).to_owned();
        match !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(token),
            false => {
                Err(usage("that is no admin token: it is empty, or holds what no header can carry".into()))
            }
        }
    }

    /// A whole configuration need not be at hand where none is named.
    fn variable(&self) -> Result<String, ExitCode> {
        if self.config.paths.is_empty() {
            return Ok(std::env::var(VARIABLE_VARIABLE).unwrap_or_else(|_| DEFAULT_VARIABLE.into()));
        }
        Ok(load_or_explain(&self.config.sources())?.policy.internal.admin_token_env.to_string())
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
            Some(body) => {
                request.header(reqwest::header::CONTENT_TYPE, "application/json").body(body.to_string())
            }
            None => request,
        };
        let lost = |error: String| ApiError::Lost(self.base.clone(), error);
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if error.is_builder() => {
                return Err(ApiError::NotThere(
                    self.base.clone(),
                    "this is not a URL such as http://127.0.0.1:3001",
                ));
            }
            Err(error) if error.is_connect() => {
                return Err(ApiError::NotThere(self.base.clone(), "it cannot be connected to"));
            }
            Err(error) => return Err(lost(reason(&error))),
        };
        let is_done = answer.status().is_success();
        let status = answer.status();
        let text = read(answer).await.map_err(lost)?;
        if is_done && text.is_empty() {
            return Ok(Value::Null);
        }
        let body = serde_json::from_slice::<Value>(&text).unwrap_or_default();
        match (is_done, &body) {
            (true, Value::Object(_)) => Ok(body),
            (false, Value::Object(fields)) if fields.contains_key("code") => {
                let text = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
                Err(ApiError::Declined { code: text("code"), message: text("message") })
            }
            _ => Err(lost(format!("its answer, {status}, is none of flowgate's API"))),
        }
    }
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

async fn read(mut answer: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| reason(&error))? {
        if body.len() + chunk.len() > LONGEST_ANSWER {
            return Err("its answer is too long".into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
