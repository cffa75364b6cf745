//! The connection for commands to one server: what is asked goes out in order, many at once, and the answers come back in
//! that order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use redis::{ServerErrorKind, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::backoff::{Backoff, CEILING};
use super::board::Line;
use super::config::Config;
use super::error::{Broken, CallError, judged};
use super::link::Link;
use super::place::Place;

/// Requests that wait to be written. Past that whoever asks waits for room, at most as long as an answer may take.
const MOST_QUEUED: usize = 256;
/// Commands that wait for their answers. Past that no request is written; one request may be of any number.
const MOST_UNANSWERED: usize = 1024;
/// Bytes that wait to be written, likewise.
const MOST_UNWRITTEN: usize = 256 << 10;
/// A connection over which nothing came for so long is tried with a PING.
const QUIET: Duration = Duration::from_secs(1);

pub(super) type Answer = Result<Value, CallError>;

/// The end at which commands are handed in. What is in the queue belongs to those who wait for it, so it takes no memory
/// that they had not taken before.
#[derive(Debug)]
pub(super) struct Lane {
    queue: mpsc::Sender<Request>,
    stands: Arc<AtomicBool>,
    patience: Duration,
}

/// Commands that go out one right after the other.
#[derive(Debug)]
struct Request {
    commands: Vec<Bytes>,
    answers: oneshot::Sender<Vec<Answer>>,
}

/// What the lane's task works with.
pub(super) struct Worker {
    place: Place,
    config: Arc<Config>,
    queue: mpsc::Receiver<Request>,
    stands: Arc<AtomicBool>,
    line: Line,
}

/// A lane, and the task of it, which ends when the lane is dropped.
pub(super) fn lane(place: Place, config: Arc<Config>, line: Line) -> (Lane, Worker) {
    let (sender, queue) = mpsc::channel(MOST_QUEUED);
    let stands = Arc::new(AtomicBool::new(false));
    let lane = Lane { queue: sender, stands: stands.clone(), patience: config.response_timeout };
    (lane, Worker { place, config, queue, stands, line })
}

impl Lane {
    /// One answer for each command, which are written together and in order.
    pub(super) async fn ask(&self, commands: Vec<Bytes>) -> Vec<Answer> {
        let number = commands.len();
        let (answers, answered) = oneshot::channel();
        let room = match timeout(self.patience, self.queue.reserve()).await {
            Ok(Ok(room)) => room,
            Ok(Err(_)) => return all(number, CallError::Away),
            Err(_) => return all(number, CallError::Busy),
        };
        room.send(Request { commands, answers });
        answered.await.unwrap_or_else(|_| all(number, CallError::Lost))
    }

    /// Whether its connection stands.
    pub(super) fn stands(&self) -> bool {
        self.stands.load(Ordering::Acquire)
    }
}

fn all(number: usize, error: CallError) -> Vec<Answer> {
    vec![Err(error); number]
}

impl Worker {
    /// Keeps a connection until nobody can ask any more.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            let opening = Link::open(&self.place, &self.config);
            let opened = tokio::select! {
                opened = opening => opened,
                () = refuse(&mut self.queue) => return,
            };
            let broken = match opened {
                Err(broken) => broken,
                Ok(link) => {
                    let opened = Instant::now();
                    self.line.up();
                    self.stands.store(true, Ordering::Release);
                    let served = serve(link, &mut self.queue, self.config.response_timeout).await;
                    self.stands.store(false, Ordering::Release);
                    // One that breaks as soon as it stands is tried no faster than one that never does.
                    if opened.elapsed() > CEILING {
                        backoff.reset();
                    }
                    match served {
                        Ok(()) => return,
                        Err(broken) => broken,
                    }
                }
            };
            self.line.down(format!("{}: {broken}", self.place.address).into());
            self.place.is_lost();
            let pause = backoff.next();
            tokio::select! {
                () = sleep(pause) => {}
                () = refuse(&mut self.queue) => return,
            }
        }
    }
}

/// Answers what is asked with [`CallError::Away`], until nobody can ask any more.
async fn refuse(queue: &mut mpsc::Receiver<Request>) {
    while let Some(request) = queue.recv().await {
        let answers = all(request.commands.len(), CallError::Away);
        // Whoever has stopped waiting needs none.
        let _ = request.answers.send(answers);
    }
}

