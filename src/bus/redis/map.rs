//! Which server has which slot.

use std::sync::Arc;

use super::server::Server;

/// A map of one server, or of a cluster's masters.
#[derive(Debug, Default)]
pub(super) struct Map {
    servers: Vec<Arc<Server>>,
}

impl Map {
    /// One server has everything.
    pub(super) fn one(server: Server) -> Self {
        Map { servers: vec![Arc::new(server)] }
    }

    /// The server without others.
    pub(super) fn only(&self) -> Option<&Arc<Server>> {
        self.servers.first()
    }

    /// Who has a slot.
    pub(super) fn owner(&self, _slot: u16) -> Option<&Arc<Server>> {
        self.servers.first()
    }
}
