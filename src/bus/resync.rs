//! Teams whose members may have missed something, until they are told to fetch everything: once for all reasons that come
//! together, and after things have settled, since whoever fetches too early misses again. It reads no clock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use crate::metrics::BusReason as Reason;

/// How long after the last reason a team is told.
const SETTLE: Duration = Duration::from_secs(1);

/// How long after the first one it is told whatever still comes.
const MOST: Duration = Duration::from_secs(3);

/// Those that are to be told. There are no more of them than rooms.
#[derive(Debug, Default)]
pub struct Owed {
    debts: HashMap<Arc<str>, Debt>,
    /// Nobody is to be told before; `None` where nobody is owed anything.
    next: Option<Instant>,
}

#[derive(Debug)]
struct Debt {
    /// The first reason, under which it is counted.
    reason: Reason,
    first: Instant,
    last: Instant,
}

impl Debt {
    fn due(&self) -> Instant {
        (self.last + SETTLE).min(self.first + MOST)
    }
}

impl Owed {
    /// A team may have missed something.
    pub fn owe(&mut self, team: &Arc<str>, reason: Reason, now: Instant) {
        let debt = Debt { reason, first: now, last: now };
        self.debts.entry(team.clone()).and_modify(|debt| debt.last = now).or_insert(debt);
        // Whoever was owed something before is told no later.
        self.next.get_or_insert(now + SETTLE);
    }

    /// Takes the teams that are to be told now.
    pub fn due(&mut self, now: Instant) -> Vec<(Arc<str>, Reason)> {
        let due = self.debts.extract_if(|_, debt| debt.due() <= now);
        let mut due: Vec<_> = due.map(|(team, debt)| (team, debt.reason)).collect();
        due.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        self.next = self.debts.values().map(Debt::due).min();
        due
    }

    /// When to ask who is to be told.
    pub fn next(&self) -> Option<Instant> {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_team_is_told_once_for_all_reasons_that_come_together() {
        let (mut owed, now) = (Owed::default(), Instant::now());
        let (red, blue): (Arc<str>, Arc<str>) = ("red".into(), "blue".into());
        owed.owe(&red, Reason::Interrupted, now);
        owed.owe(&red, Reason::Gap, now + SETTLE / 2);
        owed.owe(&blue, Reason::Late, now + SETTLE / 2);
        assert_eq!(owed.next(), Some(now + SETTLE));
        assert_eq!(owed.due(now + SETTLE), []);
        assert_eq!(owed.next(), Some(now + SETTLE * 3 / 2));
        let told = [(blue, Reason::Late), (red, Reason::Interrupted)];
        assert_eq!(owed.due(now + SETTLE * 3 / 2), told);
        assert!(owed.next().is_none() && owed.due(now + MOST).is_empty());
    }

    #[test]
    fn reasons_that_do_not_end_are_not_waited_for() {
        let (mut owed, now) = (Owed::default(), Instant::now());
        let red: Arc<str> = "red".into();
        let mut told = Vec::new();
        for step in 0..20 {
            let now = now + step * SETTLE / 2;
            owed.owe(&red, Reason::Gap, now);
            told.extend(owed.due(now).iter().map(|_| step));
        }
        assert_eq!(told, [6, 13], "every three seconds");
    }
}
