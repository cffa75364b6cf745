use std::time::Duration;

use super::*;
use crate::event::fixtures::{NOON, policy};

const HOUR: Duration = Duration::from_secs(3600);

fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOON)
}

fn of(capacity: usize) -> Policy {
    policy(|policy| {
        policy.revocation.capacity = capacity;
        policy.auth.max_lifetime = HOUR;
        policy.auth.leeway = Duration::from_secs(5);
    })
}

fn subject(name: &str) -> Wanted {
    Wanted { subject: Some(name.into()), ..Wanted::default() }
}

fn token<'a>(subject: &'a str, id: Option<&'a str>, issued_at: Option<SystemTime>) -> Token<'a> {
    Token { issuer: "app", subject, teams: &[], id, issued_at }
}

#[test]
fn the_moment_itself_is_not_before_it() {
    let revocations = Revocations::in_memory();
    let wanted = Wanted { issued_before: Some("2026-03-01T12:00:00Z".into()), ..subject("ada") };
    revocations.add(vec![wanted], noon(), &of(10)).unwrap();
    let found = |issued_at| revocations.find(&token("ada", None, issued_at), noon()).is_some();
    assert!(found(Some(noon() - Duration::from_millis(1))) && found(None));
    assert!(!found(Some(noon())));
    assert!(revocations.find(&token("bob", None, None), noon()).is_none());
}

#[test]
fn what_may_be_issued_ahead_is_revoked_with_the_rest() {
    for issued_before in [None, Some("now".into())] {
        let revocations = Revocations::in_memory();
        let wanted = Wanted { issued_before, ..subject("ada") };
        revocations.add(vec![wanted], noon(), &of(10)).unwrap();
        let found = |ahead| revocations.find(&token("ada", None, Some(noon() + ahead)), noon()).is_some();
        assert!(found(Duration::from_millis(4_999)));
        assert!(!found(Duration::from_secs(5)));
    }
}

#[test]
fn the_ended_are_forgotten_and_make_room() {
    let revocations = Revocations::in_memory();
    let policy = of(2);
    let lifetimes = Lifetimes::of(&policy.auth);
    revocations.add(vec![subject("a"), subject("b")], noon(), &policy).unwrap();
    let end = noon() + HOUR + Duration::from_secs(10);
    let before = end - Duration::from_millis(1);
    assert!(matches!(revocations.add(vec![subject("c")], before, &policy), Err(Refused::Full(2))));
    revocations.forget_ended(before, &lifetimes).unwrap();
    assert_eq!(revocations.len(), 2);
    // One that has ended and is asked for again is not forgotten for itself.
    revocations.add(vec![subject("c"), subject("a")], end, &policy).unwrap();
    let kept = |name: &str| revocations.find(&token(name, None, None), end).is_some();
    assert_eq!([kept("a"), kept("b"), kept("c")], [true, false, true]);
    revocations.forget_ended(end + 2 * HOUR, &lifetimes).unwrap();
    assert!(revocations.is_empty());
}

#[test]
fn one_that_was_widened_is_found_once_and_gone_when_it_is_undone() {
    let revocations = Revocations::in_memory();
    let policy = of(10);
    let made = revocations.add(vec![subject("a"), subject("a")], noon(), &policy).unwrap();
    assert_eq!((made[0].0.id, revocations.len()), (made[1].0.id, 1));
    let later = revocations.add(vec![subject("a")], noon() + HOUR, &policy).unwrap();
    assert_eq!((later[0].0.id, later[0].1), (made[0].0.id, false));
    assert_eq!(later[0].0.issued_before, Some(noon() + HOUR + policy.auth.leeway));
    assert!(revocations.undo(made[0].0.id, noon(), &Lifetimes::of(&policy.auth)).unwrap().is_some());
    assert!(revocations.is_empty() && revocations.find(&token("a", None, None), noon()).is_none());
    assert!(revocations.undo(made[0].0.id, noon(), &Lifetimes::of(&policy.auth)).unwrap().is_none());
}

