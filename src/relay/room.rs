//! One room's members: walked in one go by every broadcast, found again when one leaves.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard};

use super::member::Member;
use crate::peer::PeerId;

/// The members of one room.
#[derive(Default)]
pub struct Room(RwLock<Members>);

/// Members side by side, since a broadcast touches them all, and where each stands.
#[derive(Default)]
pub struct Members {
    list: Vec<Arc<Member>>,
    places: HashMap<PeerId, usize>,
}

impl Room {
    /// Lets a member in; one that is in already stays as it is.
    pub fn add(&self, member: &Arc<Member>) {
        let mut members = self.0.write();
        let place = members.list.len();
        if let std::collections::hash_map::Entry::Vacant(vacant) = members.places.entry(member.id()) {
            vacant.insert(place);
            members.list.push(member.clone());
        }
    }

    /// Lets a member go. Returns whether nobody is left.
    pub fn remove(&self, id: PeerId) -> bool {
        let mut members = self.0.write();
        if let Some(place) = members.places.remove(&id) {
            // Order within a room means nothing: each sender's events pass through it one after the other.
            members.list.swap_remove(place);
            if let Some(moved) = members.list.get(place).map(|member| member.id()) {
                members.places.insert(moved, place);
            }
        }
        members.list.is_empty()
    }

    /// The members as they are now; nobody joins or leaves while this is held.
    pub fn read(&self) -> RwLockReadGuard<'_, Members> {
        self.0.read()
    }
}

impl Members {
    /// Each member once.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.list.iter().map(|member| &**member)
    }
}