/// Requests that were written, in order, and what has come for the first of them.
#[derive(Default)]
struct Unanswered {
    waiting: VecDeque<Waiting>,
    commands: usize,
}

struct Waiting {
    number: usize,
    answers: Vec<Answer>,
    /// `None` waits for the answer to a PING.
    to: Option<oneshot::Sender<Vec<Answer>>>,
    until: Instant,
}

impl Unanswered {
    fn push(&mut self, number: usize, to: Option<oneshot::Sender<Vec<Answer>>>, until: Instant) {
        self.commands += number;
        self.waiting.push_back(Waiting { number, answers: Vec::with_capacity(number), to, until });
    }

    fn take(&mut self, value: Value) -> Result<(), Broken> {
        let Some(first) = self.waiting.front_mut() else { return Err(Broken::OutOfStep) };
        self.commands -= 1;
        first.answers.push(judged(value));
        if first.answers.len() == first.number
            && let Some(Waiting { answers, to: Some(to), .. }) = self.waiting.pop_front()
        {
            let _ = to.send(answers);
        }
        Ok(())
    }
}

impl Drop for Unanswered {
    /// What was answered was answered; of the rest nobody knows.
    fn drop(&mut self) {
        for Waiting { number, mut answers, to, .. } in self.waiting.drain(..) {
            answers.resize(number, Err(CallError::Lost));
            if let Some(to) = to {
                let _ = to.send(answers);
            }
        }
    }
}

/// Ends well when nobody can ask any more.
async fn serve(
    mut link: Link,
    queue: &mut mpsc::Receiver<Request>,
    patience: Duration,
) -> Result<(), Broken> {
    let mut unanswered = Unanswered::default();
    let mut heard = Instant::now();
    let ping = redis::cmd("PING").get_packed_command();
    loop {
        let has_room = unanswered.commands < MOST_UNANSWERED && link.out.len() < MOST_UNWRITTEN;
        let deadline = unanswered.waiting.front().map_or(heard + QUIET, |first| first.until);
        tokio::select! {
            biased;
            written = link.out.write_some(), if link.out.is_pending() => written?,
            request = queue.recv(), if has_room => {
                let Some(Request { commands, answers }) = request else { return Ok(()) };
                commands.iter().for_each(|command| link.out.push(command));
                if !commands.is_empty() {
                    unanswered.push(commands.len(), Some(answers), Instant::now() + patience);
                }
            }
            value = link.values.next() => {
                heard = Instant::now();
                match value.unwrap_or(Err(Broken::Closed))? {
                    Value::Push { .. } => {}
                    value => {
                        let takes_writes = !is_read_only(&value);
                        unanswered.take(value)?;
                        if !takes_writes {
                            return Err(Broken::ReadOnly);
                        }
                    }
                }
            }
            () = sleep_until(deadline) => {
                if !unanswered.waiting.is_empty() {
                    return Err(Broken::Silent);
                }
                link.out.push(&ping);
                unanswered.push(1, None, Instant::now() + patience);
            }
        }
    }
}

/// Another server has become the master, and its name leads there by now.
fn is_read_only(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::ReadOnly))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_go_to_those_who_asked_in_order() {
        let mut unanswered = Unanswered::default();
        let (first, mut first_answers) = oneshot::channel();
        let (second, mut second_answers) = oneshot::channel();
        unanswered.push(2, Some(first), Instant::now());
        unanswered.push(1, None, Instant::now());
        unanswered.push(2, Some(second), Instant::now());
        for number in 0..4 {
            unanswered.take(Value::Int(number)).unwrap();
        }
        assert_eq!(first_answers.try_recv().unwrap(), [Ok(Value::Int(0)), Ok(Value::Int(1))]);
        assert_eq!(unanswered.commands, 1);
        drop(unanswered);
        assert_eq!(second_answers.try_recv().unwrap(), [Ok(Value::Int(3)), Err(CallError::Lost)]);
    }

    #[test]
    fn an_answer_to_nothing_breaks_the_connection() {
        assert!(matches!(Unanswered::default().take(Value::Okay), Err(Broken::OutOfStep)));
    }
}
