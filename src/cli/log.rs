//! Logging: to standard error, for people or as JSON lines.

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

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
    use std::io::IsTerminal;
    let filter = EnvFilter::try_new(&args.log)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}
