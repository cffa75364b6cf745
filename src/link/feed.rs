//! A room's broadcasts, kept once for all connections that follow them.
//!
//! A broadcast to a large room is one entry here, whatever the number of members: each follower remembers how far it has
//! come ([`super::outlet::Outlet::follow`]) and is written what is new to it. So a delivery touches a connection once, when
//! it is written, and not a second time to be queued before.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use smallvec::SmallVec;

use super::outlet::FRAMES_PER_WRITE;
use crate::peer::PeerId;

/// Bytes that a feed holds before whoever publishes has to write them out itself: as much as one connection may hold back
/// by default. A flood then waits for its own deliveries.
const FULL: usize = 256 * 1024;

/// Frames in the order in which they were published, from the oldest that a follower may still lack.
#[derive(Default)]
pub struct Feed {
    /// How many frames were ever published; readable without the lock.
    head: AtomicU64,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    /// The place of the first entry, counted from the feed's first frame.
    first: u64,
    entries: VecDeque<Entry>,
    bytes: usize,
}

/// One published frame.
#[derive(Clone)]
pub struct Entry {
    /// A whole WebSocket frame.
    pub frame: Bytes,
    /// The follower that does not hear it.
    pub except: Option<PeerId>,
}

/// What most followers lack, taken out of the feed once for many of them.
pub struct Batch {
    /// The place of its first frame.
    pub from: u64,
    /// The place behind its last frame.
    pub to: u64,
    /// All frames' bytes together.
    pub bytes: usize,
    frames: SmallVec<[Bytes; 4]>,
    excepted: SmallVec<[PeerId; 2]>,
}

impl Feed {
    /// The place of the next frame.
    pub fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// Appends a frame. Returns whether the feed holds too much now, so that it must be written out at once.
    pub fn publish(&self, entry: Entry) -> bool {
        let mut log = self.log.lock();
        log.bytes += entry.frame.len();
        log.entries.push_back(entry);
        // Under the lock, so that places and entries agree.
        self.head.fetch_add(1, Ordering::AcqRel);
        log.bytes > FULL
    }

    /// Gives `take` every frame from `from` on, and returns the place behind the last.
    pub fn read(&self, from: u64, mut take: impl FnMut(&Entry)) -> u64 {
        let log = self.log.lock();
        let skipped = usize::try_from(from.saturating_sub(log.first)).unwrap_or(usize::MAX);
        log.entries.iter().skip(skipped).for_each(&mut take);
        log.first + log.entries.len() as u64
    }

    /// All that it holds, if one write can carry it.
    pub fn batch(&self) -> Option<Batch> {
        let log = self.log.lock();
        if log.entries.is_empty() || log.entries.len() > FRAMES_PER_WRITE {
            return None;
        }
        Some(Batch {
            from: log.first,
            to: log.first + log.entries.len() as u64,
            bytes: log.bytes,
            frames: log.entries.iter().map(|entry| entry.frame.clone()).collect(),
            excepted: log.entries.iter().filter_map(|entry| entry.except).collect(),
        })
    }

    /// Forgets the frames before `until`, which every follower has taken.
    pub fn forget(&self, until: u64) {
        let mut log = self.log.lock();
        while log.first < until {
            let Some(entry) = log.entries.pop_front() else { return };
            log.bytes -= entry.frame.len();
            log.first += 1;
        }
    }
}

impl Batch {
    /// Whether `peer` hears all of it.
    pub fn is_for(&self, peer: PeerId) -> bool {
        !self.excepted.contains(&peer)
    }

    /// Its frames as the kernel takes them.
    pub fn slices(&self) -> SmallVec<[IoSlice<'_>; 4]> {
        self.frames.iter().map(|frame| IoSlice::new(frame)).collect()
    }

    /// Its frames.
    pub fn frames(&self) -> &[Bytes] {
        &self.frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &'static str) -> Entry {
        Entry { frame: Bytes::from_static(text.as_bytes()), except: None }
    }

    fn from(feed: &Feed, place: u64) -> (Vec<Bytes>, u64) {
        let mut frames = Vec::new();
        let head = feed.read(place, |entry| frames.push(entry.frame.clone()));
        (frames, head)
    }

    #[test]
    fn followers_read_on_from_where_they_are() {
        let feed = Feed::default();
        for text in ["a", "b", "c"] {
            assert!(!feed.publish(entry(text)));
        }
        assert_eq!(from(&feed, 0), (vec!["a".into(), "b".into(), "c".into()], 3));
        assert_eq!(from(&feed, 2), (vec!["c".into()], 3));
        assert_eq!(from(&feed, 3), (vec![], 3));
        feed.forget(2);
        assert_eq!(from(&feed, 2), (vec!["c".into()], 3));
        let batch = feed.batch().unwrap();
        assert_eq!((batch.from, batch.to, batch.bytes), (2, 3, 1));
        feed.forget(3);
        assert!(feed.batch().is_none());
        assert_eq!(feed.head(), 3);
    }

    #[test]
    fn a_batch_fits_one_write_and_knows_who_does_not_hear_it() {
        let feed = Feed::default();
        let peer = PeerId::next();
        feed.publish(Entry { except: Some(peer), ..entry("a") });
        let batch = feed.batch().unwrap();
        assert!(!batch.is_for(peer));
        assert!(batch.is_for(PeerId::next()));
        for _ in 0..FRAMES_PER_WRITE {
            feed.publish(entry("b"));
        }
        assert!(feed.batch().is_none());
    }

    #[test]
    fn it_says_when_it_is_full() {
        let feed = Feed::default();
        let large = || Entry { frame: Bytes::from(vec![0; FULL / 2]), except: None };
        assert!(!feed.publish(large()));
        assert!(!feed.publish(large()));
        assert!(feed.publish(large()));
        feed.forget(2);
        assert!(!feed.publish(large()));
    }
}
