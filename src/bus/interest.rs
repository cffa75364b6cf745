//! The channels that this node listens to: those of rooms with members, and for a while those of rooms that had some. It knows
//! nothing of connections, and reads no clock.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::connect::rooms::EVERYONE;
use crate::name::TEAMS;

/// How long a channel is listened to without a member: who reconnects finds it as it was.
pub const LINGER: Duration = Duration::from_secs(10);

/// Channels without a member that are listened to. Above it those that have been without for longest are given up at once.
const MOST_LINGERING: usize = 4096;

/// Places in the line of those that linger which are not cleared away before their time.
const KEPT_PLACES: usize = 64;

/// The channels.
#[derive(Debug, Default)]
pub struct Interest {
    channels: HashMap<Arc<str>, Channel>,
    /// Those without members, in the order in which the last one left; some may have members again.
    lingering: VecDeque<(Instant, Arc<str>)>,
    empty: usize,
    confirmed: usize,
    /// Those with members that are not confirmed.
    deaf: usize,
}

#[derive(Debug)]
struct Channel {
    /// Redis has said that it sends what is published there.
    is_confirmed: bool,
    /// Since when nobody is in the room.
    empty_since: Option<Instant>,
    /// It was confirmed before.
    is_again: bool,
    /// Who waits until it is confirmed.
    waiting: Option<Arc<Notify>>,
}

/// What a confirmation means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// Nothing: it is known, or nobody wants the channel.
    Known,
    /// It is listened to from now on, and nobody is there who could have missed something.
    Empty,
    /// It is listened to from now on, and somebody was there before.
    Late,
    /// The same, and it was listened to until it was interrupted.
    Again,
}

impl Interest {
    /// A room has its first member. Returns whether its channel is to be subscribed.
    pub fn opened(&mut self, room: &Arc<str>) -> bool {
        self.want(room, None)
    }

    /// Somebody is about to join the room. Returns whether its channel is to be subscribed.
    pub fn expected(&mut self, room: &Arc<str>, now: Instant) -> bool {
        !self.channels.contains_key(room) && self.want(room, Some(now))
    }

    fn want(&mut self, room: &Arc<str>, empty_since: Option<Instant>) -> bool {
        if !has_channel(room) {
            return false;
        }
        match self.channels.entry(room.clone()) {
            Entry::Vacant(place) => {
                place.insert(Channel { is_confirmed: false, empty_since, is_again: false, waiting: None });
                match empty_since {
                    Some(since) => self.linger(room.clone(), since),
                    None => self.deaf += 1,
                }
                true
            }
            Entry::Occupied(mut channel) => {
                if empty_since.is_none() && channel.get_mut().empty_since.take().is_some() {
                    self.empty -= 1;
                    self.deaf += usize::from(!channel.get().is_confirmed);
                }
                false
            }
        }
    }

    /// A room's last member has left.
    pub fn closed(&mut self, room: &Arc<str>, now: Instant) {
        if let Some(channel) = self.channels.get_mut(room)
            && channel.empty_since.is_none()
        {
            channel.empty_since = Some(now);
            self.deaf -= usize::from(!channel.is_confirmed);
            self.linger(room.clone(), now);
        }
    }

    fn linger(&mut self, room: Arc<str>, since: Instant) {
        self.empty += 1;
        self.lingering.push_back((since, room));
        // Rooms that come and go all the time leave places behind that mean nothing any more.
        if self.lingering.len() > 2 * self.empty + KEPT_PLACES {
            let channels = &self.channels;
            let is_so = |since: &Instant, room: &Arc<str>| {
                channels.get(room).is_some_and(|channel| channel.empty_since == Some(*since))
            };
            self.lingering.retain(|(since, room)| is_so(since, room));
        }
    }

    /// The channel of a team is listened to.
    pub fn confirmed(&mut self, team: &str) -> Confirmed {
        match self.channels.get_mut(team) {
            Some(channel) if !channel.is_confirmed => {
                channel.is_confirmed = true;
                self.confirmed += 1;
                self.deaf -= usize::from(channel.empty_since.is_none());
                if let Some(waiting) = channel.waiting.take() {
                    waiting.notify_waiters();
                }
                match (channel.empty_since, std::mem::replace(&mut channel.is_again, true)) {
                    (Some(_), _) => Confirmed::Empty,
                    (None, false) => Confirmed::Late,
                    (None, true) => Confirmed::Again,
                }
            }
            _ => Confirmed::Known,
        }
    }

