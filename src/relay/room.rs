//! One room's members, in groups that hear the same, found again when one leaves.
//!
//! Members whose connection is ours to write to *follow* their group's feed; the others (they poll, upgrade, have just come,
//! follow another room, or speak TLS) are handed each frame as it comes. A follower is touched once for all that has
//! been published since its last turn.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::{RwLock, RwLockReadGuard};

use super::member::Member;
use super::round::{Course, Due, Slice};
use super::traffic::Passed;
use crate::hears::Hears;
use crate::link::outlet::Outlet;
use crate::peer::PeerId;

/// The members of one room, and what has been relayed to them.
#[derive(Default)]
pub struct Room {
    members: RwLock<Members>,
    passed: Passed,
}

/// Members side by side, and where each stands.
///
/// Those who hear the same stand in one group, for which a broadcast decides once. Where nobody is kept from anything there
/// is only the first.
#[derive(Default)]
pub struct Members {
    everything: Group,
    less: Option<Box<Less>>,
    places: HashMap<PeerId, Place>,
}

/// Members who hear the same.
#[derive(Default)]
pub struct Group {
    hears: Hears,
    course: Arc<Course>,
    followers: Vec<Follower>,
    others: Vec<Arc<Member>>,
}

struct Follower {
    /// Held weakly: the connection's descriptor is freed with the connection.
    outlet: Weak<Outlet>,
    member: Arc<Member>,
}

/// The groups of those who hear less than everything.
#[derive(Default)]
struct Less {
    groups: Vec<Group>,
    by_hears: HashMap<Hears, u32>,
    /// Groups whose last member has left, to be used again: the others keep their numbers.
    vacant: Vec<u32>,
}

/// Where a member stands. Half the width of an address each: there is one for each membership.
#[derive(Clone, Copy)]
struct Place {
    /// A group of [`Less`], or [`EVERYTHING`].
    group: u32,
    /// Where among the group's followers, with [`FOLLOWS`], or among the others.
    at: u32,
}

/// A group's number in its room.
pub type GroupNumber = u32;

/// The bit of [`Place::at`] that followers have set. There are fewer members than that many.
const FOLLOWS: u32 = 1 << 31;

/// The number of the group of those who hear everything. No other comes so far: there are no more groups than members,
/// and no more of those than descriptors.
const EVERYTHING: u32 = u32::MAX;

impl Room {
    /// Lets a member in, who is to hear this. One that is in already hears this from now on. Returns the connection on which
    /// frames wait that it was still to hear.
    pub fn add(&self, member: &Arc<Member>, hears: &Hears) -> Option<Arc<Outlet>> {
        let mut members = self.members.write();
        if members.hears(member.id()) == Some(hears) {
            return None;
        }
        let to_flush = members.remove(member.id());
        members.add(member, hears);
        to_flush
    }

    /// Lets a member go. Returns whether nobody is left, and the connection on which frames wait that it was still to hear.
    pub fn remove(&self, id: PeerId) -> (bool, Option<Arc<Outlet>>) {
        let mut members = self.members.write();
        let to_flush = members.remove(id);
        (members.places.is_empty(), to_flush)
    }

    /// Has these members follow their groups' feeds, now that their connections are ours to write to.
    pub fn promote(&self, candidates: &[Arc<Member>]) {
        let mut members = self.members.write();
        candidates.iter().for_each(|member| members.promote(member));
    }

    /// Says what is due after something was published to a group's followers, at `now`, and how many they are. `few` of them
    /// can be written to at once.
    pub fn due(&self, group: GroupNumber, now: Instant, few: usize) -> (Due, usize) {
        let members = self.members.read();
        let Some(group) = members.get(group) else { return (Due::UnderWay, 0) };
        (group.course.due(now, group.followers.len(), few), group.followers.len())
    }

    /// Claims the next `most` followers of a group's round, if one is under way. [`Room::wrote`] must follow.
    pub fn claim(&self, group: GroupNumber, most: usize) -> Option<Slice> {
        // Locked for both, so that whoever is claimed has been read before somebody else can take the place.
        let members = self.members.read();
        let group = members.get(group)?;
        let claimed = group.course.claim(group.followers.len(), most)?;
        let left = claimed.start;
        let outlets = group.followers[claimed].iter().filter_map(|follower| follower.outlet.upgrade());
        let (course, batch) = (group.course.clone(), group.course.feed().batch());
        Some(Slice { outlets: outlets.collect(), batch, left, course })
    }

    /// Says that a slice has been written. Returns how many followers are still to have their turn.
    pub fn wrote(&self, group: GroupNumber, slice: &Slice) -> usize {
        let members = self.members.read();
        // A group that was left by all may have given its number to another.
        let same = members.get(group).filter(|group| Arc::ptr_eq(&group.course, &slice.course));
        let followers = same.map_or(0, |group| group.followers.len());
        if slice.course.wrote(followers) { followers } else { slice.left }
    }

