//! The nodes that there are, by what they say of themselves. It knows nothing of connections, and reads no clock.
//!
//! A node that falls silent without having taken leave may have died with changes that nobody else has heard. Silence means
//! something only while this node hears itself: otherwise it is this node's own connection that is silent.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::envelope::Origin;

/// How often a node says that it is there.
pub const EVERY: Duration = Duration::from_secs(1);

/// A node of which nothing is heard for so long is taken for dead.
pub const SILENCE: Duration = Duration::from_secs(5);

/// So often this node may say that it is there without hearing it: as long as the others may be silent.
const MOST_UNHEARD: u32 = 5;

/// How long a node is remembered that is gone, in case it only stood still: what it sends again then is not new.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Nodes that are known, those that are gone among them. Of others nothing is noted or said.
const MOST_NODES: usize = 1024;

/// The nodes.
#[derive(Debug)]
pub struct Roster {
    own: Origin,
    nodes: HashMap<Origin, Node>,
    /// When this node heard itself last.
    heard_itself: Option<Instant>,
    /// How often it has said that it is there since then, as Redis has confirmed.
    unheard: u32,
}

/// Another node.
#[derive(Debug)]
pub struct Node {
    /// What it is called; its origin, until it has said so.
    pub name: Arc<str>,
    is_named: bool,
    /// When it was heard last, or could have been.
    heard: Instant,
    presence: Presence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Here,
    /// Since then.
    Left(Instant),
    Dead(Instant),
}

/// What another node's word means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It was known to be there.
    Known,
    /// It has come.
    New,
    /// It was taken for dead, and what it has said meanwhile was not heard.
    Back,
}

impl Roster {
    /// No other node is known.
    pub fn new(own: Origin) -> Self {
        Roster { own, nodes: HashMap::new(), heard_itself: None, unheard: 0 }
    }

    /// A node says that it is there; it may be this one.
    pub fn alive(&mut self, origin: Origin, name: &str, now: Instant) -> Heard {
        if origin == self.own {
            self.hear_itself(now);
            return Heard::Known;
        }
        let is_full = self.nodes.len() >= MOST_NODES;
        match self.nodes.get_mut(&origin) {
            Some(node) => {
                if let Presence::Left(_) = node.presence {
                    // It came late: nobody comes back from there under the same origin.
                    return Heard::Known;
                }
                let was = std::mem::replace(&mut node.presence, Presence::Here);
                let was_named = std::mem::replace(&mut node.is_named, true);
                node.heard = now;
                if *node.name != *name {
                    node.name = name.into();
                }
                match was {
                    Presence::Here if was_named => Heard::Known,
                    Presence::Here => Heard::New,
                    _ => Heard::Back,
                }
            }
            // Somebody makes them up; nor is each worth a line in the log.
            None if is_full => Heard::Known,
            None => {
                self.insert(origin, name.into(), true, now);
                Heard::New
            }
        }
    }

    /// A node says anything. One that dies before it has said its name has been there too.
    pub fn speaks(&mut self, origin: Origin, now: Instant) {
        if origin != self.own && self.nodes.len() < MOST_NODES && !self.nodes.contains_key(&origin) {
            self.insert(origin, origin.to_string().into(), false, now);
        }
    }

    fn insert(&mut self, origin: Origin, name: Arc<str>, is_named: bool, now: Instant) {
        self.nodes.insert(origin, Node { name, is_named, heard: now, presence: Presence::Here });
    }

    /// After this node was deaf the others have their time again.
    fn hear_itself(&mut self, now: Instant) {
        let was_deaf = self.heard_itself.is_none_or(|heard| now.saturating_duration_since(heard) > 2 * EVERY);
        if was_deaf {
            self.nodes.values_mut().for_each(|node| node.heard = now);
        }
        self.heard_itself = Some(now);
        self.unheard = 0;
    }

    /// This node has said that it is there, and Redis has confirmed it.
    pub fn has_said(&mut self) {
        self.unheard += 1;
    }

    /// Whether this node speaks over its connections and does not hear itself: they may lead to two different servers.
    pub fn is_deaf(&self) -> bool {
        self.unheard >= MOST_UNHEARD
    }

    /// A node leaves. Returns its name, if it was there.
    pub fn leaves(&mut self, origin: Origin, now: Instant) -> Option<Arc<str>> {
        let node = self.nodes.get_mut(&origin)?;
        let was = std::mem::replace(&mut node.presence, Presence::Left(now));
        (was == Presence::Here).then(|| node.name.clone())
    }

    /// Nodes that have died since it was asked last.
    pub fn dead(&mut self, now: Instant) -> Vec<(Origin, Arc<str>)> {
        if !self.hears_itself(now, 2 * EVERY) {
            return Vec::new();
        }
        let mut dead = Vec::new();
        for (origin, node) in &mut self.nodes {
            if node.presence == Presence::Here && now.saturating_duration_since(node.heard) >= SILENCE {
                node.presence = Presence::Dead(now);
                dead.push((*origin, node.name.clone()));
            }
        }
        dead
    }

    /// Whether this node has heard itself within so long.
    pub fn hears_itself(&self, now: Instant, within: Duration) -> bool {
        self.heard_itself.is_some_and(|heard| now.saturating_duration_since(heard) <= within)
    }

    /// Begins to listen anew, on another connection: silence counts from now on.
    pub fn listens_anew(&mut self, now: Instant) {
        self.hear_itself(now);
    }

    /// Forgets those that have long been gone. Returns whether there were any.
    pub fn forget(&mut self, now: Instant) -> bool {
        let before = self.nodes.len();
        self.nodes.retain(|_, node| match node.presence {
            Presence::Here => true,
            Presence::Left(since) | Presence::Dead(since) => {
                now.saturating_duration_since(since) < REMEMBERED
            }
        });
        self.nodes.len() < before
    }