    /// The channel of a team is not listened to any more, against this node's will. Returns whether it was.
    pub fn interrupted(&mut self, team: &str) -> bool {
        let Some(channel) = self.channels.get_mut(team) else { return false };
        let was = std::mem::take(&mut channel.is_confirmed);
        self.confirmed -= usize::from(was);
        self.deaf += usize::from(was && channel.empty_since.is_none());
        was
    }

    /// Gives up a channel that nobody has been in for [`LINGER`], or one of too many. It is to be unsubscribed. Called until it
    /// returns `None`.
    pub fn give_up(&mut self, now: Instant) -> Option<Arc<str>> {
        while let Some((since, room)) = self.lingering.front() {
            let is_so = self.channels.get(room).is_some_and(|channel| channel.empty_since == Some(*since));
            let is_due = now.saturating_duration_since(*since) >= LINGER || self.empty > MOST_LINGERING;
            if is_so && !is_due {
                return None;
            }
            let (_, room) = self.lingering.pop_front()?;
            if is_so {
                let was_confirmed = self.channels.remove(&room).is_some_and(|channel| channel.is_confirmed);
                self.confirmed -= usize::from(was_confirmed);
                self.empty -= 1;
                return Some(room);
            }
        }
        None
    }

    /// Whether what is published to the team is heard; also where it has no channel, so that there is nothing to hear.
    pub fn is_reached(&self, room: &str) -> bool {
        self.channels.get(room).map_or_else(|| !has_channel(room), |channel| channel.is_confirmed)
    }

    /// Those of these rooms that have a channel; `None` if one of them is not reached.
    pub fn reached(&self, rooms: &[Arc<str>]) -> Option<Vec<Arc<str>>> {
        let is_reached = rooms.iter().all(|room| self.is_reached(room));
        is_reached.then(|| rooms.iter().filter(|room| has_channel(room)).cloned().collect())
    }

    /// Whether somebody is in a room of whose channel nothing is heard.
    pub fn is_deaf(&self) -> bool {
        self.deaf > 0
    }

    /// Tells whoever waits for a room's channel when it is confirmed; `None` where there is nothing to wait for.
    pub fn waiting(&mut self, room: &str) -> Option<Arc<Notify>> {
        let channel = self.channels.get_mut(room).filter(|channel| !channel.is_confirmed)?;
        Some(channel.waiting.get_or_insert_default().clone())
    }

    /// The name of a team whose channel is wanted, as it is kept here.
    pub fn name(&self, team: &str) -> Option<&Arc<str>> {
        self.channels.get_key_value(team).map(|(name, _)| name)
    }

    /// All teams whose channels are wanted.
    pub fn all(&self) -> impl Iterator<Item = &Arc<str>> {
        self.channels.keys()
    }

    /// All teams whose rooms have members.
    pub fn with_members(&self) -> impl Iterator<Item = &Arc<str>> {
        self.channels.iter().filter(|(_, channel)| channel.empty_since.is_none()).map(|(name, _)| name)
    }

    /// How many channels are wanted, and how many of them are confirmed.
    pub fn len(&self) -> (usize, usize) {
        (self.channels.len(), self.confirmed)
    }
}

