//! Revocations by what they are about, so that asking about a token is a few look-ups, however many there are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use smallvec::SmallVec;

use super::entry::{Revocation, RevocationId, Target, Token};
use super::lifetimes::Lifetimes;

/// The revocations of one target. Nearly always one.
type Same = SmallVec<[Arc<Revocation>; 1]>;

/// All revocations, each under its id and under its target.
#[derive(Debug, Default)]
pub struct Index {
    by_id: BTreeMap<RevocationId, Arc<Revocation>>,
    token_ids: HashMap<Arc<str>, Same>,
    subjects: HashMap<Arc<str>, Same>,
    teams: HashMap<Arc<str>, Same>,
    everyone: Same,
}

impl Index {
    /// These.
    pub fn of(revocations: impl Iterator<Item = Arc<Revocation>>) -> Self {
        let mut index = Index::default();
        revocations.for_each(|revocation| index.add(revocation));
        index
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The one of this id.
    pub fn get(&self, id: RevocationId) -> Option<&Arc<Revocation>> {
        self.by_id.get(&id)
    }

    /// All of them, the oldest first, from behind this one on.
    pub fn after(&self, id: Option<RevocationId>) -> impl Iterator<Item = &Arc<Revocation>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let begin = id.map_or(Unbounded, Excluded);
        self.by_id.range((begin, Unbounded)).map(|(_, revocation)| revocation)
    }

    /// Adds one, in the place of that of its id, if there is any.
    pub fn add(&mut self, revocation: Arc<Revocation>) {
        drop(self.remove(revocation.id));
        self.by_id.insert(revocation.id, revocation.clone());
        let same = match &revocation.target {
            Target::TokenId(name) => self.token_ids.entry(name.clone()).or_default(),
            Target::Subject(name) => self.subjects.entry(name.clone()).or_default(),
            Target::Team(name) => self.teams.entry(name.clone()).or_default(),
            Target::Everyone => &mut self.everyone,
        };
        same.push(revocation);
    }

    /// Takes one out.
    pub fn remove(&mut self, id: RevocationId) -> Option<Arc<Revocation>> {
        let revocation = self.by_id.remove(&id)?;
        let (names, name) = match &revocation.target {
            Target::TokenId(name) => (&mut self.token_ids, name),
            Target::Subject(name) => (&mut self.subjects, name),
            Target::Team(name) => (&mut self.teams, name),
            Target::Everyone => {
                self.everyone.retain(|other| other.id != id);
                return Some(revocation);
            }
        };
        if let Some(same) = names.get_mut(name) {
            same.retain(|other| other.id != id);
            if same.is_empty() {
                names.remove(name);
            }
        }
        Some(revocation)
    }

    /// Whether one could hold for a token of this subject and these teams, whatever else stands in it.
    pub fn may_mean(&self, subject: &str, teams: &[Arc<str>]) -> bool {
        !self.token_ids.is_empty()
            || !self.everyone.is_empty()
            || self.subjects.contains_key(subject)
            || teams.iter().any(|team| self.teams.contains_key(team))
    }

    /// One that holds for this token at `now`, if any does.
    pub fn find(&self, token: &Token<'_>, now: SystemTime) -> Option<&Arc<Revocation>> {
        let of_id = token.id.and_then(|id| self.token_ids.get(id));
        let of_subject = self.subjects.get(token.subject);
        let of_teams = token.teams.iter().filter_map(|team| self.teams.get(team));
        let meant = of_id.into_iter().chain(of_subject).chain(of_teams).chain([&self.everyone]);
        meant.flatten().find(|revocation| revocation.covers(token, now))
    }

    /// The one that could also say what this says.
    pub fn like(&self, revocation: &Revocation) -> Option<&Arc<Revocation>> {
        let same = match &revocation.target {
            Target::TokenId(name) => self.token_ids.get(name)?,
            Target::Subject(name) => self.subjects.get(name)?,
            Target::Team(name) => self.teams.get(name)?,
            Target::Everyone => &self.everyone,
        };
        same.iter().find(|other| other.is_like(revocation))
    }

    /// Those that have nothing left to do.
    pub fn ended(&self, now: SystemTime, lifetimes: &Lifetimes) -> Vec<RevocationId> {
        let ended = self.by_id.values().filter(|revocation| lifetimes.end(revocation) <= now);
        ended.map(|revocation| revocation.id).collect()
    }
}