#[test]
fn a_revocation_of_another_kind_stands_beside() {
    let revocations = Revocations::in_memory();
    let policy = of(10);
    let ban = Wanted { term: Some("1m".into()), ..subject("a") };
    revocations.add(vec![subject("a"), ban], noon(), &policy).unwrap();
    assert_eq!(revocations.len(), 2);
    let fresh = |now| revocations.find(&token("a", None, Some(now)), now).is_some();
    assert!(fresh(noon() + Duration::from_secs(59)));
    assert!(!fresh(noon() + Duration::from_secs(60)), "what ends, ends to the second");
    let old = token("a", None, Some(noon() - HOUR));
    assert!(revocations.find(&old, noon() + HOUR).is_some(), "the other one holds on");
}

#[test]
fn the_store_gives_back_what_it_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let kept = RevocationStore { path: folder.path().join("r.redb"), origin: "a test".into() };
    let policy = of(10_000);
    let (list, undone) = {
        let revocations = Revocations::open(Some(&kept)).unwrap();
        let wanted = (0..1000).map(|number| Wanted {
            token_id: Some(format!("t-{number}").into()),
            reason: Some("\"quoted\" \u{202e}".into()),
            ..Wanted::default()
        });
        revocations.add(wanted.collect(), noon() + Duration::from_nanos(1), &policy).unwrap();
        let undone = revocations.page(None, 1)[0].id;
        revocations.undo(undone, noon(), &Lifetimes::of(&policy.auth)).unwrap();
        revocations.add(vec![subject("ada")], noon(), &policy).unwrap();
        revocations.add(vec![subject("ada")], noon() + HOUR, &policy).unwrap();
        (revocations.page(None, usize::MAX), undone)
    };
    let again = Revocations::open(Some(&kept)).unwrap();
    assert_eq!((again.page(None, usize::MAX), again.len()), (list, 1000));
    assert!(again.get(undone).is_none());
}

/// Two nodes that tell each other what they know.
struct Nodes {
    policy: Policy,
    nodes: [Revocations; 2],
}

impl Nodes {
    fn new(capacity: usize) -> Self {
        let nodes = [Revocations::in_memory(), Revocations::in_memory()];
        nodes.iter().for_each(Revocations::share);
        Nodes { policy: of(capacity), nodes }
    }

    fn revoke(&self, node: usize, name: &str, now: SystemTime) -> RevocationId {
        self.nodes[node].add(vec![subject(name)], now, &self.policy).unwrap()[0].0.id
    }

    fn undo(&self, node: usize, id: RevocationId, now: SystemTime) {
        self.nodes[node].undo(id, now, &Lifetimes::of(&self.policy.auth)).unwrap().unwrap();
    }

    /// What the one knows comes to the other.
    fn tell(&self, from: usize, to: usize, now: SystemTime) -> Merged {
        let known = self.nodes[from].known(None, &Lifetimes::of(&self.policy.auth));
        self.nodes[to].merge(known, now, &self.policy)
    }

    fn holds(&self, node: usize, name: &str) -> bool {
        self.nodes[node].find(&token(name, None, None), noon()).is_some()
    }
}

#[test]
fn what_one_node_revokes_or_undoes_another_does() {
    let nodes = Nodes::new(10);
    let (ada, later) = (nodes.revoke(0, "ada", noon()), noon() + HOUR / 2);
    let told = nodes.tell(0, 1, noon());
    assert_eq!((told.revoked[0].id, told.revoked.len(), told.undone.len()), (ada, 1, 0));
    assert!(nodes.holds(1, "ada"));
    assert!(nodes.tell(0, 1, noon()).revoked.is_empty(), "it is known");
    // Whoever asks again is told of the same one, wherever that was made.
    assert_eq!(nodes.revoke(1, "ada", noon() + HOUR / 4), ada);
    assert_eq!(nodes.tell(1, 0, later).revoked.len(), 1, "it says more than before");
    nodes.undo(0, ada, later);
    // The other one has it still, and does not bring it back.
    assert!(nodes.tell(1, 0, later).revoked.is_empty());
    assert_eq!(nodes.tell(0, 1, later).undone[0].id, ada);
    assert!(!nodes.holds(0, "ada") && !nodes.holds(1, "ada"));
}

