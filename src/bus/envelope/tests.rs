use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::bus::channel::Channels;
use crate::peer::PeerId;
use crate::relay::change::{Key, Teams};

const LIMITS: PayloadLimits = PayloadLimits { max_bytes: 100, max_depth: 4 };
const ORIGIN: Origin = Origin(0x18e_beef);

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(1_764_126_000_123_456)
}

fn change(payload: &str, topic: &Topic<'_>, actor: Option<&str>) -> Change {
    let payload: Arc<str> = payload.into();
    let key = Key::new(&"database-change".into(), Teams::from_iter(["red".into()]), topic, &payload);
    Change {
        key: Arc::new(key),
        emit: "database-changed".into(),
        payload,
        id: EventId::next(),
        sender: PeerId::next(),
        actor: actor.map(Into::into),
        echo: false,
    }
}

fn channels() -> Channels {
    Channels::new("fg")
}

fn open_on<'m>(channel: Channel<'_>, message: &'m [u8], seal: &Seal) -> Result<Envelope<'m>, Refusal> {
    read(channel, unseal(&channels().name(channel), message, seal, LIMITS)?, LIMITS)
}

fn open_unsigned(channel: Channel<'_>, message: &str) -> Result<(), Refusal> {
    open_on(channel, message.as_bytes(), &Seal::default()).map(|_| ())
}

const RED: Channel<'_> = Channel::Team("red");

fn topic<'a>() -> impl Strategy<Value = Topic<'a>> {
    let task = prop_oneof![
        Just(None),
        Just(Some(TaskId::Integer("-12345678901234567890123"))),
        ".{0,8}".prop_map(|text: String| Some(TaskId::String(text.into()))),
    ];
    (prop::option::of(".{0,8}"), task)
        .prop_map(|(kind, task_id)| Topic { kind: kind.map(Cow::Owned), task_id })
}

proptest! {
    #[test]
    fn a_change_arrives_as_it_was_sent(
        text in ".{0,40}",
        topic in topic(),
        actor in prop::option::of("[a-z\"\\\\é]{1,8}"),
        others in prop::collection::btree_set("[a-y{}\"]{1,6}", 0..4),
        is_signed: bool,
    ) {
        let payload = format!("{{ \"a\" :\n {}, \"b\":1.0 }}", serde_json::to_string(&text).unwrap());
        prop_assume!(payload.len() <= LIMITS.max_bytes);
        let change = change(&payload, &topic, actor.as_deref());
        let mut teams: Vec<(String, u64)> = vec![("z-red".into(), 7)];
        teams.extend(others.into_iter().zip(1..));
        let at = now() - Duration::from_millis(20);
        let seal = if is_signed { Seal::new([&b"secret"[..]]) } else { Seal::default() };
        let body = Body::change(ORIGIN, &change, &teams, at, now());
        for (via, _) in &teams {
            let name = channels().name(Channel::Team(via));
            let message = body.sealed(&name, &seal);
            let envelope = open_on(Channel::Team(via), &message, &seal).unwrap();
            prop_assert_eq!((envelope.origin, envelope.sent_at), (ORIGIN, now()));
            let Message::Change(shared) = envelope.message else { panic!("it is a change") };
            prop_assert_eq!(shared.payload(), &payload);
            prop_assert_eq!((shared.event(), shared.emit()), ("database-change", "database-changed"));
            prop_assert_eq!(shared.topic(), topic.clone());
            prop_assert_eq!((shared.id(), shared.actor()), (Some(change.id), actor.as_deref()));
            prop_assert_eq!(shared.relayed_at(), at);
            let read: Vec<(String, u64)> = shared.teams().iter().map(|team| (team.0.to_string(), team.1)).collect();
            prop_assert_eq!(&read, &teams);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), rest in ".{0,60}") {
        let _ = open_on(RED, &bytes, &Seal::default());
        for kind in ["change", "missed", "alive"] {
            let _ = open_on(RED, format!("fg1 -\n{kind} {rest}\n{{}}").as_bytes(), &Seal::default());
        }
    }

    #[test]
    fn with_a_secret_not_one_byte_may_be_changed(at in 0_usize..400, by in 1_u8..=255) {
        let seal = Seal::new([&b"secret"[..]]);
        let body = Body::change(ORIGIN, &change("{}", &Topic::default(), None), &[("red", 1)], now(), now());
        let mut message = body.sealed("fg:t:{red}", &seal);
        let at = at % message.len();
        message[at] ^= by;
        prop_assert!(open_on(RED, &message, &seal).is_err());
    }
}

