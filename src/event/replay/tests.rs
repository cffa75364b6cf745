//! What is remembered, of whom, for how long, and how much of it.

use super::*;
use crate::config::policy::{Mode, OnLimit, Presence};
use crate::event::fixtures::{World, peer, per_second, with_typed};
use crate::event::{EventId, Now, Sender};
use crate::relay::later::Place;

fn by(by: ReplayBy) -> impl FnOnce(&mut TypedPayload) {
    |typed| {
        typed.replay =
            Some(ReplayPolicy { by, mode: Mode::Enforce, rule: "events.database-change.replay".into() });
        typed.timestamp.presence = Presence::Required;
        typed.unknown_fields = crate::config::policy::UnknownFields::Pass;
    }
}

fn content() -> World {
    World::new(with_typed(by(ReplayBy::Content)))
}

/// An event at so many seconds after noon, with more in it.
fn event(task: &str, seconds: u64, more: &str) -> String {
    let time = (crate::event::fixtures::NOON + seconds) * 1000;
    format!(r#"["database-change",{{"type":"comment-added","taskId":{task},"timestamp":{time}{more}}}]"#)
}

fn send(world: &World, sender: &Sender, text: &str, now: Now) -> Result<(), (Code, &'static str)> {
    let decided = world.pipeline.decide(sender, text, EventId::next(), now);
    decided.map(drop).map_err(|refused| (refused.reject.code, refused.stage))
}

const DUPLICATE: Result<(), (Code, &str)> = Err((Code::Duplicate, NAME));

#[test]
fn the_same_type_task_and_timestamp_pass_once_whoever_sends_them() {
    let world = content();
    let other = world.sender(peer(&["red"]));
    let send = |sender, text: &str| send(&world, sender, text, world.now);
    assert_eq!(send(&world.sender, &event("1", 0, "")), Ok(()));
    assert_eq!(send(&world.sender, &event("1", 0, "")), DUPLICATE);
    assert_eq!(send(&other, &event("1", 0, r#","note":"another""#)), DUPLICATE);
    for (task, seconds) in [("2", 0), ("\"1\"", 0), ("1", 1)] {
        assert_eq!(send(&other, &event(task, seconds, "")), Ok(()), "{task} {seconds}");
    }
    // The same moment in other words.
    let text =
        r#"["database-change",{"type":"comment-added","taskId":1,"timestamp":"2026-03-01T12:00:00Z"}]"#;
    assert_eq!(send(&world.sender, text), DUPLICATE);
    let text = text.replace("added", "removed");
    assert_eq!(send(&world.sender, &text), Ok(()));
    assert_eq!(world.pipeline.replays(), 5);
}

#[test]
fn without_a_task_all_of_the_payload_counts() {
    let world = content();
    let text = |title: &str| {
        format!(
            r#"["database-change",{{"type":"task-created","timestamp":1772366400000,"title":"{title}"}}]"#
        )
    };
    let send = |title| send(&world, &world.sender, &text(title), world.now);
    assert_eq!(["a", "b", "a"].map(send), [Ok(()), Ok(()), DUPLICATE]);
}

#[test]
fn by_id_the_rest_makes_no_difference() {
    let world = World::new(with_typed(by(ReplayBy::Id("id".into()))));
    let send = |task, more: &str| send(&world, &world.sender, &event(task, 0, more), world.now);
    assert_eq!(send("1", r#","id":"a""#), Ok(()));
    assert_eq!(send("2", r#","id":"\u0061""#), DUPLICATE);
    assert_eq!(send("1", r#","id":"b""#), Ok(()));
    assert_eq!((send("1", r#","id":7"#), send("2", r#","id":7"#)), (Ok(()), DUPLICATE));
    assert_eq!(send("1", r#","id":"7""#), Ok(()), "a text is not an integer");
    assert_eq!(send("1", ""), Err((Code::MissingField, NAME)));
    for odd in ["null", "1.5", "true", "[]", r#""\ud800""#] {
        assert_eq!(
            send("1", &format!(r#","id":{odd}"#)).map_err(|(code, _)| code),
            Err(Code::InvalidPayload),
            "{odd}"
        );
    }
}

#[test]
fn teams_have_their_own_and_several_are_all_or_none() {
    let world = World::new(|policy| {
        with_typed(by(ReplayBy::Content))(policy);
        policy.rooms.send_to_all_teams = true;
    });
    let [red, blue, both] =
        [&["red"][..], &["blue"], &["red", "blue"]].map(|teams| world.sender(peer(teams)));
    let send = |sender, task| send(&world, sender, &event(task, 0, ""), world.now);
    assert_eq!((send(&red, "1"), send(&blue, "1")), (Ok(()), Ok(())));
    assert_eq!(send(&red, "2"), Ok(()));
    assert_eq!(send(&both, "2"), DUPLICATE);
    // Blue has not had it and has not been told that it has.
    assert_eq!(send(&blue, "2"), Ok(()));
    assert_eq!((send(&both, "3"), send(&blue, "3"), send(&red, "3")), (Ok(()), DUPLICATE, DUPLICATE));
}

#[test]
fn what_was_refused_may_be_sent_again_and_a_duplicate_costs_the_team_nothing() {
    let world = World::new(|policy| {
        with_typed(by(ReplayBy::Content))(policy);
        policy.limits.events.per_team = per_second(2);
    });
    let send = |task, now| send(&world, &world.sender, &event(task, 0, ""), now);
    assert_eq!(send("1", world.now), Ok(()));
    assert_eq!(send("1", world.now), DUPLICATE);
    assert_eq!(send("2", world.now), Ok(()), "the team's second token is still there");
    let limited = Err((Code::RateLimited, "team_limit"));
    assert_eq!((send("3", world.now), send("3", world.now)), (limited, limited));
    assert_eq!(send("3", world.now + Duration::from_secs(1)), Ok(()));
}

#[test]
fn what_waits_is_remembered_when_it_is_known_that_it_can() {
    let world = World::new(|policy| {
        with_typed(by(ReplayBy::Content))(policy);
        policy.limits.events.per_socket = per_second(1);
        policy.limits.events.on_limit = OnLimit::Coalesce;
    });
    let (two, three) = (event("2", 0, ""), event("3", 0, ""));
    assert_eq!(send(&world, &world.sender, &event("1", 0, ""), world.now), Ok(()));
    let wait = |text, place| {
        let mut decision = world.decide(text).unwrap();
        world.pipeline.wait(&world.sender, &mut decision, place, EventId::next(), world.now)
    };
    assert_eq!(wait(&two, Place::Full).unwrap_err().reject.code, Code::RateLimited);
    assert!(wait(&two, Place::Free).is_ok(), "it was not remembered");
    assert_eq!(wait(&two, Place::Taken).unwrap_err().reject.code, Code::Duplicate);
    assert!(wait(&three, Place::Taken).is_ok());
}

#[test]
fn it_is_remembered_until_its_timestamp_is_stale() {
    let world = content();
    // One a minute ahead, as far as the fixture allows, and one as old as may be.
    let (ahead, old) = (event("1", 60, ""), event("2", 0, ""));
    assert_eq!(send(&world, &world.sender, &ahead, world.now), Ok(()));
    for seconds in [1, 100, 299, 300, 359, 360] {
        let now = world.now + Duration::from_secs(seconds);
        world.pipeline.sweep(now);
        assert_eq!(send(&world, &world.sender, &ahead, now), DUPLICATE, "{seconds}");
        if seconds == 299 {
            assert_eq!(send(&world, &world.sender, &old, now), Ok(()));
        }
        if seconds == 300 {
            assert_eq!(send(&world, &world.sender, &old, now), DUPLICATE);
        }
    }
    let stale = Err((Code::StaleTimestamp, Validate::NAME));
    assert_eq!(send(&world, &world.sender, &ahead, world.now + Duration::from_secs(361)), stale);
    assert_eq!(send(&world, &world.sender, &old, world.now + Duration::from_secs(361)), stale);
    // A slice is an eighth of the time, so all is forgotten soon.
    world.pipeline.sweep(world.now + Duration::from_secs(420));
    assert_eq!(world.pipeline.replays(), 0);
    assert!(world.pipeline.replays.remembered.lock().events.values().all(HashMap::is_empty));
}

#[test]
fn what_is_observed_passes_and_is_said() {
    let world = World::new(with_typed(|typed| {
        by(ReplayBy::Content)(typed);
        typed.replay.as_mut().unwrap().mode = Mode::Observe;
    }));
    let observed = |text: &str| {
        let decision = world.pipeline.decide(&world.sender, text, EventId::next(), world.now).unwrap();
        decision.observed.iter().map(|refused| (refused.reject.code, refused.stage)).collect::<Vec<_>>()
    };
    let text = event("1", 0, "");
    assert_eq!((observed(&text), observed(&text)), (vec![], vec![(Code::Duplicate, NAME)]));
}

#[test]
fn what_validation_lets_pass_without_its_id_is_not_looked_at() {
    let world = World::new(with_typed(|typed| {
        by(ReplayBy::Id("id".into()))(typed);
        typed.validation = Mode::Observe;
    }));
    let send = |text: &str| send(&world, &world.sender, text, world.now);
    let odd = r#"["database-change",{"id":"a","type":"task-lost"}]"#;
    assert_eq!((send(odd), send(odd)), (Ok(()), Ok(())));
    let right = event("1", 0, r#","id":"a""#);
    assert_eq!((send(&right), send(&right)), (Ok(()), DUPLICATE));
}

#[test]
fn another_policy_remembers_what_this_one_has_relayed() {
    let world = content();
    assert_eq!(send(&world, &world.sender, &event("1", 0, ""), world.now), Ok(()));
    let policy = Arc::new(crate::event::fixtures::policy(with_typed(by(ReplayBy::Content))));
    let next = world.pipeline.successor(policy, 2, &crate::metrics::EventCounters::default());
    let refused =
        next.decide(&world.sender, &event("1", 0, ""), EventId::next(), world.now).map(drop).unwrap_err();
    assert_eq!(refused.reject.code, Code::Duplicate);
}

#[test]
fn where_there_is_no_room_nothing_older_is_forgotten() {
    let mut remembered = Remembered::default();
    let (event, red, blue): (Arc<str>, Arc<str>, Arc<str>) = ("e".into(), "red".into(), "blue".into());
    let mark = |hash, until| Mark { hash, until, slice: 10 };
    for hash in 0..MOST_OF_ONE as u64 {
        remembered.remember(&event, &[&red], &mark(hash, 100), 0).unwrap();
    }
    assert_eq!(remembered.remember(&event, &[&red], &mark(u64::MAX, 200), 0), Err(Not::Full(110)));
    assert_eq!(remembered.remember(&event, &[&blue, &red], &mark(u64::MAX, 200), 0), Err(Not::Full(110)));
    assert_eq!(remembered.remember(&event, &[&red], &mark(0, 100), 0), Err(Not::Duplicate));
    assert_eq!(remembered.remember(&event, &[&blue], &mark(0, 100), 0), Ok(()), "another team has its own");
    // When they end there is room again.
    assert_eq!(remembered.remember(&event, &[&red], &mark(u64::MAX, 200), 110), Ok(()));
    assert_eq!(remembered.len, 2);
    remembered.len = MOST;
    assert_eq!(remembered.remember(&event, &[&blue], &mark(2, 200), 50), Err(Not::Full(110)));
}

#[test]
fn who_fills_it_from_many_teams_leaves_the_others_theirs() {
    let mut remembered = Remembered { most: 400, ..Remembered::default() };
    let (event, blue): (Arc<str>, Arc<str>) = ("e".into(), "blue".into());
    let mark = |hash| Mark { hash, until: 100, slice: 10 };
    let floods: Vec<Arc<str>> = (0..10).map(|number| format!("flood-{number}").into()).collect();
    let floods: Vec<_> = floods.iter().collect();
    remembered.remember(&event, &[&blue], &mark(0), 0).unwrap();
    let passed = (1..1000).take_while(|hash| remembered.remember(&event, &floods, &mark(*hash), 0).is_ok());
    assert_eq!(passed.count(), 29, "three quarters of the room");
    // Another gets as much as each of those has, and a new one likewise.
    let share = 300 / 11;
    for hash in 1..share {
        assert_eq!(remembered.remember(&event, &[&blue], &mark(hash), 0), Ok(()), "{hash}");
    }
    for full in [&blue, floods[0]] {
        assert_eq!(remembered.remember(&event, &[full], &mark(1000), 0), Err(Not::Full(110)), "{full}");
    }
    assert_eq!(remembered.remember(&event, &[&"green".into()], &mark(1), 0), Ok(()));
    // There is an end to it all the same.
    remembered.len = 400;
    assert_eq!(remembered.remember(&event, &[&"green".into()], &mark(2), 0), Err(Not::Full(110)));
    // What has ended makes room.
    remembered.len = 10 * 29 + share as usize + 1;
    assert_eq!(remembered.remember(&event, &floods, &mark(1000), 110), Ok(()));
}
