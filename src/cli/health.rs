//! `flowgate health`: asks a running flowgate whether it is ready.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use reqwest::{Client, redirect};
use serde_json::Value;

use super::api::{self, ApiError};
use super::{ConfigPaths, failed};
use crate::config::InternalPort;

/// Longer than any healthy answer takes, shorter than a container's own health timeout.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Arguments of `flowgate health`.
#[derive(Args, Debug)]
pub struct HealthArgs {
    /// The internal port; without it, internal.listen of the configuration
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    config: ConfigPaths,
}

/// Exit code 0 when ready, 1 when not or not there.
pub fn run(args: &HealthArgs) -> ExitCode {
    let base = match &args.url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => base_of(&InternalPort::of(&args.config.sources())),
    };
    match ask(&base) {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
    }
}

/// The address under which this port is asked. What might have said otherwise and could not be used is said on standard
/// error.
pub(super) fn base_of(port: &InternalPort) -> String {
    let address = reachable(port.listen);
    port.unusable.iter().for_each(|what| eprintln!("flowgate: {what}; asking {address}"));
    format!("http://{address}")
}

/// An address to listen on, as one to connect to.
fn reachable(mut listen: SocketAddr) -> SocketAddr {
    match listen {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => listen.set_ip(Ipv4Addr::LOCALHOST.into()),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => listen.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    listen
}

fn ask(base: &str) -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client =
            Client::builder().no_proxy().redirect(redirect::Policy::none()).timeout(ANSWER_WITHIN).build()?;
        let answer = client.get(format!("{base}/ready")).send().await;
        let answer = answer.map_err(|error| ApiError::unanswered(base, &error))?;
        let status = answer.status();
        let body = api::read(answer).await.map_err(|error| ApiError::Lost(base.to_owned(), error))?;
        let said = serde_json::from_slice::<Value>(&body).unwrap_or_default();
        let text = String::from_utf8_lossy(&body).into_owned();
        match said["ready"].as_bool() {
            Some(true) if status.is_success() => Ok(text),
            Some(_) => anyhow::bail!("not ready: {text}"),
            None => match ApiError::said_in(&said, base, "--url") {
                Some(error) => Err(error.into()),
                None => anyhow::bail!("{base} is no flowgate: it answers {status} to GET /ready"),
            },
        }
    })
}