#[test]
fn what_is_not_signed_or_was_signed_for_another_team_is_refused() {
    let seal = Seal::new([&b"secret"[..]]);
    let teams = [("red", 1), ("blue", 1)];
    let body = Body::change(ORIGIN, &change("{}", &Topic::default(), None), &teams, now(), now());
    let refused = |channel, message: &[u8]| open_on(channel, message, &seal).err();
    let red = body.sealed("fg:t:{red}", &seal);
    assert_eq!(refused(RED, &red), None);
    assert_eq!(refused(Channel::Team("blue"), &red), Some(Refusal::Signature));
    assert_eq!(refused(RED, &body.sealed("fg:t:{red}", &Seal::default())), Some(Refusal::Signature));
    assert!(open_on(RED, &red, &Seal::default()).is_ok(), "a node without a secret asks for none");
}

#[test]
fn what_nodes_say_of_themselves_is_said_to_all() {
    let seal = Seal::default();
    let said = |body: &Body| {
        let message = body.sealed("fg:control", &seal);
        assert_eq!(open_on(RED, &message, &seal).err(), Some(Refusal::Team));
        format!("{:?}", open_on(Channel::Control, &message, &seal).unwrap().message)
    };
    assert_eq!(said(&Body::alive(ORIGIN, "node \"1\"", None, now())), r#"Alive("node \"1\"", None)"#);
    let about = |policy: &str| About { version: "1".into(), policy: policy.into(), connections: 3, since: 4 };
    let alive = |policy| Body::alive(ORIGIN, "a", Some(about(policy)), now()).sealed("fg:control", &seal);
    let heard = alive("9d02");
    let heard = open_on(Channel::Control, &heard, &seal).unwrap().message;
    assert!(matches!(heard, Message::Alive(_, Some(heard)) if heard == about("9d02")));
    assert_eq!(open_on(Channel::Control, &alive("9d\n02"), &seal).err(), Some(Refusal::Malformed));
    assert_eq!(said(&Body::word(ORIGIN, "{\"a\":\n1}", now())), r#"Word("{\"a\":\n1}")"#);
    assert_eq!(said(&Body::goodbye(ORIGIN, now())), "Goodbye");
    assert_eq!(said(&Body::missed_anywhere(ORIGIN, now())), "MissedAnywhere");
    let missed = Body::missed(ORIGIN, "red", 9, now()).sealed("fg:t:{red}", &seal);
    let envelope = open_on(RED, &missed, &seal).unwrap();
    assert!(matches!(envelope.message, Message::Missed(Numbered(team, 9)) if team == "red"));
    for other in [Channel::Control, Channel::Team("blue")] {
        assert_eq!(open_on(other, &missed, &seal).err(), Some(Refusal::Team));
    }
}

/// A change's text, in which a test changes something.
fn text_of(payload: &str) -> String {
    let topic = Topic { kind: Some("t".into()), task_id: Some(TaskId::Integer("5")) };
    let body = Body::change(ORIGIN, &change(payload, &topic, Some("ann")), &[("red", 1)], now(), now());
    String::from_utf8(body.sealed("fg:t:{red}", &Seal::default())).unwrap()
}

#[test]
fn what_a_later_version_adds_is_not_looked_at() {
    let text = text_of("{}").replace("\"sent\":", "\"later\":{\"a\":[1]},\"sent\":");
    assert_eq!(open_unsigned(RED, &text), Ok(()));
}

#[test]
fn what_is_not_as_it_should_be_is_refused_for_that() {
    let good = text_of("{}");
    assert_eq!(open_unsigned(RED, &good), Ok(()));
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from} in {good}");
        good.replacen(from, to, 1)
    };
    let names = |count: usize| {
        let teams: Vec<String> = (0..count).map(|team| format!("[\"t{team}\",1]")).collect();
        format!("[\"red\",1],{}", teams.join(","))
    };
    for (message, refusal) in [
        (String::new(), Refusal::Version),
        ("fg1 -".into(), Refusal::Version),
        (with("fg1 ", "fg2 "), Refusal::Version),
        (with("fg1 ", "fg1"), Refusal::Version),
        ("{\"hello\":\"there\"}\n\n".into(), Refusal::Version),
        (with("change ", "charge "), Refusal::Malformed),
        (with("change ", "change"), Refusal::Malformed),
        (with("change {", "change {{"), Refusal::Malformed),
        (with("\"18ebeef\"", "\"\""), Refusal::Malformed),
        (with("\"18ebeef\"", "\"-8\""), Refusal::Malformed),
        (with("\"origin\":", "\"origin\":\"1\",\"origin\":"), Refusal::Malformed),
        (with("\"task\":5", "\"task\":5.5"), Refusal::Malformed),
        (with("\"task\":5", "\"task\":[5]"), Refusal::Malformed),
        (with("\"ann\"", "\"a\\u0000n\""), Refusal::Malformed),
        (with("\"ann\"", "\"\""), Refusal::Malformed),
        (with("[\"red\",1]", "[\"red\",0]"), Refusal::Team),
        (with("[\"red\",1]", "[\"red\",-1]"), Refusal::Malformed),
        (with("[\"red\",1]", "[\"red\",1],[\"red\",2]"), Refusal::Team),
        (with("[\"red\",1]", "[\"blue\",1]"), Refusal::Team),
        (with("[\"red\",1]", "[\"red\",1],[\"a:b\",2]"), Refusal::Team),
        (with("[\"red\",1]", "[\"red\",1],[\"\",2]"), Refusal::Team),
        (with("[\"red\",1]", &names(MOST_TEAMS)), Refusal::Team),
        (with("[\"red\",1]", ""), Refusal::Team),
        (text_of("{"), Refusal::Malformed),
        (text_of(""), Refusal::Malformed),
        (text_of("{},{}"), Refusal::Malformed),
        (text_of("1]"), Refusal::Malformed),
        (text_of("[[[[[]]]]]"), Refusal::TooDeep),
        (text_of(&format!("\"{}\"", "x".repeat(99))), Refusal::TooLarge),
        (format!("fg1 -\nalive {}\n", "x".repeat(HEAD_BYTES + 200)), Refusal::TooLarge),
    ] {
        assert_eq!(open_unsigned(RED, &message), Err(refusal), "{message}");
    }
    let most = with("[\"red\",1]", &names(MOST_TEAMS - 1));
    assert_eq!(open_unsigned(RED, &most), Ok(()));
    let long = with("\"task\":5", &format!("\"task\":{}", "5".repeat(99)));
    assert_eq!(open_unsigned(RED, &long), Ok(()), "as long as the sender's policy lets it be");
    assert_eq!(open_unsigned(RED, &text_of(&format!("\"{}\"", "x".repeat(98)))), Ok(()));
    let everyone = with("[\"red\",1]", "[\"red\",1],[\"*\",1]");
    assert_eq!(open_unsigned(RED, &everyone), Ok(()));
    assert_eq!(open_unsigned(Channel::Control, &good), Err(Refusal::Team));
    for node in ["", "a\\nb", &"x".repeat(256)] {
        let alive = format!("fg1 -\nalive {{\"origin\":\"1\",\"sent\":1,\"node\":\"{node}\"}}\n");
        assert_eq!(open_unsigned(Channel::Control, &alive), Err(Refusal::Malformed), "{node}");
    }
}

