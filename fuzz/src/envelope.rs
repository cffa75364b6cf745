//! What other nodes send, or whoever else can publish in Redis.

use std::time::SystemTime;

use flowgate::bus::channel::{Channel, Channels};
use flowgate::bus::control::Word;
use flowgate::bus::envelope::{MOST_TEAMS, Message, Numbered, Origin, PayloadLimits, read, unseal};
use flowgate::bus::inbox::Inbox;
use flowgate::bus::seal::Seal;
use flowgate::event::size::is_deeper_than;
use flowgate::name::TEAMS;

const LIMITS: PayloadLimits = PayloadLimits { max_bytes: 1024, max_depth: 8 };

/// The bytes as a message, on a team's channel and on that of all nodes.
///
/// Promised: what is read is within the limits, about teams that can be, on a channel that is its own; a payload is JSON,
/// and the packet that is made of it holds that and nothing else; with a secret, nothing that is not signed is read.
pub fn envelope(data: &[u8]) {
    let channels = Channels::new("fg");
    let (none, secret) = (Seal::default(), Seal::new([&b"secret"[..]]));
    for channel in [Channel::Team("red"), Channel::Team("*"), Channel::Control] {
        let name = channels.name(channel);
        assert!(unseal(&name, data, &secret, LIMITS).is_err(), "nobody has guessed the signature");
        if let Ok(envelope) = unseal(&name, data, &none, LIMITS).and_then(|body| read(channel, body, LIMITS))
        {
            assert!(envelope.sent_at >= SystemTime::UNIX_EPOCH);
            check(channel, envelope.origin, &envelope.message);
        }
    }
}

fn check(channel: Channel<'_>, origin: Origin, message: &Message<'_>) {
    let teams: &[Numbered<'_>] = match (message, channel) {
        (Message::Change(shared), Channel::Team(_)) => {
            assert!(shared.payload().len() <= LIMITS.max_bytes);
            assert!(!is_deeper_than(shared.payload(), LIMITS.max_depth));
            let packet = format!("[\"e\",{}]", shared.payload());
            let read: Vec<serde_json::Value> = match serde_json::from_str(&packet) {
                Ok(read) => read,
                // The reader of the corpus has bounds for numbers that the relay has not.
                Err(error) => {
                    return assert!(error.to_string().contains("number out of range"), "{error}: {packet}");
                }
            };
            assert_eq!(read.len(), 2, "{packet}");
            assert!(shared.id().is_some() && shared.teams().len() <= MOST_TEAMS);
            assert!(shared.actor().is_none_or(crate::is_one_line));
            let _ = shared.topic();
            shared.teams()
        }
        (Message::Missed(team), Channel::Team(_)) => std::slice::from_ref(team),
        (Message::Alive(node, about), Channel::Control) => {
            let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
            assert!(about.as_ref().is_none_or(|about| is_plain(&about.version) && is_plain(&about.policy)));
            return assert!(crate::is_one_line(node) && !node.is_empty());
        }
        (Message::Word(text), Channel::Control) => {
            if let Some(word) = Word::read(text) {
                assert_eq!(Word::read(&word.written()), Some(word));
            }
            return;
        }
        (Message::MissedAnywhere | Message::Goodbye, Channel::Control) => return,
        (message, channel) => panic!("{message:?} on {channel:?}"),
    };
    let Channel::Team(via) = channel else { return };
    assert!(teams.iter().all(|team| team.1 > 0 && (team.0 == "*" || TEAMS.check(&team.0).is_ok())));
    assert_eq!(teams.iter().filter(|team| team.0 == via).count(), 1);
    // Whatever the numbers are, it is heard once.
    let mut inbox = Inbox::default();
    teams.iter().for_each(|team| inbox.listen(&(*team.0).into()));
    assert!(
        inbox.take(origin, via, teams).is_some_and(|verdict| !verdict.is_gap && verdict.heard.is_empty())
    );
    assert_eq!(inbox.take(origin, via, teams), None);
}
