//! What one run stands up: a server, or two of them with a Redis in between.

use anyhow::Result;

use crate::peers::Peer;
use crate::pinning::Cores;
use crate::plan::Setup;
use crate::server::Server;

/// The processes of one run, all of which end with it.
pub struct Stand {
    /// The server, or the node that events are sent to.
    pub server: Server,
    /// The other node.
    pub second: Option<Server>,
    /// What is between the two.
    pub redis: Option<Server>,
}

impl Stand {
    /// Starts what `setup` asks for, each on the servers' core.
    ///
    /// # Errors
    /// As [`Server::start`] does.
    pub fn up(peer: Peer, setup: Setup, cores: Cores, secret: &str) -> Result<Self> {
        let redis = setup.bus.then(|| Server::start_redis(cores)).transpose()?;
        let start = |node| Server::start(peer, node, redis.as_ref(), setup, cores, secret);
        let server = start(0)?;
        let second = setup.bus.then(|| start(1)).transpose()?;
        Ok(Self { server, second, redis })
    }

    /// Adds to `error` what the servers last wrote, and whether one has ended.
    pub fn explain(&mut self, error: anyhow::Error) -> anyhow::Error {
        let error = self.server.explain(error);
        match &mut self.second {
            Some(second) => second.explain(error),
            None => error,
        }
    }
}
