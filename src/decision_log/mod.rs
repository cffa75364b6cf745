//! The decision log: one JSON line for what was decided, of whom, by which rule. Never a payload, never a token.
//!
//! Deciding never waits for it. A decision becomes a [`Record`], which is handed to a bounded queue or counted as dropped;
//! `writer` is the thread at the other end, which makes lines and writes them in batches into a `file`, which it turns
//! over. How many lines one connection and one address may have is an [`allowance`], so that a flood of refused events
//! costs a few comparisons each and pushes out nobody else's lines.

pub mod allowance;
mod file;
mod record;
mod tap;
mod writer;

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use self::allowance::{Addresses, Allowance, Handshakes, MOST_PER_ADDRESS, MOST_PER_CONNECTION, Spent};
pub use self::file::LogFile;
pub use self::record::{Kind, Outcome, Record, Teams, Who};
pub(crate) use self::record::{OneLine, is_odd};
use self::tap::Tap;
pub use self::tap::{MOST_SHOWN, Onlooker};
use self::writer::{Orders, Writer};
use crate::config::policy::DecisionLog as Settings;
use crate::config::{Problem, Problems};
use crate::event_id::EventId;
use crate::metrics::{CloseReason, DroppedLine, Metrics};
use crate::peer::PeerId;
use crate::reject::Name;

/// Records that wait for the writer. It looks every few milliseconds, so this is a burst of some hundred thousand a second.
const QUEUE: usize = 4096;

/// The share of all events is counted in these.
const WHOLE: u64 = 1 << 32;

/// How long the last lines may take at the end of the process. A disk that hangs must not keep it.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The decision log of one process, on or off.
pub struct DecisionLog {
    /// Zero where it is off; else the share of accepted events that are written, in parts of [`WHOLE`], and one. It is on while
    /// a file is written, or somebody looks on.
    share: AtomicU64,
    /// The same, as the file wants it.
    file_share: AtomicU64,
    /// Held while the former follows from what the file wants, and whether somebody looks on.
    counting: Mutex<()>,
    /// Which events the share falls on, which nobody outside can foretell.
    seed: u64,
    began: Instant,
    /// There from when it is first switched on.
    running: OnceLock<Running>,
    /// There from when it is first on.
    shares: OnceLock<Shares>,
    tap: Tap,
    metrics: Arc<Metrics>,
}

struct Running {
    queue: SyncSender<Message>,
    orders: Arc<Orders>,
}

/// How many lines all connections, and all strangers, of one address may have.
struct Shares {
    addresses: Addresses,
    handshakes: Handshakes,
}

/// What the writer finds in its queue.
enum Message {
    Record(Box<Record>),
    /// There are orders for it.
    Look,
}

impl DecisionLog {
    /// A log as these settings want it; without any, it is off.
    ///
    /// # Errors
    /// A file that cannot be written, as a fault of the configuration.
    pub fn new(settings: Option<&Settings>, metrics: Arc<Metrics>) -> Result<Self, Problems> {
        let log = DecisionLog::off(metrics);
        let file = settings.map(|settings| log.open(settings)).transpose();
        log.switch(file.map_err(|problem| Problems(vec![problem]))?);
        Ok(log)
    }

    /// A log that is off.
    pub(crate) fn off(metrics: Arc<Metrics>) -> Self {
        let mut seed = [0; 8];
        // Without randomness the same events are taken after each start.
        let _ = getrandom::fill(&mut seed);
        DecisionLog {
            share: AtomicU64::new(0),
            file_share: AtomicU64::new(0),
            counting: Mutex::default(),
            seed: u64::from_le_bytes(seed),
            began: Instant::now(),
            running: OnceLock::new(),
            shares: OnceLock::new(),
            tap: Tap::new(),
            metrics,
        }
    }

    /// Opens the file, so that whatever keeps it from being written is known before anything depends on it, and sees to it
    /// that somebody is there to write. Blocks. To be given to [`DecisionLog::switch`].
    ///
    /// # Errors
    /// What the system says of the file, or of one thread more, as a fault of the configuration.
    pub fn open(&self, settings: &Settings) -> Result<LogFile, Problem> {
        self.try_open(settings).map_err(|error| Problem {
            origin: settings.origin.clone(),
            key: "decision_log.path".into(),
            found: format!("cannot write {}: {error}", settings.path.display()),
            mend: "let this user write there, or write elsewhere".into(),
            did_you_mean: None,
        })
    }

    fn try_open(&self, settings: &Settings) -> io::Result<LogFile> {
        let file = LogFile::open(settings)?;
        if self.running.get().is_none() {
            let (queue, records) = sync_channel(QUEUE);
            let orders = Arc::<Orders>::default();
            Writer::new(records, orders.clone(), self.metrics.clone()).start()?;
            // The other one, should two have come here at once, ends with its queue.
            let _ = self.running.set(Running { queue, orders });
        }
        Ok(file)
    }

    /// From now on writes into this file, or nothing.
    pub fn switch(&self, file: Option<LogFile>) {
        let share = file.as_ref().map_or(0, |file| 1 + (file.sample() * WHOLE as f64) as u64);
        let Some(running) = self.running.get() else { return };
        if share == 0 {
            self.file_share.store(0, Ordering::Relaxed);
            self.count_in();
        }
        running.orders.switch(file);
        running.wake();
        self.file_share.store(share, Ordering::Relaxed);
        self.count_in();
    }