/// Whether nodes share this room: a team's, or the one of all where nobody is asked who they are. In a room of one user's own
/// nothing is ever relayed.
fn has_channel(room: &str) -> bool {
    room == EVERYONE || TEAMS.check(room).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn red() -> Arc<str> {
        "red".into()
    }

    #[test]
    fn a_channel_is_wanted_while_there_are_members_and_a_while_longer() {
        let (mut interest, now) = (Interest::default(), Instant::now());
        assert!(interest.opened(&red()));
        assert!(!interest.is_reached("red"));
        let waiting = interest.waiting("red").unwrap();
        let mut told = std::pin::pin!(waiting.notified());
        assert!(!told.as_mut().enable());
        assert_eq!(interest.confirmed("red"), Confirmed::Late);
        assert!(
            told.as_mut().enable() && interest.waiting("red").is_none() && interest.waiting("blue").is_none()
        );
        assert_eq!(interest.confirmed("red"), Confirmed::Known);
        assert!(interest.is_reached("red"));
        interest.closed(&red(), now);
        assert_eq!(interest.give_up(now + LINGER / 2), None);
        // Somebody comes back, and leaves again.
        assert!(!interest.opened(&red()));
        assert_eq!(interest.give_up(now + LINGER), None);
        interest.closed(&red(), now + LINGER);
        assert_eq!(interest.give_up(now + LINGER), None);
        assert_eq!(interest.give_up(now + 2 * LINGER), Some(red()));
        assert_eq!((interest.len(), interest.confirmed("red")), ((0, 0), Confirmed::Known));
        assert!(interest.opened(&red()) && !interest.is_reached("red"));
    }

    #[test]
    fn who_is_expected_misses_nothing_and_is_not_waited_for_for_ever() {
        let (mut interest, now) = (Interest::default(), Instant::now());
        assert!(interest.expected(&red(), now) && !interest.expected(&red(), now));
        assert_eq!(interest.confirmed("red"), Confirmed::Empty);
        assert!(!interest.opened(&red()));
        assert_eq!(interest.give_up(now + LINGER), None);
        let blue: Arc<str> = "blue".into();
        interest.expected(&blue, now);
        assert_eq!(interest.give_up(now + LINGER), Some(blue));
    }

    #[test]
    fn an_interruption_is_an_end_and_another_beginning() {
        let mut interest = Interest::default();
        interest.opened(&red());
        assert!(!interest.interrupted("red"));
        interest.confirmed("red");
        assert!(interest.interrupted("red") && !interest.interrupted("red") && !interest.interrupted("blue"));
        assert_eq!(interest.len(), (1, 0));
        assert_eq!(interest.confirmed("red"), Confirmed::Again);
    }

    #[test]
    fn rooms_that_nobody_else_can_be_in_have_no_channel() {
        let (mut interest, now) = (Interest::default(), Instant::now());
        let own: Arc<str> = "user:ann".into();
        assert!(!interest.opened(&own) && !interest.expected(&own, now));
        assert!(interest.is_reached(&own));
        assert!(interest.opened(&EVERYONE.into()));
    }

    #[test]
    fn rooms_that_come_and_go_leave_nothing_behind() {
        let (mut interest, mut now) = (Interest::default(), Instant::now());
        for _ in 0..10 * KEPT_PLACES {
            interest.opened(&red());
            interest.closed(&red(), now);
            now += Duration::from_millis(1);
        }
        assert!(interest.lingering.len() <= KEPT_PLACES + 2);
        assert_eq!(interest.give_up(now + LINGER), Some(red()));
    }

    #[test]
    fn only_so_many_linger() {
        let (mut interest, now) = (Interest::default(), Instant::now());
        for team in 0..=MOST_LINGERING {
            let team: Arc<str> = team.to_string().into();
            interest.opened(&team);
            assert_eq!(interest.give_up(now), None);
            interest.closed(&team, now);
        }
        assert_eq!(interest.give_up(now), Some("0".into()));
        assert_eq!(interest.give_up(now), None);
    }

    proptest! {
        #[test]
        fn its_counts_are_right(steps in prop::collection::vec((0_u8..7, 0_u8..4), 0..80)) {
            let (mut interest, mut now) = (Interest::default(), Instant::now());
            let mut has_members = std::collections::HashSet::new();
            for (step, team) in steps {
                let team: Arc<str> = team.to_string().into();
                match step {
                    0 if has_members.insert(team.clone()) => drop(interest.opened(&team)),
                    1 if has_members.remove(&team) => interest.closed(&team, now),
                    2 => drop(interest.expected(&team, now)),
                    3 => drop(interest.confirmed(&team)),
                    4 => drop(interest.interrupted(&team)),
                    5 => now += LINGER / 3,
                    _ => while let Some(gone) = interest.give_up(now) {
                        prop_assert!(!has_members.contains(&gone));
                    },
                }
                let channels = interest.channels.values();
                prop_assert_eq!(interest.empty, channels.clone().filter(|one| one.empty_since.is_some()).count());
                prop_assert_eq!(interest.confirmed, channels.clone().filter(|one| one.is_confirmed).count());
                let is_deaf = |one: &&Channel| !one.is_confirmed && one.empty_since.is_none();
                prop_assert_eq!(interest.deaf, channels.filter(is_deaf).count());
                let members: std::collections::HashSet<_> = interest.with_members().cloned().collect();
                prop_assert_eq!(&members, &has_members);
            }
            now += LINGER;
            while interest.give_up(now).is_some() {}
            prop_assert_eq!(interest.len().0, has_members.len());
        }
    }
}
