//! The thread that writes: it blocks on files so that nobody else does.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::file::LogFile;
use super::record::{Kind, Record, Who};
use super::{Message, QUEUE};
use crate::metrics::{DroppedLine, Metrics};

/// What comes within so long of a record goes out in the same write, and nobody has to wake this thread for it.
const LINGER: Duration = Duration::from_millis(5);

/// Bytes of one write, but for the line that reaches it. Less than the smallest file.
const BATCH: usize = 32 << 10;

/// While lines cannot be written, that is said in the log this often.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// What the writer is told beside records.
#[derive(Default)]
pub(super) struct Orders {
    /// Files to turn to, one for each [`Message::Look`], so that each record goes where it was to go when it was made.
    files: Mutex<VecDeque<Option<LogFile>>>,
    finish: Mutex<Option<oneshot::Sender<()>>>,
    /// The queue was full when it was to be told to look.
    unannounced: AtomicBool,
    /// Records that found the queue full, and of which no line says so yet.
    missed: AtomicU64,
}

impl Orders {
    /// From now on write into this file, or nowhere.
    pub fn switch(&self, file: Option<LogFile>) {
        self.files.lock().push_back(file);
    }

    /// The queue is full. What it can't be told there it finds when it has emptied it.
    pub fn unannounced(&self) {
        self.unannounced.store(true, Ordering::Release);
    }

    /// Write what is there, say so, and end.
    pub fn finish(&self, done: oneshot::Sender<()>) {
        *self.finish.lock() = Some(done);
    }

    /// So many records found the queue full.
    pub fn missed(&self, records: u64) {
        self.missed.fetch_add(records, Ordering::Relaxed);
    }
}

/// The other end of the queue.
pub(super) struct Writer {
    records: Receiver<Message>,
    orders: Arc<Orders>,
    metrics: Arc<Metrics>,
    file: Option<LogFile>,
    batch: Vec<u8>,
    lines: u64,
    /// There from when lines could not be written until a whole batch could.
    failing: Option<Failing>,
    /// When the log was told last that they cannot.
    said: Option<Instant>,
}

#[derive(Default)]
struct Failing {
    /// Lines that are missing from the file, which does not say so yet.
    untold: u64,
    /// All that are missing.
    lost: u64,
    /// Whether the log was told.
    is_said: bool,
}

impl Writer {
    pub fn new(records: Receiver<Message>, orders: Arc<Orders>, metrics: Arc<Metrics>) -> Self {
        Writer {
            records,
            orders,
            metrics,
            file: None,
            batch: Vec::new(),
            lines: 0,
            failing: None,
            said: None,
        }
    }

    /// Runs on a thread of its own until it is told to finish, or nobody is left to tell it anything.
    pub fn start(self) -> io::Result<()> {
        thread::Builder::new().name("decision-log".into()).spawn(move || self.run()).map(drop)
    }

    fn run(mut self) {
        while let Ok(first) = self.records.recv() {
            let is_record = matches!(first, Message::Record(_));
            self.take(first);
            if is_record {
                thread::sleep(LINGER);
            }
            let all_gone = self.take_waiting();
            self.flush();
            if self.orders.unannounced.swap(false, Ordering::AcqRel) {
                while self.obey() {}
            }
            let done = self.orders.finish.lock().take();
            if let Some(done) = done {
                // Once more for what came after the order.
                self.take_waiting();
                self.flush();
                self.sync();
                // Whoever asked may have stopped waiting.
                let _ = done.send(());
                return;
            }
            if all_gone {
                return;
            }
        }
    }

    /// Takes what waits, at most a queue's length; whether nobody is left to send more.
    fn take_waiting(&mut self) -> bool {
        for _ in 0..QUEUE {
            match self.records.try_recv() {
                Ok(message) => self.take(message),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return true,
            }
        }
        false
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Record(record) => self.add(&record),
            Message::Look => drop(self.obey()),
        }
    }

    /// Turns to another file, if there is an order to; what has come so far still goes to the old one.
    fn obey(&mut self) -> bool {
        let Some(file) = self.orders.files.lock().pop_front() else { return false };
        self.write_batch();
        self.file = file;
        true
    }

    fn add(&mut self, record: &Record) {
        record.write(&mut self.batch);
        self.lines += 1;
        if self.batch.len() >= BATCH {
            self.write_batch();
        }
    }

    /// Writes what has come together, with what the queue could not take.
    fn flush(&mut self) {
        if self.file.is_some() {
            let missed = self.orders.missed.swap(0, Ordering::Relaxed);
            if missed > 0 {
                self.add(&dropped(DroppedLine::Queue, missed));
            }
        }
        self.write_batch();
    }

    /// Writes what has come together. Where lines are missing before it, the file itself says so first.
    fn write_batch(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        if let Some(mut file) = self.file.take() {
            if lines > 0 {
                self.write_into(&mut file, lines);
            }
            self.file = Some(file);
        }
        self.batch.clear();
    }

    fn write_into(&mut self, file: &mut LogFile, lines: u64) {
        if let Some(failing) = self.failing.as_mut().filter(|failing| failing.untold > 0) {
            if let Err(unwritten) = file.append(&failing.line()) {
                return self.lose(file, lines, &unwritten.error);
            }
            failing.untold = 0;
        }
        let kept = match file.append(&self.batch) {
            Ok(()) => {
                // Where the disk is nearly full a short line has room and the next has none: only a whole batch counts.
                if let Some(Failing { lost, is_said: true, .. }) = self.failing.take() {
                    tracing::info!(lost, "the decision log is written again");
                }
                lines
            }
            Err(unwritten) => {
                self.lose(file, lines - unwritten.kept, &unwritten.error);
                unwritten.kept
            }
        };
        self.metrics.decision_lines.inc_by(kept);
    }

    /// Counts lines that could not be written, and says so now and then.
    #[cold]
    fn lose(&mut self, file: &LogFile, lines: u64, error: &io::Error) {
        self.metrics.decision_dropped(DroppedLine::Unwritable, lines);
        let failing = self.failing.get_or_insert_default();
        failing.lost += lines;
        failing.untold += lines;
        if self.said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            self.said = Some(Instant::now());
            failing.is_said = true;
            tracing::error!(
                path = %file.path().display(),
                lost = failing.lost,
                %error,
                "the decision log cannot be written; its lines are lost until it can"
            );
        }
    }

    fn sync(&self) {
        if let Some(Err(error)) = self.file.as_ref().map(LogFile::sync) {
            tracing::error!(%error, "the decision log's last lines may not be on disk");
        }
    }
}

impl Failing {
    fn line(&self) -> Vec<u8> {
        let mut line = Vec::new();
        dropped(DroppedLine::Unwritable, self.untold).write(&mut line);
        line
    }
}

/// What stands for lines that are missing.
fn dropped(reason: DroppedLine, count: u64) -> Record {
    Record {
        code: Some(reason.as_str()),
        count: Some(count),
        ..Record::new(Kind::Dropped, Who::Nobody, SystemTime::now())
    }
}
