//! Logging: to standard error, for people or as JSON lines.

use std::io::IsTerminal;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, Layer};

/// How to log.
#[derive(Args, Debug)]
pub struct LogArgs {
    /// Lines for people, or JSON for machines
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "FLOWGATE_LOG_FORMAT")]
    log_format: LogFormat,
    /// What to log: error, warn, info, debug or trace, or directives such as flowgate=debug
    #[arg(long, default_value = "info", value_name = "FILTER", env = "FLOWGATE_LOG")]
    log: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// Starts logging.
///
/// # Errors
/// A filter that cannot be read.
pub fn start(args: &LogArgs) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log).map_err(|error| {
        anyhow!("--log {:?}: {error}; write error, warn, info, debug or trace, or flowgate=debug", args.log)
    })?;
    let filter = filter.and(filter_fn(tells_no_bytes));
    let lines = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let lines = match args.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).try_init()?;
    Ok(())
}

/// At trace level libraries print what they read and write, tokens among it; whatever was asked for, they may not.
fn tells_no_bytes(metadata: &Metadata<'_>) -> bool {
    let ours = metadata.target().split("::").next() == Some(env!("CARGO_PKG_NAME"));
    ours || *metadata.level() <= Level::DEBUG
}
