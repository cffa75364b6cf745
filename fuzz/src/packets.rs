//! From the text of an Engine.IO message to the decision on an event, under every policy and for every kind of peer.

use std::sync::LazyLock;
use std::time::Instant;

use flowgate::config::policy::{EventPolicy, Presence, UnknownFields};
use flowgate::event::{Decision, EventId, Now, Refused, Sender};
use flowgate::link::websocket::{TEXT_FRAME, split_frame};
use flowgate::message::Event;
use flowgate::peer::Standing;
use flowgate::reject::Code;
use flowgate::relay::frame::Frame;
use socketioxide_core::Value;
use socketioxide_core::packet::PacketData;
use socketioxide_core::parser::{Parse, ParseConfig, ParserState};
use socketioxide_parser_common::CommonParser;

use crate::json::{self, Members};
use crate::policies::{WORLDS, World, limited};

/// Separates packets, as in the body of a poll (Engine.IO protocol 4, "Packet encoding").
const RECORD_SEPARATOR: u8 = 0x1e;

/// More packets find nothing that fewer don't, and take their time.
const MOST_PACKETS: usize = 16;

/// Engine.IO messages, separated as in the body of a poll, or the bare texts of events.
///
/// Promised: no team is reached that the sender does not hold or, where the payload names one, did not name; what is
/// relayed are the client's own bytes, of valid JSON, within size and depth, and all that the policy's keys say; the
/// frame holds that and nothing else; rates hold.
pub fn packets(data: &[u8]) {
    let texts: Vec<&str> = data
        .split(|byte| *byte == RECORD_SEPARATOR)
        .take(MOST_PACKETS)
        .filter_map(|packet| std::str::from_utf8(packet).ok())
        .collect();
    let mut events: Vec<String> = Vec::new();
    for text in &texts {
        events.push((*text).to_owned());
        events.extend(through_the_library(text));
    }
    for world in &*WORLDS {
        for sender in &world.senders {
            for text in &events {
                decide(world, sender, text);
            }
        }
    }
    rates_hold(&events);
}

/// The event's text as the protocol library hands it to flowgate, set up as the server sets it up.
fn through_the_library(text: &str) -> Option<String> {
    static CONFIG: LazyLock<ParseConfig> = LazyLock::new(|| ParseConfig {
        max_incoming_binaries: 0,
        max_incoming_binary_buf_size: 0,
        ..ParseConfig::default()
    });
    let message = text.strip_prefix('4')?;
    let packet = CommonParser.decode_str(&CONFIG, &ParserState::default(), message.to_owned().into()).ok()?;
    let PacketData::Event(value, _) = &packet.inner else { return None };
    let Value::Str(event, None) = value else { panic!("an attachment came through") };
    // The library finds the handler by the name that it reads; the policy is found by the one that we read.
    if let (Ok(theirs), Some(ours)) = (CommonParser.read_event(value), Event::split(event))
        && WORLDS.iter().any(|world| world.policy.events.contains_key(ours.name()))
    {
        assert_eq!(theirs, ours.name());
    }
    Some(event.to_string())
}

fn decide(world: &World, sender: &Sender, text: &str) {
    // The steady clock runs, or a long campaign would use up the largest rate.
    let now = Now { steady: Instant::now(), ..crate::noon() };
    match world.pipeline.decide(sender, text, EventId::next(), now) {
        Ok(decision) => accepted(world, sender, text, &decision),
        Err(refused) => check_refusal(&refused),
    }
}

fn accepted(world: &World, sender: &Sender, text: &str, decision: &Decision<'_>) {
    let context = format!("{}: {:?}: {text:?}", world.name, sender.peer());
    let peer = sender.peer();
    assert_ne!(peer.standing(), Standing::Anonymous, "{context}");
    assert!(!decision.teams.is_empty(), "{context}");
    for (at, team) in decision.teams.iter().enumerate() {
        assert!(peer.teams().contains(*team), "{context}: reaches {team}");
        assert!(!decision.teams[..at].contains(team), "{context}: reaches {team} twice");
    }

    let payload = &*decision.payload;
    assert!(json::is_valid(payload), "{context}: relays {payload:?}");
    let limits = &world.policy.limits.payload;
    assert!(payload.len() <= limits.max_bytes, "{context}");
    assert!(json::depth(payload) <= limits.max_depth, "{context}");

    let event = Event::split(text).expect("what is no event was accepted");
    let policy = &world.policy.events[event.name()];
    assert_eq!((decision.emit, decision.echo), (&policy.emit, policy.echo), "{context}");
    let strips = policy.typed.as_ref().is_some_and(|typed| typed.unknown_fields == UnknownFields::Strip);
    if event.arguments().is_empty() {
        assert_eq!(payload, "null", "{context}");
    } else if !strips {
        assert_eq!(payload, event.arguments().trim_ascii(), "{context}");
    }
    if policy.typed.is_some() {
        typed(policy, event.arguments(), decision, &context);
    }
    names_team(policy, sender, payload, decision, &context);
    framed(decision, &context);
}

