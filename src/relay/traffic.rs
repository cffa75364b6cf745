//! How much goes through each team: events, and copies of them, a second over the last minute.
//!
//! A room adds up in one number what is relayed to it, and whoever is first to add to it since it was looked at puts the room
//! on a list. So an event pays for one addition, and a room in which nothing happens is never looked at.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::room::Room;

/// How often [`Traffic::sample`] is to be called.
pub const EVERY: Duration = Duration::from_secs(5);

/// Samples that the averages are of: a minute.
const SAMPLES: usize = 12;

/// Teams whose traffic is remembered, those in which something was relayed in the last minute; as many as the rates of events
/// are remembered for, and about 10 MB at worst.
const REMEMBERED: usize = 1 << 16;

/// One event, in [`Passed`]; its copies are counted below it. Between two samples there are fewer than 2^24 of the one and
/// 2^40 of the others.
const EVENT: u64 = 1 << 40;

/// What was relayed to a room since it was looked at.
#[derive(Debug, Default)]
pub struct Passed(AtomicU64);

impl Passed {
    /// Adds one event that so many members were handed. Returns whether it is the first since it was looked at.
    pub fn add(&self, copies: usize) -> bool {
        self.0.fetch_add(EVENT | (copies as u64 % EVENT), Ordering::Relaxed) == 0
    }

    fn take(&self) -> Sample {
        let both = self.0.swap(0, Ordering::Relaxed);
        Sample { events: both / EVENT, copies: both % EVENT }
    }
}

/// Sums of one sample, or of a minute's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sample {
    events: u64,
    copies: u64,
}

impl std::ops::AddAssign for Sample {
    fn add_assign(&mut self, other: Sample) {
        self.events += other.events;
        self.copies += other.copies;
    }
}

/// A team's traffic, a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Events relayed.
    pub events: f64,
    /// Copies of them handed to members.
    pub deliveries: f64,
}

/// The traffic of all teams.
#[derive(Default)]
pub struct Traffic {
    active: Mutex<Vec<(Arc<str>, Arc<Room>)>>,
    recent: Mutex<Recent>,
}

#[derive(Default)]
struct Recent {
    teams: HashMap<Arc<str>, [Sample; SAMPLES]>,
    /// Samples taken.
    taken: usize,
    /// Some team's could not be remembered in the last minute, up to this one.
    lacks_until: usize,
}

impl Traffic {
    /// Notes a room to which something was relayed for the first time since [`Traffic::sample`].
    pub fn note(&self, name: &Arc<str>, room: &Arc<Room>) {
        let mut active = self.active.lock();
        if active.len() < REMEMBERED {
            active.push((name.clone(), room.clone()));
        } else {
            // It is noted at its next event; by then some may have been looked at.
            room.passed().take();
        }
    }

    /// Takes in what was relayed since it was called last, [`EVERY`] so long.
    pub fn sample(&self) {
        let active = std::mem::take(&mut *self.active.lock());
        let mut recent = self.recent.lock();
        recent.taken += 1;
        let (taken, slot) = (recent.taken, recent.taken % SAMPLES);
        recent.teams.values_mut().for_each(|samples| samples[slot] = Sample::default());
        recent.teams.retain(|_, samples| samples.iter().any(|sample| sample.events > 0));
        for (name, room) in active {
            let sample = room.passed().take();
            let has_room = recent.teams.len() < REMEMBERED;
            match recent.teams.get_mut(&name) {
                Some(samples) => samples[slot] += sample,
                None if has_room => {
                    recent.teams.entry(name).or_default()[slot] = sample;
                }
                None => recent.lacks_until = taken + SAMPLES,
            }
        }
        let spare = 2 * recent.teams.len();
        recent.teams.shrink_to(spare);
    }

    /// The traffic of these teams; `None` for one that may not be remembered.
    pub fn of<'n>(&self, names: impl Iterator<Item = &'n str>) -> Vec<Option<Rates>> {
        let recent = self.recent.lock();
        let seconds = (recent.taken.clamp(1, SAMPLES) as f64) * EVERY.as_secs_f64();
        let rates = |name: &str| {
            let mut sum = Sample::default();
            match recent.teams.get(name) {
                Some(samples) => samples.iter().for_each(|sample| sum += *sample),
                None if recent.taken < recent.lacks_until => return None,
                None => {}
            }
            Some(Rates { events: sum.events as f64 / seconds, deliveries: sum.copies as f64 / seconds })
        };
        names.map(rates).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(traffic: &Traffic, name: &str) -> Option<Rates> {
        traffic.of([name].into_iter())[0]
    }

    fn relay(traffic: &Traffic, name: &Arc<str>, room: &Arc<Room>, events: usize, copies: usize) {
        for _ in 0..events {
            if room.passed().add(copies) {
                traffic.note(name, room);
            }
        }
    }

    #[test]
    fn rates_are_of_the_last_minute_and_then_forgotten() {
        let (traffic, name, room) = (Traffic::default(), Arc::from("red"), Arc::<Room>::default());
        relay(&traffic, &name, &room, 100, 7);
        assert_eq!(traffic.active.lock().len(), 1, "noted once");
        traffic.sample();
        assert_eq!(rates(&traffic, "red"), Some(Rates { events: 20.0, deliveries: 140.0 }));
        assert_eq!(rates(&traffic, "blue"), Some(Rates { events: 0.0, deliveries: 0.0 }));
        (1..SAMPLES).for_each(|_| traffic.sample());
        assert_eq!(rates(&traffic, "red"), Some(Rates { events: 100.0 / 60.0, deliveries: 700.0 / 60.0 }));
        traffic.sample();
        assert_eq!(rates(&traffic, "red"), Some(Rates { events: 0.0, deliveries: 0.0 }));
        assert!(traffic.recent.lock().teams.is_empty());
    }

    #[test]
    fn a_room_that_is_made_anew_is_the_same_team() {
        let (traffic, name) = (Traffic::default(), Arc::from("red"));
        for _ in 0..2 {
            relay(&traffic, &name, &Arc::<Room>::default(), 5, 0);
        }
        traffic.sample();
        assert_eq!(rates(&traffic, "red"), Some(Rates { events: 2.0, deliveries: 0.0 }));
    }

    #[test]
    fn only_so_many_teams_are_remembered_and_of_others_nothing_is_said() {
        let traffic = Traffic::default();
        for _ in 0..2 {
            let crowd = |at: usize| (Arc::from(format!("team-{at}")), Arc::<Room>::default());
            for (name, room) in (0..REMEMBERED + 10).map(crowd) {
                relay(&traffic, &name, &room, 1, 1);
            }
            assert_eq!(traffic.active.lock().len(), REMEMBERED);
            relay(&traffic, &Arc::from("late"), &Arc::default(), 1, 1);
            traffic.sample();
        }
        let late = (Arc::from("late"), Arc::<Room>::default());
        relay(&traffic, &late.0, &late.1, 1, 1);
        traffic.sample();
        assert_eq!(traffic.recent.lock().teams.len(), REMEMBERED);
        assert_eq!(rates(&traffic, "late"), None);
        assert!(rates(&traffic, "team-0").is_some_and(|rates| rates.events > 0.0));
        (0..SAMPLES).for_each(|_| traffic.sample());
        assert_eq!(rates(&traffic, "late"), Some(Rates { events: 0.0, deliveries: 0.0 }));
    }
}
