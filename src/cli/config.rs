//! `flowgate config default|show`: what settings there are, and what counts in the end.

use std::io::Write;
use std::process::ExitCode;

use super::{BAD_CONFIGURATION, ConfigPaths};
use crate::config::{self, DEFAULT_TOML, Sources};

/// Shows the settings.
#[derive(Debug, clap::Args)]
pub struct ConfigArgs {
    /// Which of them
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What to show.
#[derive(Debug, clap::Subcommand)]
pub enum ConfigCommand {
    /// Prints every setting with its default and its reason
    Default,
    /// Prints the settings that count in the end, each with where it came from
    Show(ShowArgs),
}

/// Which settings to show, and how.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    #[command(flatten)]
    config: ConfigPaths,
    /// Prints JSON: by dotted key, the value and its origin
    #[arg(long)]
    pub json: bool,
}

/// Exits with 0, or with 78 after every problem of the configuration.
pub fn run(args: &ConfigArgs) -> ExitCode {
    let mut out = std::io::stdout();
    let code = match &args.command {
        ConfigCommand::Default => {
            let _ = write!(out, "{DEFAULT_TOML}");
            0
        }
        ConfigCommand::Show(show_args) => {
            show(&show_args.config.sources(), show_args.json, &mut out, &mut std::io::stderr())
        }
    };
    ExitCode::from(code)
}

/// What `config show` does, with its sources and its output given; returns the exit code.
pub fn show(sources: &Sources, json: bool, out: &mut impl Write, err: &mut impl Write) -> u8 {
    match config::load(sources) {
        Ok(loaded) if json => {
            let _ = writeln!(out, "{:#}", loaded.effective.to_json());
            0
        }
        Ok(loaded) => {
            let _ = write!(out, "{}", loaded.effective.to_toml());
            0
        }
        Err(problems) => {
            let _ = writeln!(err, "{problems}");
            BAD_CONFIGURATION
        }
    }
}
