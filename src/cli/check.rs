//! `flowgate check`: is this configuration one that `serve` would start with?

use std::io::Write;
use std::process::ExitCode;

use super::{BAD_CONFIGURATION, ConfigPaths};
use crate::config::policy::{AllowedOrigins, Policy};
use crate::config::{self, Loaded, Sources};

/// Reads the configuration as `serve` would, and says everything that is wrong with it.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    #[command(flatten)]
    config: ConfigPaths,
}

/// Exits with 0 after a summary, or with 78 after every problem.
pub fn run(args: &CheckArgs) -> ExitCode {
    ExitCode::from(check(&args.config.sources(), &mut std::io::stdout(), &mut std::io::stderr()))
}

/// What [`run`] does, with its sources and its output given; returns the exit code.
pub fn check(sources: &Sources, out: &mut impl Write, err: &mut impl Write) -> u8 {
    // Where nobody reads what is written, the exit code still tells.
    match config::load(sources) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                let _ = writeln!(err, "warning: {warning}");
            }
            let _ = write!(out, "{}", summary(&loaded));
            0
        }
        Err(problems) => {
            let _ = writeln!(err, "{problems}");
            BAD_CONFIGURATION
        }
    }
}

fn summary(loaded: &Loaded) -> String {
    let Policy { hash, server, internal, auth, events, .. } = &loaded.policy;
    let origins = match &server.allowed_origins {
        AllowedOrigins::Any => "every page".to_owned(),
        AllowedOrigins::Loopback => "pages of this machine".to_owned(),
        AllowedOrigins::List(origins) if origins.is_empty() => "no browser".to_owned(),
        AllowedOrigins::List(origins) => origins.join(", "),
    };
    let issuers: Vec<&str> = auth.issuers.iter().map(|issuer| &*issuer.name).collect();
    let mut names: Vec<&str> = events.keys().map(|name| &**name).collect();
    names.sort_unstable();
    let warnings = match loaded.warnings.len() {
        0 => String::new(),
        1 => ", 1 warning".into(),
        count => format!(", {count} warnings"),
    };
    format!(
        "The configuration is fine{warnings}.\n\
         listens on {}{}{}, internally on {}\n\
         admits {origins}\n\
         auth {}, issuers: {}\n\
         events: {}\n\
         policy {hash}\n",
        server.listen,
        server.path,
        if server.tls.is_some() { " with TLS" } else { "" },
        internal.listen,
        format!("{:?}", auth.mode).to_lowercase(),
        if issuers.is_empty() { "none".into() } else { issuers.join(", ") },
        names.join(", "),
    )
}
