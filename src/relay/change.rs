//! A change that may wait before it is relayed, and what makes two of them equal.

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::event_id::EventId;
use crate::message::{TaskId, Topic};
use crate::peer::PeerId;

/// The teams that a change goes to.
pub type Teams = SmallVec<[Arc<str>; 2]>;

/// An accepted event, with everything that relaying it later needs.
#[derive(Clone, Debug)]
pub struct Change {
    /// What it has in common with its equals.
    pub key: Arc<Key>,
    /// The name that members hear.
    pub emit: Arc<str>,
    /// The JSON text to relay.
    pub payload: Arc<str>,
    /// What its acknowledgement calls it.
    pub id: EventId,
    /// The connection that sent it.
    pub sender: PeerId,
    /// The subject of whoever sent it; `None` where nobody was asked.
    pub actor: Option<Arc<str>>,
    /// Whether the sender hears it too.
    pub echo: bool,
}

/// What equal changes have in common: the event, the teams, and what changed. A member that has heard the later of two
/// equal changes has missed nothing, since it looks the task up anyway.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    event: Arc<str>,
    /// Sorted, since senders hold their teams in any order.
    teams: Teams,
    kind: Option<Box<str>>,
    task: Option<Id>,
    /// Whether a backend published it. A client's change never takes the place of such a one, which may say more than it may.
    is_published: bool,
    /// All of the payload, where it says less than a type and a task: then only the same bytes again say the same.
    bytes: Option<Arc<str>>,
}

/// A task's id; `1` and `"1"` are two.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Id {
    Integer(Box<str>),
    String(Box<str>),
}

impl Key {
    /// The key of an event of this name to these teams.
    ///
    /// With a type and a task id these are what changed, and what else the payload holds makes no difference. Without, it
    /// is the payload as a whole.
    pub fn new(event: &Arc<str>, mut teams: Teams, topic: &Topic<'_>, payload: &Arc<str>) -> Self {
        teams.sort_unstable();
        let task = topic.task_id.as_ref().map(|id| match id {
            TaskId::Integer(id) => Id::Integer((*id).into()),
            TaskId::String(id) => Id::String((**id).into()),
        });
        let kind: Option<Box<str>> = topic.kind.as_deref().map(Into::into);
        let is_told = task.is_some() && kind.as_ref().is_some_and(|kind| !kind.is_empty());
        let bytes = (!is_told).then(|| payload.clone());
        Key { event: event.clone(), teams, kind, task, is_published: false, bytes }
    }

    /// The same of what a backend publishes.
    #[must_use]
    pub fn published(self) -> Self {
        Key { is_published: true, ..self }
    }

    /// What the change is about, which decides who hears it.
    pub fn topic(&self) -> Topic<'_> {
        let task_id = self.task.as_ref().map(|id| match id {
            Id::Integer(id) => TaskId::Integer(id),
            Id::String(id) => TaskId::String(Cow::Borrowed(id)),
        });
        Topic { kind: self.kind.as_deref().map(Cow::Borrowed), task_id }
    }

    /// The name under which it was sent.
    pub fn event(&self) -> &Arc<str> {
        &self.event
    }

    /// The teams that the change goes to.
    pub fn teams(&self) -> &[Arc<str>] {
        &self.teams
    }
}

#[cfg(test)]
impl Change {
    /// One of somebody who hears it too, to these teams and about this.
    pub fn sample(teams: &[&str], topic: &Topic<'_>, payload: &str) -> Self {
        let payload: Arc<str> = payload.into();
        let teams = teams.iter().map(|&team| team.into()).collect();
        Change {
            key: Arc::new(Key::new(&"e".into(), teams, topic, &payload)),
            emit: "x".into(),
            payload,
            id: EventId::next(),
            sender: PeerId::next(),
            actor: None,
            echo: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic<'a>(kind: &'a str, task_id: Option<TaskId<'a>>) -> Topic<'a> {
        Topic { kind: Some(kind.into()), task_id }
    }

    /// The key of a `task-updated`, unless the payload alone is what there is.
    fn key(teams: &[&str], task_id: Option<TaskId<'_>>, payload: &str) -> Key {
        let teams = teams.iter().map(|&team| team.into()).collect();
        Key::new(&"e".into(), teams, &topic("task-updated", task_id), &payload.into())
    }

    #[test]
    fn with_a_task_id_the_rest_of_the_payload_makes_no_difference() {
        let one = || Some(TaskId::Integer("1"));
        assert_eq!(key(&["a"], one(), "{}"), key(&["a"], one(), "[]"));
        assert_ne!(key(&["a"], one(), "{}"), key(&["a"], Some(TaskId::Integer("2")), "{}"));
        assert_ne!(key(&["a"], one(), "{}"), key(&["a"], Some(TaskId::String("1".into())), "{}"));
        let (event, payload) = ("e".into(), "{}".into());
        let other = Key::new(&event, Teams::from_iter(["a".into()]), &topic("task-moved", one()), &payload);
        assert_ne!(key(&["a"], one(), "{}"), other);
    }

    #[test]
    fn without_one_only_the_same_bytes_are_equal() {
        assert_eq!(key(&["a"], None, "null"), key(&["a"], None, "null"));
        assert_ne!(key(&["a"], None, "{}"), key(&["a"], None, "{ }"));
    }

    #[test]
    fn the_teams_count_and_their_order_does_not() {
        assert_eq!(key(&["a", "b"], None, "1"), key(&["b", "a"], None, "1"));
        assert_ne!(key(&["a", "b"], None, "1"), key(&["a"], None, "1"));
    }
}