    /// Whether it is a node that is known, and be it from former times.
    pub fn is_known(&self, origin: Origin) -> bool {
        self.nodes.contains_key(&origin)
    }

    /// The other nodes that are there.
    pub fn here(&self) -> impl Iterator<Item = (Origin, &Arc<str>)> {
        let here = self.nodes.iter().filter(|(_, node)| node.presence == Presence::Here);
        here.map(|(origin, node)| (*origin, &node.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Origin = Origin(1);
    const OTHER: Origin = Origin(2);

    /// A roster whose node hears itself every second, for so many seconds, and another until then.
    fn run(roster: &mut Roster, from: Instant, seconds: u32, until: u32) -> Vec<(u32, Arc<str>)> {
        let mut dead = Vec::new();
        for second in 0..seconds {
            let now = from + second * EVERY;
            roster.alive(OWN, "own", now);
            if second < until {
                roster.alive(OTHER, "other", now);
            }
            dead.extend(roster.dead(now).into_iter().map(|(_, name)| (second, name)));
        }
        dead
    }

    #[test]
    fn who_falls_silent_is_dead_once_and_comes_back_as_such() {
        let (mut roster, now) = (Roster::new(OWN), Instant::now());
        assert_eq!(roster.alive(OTHER, "other", now), Heard::New);
        assert_eq!(run(&mut roster, now, 20, 3), [(7, "other".into())]);
        assert_eq!(roster.here().count(), 0);
        let later = now + 20 * EVERY;
        assert_eq!(roster.alive(OTHER, "renamed", later), Heard::Back);
        assert_eq!(roster.alive(OTHER, "renamed", later), Heard::Known);
        assert_eq!(roster.here().collect::<Vec<_>>(), [(OTHER, &"renamed".into())]);
    }

    #[test]
    fn who_is_known_only_by_what_it_relays_dies_like_others() {
        let (mut roster, now) = (Roster::new(OWN), Instant::now());
        roster.speaks(OTHER, now);
        roster.speaks(OWN, now);
        assert_eq!(roster.here().collect::<Vec<_>>(), [(OTHER, &OTHER.to_string().into())]);
        assert_eq!(run(&mut roster, now, 20, 0), [(5, OTHER.to_string().into())]);
        roster.speaks(OTHER, now + 20 * EVERY);
        assert_eq!(roster.here().count(), 0, "it says itself that it is back");
        assert_eq!(roster.alive(OTHER, "other", now + 20 * EVERY), Heard::Back);

        let mut roster = Roster::new(OWN);
        roster.speaks(OTHER, now);
        assert_eq!(roster.alive(OTHER, "other", now), Heard::New);
        assert_eq!(roster.alive(OTHER, "other", now), Heard::Known);
        assert_eq!(roster.here().collect::<Vec<_>>(), [(OTHER, &"other".into())]);
    }

    #[test]
    fn who_takes_leave_is_not_dead() {
        let (mut roster, now) = (Roster::new(OWN), Instant::now());
        run(&mut roster, now, 3, 3);
        let later = now + 3 * EVERY;
        assert_eq!(roster.leaves(OTHER, later), Some("other".into()));
        assert_eq!((roster.leaves(OTHER, later), roster.leaves(OWN, later)), (None, None));
        assert_eq!(roster.alive(OTHER, "other", later), Heard::Known, "said before, and come after");
        assert_eq!(run(&mut roster, later, 20, 0), []);
        assert_eq!(roster.here().count(), 0);
    }

    #[test]
    fn nobody_dies_while_this_node_does_not_hear_itself() {
        let (mut roster, now) = (Roster::new(OWN), Instant::now());
        run(&mut roster, now, 3, 3);
        // Nothing at all for a minute, and then both again: the one first, and the other in its own time.
        let later = now + 60 * EVERY;
        assert_eq!(roster.dead(later), []);
        assert!(!roster.hears_itself(later, SILENCE));
        roster.alive(OWN, "own", later);
        assert_eq!(roster.dead(later), []);
        assert_eq!(run(&mut roster, later, 5, 0), []);
        assert_eq!(run(&mut roster, later + 5 * EVERY, 1, 0), [(0, "other".into())]);
    }

    #[test]
    fn who_speaks_and_does_not_hear_itself_is_deaf() {
        let (mut roster, now) = (Roster::new(OWN), Instant::now());
        for _ in 0..MOST_UNHEARD {
            assert!(!roster.is_deaf());
            roster.has_said();
        }
        assert!(roster.is_deaf());
        roster.alive(OTHER, "other", now);
        assert!(roster.is_deaf());
        roster.alive(OWN, "own", now);
        assert!(!roster.is_deaf());
        (0..MOST_UNHEARD).for_each(|_| roster.has_said());
        roster.listens_anew(now);
        assert!(!roster.is_deaf());
    }

    #[test]
    fn the_gone_are_remembered_for_a_while() {
        let (mut roster, now) = (Roster::new(OWN), Instant::now());
        run(&mut roster, now, 1, 1);
        roster.leaves(OTHER, now);
        assert!(!roster.forget(now + REMEMBERED / 2) && roster.is_known(OTHER));
        assert!(roster.forget(now + REMEMBERED) && !roster.is_known(OTHER));
        for origin in 0..=MOST_NODES as u64 {
            let heard = if origin < MOST_NODES as u64 { Heard::New } else { Heard::Known };
            assert_eq!(roster.alive(Origin(origin + 2), "n", now), heard);
        }
        assert_eq!(roster.here().count(), MOST_NODES);
    }
}
