//! What other nodes are asked to do, and their answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::bus::envelope::Origin;

/// How long answers are waited for.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Asks that wait for answers at once. One more is not asked of other nodes.
const MOST: usize = 64;

/// Answers of one ask that may wait to be looked at.
const MOST_ANSWERS: usize = 1024;

/// The asks that wait for answers, by number.
#[derive(Debug, Default)]
pub struct Asks {
    open: Mutex<BTreeMap<u64, mpsc::Sender<(Origin, u64)>>>,
    next: AtomicU64,
}

/// An ask that waits; it is forgotten with this value.
#[derive(Debug)]
pub struct Open<'a> {
    asks: &'a Asks,
    /// Its number.
    pub number: u64,
    answers: mpsc::Receiver<(Origin, u64)>,
}

/// What a node has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its run.
    pub origin: Origin,
    /// What it is called.
    pub name: Arc<str>,
    /// What it said; `None` where it did not within [`PATIENCE`].
    pub said: Option<u64>,
}

impl Asks {
    /// Opens one; `None` where there are too many.
    pub fn open(&self) -> Option<Open<'_>> {
        let (sender, answers) = mpsc::channel(MOST_ANSWERS);
        let mut open = self.open.lock();
        if open.len() >= MOST {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        open.insert(number, sender);
        Some(Open { asks: self, number, answers })
    }

    /// A node has answered. What was not asked, or has too many answers, is nobody's.
    pub fn answered(&self, number: u64, by: Origin, said: u64) {
        if let Some(asked) = self.open.lock().get(&number) {
            let _ = asked.try_send((by, said));
        }
    }
}

impl Open<'_> {
    /// Waits until each of these nodes has answered, for as long as patience lasts. Their answers in the same order, and behind them
    /// those of nodes that nobody knew of.
    pub async fn answers(mut self, of: Vec<(Origin, Arc<str>)>, patience: Duration) -> Vec<Answer> {
        let mut said = BTreeMap::new();
        let all = async {
            while of.iter().any(|(origin, _)| !said.contains_key(origin)) {
                let Some((by, what)) = self.answers.recv().await else { break };
                // The first word counts.
                said.entry(by).or_insert(what);
            }
        };
        let _ = timeout(patience, all).await;
        let mut answers: Vec<Answer> = of
            .into_iter()
            .map(|(origin, name)| Answer { said: said.remove(&origin), origin, name })
            .collect();
        let unknown = |(origin, what): (Origin, u64)| Answer {
            origin,
            name: origin.to_string().into(),
            said: Some(what),
        };
        answers.extend(said.into_iter().map(unknown));
        answers
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.asks.open.lock().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(origins: &[u64]) -> Vec<(Origin, Arc<str>)> {
        origins.iter().map(|origin| (Origin(*origin), format!("n{origin}").into())).collect()
    }

    fn said(answers: &[Answer]) -> Vec<Option<u64>> {
        answers.iter().map(|answer| answer.said).collect()
    }

    #[tokio::test]
    async fn who_does_not_answer_in_time_is_named() {
        let asks = Asks::default();
        let open = asks.open().unwrap();
        let number = open.number;
        asks.answered(number, Origin(2), 5);
        asks.answered(number, Origin(2), 6);
        asks.answered(number, Origin(9), 7);
        asks.answered(number + 1, Origin(1), 8);
        assert_eq!(
            said(&open.answers(nodes(&[1, 2]), Duration::from_millis(20)).await),
            [None, Some(5), Some(7)]
        );
        asks.answered(number, Origin(1), 1);
        assert!(asks.open.lock().is_empty(), "it is forgotten");
    }

    #[tokio::test]
    async fn it_ends_with_the_last_answer_and_is_bounded() {
        let asks = Asks::default();
        let open = asks.open().unwrap();
        asks.answered(open.number, Origin(1), 0);
        assert_eq!(said(&open.answers(nodes(&[1]), Duration::MAX).await), [Some(0)]);
        assert_eq!(asks.open().unwrap().answers(Vec::new(), Duration::MAX).await, []);
        let many: Vec<_> = (0..MOST).map(|_| asks.open().unwrap()).collect();
        assert!(asks.open().is_none());
        drop(many);
        assert!(asks.open().is_some());
    }
}
