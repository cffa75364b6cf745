//! Changes that wait, in the order in which they came, each equal one folded into the latest.
//!
//! What a member hears in the end, of all the changes that it was to hear: those for which no later equal one, that it is
//! to hear too, came while they waited. They come in the order in which they were accepted. So the later change keeps its
//! own place and the earlier one is dropped: in the earlier one's place it would overtake what was sent between the two.
//!
//! A sender that does not hear its own events is a member like this as well. It is told the latest change that is not its
//! own, which then waits beside the latest of all, in its own place, for that one member only.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::change::{Change, Key};
use crate::peer::PeerId;

/// What one change takes up beside its payload, roughly; bytes.
const OVERHEAD: usize = 512;

/// A map that has grown is given back once it is empty, above this many keys.
const KEPT_KEYS: usize = 64;

/// Who of the members is to hear a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearers {
    /// Everybody.
    All,
    /// Everybody but its sender.
    Except(PeerId),
    /// One, for whom the change that took its place is its own.
    Only(PeerId),
}

impl Hearers {
    /// Who is to hear a change by itself.
    pub fn of(change: &Change) -> Self {
        if change.echo { Hearers::All } else { Hearers::Except(change.sender) }
    }
}

/// Changes that wait.
#[derive(Debug, Default)]
pub struct Held {
    /// By their place in the order.
    waiting: BTreeMap<u64, Waiting>,
    places: HashMap<Arc<Key>, Places>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    change: Change,
    hearers: Hearers,
}

/// Where the changes of one key wait.
#[derive(Clone, Copy, Debug)]
struct Places {
    latest: u64,
    /// The latest of another sender than the latest's, for whom alone it waits.
    other: Option<u64>,
}

impl Held {
    /// Takes a change in, behind all others. Returns how many that waited are dropped for it.
    pub fn hold(&mut self, change: Change) -> usize {
        let place = self.next;
        self.next += 1;
        let hearers = Hearers::of(&change);
        let before = self.places.get(&change.key).copied();
        let mut places = Places { latest: place, other: None };
        let mut dropped = 0;
        if let Some(before) = before {
            let (kept, superseded) = self.left_to_hear(before, hearers);
            places.other = kept;
            for place in superseded.into_iter().flatten() {
                self.remove(place);
                dropped += 1;
            }
        }
        self.bytes += weight(&change);
        self.places.insert(change.key.clone(), places);
        self.waiting.insert(place, Waiting { change, hearers });
        dropped
    }

    /// Which of the changes that waited under a key still have somebody to hear them once a later one with these hearers
    /// has come, and which have not.
    fn left_to_hear(&mut self, before: Places, later: Hearers) -> (Option<u64>, [Option<u64>; 2]) {
        // Whoever hears the later one needs none of the others; that is everybody but, perhaps, its sender.
        let Hearers::Except(sender) = later else { return (None, [Some(before.latest), before.other]) };
        match self.waiting.get_mut(&before.latest) {
            // It was that sender's own too, so that what it is to hear is what it was before.
            Some(latest) if latest.hearers == later => (before.other, [Some(before.latest), None]),
            Some(latest) => {
                latest.hearers = Hearers::Only(sender);
                (Some(before.latest), [before.other, None])
            }
            None => (None, [None, before.other]),
        }
    }

    /// The change that has waited longest, if it came before the place `before`.
    pub fn take_first(&mut self, before: u64) -> Option<(Change, Hearers)> {
        let place = *self.waiting.first_key_value()?.0;
        if place >= before {
            return None;
        }
        let Waiting { change, hearers } = self.remove(place)?;
        let is_latest = match self.places.get_mut(&change.key) {
            Some(places) if places.latest != place => {
                places.other = None;
                false
            }
            _ => true,
        };
        if is_latest {
            self.places.remove(&change.key);
        }
        if self.places.is_empty() && self.places.capacity() > KEPT_KEYS {
            self.places = HashMap::new();
        }
        Some((change, hearers))
    }

    fn remove(&mut self, place: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&place)?;
        self.bytes -= weight(&waiting.change);
        Some(waiting)
    }

    /// Whether a change of this key waits.
    pub fn holds(&self, key: &Key) -> bool {
        self.places.contains_key(key)
    }

    /// The place that the next change will have.
    pub fn next_place(&self) -> u64 {
        self.next
    }

    /// How many changes wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What they take up, roughly; bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What a change takes up, roughly; bytes.