    /// What has been relayed to it and is not in the averages yet.
    pub fn passed(&self) -> &Passed {
        &self.passed
    }

    /// How many members it has.
    pub fn len(&self) -> usize {
        self.members.read().places.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The members as they are now; nobody joins or leaves while this is held.
    pub fn read(&self) -> RwLockReadGuard<'_, Members> {
        self.members.read()
    }
}

impl Members {
    /// All groups with their numbers; each member is in one.
    pub fn groups(&self) -> impl Iterator<Item = (GroupNumber, &Group)> {
        let less = self.less.iter().flat_map(|less| &less.groups);
        std::iter::once((EVERYTHING, &self.everything)).chain((0..).zip(less))
    }

    /// Whether this member is in this group; and whether it follows its feed.
    pub fn is_in(&self, group: &Group, id: PeerId) -> (bool, bool) {
        let Some(place) = self.places.get(&id) else { return (false, false) };
        let is_in = self.get(place.group).is_some_and(|own| std::ptr::eq(own, group));
        (is_in, is_in && place.at & FOLLOWS != 0)
    }

    /// The member that is this peer, and its group.
    pub fn find(&self, id: PeerId) -> Option<(&Group, &Member)> {
        let place = self.places.get(&id)?;
        let (group, at) = (self.get(place.group)?, (place.at & !FOLLOWS) as usize);
        let member = match place.at & FOLLOWS {
            0 => group.others.get(at)?,
            _ => &group.followers.get(at)?.member,
        };
        Some((group, member))
    }

    /// What this member hears, if it is one.
    pub fn hears(&self, id: PeerId) -> Option<&Hears> {
        let place = self.places.get(&id)?;
        Some(&self.get(place.group)?.hears)
    }

    fn add(&mut self, member: &Arc<Member>, hears: &Hears) {
        let everything = hears.is_everything();
        let number = if everything { EVERYTHING } else { self.less.get_or_insert_default().number(hears) };
        let Some(group) = self.get_mut(number) else { return };
        let at = group.others.len() as u32;
        group.others.push(member.clone());
        self.places.insert(member.id(), Place { group: number, at });
    }

    /// Returns the connection on which frames wait that the member was still to hear.
    fn remove(&mut self, id: PeerId) -> Option<Arc<Outlet>> {
        let place = self.places.remove(&id)?;
        let follower = self.take(place);
        let is_empty = self.get(place.group).is_some_and(Group::is_empty);
        if is_empty && self.less.as_mut().is_some_and(|less| less.vacate(place.group)) {
            self.less = None;
        }
        let Follower { outlet, member } = follower?;
        member.follow(None);
        outlet.upgrade().filter(|outlet| outlet.unfollow())
    }

    /// Nobody publishes while this runs, so the member has been handed all that the feed has.
    fn promote(&mut self, member: &Arc<Member>) {
        let Some(&place) = self.places.get(&member.id()) else { return };
        if place.at & FOLLOWS != 0 {
            return;
        }
        let Some(outlet) = member.outlet() else { return };
        let Some(course) = self.get(place.group).map(|group| group.course.clone()) else { return };
        if !outlet.follow(course.feed(), member.id()) {
            return;
        }
        self.take(place);
        let Some(group) = self.get_mut(place.group) else { return };
        let at = group.followers.len() as u32 | FOLLOWS;
        group.followers.push(Follower { outlet: Arc::downgrade(&outlet), member: member.clone() });
        member.follow(Some(course.id()));
        self.places.insert(member.id(), Place { at, ..place });
    }

    /// Takes out whoever stands there, and puts the last of the list in its place: order within a room means nothing, since
    /// each sender's events pass through it one after the other.
    fn take(&mut self, place: Place) -> Option<Follower> {
        let group = self.get_mut(place.group)?;
        let at = (place.at & !FOLLOWS) as usize;
        let (taken, moved) = if place.at & FOLLOWS == 0 {
            group.others.swap_remove(at);
            (None, group.others.get(at).map(|moved| moved.id()))
        } else {
            let taken = group.followers.swap_remove(at);
            (Some(taken), group.followers.get(at).map(|moved| moved.member.id()))
        };
        if let Some(moved) = moved {
            self.places.insert(moved, place);
        }
        taken
    }

    fn get(&self, number: GroupNumber) -> Option<&Group> {
        match number {
            EVERYTHING => Some(&self.everything),
            number => self.less.as_ref()?.groups.get(number as usize),
        }
    }

