//! What other nodes have asked for and was done. Whoever has recorded such a word may publish it again, signature and all: it is
//! done once.

use std::collections::{BTreeMap, BTreeSet};

use crate::bus::envelope::Origin;

/// Runs of nodes of which it is remembered; of more the oldest is forgotten.
const MOST_ORIGINS: usize = 1024;

/// Numbers of one run that are remembered each. They come almost in order: what is below all of them passes for done.
const KEPT: usize = 256;

/// The numbers of what was done, by who has asked.
#[derive(Debug, Default)]
pub struct Done(BTreeMap<Origin, BTreeSet<u64>>);

impl Done {
    /// Whether it was not done before; it is from now on.
    pub fn is_new(&mut self, by: Origin, ask: u64) -> bool {
        let asks = self.0.entry(by).or_default();
        if asks.len() >= KEPT && asks.first().is_some_and(|first| ask < *first) {
            return false;
        }
        let is_new = asks.insert(ask);
        if asks.len() > KEPT {
            asks.pop_first();
        }
        if self.0.len() > MOST_ORIGINS {
            self.0.pop_first();
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_new_once_in_almost_any_order() {
        let mut done = Done::default();
        for ask in [0, 2, 1, 5] {
            assert!(
                done.is_new(Origin(1), ask) && !done.is_new(Origin(1), ask) && done.is_new(Origin(2), ask)
            );
        }
        (10..10 + 2 * KEPT as u64).for_each(|ask| assert!(done.is_new(Origin(1), ask)));
        for ask in 0..10 + 2 * KEPT as u64 {
            assert!(!done.is_new(Origin(1), ask), "{ask}");
        }
        assert!(done.0.values().all(|asks| asks.len() <= KEPT));
    }

    #[test]
    fn the_oldest_runs_are_forgotten() {
        let mut done = Done::default();
        (0..=MOST_ORIGINS as u64).for_each(|origin| assert!(done.is_new(Origin(origin), 1)));
        assert_eq!(done.0.len(), MOST_ORIGINS);
        assert!(!done.is_new(Origin(MOST_ORIGINS as u64), 1));
    }
}
