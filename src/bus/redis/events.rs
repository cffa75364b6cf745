//! What the driver tells its user, through a queue that is bounded in number and in bytes.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Events that may wait. Past that the connection they come from is not read until the user has taken some.
const MOST_EVENTS: usize = 4096;
/// Bytes of messages that may wait, likewise. A longer message counts as this much, and waits alone.
const MOST_BYTES: usize = 8 << 20;

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// All connections stand, for the first time or again: commands go through, and channels are being subscribed.
    Up,
    /// From now on the channel is heard without a break. After an interruption it is said again.
    Subscribed {
        /// As in [`Driver::subscribe`](super::Driver::subscribe).
        channel: Arc<str>,
    },
    /// From some moment before this, what was published on these channels was perhaps not heard: the connection broke, or
    /// the channels moved to another server of the cluster. They are subscribed again without being asked for.
    Interrupted {
        /// All of the connection's that had been confirmed.
        channels: Vec<Arc<str>>,
    },
    /// Somebody has published.
    Message {
        /// Where.
        channel: Arc<str>,
        /// What.
        payload: Bytes,
    },
    /// A connection is gone, the first one after [`Event::Up`].
    Down {
        /// Which, and what was wrong with it. Without secrets.
        why: Arc<str>,
    },
}

/// The end at which events are taken. While nobody takes any, nothing more is read from Redis.
#[derive(Debug)]
pub struct Events {
    receiver: mpsc::Receiver<Queued>,
}

impl Events {
    /// The next event; `None` once the driver is gone. May be given up at any time; nothing is lost by that.
    pub async fn recv(&mut self) -> Option<Event> {
        self.receiver.recv().await.map(|queued| queued.event)
    }

    /// One that is there already.
    pub fn try_recv(&mut self) -> Option<Event> {
        self.receiver.try_recv().ok().map(|queued| queued.event)
    }
}

#[derive(Debug)]
struct Queued {
    event: Event,
    /// Given back when the event is taken.
    _bytes: Option<OwnedSemaphorePermit>,
}

/// The end at which events come in.
#[derive(Clone, Debug)]
pub(super) struct Teller {
    sender: mpsc::Sender<Queued>,
    bytes: Arc<Semaphore>,
}

/// Nobody takes events any more.
#[derive(Debug)]
pub(super) struct Gone;

pub(super) fn events() -> (Teller, Events) {
    let (sender, receiver) = mpsc::channel(MOST_EVENTS);
    (Teller { sender, bytes: Arc::new(Semaphore::new(MOST_BYTES)) }, Events { receiver })
}

impl Teller {
    /// Waits for room.
    pub(super) async fn tell(&self, event: Event) -> Result<(), Gone> {
        let length = match &event {
            Event::Message { payload, .. } => payload.len().min(MOST_BYTES),
            _ => 0,
        };
        let bytes = match u32::try_from(length) {
            Ok(0) | Err(_) => None,
            Ok(length) => Some(self.bytes.clone().acquire_many_owned(length).await.map_err(|_| Gone)?),
        };
        self.sender.send(Queued { event, _bytes: bytes }).await.map_err(|_| Gone)
    }

    /// Waits for room, and only then asks what there is to tell, so that it is still true when it is queued.
    pub(super) async fn tell_if(&self, event: impl FnOnce(&mut dyn FnMut(Event))) -> Result<(), Gone> {
        let room = self.sender.reserve().await.map_err(|_| Gone)?;
        let mut room = Some(room);
        event(&mut |event| {
            if let Some(room) = room.take() {
                room.send(Queued { event, _bytes: None });
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn message(length: usize) -> Event {
        Event::Message { channel: "c".into(), payload: vec![0; length].into() }
    }

    #[tokio::test]
    async fn the_queue_is_bounded_in_number() {
        let (teller, mut events) = events();
        for _ in 0..MOST_EVENTS {
            teller.tell(Event::Up).await.unwrap();
        }
        assert!(teller.tell(Event::Up).now_or_never().is_none());
        assert_eq!(events.recv().await, Some(Event::Up));
        assert!(teller.tell(Event::Up).now_or_never().is_some());
    }

    #[tokio::test]
    async fn the_queue_is_bounded_in_bytes() {
        let (teller, mut events) = events();
        teller.tell(message(MOST_BYTES - 1)).await.unwrap();
        assert!(teller.tell(message(2)).now_or_never().is_none());
        teller.tell(message(1)).now_or_never().unwrap().unwrap();
        assert!(events.try_recv().is_some());
        assert!(teller.tell(message(2 * MOST_BYTES)).now_or_never().is_none(), "it waits alone");
        assert!(events.try_recv().is_some());
        teller.tell(message(2 * MOST_BYTES)).now_or_never().unwrap().unwrap();
        drop(events);
        assert!(teller.tell(Event::Up).await.is_err());
    }
}
