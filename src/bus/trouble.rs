//! When the log says that there is trouble: soon after it began, and now and then while it lasts, since whoever looks may look
//! late. It reads no clock.

use std::time::{Duration, Instant};

/// How long there may be trouble before it is said: a restart of Redis is none.
const AFTER: Duration = Duration::from_secs(3);

/// How long after that it is said again.
const AGAIN: Duration = Duration::from_secs(60);

/// Whether there is some.
#[derive(Debug, Default)]
pub struct Trouble {
    /// When it is to be said next.
    due: Option<Instant>,
}

impl Trouble {
    /// Whether it is to be said now. Asked every now and then, with how things are.
    pub fn is_to_be_said(&mut self, is_well: bool, now: Instant) -> bool {
        if is_well {
            self.due = None;
            return false;
        }
        let is_due = *self.due.get_or_insert(now + AFTER) <= now;
        if is_due {
            self.due = Some(now + AGAIN);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_after_a_moment_and_again_while_it_lasts() {
        let (mut trouble, now) = (Trouble::default(), Instant::now());
        let seconds = |trouble: &mut Trouble, from, to| -> Vec<u32> {
            let is_said = |second: &u32| trouble.is_to_be_said(false, now + *second * Duration::from_secs(1));
            (from..to).filter(is_said).collect()
        };
        assert_eq!(seconds(&mut trouble, 0, 130), [3, 63, 123]);
        assert!(!trouble.is_to_be_said(true, now));
        assert_eq!(seconds(&mut trouble, 200, 205), [203]);
    }
}