    fn get_mut(&mut self, number: GroupNumber) -> Option<&mut Group> {
        match number {
            EVERYTHING => Some(&mut self.everything),
            number => self.less.as_mut()?.groups.get_mut(number as usize),
        }
    }
}

impl Group {
    /// What its members hear.
    pub fn hears(&self) -> &Hears {
        &self.hears
    }

    /// What its followers follow.
    pub fn course(&self) -> &Course {
        &self.course
    }

    /// How many follow its feed.
    pub fn followers(&self) -> usize {
        self.followers.len()
    }

    /// Those who are handed each frame.
    pub fn others(&self) -> &[Arc<Member>] {
        &self.others
    }

    /// Each member once.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.followers
            .iter()
            .map(|follower| &*follower.member)
            .chain(self.others.iter().map(|member| &**member))
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.followers.len() + self.others.len()
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Less {
    /// The group of those who hear this, which may have no members yet.
    fn number(&mut self, hears: &Hears) -> u32 {
        if let Some(number) = self.by_hears.get(hears) {
            return *number;
        }
        let group = Group { hears: hears.clone(), ..Group::default() };
        let number = match self.vacant.pop() {
            Some(number) => {
                self.groups[number as usize] = group;
                number
            }
            None => {
                self.groups.push(group);
                (self.groups.len() - 1) as u32
            }
        };
        self.by_hears.insert(hears.clone(), number);
        number
    }

    /// Gives a group up, if it is one of these. Returns whether none is left.
    fn vacate(&mut self, number: u32) -> bool {
        if let Some(group) = self.groups.get_mut(number as usize) {
            self.by_hears.remove(&std::mem::take(group).hears);
            self.vacant.push(number);
        }
        self.by_hears.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use http::HeaderMap;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::decision_log::DecisionLog;
    use crate::filter::Filter;
    use crate::link::session::Sessions;

    /// The first is everything.
    fn hears(which: usize) -> Hears {
        let filter = json!({ "taskIds": [which] });
        let filter = (which > 0).then(|| Arc::new(Filter::read(&filter).unwrap().unwrap()));
        Hears::less(Vec::new(), filter)
    }

    fn members(count: usize) -> Vec<Arc<Member>> {
        let sessions = Sessions::new(Arc::default(), Arc::new(DecisionLog::off(Arc::default())));
        let session = sessions.open(Ipv4Addr::LOCALHOST.into(), HeaderMap::new(), Box::new(()));
        (0..count).map(|_| Member::new(PeerId::next(), &session, 0)).collect()
    }

    /// Who is in which group, as the walk of a broadcast meets them.
    fn standing(room: &Room) -> HashMap<PeerId, Hears> {
        let members = room.read();
        let mut standing = HashMap::new();
        for (_, group) in members.groups() {
            assert_eq!(group.iter().count(), group.len());
            for member in group.iter() {
                assert_eq!(members.is_in(group, member.id()), (true, false));
                assert_eq!(standing.insert(member.id(), group.hears().clone()), None, "in two groups");
            }
        }
        standing
    }

    #[test]
    fn groups_come_and_go() {
        let room = Room::default();
        let members = members(4);
        for (member, which) in members.iter().zip([0, 1, 1, 2]) {
            room.add(member, &hears(which));
        }
        let lengths = |room: &Room| room.read().groups().map(|(_, group)| group.len()).collect::<Vec<_>>();
        assert_eq!(lengths(&room), [1, 2, 1]);
        assert!(!room.remove(members[1].id()).0 && !room.remove(members[2].id()).0);
        assert_eq!(lengths(&room), [1, 0, 1]);
        // A member that is in already only moves, and an empty group's place is used again.
        room.add(&members[0], &hears(3));
        assert_eq!(lengths(&room), [0, 1, 1]);
        assert!(!room.remove(members[0].id()).0);
        assert!(room.remove(members[3].id()).0);
        assert_eq!(lengths(&room), [0]);
        assert!(room.read().less.is_none());
        assert!(room.remove(members[3].id()).0);
    }

    proptest! {
        #[test]
        fn every_member_stands_where_it_was_put(
            steps in prop::collection::vec((0_usize..8, prop::option::of(0_usize..4)), 0..60),
        ) {
            let room = Room::default();
            let members = members(8);
            let mut expected = HashMap::new();
            for (at, put) in steps {
                let member = &members[at];
                match put {
                    Some(which) => {
                        room.add(member, &hears(which));
                        expected.insert(member.id(), hears(which));
                    }
                    None => {
                        expected.remove(&member.id());
                        prop_assert_eq!(room.remove(member.id()).0, expected.is_empty());
                    }
                }
                prop_assert_eq!(standing(&room), expected.clone());
            }
        }
    }
}
