//! The servers that are compared, and how each is started.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::plan::{Scenario, Setup};
use crate::token::SECRET_VARIABLE;

/// A server under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// flowgate with all of its policy on.
    Flowgate,
    /// Plain socketioxide.
    Socketioxide,
    /// Node's socket.io, bare.
    Node,
    /// Node's socket.io with what a team would write for safety.
    NodeHardened,
    /// A bare write loop: the lower bound.
    Loop,
}

impl Peer {
    /// Every peer, in the order in which they run.
    pub const ALL: [Self; 5] =
        [Self::Flowgate, Self::Socketioxide, Self::Node, Self::NodeHardened, Self::Loop];
    /// The peers of a run that names none.
    pub const DEFAULT: [Self; 4] = [Self::Flowgate, Self::Socketioxide, Self::Node, Self::NodeHardened];

    /// The name on the command line and in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Flowgate => "flowgate",
            Self::Socketioxide => "socketioxide",
            Self::Node => "node",
            Self::NodeHardened => "node-hardened",
            Self::Loop => "loop",
        }
    }

    /// What has to be built or installed before it starts, besides this crate: a word that the `run` script knows.
    #[must_use]
    pub fn needs(self) -> Option<&'static str> {
        match self {
            Self::Flowgate => Some("flowgate"),
            Self::Node | Self::NodeHardened => Some("node"),
            Self::Socketioxide | Self::Loop => None,
        }
    }

    /// Whether the scenario says anything about this peer.
    #[must_use]
    pub fn takes(self, scenario: Scenario) -> bool {
        !scenario.needs_refusals() || matches!(self, Self::Flowgate | Self::NodeHardened)
    }

    /// The command that serves on `port` of the loopback address; `spare_port` is for what else it listens on. Paths are
    /// relative to `benches/load`.
    ///
    /// # Errors
    /// When the folder of this program cannot be told.
    pub fn command(self, port: u16, spare_port: u16, setup: Setup, secret: &str) -> Result<Command> {
        let mut command = match self {
            Self::Flowgate => flowgate(port, spare_port, setup),
            Self::Socketioxide => Command::new(beside_this_program("peer-socketioxide")?),
            Self::Loop => Command::new(beside_this_program("peer-loop")?),
            Self::Node => node("peers/node/bare.js"),
            Self::NodeHardened => node("peers/node/hardened.js"),
        };
        command
            .env(SECRET_VARIABLE, secret)
            // Every server gets one worker thread: the core it is pinned to could not run a second anyway.
            .env("TOKIO_WORKER_THREADS", "1")
            .env("PEER_PORT", port.to_string())
            .env("PEER_ROOMS", if setup.rooms { "1" } else { "0" })
            .env("PEER_LIMITS", if setup.default_limits { "default" } else { "raised" });
        Ok(command)
    }
}

fn flowgate(port: u16, spare_port: u16, setup: Setup) -> Command {
    let config = if setup.default_limits { "flowgate-limited.toml" } else { "flowgate.toml" };
    let mut command = Command::new("../../target/release/flowgate");
    command
        .args(["serve", "--config", config])
        .env("FLOWGATE__SERVER__LISTEN", format!("127.0.0.1:{port}"))
        .env("FLOWGATE__INTERNAL__LISTEN", format!("127.0.0.1:{spare_port}"));
    command
}

fn node(script: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(script).env("NODE_ENV", "production");
    command
}

fn beside_this_program(name: &str) -> Result<PathBuf> {
    let this = std::env::current_exe().context("finding this program's folder")?;
    Ok(this.with_file_name(name))
}