#[test]
fn whoever_is_in_the_most_teams_that_there_may_be_is_heard_elsewhere() {
    let name = |number: usize| format!("{}{number:03}", "\"".repeat(crate::name::MAX_NAME_BYTES - 3));
    let teams: Vec<(String, u64)> = (0..TEAMS.most).map(|number| (name(number), u64::MAX)).collect();
    let body = Body::change(ORIGIN, &change("{}", &Topic::default(), None), &teams, now(), now());
    for (team, _) in &teams {
        let message = body.sealed(&channels().name(Channel::Team(team)), &Seal::default());
        assert!(open_on(Channel::Team(team), &message, &Seal::default()).is_ok());
    }
}

#[test]
fn no_date_is_too_late_to_be_written() {
    let text = text_of("{}");
    let (before, rest) = text.split_once("\"at\":").unwrap();
    let (_, after) = rest.split_once('}').unwrap();
    for at in [u64::MAX, LAST_DATE.as_micros() as u64, LAST_DATE.as_micros() as u64 - 1, 0] {
        let text = format!("{before}\"at\":{at}}}{after}");
        let envelope = open_on(RED, text.as_bytes(), &Seal::default()).map(|envelope| envelope.message);
        let Ok(Message::Change(shared)) = envelope else { panic!("{text}") };
        assert!(!humantime::format_rfc3339_millis(shared.relayed_at()).to_string().is_empty());
    }
}
