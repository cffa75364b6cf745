//! One room's members: walked in one go by every broadcast, found again when one leaves.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard};

use super::member::Member;
use crate::hears::Hears;
use crate::peer::PeerId;

/// The members of one room.
#[derive(Default)]
pub struct Room(RwLock<Members>);

/// Members side by side, since a broadcast touches them all, and where each stands.
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
    list: Vec<Arc<Member>>,
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
    /// Where in the group.
    at: u32,
}

/// The number of the group of those who hear everything. No other comes so far: there are no more groups than members,
/// and no more of those than descriptors.
const EVERYTHING: u32 = u32::MAX;

impl Room {
    /// Lets a member in, who is to hear this. One that is in already hears this from now on.
    pub fn add(&self, member: &Arc<Member>, hears: &Hears) {
        let mut members = self.0.write();
        if members.hears(member.id()) != Some(hears) {
            members.remove(member.id());
            members.add(member, hears);
        }
    }

    /// Lets a member go. Returns whether nobody is left.
    pub fn remove(&self, id: PeerId) -> bool {
        let mut members = self.0.write();
        members.remove(id);
        members.places.is_empty()
    }

    /// The members as they are now; nobody joins or leaves while this is held.
    pub fn read(&self) -> RwLockReadGuard<'_, Members> {
        self.0.read()
    }
}

impl Members {
    /// All groups; each member is in one.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        let less = self.less.iter().flat_map(|less| &less.groups);
        std::iter::once(&self.everything).chain(less)
    }

    /// Whether this member is in this group.
    pub fn is_in(&self, group: &Group, id: PeerId) -> bool {
        self.group_of(id).is_some_and(|own| std::ptr::eq(own, group))
    }

    /// What this member hears, if it is one.
    pub fn hears(&self, id: PeerId) -> Option<&Hears> {
        self.group_of(id).map(|group| &group.hears)
    }

    fn group_of(&self, id: PeerId) -> Option<&Group> {
        match self.places.get(&id)?.group {
            EVERYTHING => Some(&self.everything),
            number => self.less.as_ref()?.groups.get(number as usize),
        }
    }

    fn add(&mut self, member: &Arc<Member>, hears: &Hears) {
        let everything = hears.is_everything();
        let number = if everything { EVERYTHING } else { self.less.get_or_insert_default().number(hears) };
        let Some(group) = self.group(number) else { return };
        let at = group.list.len() as u32;
        group.list.push(member.clone());
        self.places.insert(member.id(), Place { group: number, at });
    }

    fn remove(&mut self, id: PeerId) {
        let Some(Place { group: number, at }) = self.places.remove(&id) else { return };
        let Some(group) = self.group(number) else { return };
        // Order within a room means nothing: each sender's events pass through it one after the other.
        group.list.swap_remove(at as usize);
        let moved = group.list.get(at as usize).map(|member| member.id());
        let is_empty = group.list.is_empty();
        if let Some(moved) = moved {
            self.places.insert(moved, Place { group: number, at });
        }
        if is_empty && self.less.as_mut().is_some_and(|less| less.vacate(number)) {
            self.less = None;
        }
    }

    fn group(&mut self, number: u32) -> Option<&mut Group> {
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

    /// Each member once.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.list.iter().map(|member| &**member)
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl Less {
    /// The group of those who hear this, which may have no members yet.
    fn number(&mut self, hears: &Hears) -> u32 {
        if let Some(number) = self.by_hears.get(hears) {
            return *number;
        }
        let group = Group { hears: hears.clone(), list: Vec::new() };
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
    use crate::filter::Filter;
    use crate::link::session::Sessions;

    /// The first is everything.
    fn hears(which: usize) -> Hears {
        let filter = json!({ "taskIds": [which] });
        let filter = (which > 0).then(|| Arc::new(Filter::read(&filter).unwrap().unwrap()));
        Hears::less(Vec::new(), filter)
    }

    fn members(count: usize) -> Vec<Arc<Member>> {
        let sessions = Sessions::new(Arc::default());
        let session = sessions.open(Ipv4Addr::LOCALHOST.into(), HeaderMap::new(), Box::new(()));
        (0..count).map(|_| Member::new(PeerId::next(), &session, 0)).collect()
    }

    /// Who is in which group, as the walk of a broadcast meets them.
    fn standing(room: &Room) -> HashMap<PeerId, Hears> {
        let members = room.read();
        let mut standing = HashMap::new();
        for group in members.groups() {
            assert_eq!(group.iter().count(), group.len());
            for member in group.iter() {
                assert!(members.is_in(group, member.id()));
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
        let lengths = |room: &Room| room.read().groups().map(Group::len).collect::<Vec<_>>();
        assert_eq!(lengths(&room), [1, 2, 1]);
        assert!(!room.remove(members[1].id()) && !room.remove(members[2].id()));
        assert_eq!(lengths(&room), [1, 0, 1]);
        // A member that is in already only moves, and an empty group's place is used again.
        room.add(&members[0], &hears(3));
        assert_eq!(lengths(&room), [0, 1, 1]);
        assert!(!room.remove(members[0].id()));
        assert!(room.remove(members[3].id()));
        assert_eq!(lengths(&room), [0]);
        assert!(room.read().less.is_none());
        assert!(room.remove(members[3].id()));
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
                        prop_assert_eq!(room.remove(member.id()), expected.is_empty());
                    }
                }
                prop_assert_eq!(standing(&room), expected.clone());
            }
        }
    }
}
