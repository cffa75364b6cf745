//! Answers that were given under an `Idempotency-Key`, so that a request that is sent again because its answer was lost
//! does nothing a second time.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Bytes;
use axum::http::{HeaderValue, StatusCode};

/// How long an answer is kept.
const KEPT_FOR: Duration = Duration::from_secs(600);

/// How many are kept, and how much they may take together. The oldest go first.
const MOST: usize = 10_000;
const MOST_BYTES: usize = 16 << 20;

/// An answer that can be given again.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub status: StatusCode,
    pub retry_after: Option<HeaderValue>,
    pub body: Bytes,
    /// It was given before.
    pub is_again: bool,
}

impl Answered {
    /// The same, once more.
    pub fn again(&self) -> Self {
        Answered { is_again: true, ..self.clone() }
    }
}

/// What came under a key before.
pub(super) enum Before {
    /// Nothing, as far as is known.
    Nothing,
    /// The same request.
    Same(Answered),
    /// Another request.
    Another,
}

/// The answers that are kept.
#[derive(Default)]
pub(super) struct Kept {
    by_key: HashMap<String, (Vec<u8>, Answered)>,
    /// Oldest first.
    order: VecDeque<(Instant, String)>,
    bytes: usize,
}

impl Kept {
    /// What came under this key before.
    pub fn before(&mut self, key: &str, body: &[u8]) -> Before {
        self.forget_old(Instant::now());
        match self.by_key.get(key) {
            None => Before::Nothing,
            Some((hash, answered)) if hash == digest(&SHA256, body).as_ref() => {
                Before::Same(answered.clone())
            }
            Some(_) => Before::Another,
        }
    }

    /// Keeps the answer to a request whose key has not come before.
    pub fn keep(&mut self, key: String, body: &[u8], answered: Answered) {
        self.bytes += weight(&key, &answered);
        self.order.push_back((Instant::now(), key.clone()));
        self.by_key.insert(key, (digest(&SHA256, body).as_ref().to_vec(), answered));
        while self.by_key.len() > MOST || self.bytes > MOST_BYTES {
            self.forget_oldest();
        }
    }

    fn forget_old(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= KEPT_FOR) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((_, key)) = self.order.pop_front() else { return };
        if let Some((_, answered)) = self.by_key.remove(&key) {
            self.bytes -= weight(&key, &answered);
        }
    }
}

/// What one takes, roughly.
fn weight(key: &str, answered: &Answered) -> usize {
    2 * key.len() + answered.body.len() + 200
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(body: Vec<u8>) -> Answered {
        Answered { status: StatusCode::OK, retry_after: None, body: body.into(), is_again: false }
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_they_take_too_much() {
        let mut kept = Kept::default();
        for number in 0..=MOST {
            kept.keep(number.to_string(), b"x", answered(Vec::new()));
        }
        assert!(matches!(kept.before("0", b"x"), Before::Nothing));
        assert!(matches!(kept.before("1", b"x"), Before::Same(_)));
        assert!(matches!(kept.before("1", b"y"), Before::Another));
        kept.keep("large".into(), b"x", answered(vec![0; MOST_BYTES - 1000]));
        assert!(matches!(kept.before("large", b"x"), Before::Same(_)));
        assert!(kept.bytes <= MOST_BYTES && kept.by_key.len() < 10);
        kept.forget_old(Instant::now() + KEPT_FOR);
        assert_eq!((kept.bytes, kept.by_key.len()), (0, 0));
    }
}