/// The promises of `payload = "typed"`, read off the relayed bytes.
fn typed(policy: &EventPolicy, arguments: &str, decision: &Decision<'_>, context: &str) {
    let typed = policy.typed.as_ref().expect("it is typed");
    let relayed = Members::of(&decision.payload).expect("a typed payload is an object");
    for (at, (key, _)) in relayed.0.iter().enumerate() {
        assert!(!relayed.0[..at].iter().any(|(other, _)| other == key), "{context}: {key:?} twice");
        let known = ["type", "taskId", "timestamp"].contains(&key.as_str())
            || typed.fields.contains_key(key.as_str())
            || policy.team_field.as_deref() == Some(key);
        assert!(known || typed.unknown_fields == UnknownFields::Pass, "{context}: {key:?} relayed");
    }
    let came = Members::of(arguments).expect("a typed payload came as an object");
    for (key, value) in &relayed.0 {
        assert_eq!(came.get(key), Some(*value), "{context}: {key:?} changed");
    }

    let kind = relayed.text("type").expect("type is text");
    let exact = typed.exact_types.get_key_value(kind.as_str());
    let glob = || typed.glob_types.iter().find(|(glob, _)| glob.matches(&kind));
    let (label, demands) = exact
        .map(|(name, demands)| (&**name, demands))
        .or_else(|| glob().map(|(glob, demands)| (glob.as_str(), demands)))
        .expect("the type is one of the policy's");
    assert_eq!(decision.kind, Some(label), "{context}");
    let task_id = relayed.get("taskId");
    assert!(demands.task_id != Presence::Required || task_id.is_some(), "{context}");
    assert!(demands.task_id != Presence::Forbidden || task_id.is_none(), "{context}");
    if let Some(raw) = task_id {
        match serde_json::from_str::<String>(raw) {
            Ok(text) => assert!(typed.task_id.string && text.len() <= typed.task_id.max_length, "{context}"),
            Err(_) => {
                let digits = raw.strip_prefix('-').unwrap_or(raw);
                assert!(
                    typed.task_id.integer && digits.bytes().all(|byte| byte.is_ascii_digit()),
                    "{context}"
                );
                assert!(raw.len() <= typed.task_id.max_length, "{context}");
            }
        }
    }
    let timestamp = relayed.get("timestamp");
    assert!(typed.timestamp.presence != Presence::Required || timestamp.is_some(), "{context}");
    for (name, field) in &typed.fields {
        let value = relayed.get(name);
        assert!(field.presence != Presence::Required || value.is_some(), "{context}: {name}");
        assert!(field.presence != Presence::Forbidden || value.is_none(), "{context}: {name}");
    }
}

/// A team named in the payload is the only one that is reached, unless nobody was asked who they are.
fn names_team(policy: &EventPolicy, sender: &Sender, payload: &str, decision: &Decision<'_>, context: &str) {
    let named = policy.team_field.as_deref().and_then(|field| {
        let members = payload.starts_with('{').then(|| Members::of(payload)).flatten()?;
        members.text(field)
    });
    let teams: Vec<&str> = decision.teams.iter().map(|team| &***team).collect();
    match (named, sender.peer().standing()) {
        (Some(named), Standing::Verified) => assert_eq!(teams, [named], "{context}"),
        (None, Standing::Verified) => {
            if let Some(chosen) = sender.peer().chosen_team() {
                assert_eq!(teams, [&**chosen], "{context}");
            }
        }
        _ => {}
    }
}

/// What members hear is `["emit",payload]` and nothing else, whichever way it leaves.
fn framed(decision: &Decision<'_>, context: &str) {
    let frame = Frame::new(decision.emit, &decision.payload);
    let (first, packet, rest) = split_frame(frame.websocket()).expect("a whole frame");
    assert_eq!((first, rest), (TEXT_FRAME, &b""[..]), "{context}");
    assert_eq!(packet.len(), frame.packet_len(), "{context}");
    assert!(!packet.contains(&RECORD_SEPARATOR), "{context}: it would end a packet in a poll");
    let packet = std::str::from_utf8(packet).expect("text");
    let event = packet.strip_prefix("42").expect("an event");
    let parts: Vec<&serde_json::value::RawValue> = serde_json::from_str(event).expect("valid JSON");
    let [name, argument] = parts.as_slice() else { panic!("{context}: {} arguments", parts.len()) };
    assert_eq!(serde_json::from_str::<String>(name.get()).as_deref().ok(), Some(&**decision.emit));
    assert_eq!(argument.get(), &*decision.payload, "{context}");
    assert_eq!(frame.raw().map(|raw| raw.get()), Some(&*decision.payload), "{context}");
}

/// A refusal names a stage and a rule of a fixed set, and repeats nothing of the client's that a log should not hold.
fn check_refusal(refused: &Refused) {
    const STAGES: &[&str] = &["size", "rate_limit", "validate", "authorize", "route", "team_limit"];
    assert!(STAGES.contains(&refused.stage), "{refused:?}");
    let reject = &refused.reject;
    assert_eq!(reject.code == Code::RateLimited, reject.retry_after.is_some(), "{refused:?}");
    assert!(!reject.message.is_empty(), "{refused:?}");
    if let Some(rule) = &reject.rule {
        let sections = ["events", "limits.", "rooms.", "auth."];
        assert!(sections.iter().any(|section| rule.starts_with(section)), "{refused:?}");
    }
    if let Some(field) = &reject.field {
        assert!(crate::is_one_line(field) && field.len() <= 64, "{refused:?}");
    }
}

/// However the packets look, no more get through at one moment than the rates allow.
fn rates_hold(events: &[String]) {
    let world = limited();
    let now = crate::noon();
    let mut passed = [0; 4];
    // As many rounds as senders let every sender send every packet, so that one good packet is enough to meet the limits.
    for round in 0..world.senders.len() {
        for (at, text) in events.iter().enumerate() {
            let who = (at + round) % world.senders.len();
            let sender = &world.senders[who];
            match world.pipeline.decide(sender, text, EventId::next(), now) {
                Ok(_) => passed[who] += 1,
                Err(refused) => {
                    check_refusal(&refused);
                    sender.note_refusal(now);
                }
            }
        }
    }
    assert!(passed.iter().all(|&passed| passed <= 2), "{passed:?}");
    assert!(passed[0] + passed[1] <= 3, "{passed:?}");
    assert!(passed.iter().sum::<usize>() <= 6, "{passed:?}");
}