pub fn weight(change: &Change) -> usize {
    change.payload.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::{TaskId, Topic};

    const MEMBERS: u64 = 4;

    fn id(number: u64) -> PeerId {
        PeerId::numbered(number)
    }

    /// A change of a task by a sender; the payload tells it from all others.
    fn change(number: usize, task: &str, sender: u64, echo: bool) -> Change {
        let topic = Topic { kind: Some("t".into()), task_id: Some(TaskId::Integer(task)) };
        Change { sender: id(sender), echo, ..Change::sample(&["red"], &topic, &number.to_string()) }
    }

    fn hears(member: u64, hearers: Hearers) -> bool {
        match hearers {
            Hearers::All => true,
            Hearers::Except(sender) => id(member) != sender,
            Hearers::Only(one) => id(member) == one,
        }
    }

    /// All that is promised, in the plainest way: who is to hear a change hears it, unless a later equal one that it is to
    /// hear too came before that.
    #[derive(Default)]
    struct Model {
        waiting: Vec<(Change, Vec<u64>)>,
    }

    impl Model {
        fn hold(&mut self, change: Change) {
            let is_to_hear = |member: &u64| change.echo || id(*member) != change.sender;
            let members: Vec<u64> = (0..MEMBERS).filter(is_to_hear).collect();
            for (earlier, left) in &mut self.waiting {
                if earlier.key == change.key {
                    left.retain(|member| !members.contains(member));
                }
            }
            self.waiting.push((change, members));
            self.waiting.retain(|(_, left)| !left.is_empty());
        }

        fn take_first(&mut self) -> Option<(Change, Vec<u64>)> {
            (!self.waiting.is_empty()).then(|| self.waiting.remove(0))
        }
    }

    #[test]
    fn the_later_keeps_its_own_place() {
        let mut held = Held::default();
        for (number, task) in [(1, "a"), (2, "b"), (3, "a"), (4, "c"), (5, "b")] {
            held.hold(change(number, task, 0, true));
        }
        let heard: Vec<_> = std::iter::from_fn(|| held.take_first(u64::MAX)).collect();
        let payloads: Vec<_> = heard.iter().map(|(change, _)| &*change.payload).collect();
        assert_eq!(payloads, ["3", "4", "5"]);
        assert!(held.is_empty() && held.bytes() == 0 && held.places.is_empty());
    }

    #[test]
    fn who_does_not_hear_itself_hears_the_others_latest() {
        let mut held = Held::default();
        // The first is dropped for the third, which stays for its equal's sender alone.
        let dropped: usize = [(1, 7), (2, 8), (3, 7), (4, 8), (5, 8)]
            .map(|(n, sender)| held.hold(change(n, "a", sender, false)))
            .iter()
            .sum();
        let heard: Vec<_> = std::iter::from_fn(|| held.take_first(u64::MAX)).collect();
        let heard: Vec<_> = heard.iter().map(|(change, hearers)| (&*change.payload, *hearers)).collect();
        assert_eq!(heard, [("3", Hearers::Only(id(8))), ("5", Hearers::Except(id(8)))]);
        assert_eq!(dropped, 3);
    }

    #[test]
    fn what_came_later_is_left_to_wait() {
        let mut held = Held::default();
        held.hold(change(1, "a", 0, true));
        let upto = held.next_place();
        held.hold(change(2, "b", 0, true));
        assert_eq!(&*held.take_first(upto).unwrap().0.payload, "1");
        assert!(held.take_first(upto).is_none());
        assert_eq!(held.len(), 1);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Hold { task: usize, sender: u64, echo: bool },
        Take,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..3_usize, 0..MEMBERS, prop::bool::weighted(0.3))
                .prop_map(|(task, sender, echo)| Step::Hold { task, sender, echo }),
            1 => Just(Step::Take),
        ]
    }

    proptest! {
        /// Every member hears exactly what the model says, in the order of acceptance, whenever things are taken.
        #[test]
        fn each_member_hears_the_latest_of_equals_in_order(steps in prop::collection::vec(step(), 0..80)) {
            let (mut held, mut model) = (Held::default(), Model::default());
            let (mut accepted, mut dropped, mut taken) = (0, 0, 0);
            let mut last_heard = 0;
            let takes = std::iter::repeat_n(Step::Take, steps.len());
            for step in steps.iter().cloned().chain(takes) {
                match step {
                    Step::Hold { task, sender, echo } => {
                        accepted += 1;
                        let change = change(accepted, ["a", "b", "c"][task], sender, echo);
                        dropped += held.hold(change.clone());
                        model.hold(change);
                    }
                    Step::Take => {
                        let expected = model.take_first();
                        let taken_now = held.take_first(u64::MAX);
                        prop_assert_eq!(taken_now.is_some(), expected.is_some());
                        let (Some((change, hearers)), Some((expected, members))) = (taken_now, expected) else { continue };
                        prop_assert_eq!(&change.payload, &expected.payload);
                        let heard: Vec<u64> = (0..MEMBERS).filter(|member| hears(*member, hearers)).collect();
                        prop_assert_eq!(heard, members);
                        let number: usize = change.payload.parse().unwrap();
                        prop_assert!(number > last_heard, "in the order of acceptance");
                        last_heard = number;
                        taken += 1;
                    }
                }
                prop_assert_eq!(held.len(), model.waiting.len());
                prop_assert_eq!(held.len() + dropped + taken, accepted);
                let waits = |task| held.holds(&change(0, task, 0, true).key);
                prop_assert!(!held.is_empty() || !["a", "b", "c"].into_iter().any(waits));
            }
            prop_assert!(held.is_empty() && held.places.is_empty());
            prop_assert_eq!(held.bytes(), 0);
        }
    }
}