    /// Is on, or off, as file and onlookers want it now.
    fn count_in(&self) {
        let _one_at_a_time = self.counting.lock();
        let file = self.file_share.load(Ordering::Relaxed);
        let share = if file == 0 { u64::from(self.tap.is_watched()) } else { file };
        if share != 0 {
            self.shares.get_or_init(|| Shares {
                addresses: Addresses::new(MOST_PER_ADDRESS),
                handshakes: Handshakes::new(),
            });
        }
        self.share.store(share, Ordering::Relaxed);
    }

    /// Looks on at what is decided from now on, whether or not there is a file.
    pub fn look_on(self: &Arc<Self>) -> Onlooker {
        let onlooker = Onlooker::new(self.clone());
        self.count_in();
        onlooker
    }

    /// Whether anything is written at all.
    pub fn is_on(&self) -> bool {
        self.share.load(Ordering::Relaxed) != 0
    }

    fn has_file(&self) -> bool {
        self.file_share.load(Ordering::Relaxed) != 0
    }

    /// Whether this event is among those that are written although nothing was refused.
    pub fn samples(&self, id: EventId) -> bool {
        let share = self.share.load(Ordering::Relaxed);
        share != 0 && mixed(id.number() ^ self.seed) >> 32 < share - 1
    }

    /// Writes one record, or counts it as dropped. Never waits.
    pub fn write(&self, record: Record) {
        if self.tap.is_watched() {
            self.tap.show(&record, self.second(Instant::now()));
        }
        let Some(running) = self.running.get().filter(|_| self.has_file()) else { return };
        if running.queue.try_send(Message::Record(Box::new(record))).is_err() {
            self.metrics.decision_dropped(DroppedLine::Queue, 1);
            running.orders.missed(1);
        }
    }

    /// Whether this connection may have one line more about something that was refused to it; `false` where the log is
    /// off. What it may not have is counted, and said in one line a second.
    pub fn may_refuse(&self, allowance: &Allowance, id: PeerId, address: IpAddr, now: Instant) -> bool {
        if !self.is_on() {
            return false;
        }
        match allowance.spend(self.second(now), MOST_PER_CONNECTION) {
            Spent::Exceeded => false,
            Spent::Allowed { before } => {
                self.suppressed(Some(id), before);
                self.shares.get().is_some_and(|shares| shares.addresses.spend(address, self.second(now)))
            }
        }
    }

    /// Whether there may be one line more about a request of this address that was turned away before it had a session;
    /// `false` where the log is off. What there may not be is counted, and said likewise.
    pub fn may_turn_away(&self, address: IpAddr, now: Instant) -> bool {
        let shares = self.shares.get().filter(|_| self.is_on());
        shares.is_some_and(|shares| shares.handshakes.spend(address, self.second(now)))
    }

    /// Says what a connection's allowance had to leave out, once the second that it was for is over.
    pub fn settle(&self, allowance: &Allowance, id: PeerId, now: Instant) {
        self.suppressed(Some(id), allowance.settle(self.second(now)));
    }

    /// Says what a connection's allowance had to leave out, as the connection is over.
    pub fn settle_last(&self, allowance: &Allowance, id: PeerId) {
        self.suppressed(Some(id), allowance.settle(u32::MAX));
    }

    /// Says what the addresses' allowances had to leave out since it was called last.
    pub fn settle_addresses(&self) {
        let Some(shares) = self.shares.get() else { return };
        self.suppressed(None, shares.addresses.take_suppressed());
        self.suppressed(None, shares.handshakes.take_suppressed());
    }

    /// Writes that a connection was closed from this side, unless the client itself asked for it or an admission that was
    /// refused says so already.
    pub fn closed(&self, reason: CloseReason, who: impl FnOnce() -> Who) {
        let said =
            matches!(reason, CloseReason::Client | CloseReason::UserCap | CloseReason::KeysUnavailable);
        if self.is_on() && !said {
            self.write(Record {
                code: Some(reason.as_str()),
                rule: reason.rule().map(Name::from),
                ..Record::new(Kind::Close, who(), SystemTime::now())
            });
        }
    }

    /// Writes what waits, and nothing from then on. Returns when it is on disk, or after [`LAST_LINES`].
    pub async fn finish(&self) {
        let Some(running) = self.running.get() else { return };
        self.settle_addresses();
        let (done, is_done) = oneshot::channel();
        running.orders.finish(done);
        running.wake();
        if tokio::time::timeout(LAST_LINES, is_done).await.is_err() {
            tracing::warn!("the decision log's last lines could not be written in time");
        }
    }

    /// One line for many that were left out.
    fn suppressed(&self, connection: Option<PeerId>, count: u32) {
        if count == 0 {
            return;
        }
        if self.has_file() {
            self.metrics.decision_dropped(DroppedLine::Suppressed, count.into());
        }
        let who = connection.map_or(Who::Nobody, Who::Connection);
        self.write(Record {
            count: Some(count.into()),
            ..Record::new(Kind::Suppressed, who, SystemTime::now())
        });
    }

    fn second(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.began).as_secs() as u32
    }
}

impl Running {
    /// Has the writer look at its orders.
    fn wake(&self) {
        if self.queue.try_send(Message::Look).is_err() {
            self.orders.unannounced();
        }
    }
}

/// A number that tells nothing of the one it was made from (the finaliser of `SplitMix64`).
fn mixed(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[cfg(test)]
mod tests;
