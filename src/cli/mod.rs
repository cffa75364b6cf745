//! The command line, one file a command.

mod api;
pub mod check;
mod completions;
pub mod config;
mod dev;
mod explain;
mod harmless;
mod health;
mod log;
mod paint;
mod revoke;
mod send;
mod serve;
mod socket;
mod tail;
mod test;
mod token;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Args, Parser, Subcommand};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::config::policy::Policy;
use crate::config::{Problems, Sources, load};

/// `EX_CONFIG` of sysexits.h: the configuration is bad.
const BAD_CONFIGURATION: u8 = 78;

/// A hardened sidecar in front of untrusted Socket.IO clients.
#[derive(Parser)]
#[command(name = "flowgate", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve clients until SIGTERM or Ctrl-C, then drain
    Serve(serve::ServeArgs),
    /// Check a configuration, and say everything that is wrong with it
    Check(check::CheckArgs),
    /// Print the default configuration, or the effective one with the origin of each value
    Config(config::ConfigArgs),
    /// Say what would become of a client and its event, step by step, and which key of which file decides
    Explain(Box<explain::ExplainArgs>),
    /// Run the tests that stand beside a policy
    Test(test::TestArgs),
    /// Make or verify a token
    #[command(subcommand)]
    Token(TokenCommand),
    /// Revoke tokens before they expire, list what is revoked, or undo it
    Revoke(Box<revoke::RevokeArgs>),
    /// Print what arrives at a client, as it arrives
    Tail(Box<tail::TailArgs>),
    /// Send one event as a client would, and show the answer
    Send(Box<send::SendArgs>),
    /// Ask a running flowgate whether it is ready
    Health(health::HealthArgs),
    /// Print a script with which a shell completes all of this
    Completions(completions::CompletionsArgs),
}

#[derive(Subcommand)]
enum TokenCommand {
    /// Print a freshly signed token
    Mint(Box<token::MintArgs>),
    /// Say what a token vouches for, or exactly why it is refused
    Verify(token::VerifyArgs),
}

/// Where the configuration comes from, the same for every command.
#[derive(Args, Clone, Debug, Default)]
pub struct ConfigPaths {
    /// A TOML file, or a folder whose *.toml are read in name order; may be given several times, later ones rank higher
    #[arg(long = "config", value_name = "PATH", env = "FLOWGATE_CONFIG", value_delimiter = ':')]
    paths: Vec<PathBuf>,
}

impl ConfigPaths {
    /// These paths and the environment of this process.
    pub fn sources(&self) -> Sources {
        Sources::from_process(self.paths.clone())
    }
}

/// sysexits.h has `EX_USAGE`, but clap and most programs say 2.
const USAGE: u8 = 2;

impl Cli {
    /// The command line of this process. Where it is wrong, the process says so and exits with 2.
    pub fn read() -> Self {
        Cli::try_parse().unwrap_or_else(|error| {
            // clap repeats what it did not expect; a token must not stand in an error, and less so in a process list.
            if std::env::args_os().any(|argument| holds_token(&argument.to_string_lossy())) {
                eprintln!(
                    "error: tokens are not given as arguments, which every user of this machine can read; \
                     write it to standard input, or into a file for --token-file"
                );
                std::process::exit(USAGE.into());
            }
            error.exit()
        })
    }

    /// Runs the command. Exit codes: 0 fine, 1 failed or denied, 2 usage, 78 bad configuration.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Serve(args) => serve::run(&args),
            Command::Check(args) => check::run(&args),
            Command::Config(args) => config::run(&args),
            Command::Explain(args) => explain::run(&args),
            Command::Test(args) => test::run(&args),
            Command::Token(TokenCommand::Mint(args)) => token::mint(&args, &load_policy),
            Command::Token(TokenCommand::Verify(args)) => token::verify(&args, &load_policy),
            Command::Revoke(args) => revoke::run(&args),
            Command::Tail(args) => tail::run(&args),
            Command::Send(args) => send::run(&args),
            Command::Health(args) => health::run(&args),
            Command::Completions(args) => completions::run(&args),
        }
    }
}

/// Whether a JSON Web Token in compact form is in it: `{"` in base64url, and two dots.
fn holds_token(argument: &str) -> bool {
    argument.find("eyJ").is_some_and(|begin| argument[begin..].matches('.').count() >= 2)
}

/// Reads a time: RFC 3339, with an offset or `Z`.
fn time(text: &str) -> Result<SystemTime, String> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map(SystemTime::from)
        .map_err(|_| "write a time such as 2026-03-01T12:00:00Z".to_owned())
}

/// Reads a listener's address from an argument.
fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write an IP address and a port, such as 127.0.0.1:3000".to_owned())
}

/// Says on standard error everything that is wrong with a configuration.
fn bad_configuration(problems: &Problems) -> ExitCode {
    eprintln!("{problems}");
    ExitCode::from(BAD_CONFIGURATION)
}

/// The policy alone, or everything that is wrong as text.
fn load_policy(paths: &[PathBuf]) -> Result<Policy, String> {
    let loaded = load(&Sources::from_process(paths.to_vec()));
    loaded.map(|loaded| loaded.policy).map_err(|problems| problems.to_string())
}

/// Says on standard error why a command failed.
fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("flowgate: {error:#}");
    ExitCode::FAILURE
}
