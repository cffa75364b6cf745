//! How all connections are, in one place; and the task that tells the user when that changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::events::{Event, Gone, Teller};

/// How the driver is.
#[derive(Clone, Debug)]
pub struct State {
    /// In one word.
    pub phase: Phase,
    /// Since when.
    pub since: Instant,
    /// What went wrong last, whether it has been mended or not: which server, and how. Without secrets.
    pub last_error: Option<Arc<str>>,
    /// How often it has come up.
    pub ups: u64,
}

/// How the driver is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not all connections have stood at once yet.
    Connecting,
    /// All of them stand.
    Up,
    /// Some are gone. In a cluster the others still work.
    Away,
}

/// Where each connection writes down how it is.
#[derive(Debug)]
pub(super) struct Board {
    stands: Mutex<HashMap<u64, bool>>,
    next: std::sync::atomic::AtomicU64,
    state: watch::Sender<State>,
}

/// A connection's line on the board, wiped off with this value.
#[derive(Debug)]
pub(super) struct Line {
    board: Arc<Board>,
    number: u64,
}

impl Board {
    pub(super) fn new() -> Arc<Self> {
        let state = State { phase: Phase::Connecting, since: Instant::now(), last_error: None, ups: 0 };
        Arc::new(Board { stands: Mutex::default(), next: 0.into(), state: watch::Sender::new(state) })
    }

    pub(super) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// A line for one more connection, which does not stand yet.
    pub(super) fn line(self: &Arc<Self>) -> Line {
        let number = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.write(None, |stands| _ = stands.insert(number, false));
        Line { board: self.clone(), number }
    }

    /// Something failed that is no connection of ours to keep, such as learning of a cluster's servers.
    pub(super) fn note(&self, why: Arc<str>) {
        self.write(Some(why), |_| ());
    }

    fn write(&self, why: Option<Arc<str>>, change: impl FnOnce(&mut HashMap<u64, bool>)) {
        // Held over both, so that the state follows the lines in their order.
        let mut stands = self.stands.lock();
        change(&mut stands);
        let is_up = !stands.is_empty() && stands.values().all(|stands| *stands);
        self.state.send_modify(|state| {
            state.last_error = why.or(state.last_error.take());
            match (state.phase, is_up) {
                (Phase::Up, false) => (state.phase, state.since) = (Phase::Away, Instant::now()),
                (Phase::Connecting | Phase::Away, true) => {
                    (state.phase, state.since) = (Phase::Up, Instant::now());
                    state.ups += 1;
                }
                _ => {}
            }
        });
    }

    /// Tells of each coming up, and of each going down before the next.
    pub(super) async fn announce(self: Arc<Self>, teller: Teller) -> Result<(), Gone> {
        let mut states = self.state.subscribe();
        let (mut told, mut is_told_up) = (0, false);
        loop {
            let state = states.borrow_and_update().clone();
            let has_come_up = state.ups != told;
            if is_told_up && (has_come_up || state.phase != Phase::Up) {
                teller
                    .tell(Event::Down { why: state.last_error.unwrap_or_else(|| "unknown".into()) })
                    .await?;
                is_told_up = false;
            }
            // One that has gone again already is told when it comes back.
            if state.phase == Phase::Up && has_come_up {
                told = state.ups;
                is_told_up = true;
                teller.tell(Event::Up).await?;
            }
            if states.changed().await.is_err() {
                return Err(Gone);
            }
        }
    }
}

impl Line {
    pub(super) fn up(&self) {
        self.board.write(None, |stands| _ = stands.insert(self.number, true));
    }

    pub(super) fn down(&self, why: Arc<str>) {
        self.board.write(Some(why), |stands| _ = stands.insert(self.number, false));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.board.write(None, |stands| _ = stands.remove(&self.number));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::bus::redis::events::{Events, events};

    fn told(events: &mut Events) -> Vec<Event> {
        std::iter::from_fn(|| events.try_recv()).collect()
    }

    #[tokio::test]
    async fn it_is_up_while_all_connections_stand() {
        let board = Board::new();
        let (teller, mut events) = events();
        let mut announcer = Box::pin(board.clone().announce(teller));
        let (one, other) = (board.line(), board.line());
        one.up();
        assert_eq!(board.state().phase, Phase::Connecting);
        other.up();
        assert_eq!(board.state().phase, Phase::Up);
        assert!(announcer.as_mut().now_or_never().is_none());
        assert_eq!(told(&mut events), [Event::Up]);

        one.down("gone".into());
        assert!(announcer.as_mut().now_or_never().is_none());
        assert_eq!(told(&mut events), [Event::Down { why: "gone".into() }]);
        other.down("also gone".into());
        other.up();
        drop(one);
        assert!(announcer.as_mut().now_or_never().is_none());
        assert_eq!(told(&mut events), [Event::Up], "once, and the connection that is no more does not count");
        assert_eq!(board.state().last_error.as_deref(), Some("also gone"));
    }

    #[tokio::test]
    async fn a_break_too_short_to_be_seen_is_told_of_all_the_same() {
        let board = Board::new();
        let (teller, mut events) = events();
        let mut announcer = Box::pin(board.clone().announce(teller));
        let line = board.line();
        line.up();
        assert!(announcer.as_mut().now_or_never().is_none());
        line.down("a blink".into());
        line.up();
        assert!(announcer.as_mut().now_or_never().is_none());
        assert_eq!(told(&mut events), [Event::Up, Event::Down { why: "a blink".into() }, Event::Up]);
    }
}
