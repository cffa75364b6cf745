//! Both connections to one server.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::board::Board;
use super::config::Config;
use super::desk::Desk;
use super::ear::Ear;
use super::events::Teller;
use super::lane::{Lane, lane};
use super::place::Place;

/// What all servers have in common.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) config: Arc<Config>,
    pub(super) board: Arc<Board>,
    pub(super) teller: Teller,
}

/// A server that we are, or want to be, connected to. Its connections end with this value.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) place: Place,
    pub(super) lane: Lane,
    pub(super) desk: Arc<Desk>,
    _tasks: [Task; 2],
}

impl Server {
    /// Starts connecting. Needs a runtime.
    pub(super) fn start(place: Place, shared: &Shared) -> Self {
        let desk = Arc::new(Desk::default());
        let (lane, worker) = lane(place.clone(), shared.config.clone(), shared.board.line());
        let ear = Ear {
            place: place.clone(),
            config: shared.config.clone(),
            desk: desk.clone(),
            teller: shared.teller.clone(),
            line: shared.board.line(),
        };
        let tasks = [Task(tokio::spawn(worker.run())), Task(tokio::spawn(ear.run()))];
        Server { place, lane, desk, _tasks: tasks }
    }
}

/// A task that ends with this value.
#[derive(Debug)]
pub(super) struct Task(pub(super) JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
