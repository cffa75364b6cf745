//! `flowgate health`: asks a running flowgate whether it is ready.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::{ConfigPaths, failed, load_or_explain};

/// Longer than any healthy answer takes, shorter than a container's own health timeout.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Where flowgate listens for operators when nothing says otherwise, as in config/default.toml.
const DEFAULT_INTERNAL: &str = "127.0.0.1:3001";

/// The environment's setting for `internal.listen`, which ranks above files.
const LISTEN_VARIABLE: &str = "FLOWGATE__INTERNAL__LISTEN";

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
        Some(url) => url.clone(),
        None => match listen_address(&args.config) {
            Ok(address) => format!("http://{address}"),
            Err(code) => return code,
        },
    };
    match ask(&base) {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
    }
}

/// Where the operators' port of such a configuration is to be reached.
pub(super) fn listen_address(config: &ConfigPaths) -> Result<SocketAddr, ExitCode> {
    let bare = config.paths.is_empty();
    let from_environment = std::env::var(LISTEN_VARIABLE).unwrap_or_else(|_| DEFAULT_INTERNAL.into());
    let listen = match from_environment.parse() {
        // A whole configuration need not be at hand to ask for health.
        Ok(address) if bare => address,
        _ => load_or_explain(&config.sources())?.policy.internal.listen,
    };
    Ok(reachable(listen))
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
        let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_WITHIN).build()?;
        let url = format!("{}/ready", base.trim_end_matches('/'));
        let answer = client.get(&url).send().await.with_context(|| format!("no answer from {url}"))?;
        let ready = answer.status().is_success();
        let text = answer.text().await?;
        anyhow::ensure!(ready, "not ready: {text}");
        Ok(text)
    })
}
