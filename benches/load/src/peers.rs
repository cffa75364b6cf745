//! The servers that are compared, and how each is started.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::plan::{Limits, Scenario, Setup};
use crate::token::SECRET_VARIABLE;

/// What opens flowgate's admin API here, of which there is nothing to protect.
pub const ADMIN_TOKEN: &str = "the-admin-token-of-the-benchmark";

/// A server under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// flowgate with all of its policy on.
    Flowgate,
    /// The same with audience rules, under which members hear different things.
    FlowgateAudience,
    /// Plain socketioxide.
    Socketioxide,
    /// Node's socket.io, bare.
    Node,
    /// Node's socket.io with what a team would write for safety.
    NodeHardened,
    /// Bun's socket.io, bare.
    Bun,
    /// A bare write loop: the lower bound.
    Loop,
}

impl Peer {
    /// Every peer, in the order in which they run.
    pub const ALL: [Self; 7] = [
        Self::Flowgate,
        Self::FlowgateAudience,
        Self::Socketioxide,
        Self::Node,
        Self::NodeHardened,
        Self::Bun,
        Self::Loop,
    ];

    /// The name on the command line and in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Flowgate => "flowgate",
            Self::FlowgateAudience => "flowgate-audience",
            Self::Socketioxide => "socketioxide",
            Self::Node => "node",
            Self::NodeHardened => "node-hardened",
            Self::Bun => "bun",
            Self::Loop => "loop",
        }
    }

    /// What has to be built or installed before it starts, besides this crate: a word that the `run` script knows.
    #[must_use]
    pub fn needs(self) -> Option<&'static str> {
        match self {
            Self::Flowgate | Self::FlowgateAudience => Some("flowgate"),
            Self::Node | Self::NodeHardened | Self::Bun => Some("node"),
            Self::Socketioxide | Self::Loop => None,
        }
    }

    /// Whether the scenario says anything about this peer.
    #[must_use]
    pub fn takes(self, scenario: Scenario) -> bool {
        match scenario {
            // Elsewhere it would only repeat what flowgate itself costs.
            _ if self == Self::FlowgateAudience => {
                matches!(scenario, Scenario::Team1000 | Scenario::Flood1000 | Scenario::Idle10k)
            }
            Scenario::Noisy
            | Scenario::RefusedType
            | Scenario::RefusedRate
            | Scenario::HandshakeEs256
            | Scenario::HandshakeRs256 => matches!(self, Self::Flowgate | Self::NodeHardened),
            // Plain socketioxide, Bun's server as it stands here and the loop know no other nodes.
            Scenario::Bus2 | Scenario::BusFlood => {
                matches!(self, Self::Flowgate | Self::Node | Self::NodeHardened)
            }
            // The others have no such page.
            Scenario::Watched10k => self == Self::Flowgate,
            Scenario::Threads2 => matches!(self, Self::Flowgate | Self::Socketioxide),
            // It drops a member that does not read at once, and knows no polling.
            Scenario::Stalled | Scenario::PollingFlood => self != Self::Loop,
            _ => true,
        }
    }

    /// The command that serves on `port` of the loopback address; `spare_port` is for what else it listens on. With `redis`, the
    /// port of one on the same address, it is one of several nodes. Paths are relative to `benches/load`.
    ///
    /// # Errors
    /// When the folder of this program cannot be told.
    pub fn command(
        self,
        port: u16,
        spare_port: u16,
        redis: Option<u16>,
        setup: Setup,
        secret: &str,
    ) -> Result<Command> {
        let mut command = match self {
            Self::Flowgate => flowgate(port, spare_port, setup, &[]),
            Self::FlowgateAudience => flowgate(port, spare_port, setup, &["flowgate-audience.toml"]),
            Self::Socketioxide => Command::new(beside_this_program("peer-socketioxide")?),
            Self::Loop => Command::new(beside_this_program("peer-loop")?),
            Self::Node => script("node", "peers/node/bare.js"),
            Self::NodeHardened => script("node", "peers/node/hardened.js"),
            Self::Bun => script("peers/node/node_modules/.bin/bun", "peers/node/bun.js"),
        };
        command
            .env(SECRET_VARIABLE, secret)
            .env("TOKIO_WORKER_THREADS", setup.threads.to_string())
            .env("PEER_PORT", port.to_string())
            .env("PEER_ROOMS", if setup.rooms { "1" } else { "0" })
            .env("PEER_LIMITS", if setup.limits == Limits::Default { "default" } else { "raised" })
            .env("PEER_ALGORITHM", setup.algorithm.name())
            .env("PEER_ISSUER", setup.algorithm.issuer());
        if let Some(redis) = redis {
            command.env("PEER_REDIS", redis.to_string());
            if self == Self::Flowgate {
                command
                    .env("FLOWGATE__BUS__DRIVER", "redis")
                    .env("FLOWGATE__BUS__REDIS__URL", format!("redis://127.0.0.1:{redis}"));
            }
        }
        Ok(command)
    }
}

fn flowgate(port: u16, spare_port: u16, setup: Setup, above: &[&str]) -> Command {
    let files: &[&str] = match setup.limits {
        Limits::Raised => &["flowgate.toml"],
        Limits::Default => &["flowgate-limited.toml"],
        Limits::Patient => &["flowgate.toml", "flowgate-patient.toml"],
    };
    let mut command = Command::new("../../target/release/flowgate");
    command
        .arg("serve")
        .args(files.iter().chain(above).flat_map(|file| ["--config", file]))
        .env("FLOWGATE_ADMIN_TOKEN", ADMIN_TOKEN)
        .env("FLOWGATE__SERVER__LISTEN", format!("127.0.0.1:{port}"))
        .env("FLOWGATE__INTERNAL__LISTEN", format!("127.0.0.1:{spare_port}"));
    command
}

fn script(runtime: &str, file: &str) -> Command {
    let mut command = Command::new(runtime);
    command.arg(file).env("NODE_ENV", "production");
    command
}

fn beside_this_program(name: &str) -> Result<PathBuf> {
    let this = std::env::current_exe().context("finding this program's folder")?;
    Ok(this.with_file_name(name))
}
