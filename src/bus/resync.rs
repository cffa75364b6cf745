//! Teams whose members may have missed something, until they are told to fetch everything: once for all reasons that come
//! together, and after things have settled, since whoever fetches too early misses again. It reads no clock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use crate::metrics::BusReason as Reason;

/// How long after the last reason they are told.
const SETTLE: Duration = Duration::from_secs(1);

/// How long after the first one they are told whatever still comes.
const MOST: Duration = Duration::from_secs(3);

/// Those that are to be told, all at once: who is in many teams is told once or a few times, not once for each. There are no more
/// of them than rooms.
#[derive(Debug, Default)]
pub struct Owed {
    /// With the first reason, under which it is counted.
    teams: HashMap<Arc<str>, Reason>,
    /// When the first reason came, and the last.
    since: Option<(Instant, Instant)>,
}

impl Owed {
    /// A team may have missed something.
    pub fn owe(&mut self, team: &Arc<str>, reason: Reason, now: Instant) {
        self.teams.entry(team.clone()).or_insert(reason);
        self.since.get_or_insert((now, now)).1 = now;
    }

    /// Takes the teams that are to be told now, in the order of their names.
    pub fn due(&mut self, now: Instant) -> Vec<(Arc<str>, Reason)> {
        if self.next().is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.since = None;
        let mut due: Vec<_> = std::mem::take(&mut self.teams).into_iter().collect();
        due.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        due
    }

    /// When they are to be told.
    pub fn next(&self) -> Option<Instant> {
        self.since.map(|(first, last)| (last + SETTLE).min(first + MOST))
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
        assert_eq!(owed.next(), Some(now + SETTLE * 3 / 2));
        assert_eq!(owed.due(now + SETTLE), []);
        let told = [(blue, Reason::Late), (red, Reason::Interrupted)];
        assert_eq!(owed.due(now + SETTLE * 3 / 2), told);
        assert!(owed.next().is_none() && owed.due(now + MOST).is_empty());
    }

    #[test]
    fn teams_that_follow_each_other_are_told_together() {
        let (mut owed, now) = (Owed::default(), Instant::now());
        for number in 0..100 {
            owed.owe(&number.to_string().into(), Reason::Interrupted, now + number * SETTLE / 100);
        }
        assert_eq!(owed.due(now + SETTLE), []);
        assert_eq!(owed.due(owed.next().unwrap()).len(), 100);
        assert!(owed.next().is_none());
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