#[test]
fn what_was_revoked_again_while_another_node_undid_it_holds() {
    let nodes = Nodes::new(10);
    let ada = nodes.revoke(0, "ada", noon());
    nodes.tell(0, 1, noon());
    nodes.undo(0, ada, noon() + HOUR / 4);
    assert_eq!(nodes.revoke(1, "ada", noon() + HOUR / 2), ada);
    nodes.tell(0, 1, noon() + HOUR / 2);
    nodes.tell(1, 0, noon() + HOUR / 2);
    assert!(nodes.holds(0, "ada") && nodes.holds(1, "ada"));
    // By a clock that is far behind, and it counts all the same.
    nodes.undo(0, ada, noon() - HOUR);
    nodes.tell(0, 1, noon() + HOUR / 2);
    assert!(!nodes.holds(1, "ada"));
}

#[test]
fn an_undoing_is_forgotten_when_nobody_can_bring_the_revocation_back() {
    let nodes = Nodes::new(10);
    let lifetimes = Lifetimes::of(&nodes.policy.auth);
    let ada = nodes.revoke(0, "ada", noon());
    nodes.undo(0, ada, noon());
    let end = noon() + HOUR + Duration::from_secs(10);
    let known = |now| {
        nodes.nodes[0].forget_ended(now, &lifetimes).unwrap();
        nodes.nodes[0].known(None, &lifetimes).len()
    };
    assert_eq!((known(end), known(end + HOUR)), (1, 0));
    let alone = Revocations::in_memory();
    let made = alone.add(vec![subject("ada")], noon(), &nodes.policy).unwrap();
    alone.undo(made[0].0.id, noon(), &lifetimes).unwrap();
    assert!(alone.known(None, &lifetimes).is_empty(), "there is nobody to tell");
}

#[test]
fn other_nodes_revocations_stay_within_the_capacity_and_their_own_end() {
    let nodes = Nodes::new(2);
    nodes.revoke(0, "a", noon());
    nodes.revoke(0, "b", noon());
    nodes.revoke(1, "c", noon());
    let told = nodes.tell(0, 1, noon());
    assert_eq!((told.revoked.len(), told.left_out, nodes.nodes[1].len()), (1, 1, 2));
    let end = noon() + HOUR + Duration::from_secs(10);
    nodes.nodes[1].forget_ended(end, &Lifetimes::of(&nodes.policy.auth)).unwrap();
    assert!(nodes.tell(0, 1, end).revoked.is_empty(), "they have ended");
    assert!(nodes.nodes[1].is_empty());
}

#[test]
fn other_nodes_revocations_are_kept_and_count_though_they_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let kept = RevocationStore { path: folder.path().join("r.redb"), origin: "a test".into() };
    let nodes = Nodes::new(10);
    let lifetimes = Lifetimes::of(&nodes.policy.auth);
    let told = |revocations: &Revocations| {
        revocations.merge(nodes.nodes[0].known(None, &lifetimes), noon(), &nodes.policy)
    };
    nodes.revoke(0, "ada", noon());
    let revocations = Revocations::open(Some(&kept)).unwrap();
    assert!(told(&revocations).not_kept.is_none());
    drop(revocations);
    let revocations = Revocations::open(Some(&kept)).unwrap();
    assert_eq!(revocations.len(), 1);
    nodes.revoke(0, "bob", noon());
    std::fs::remove_file(&kept.path).unwrap();
    assert!(matches!(told(&revocations).not_kept, Some(StoreError::Replaced(_))));
    assert_eq!(revocations.len(), 2);
}
