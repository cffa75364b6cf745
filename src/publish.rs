//! Publishing: events that the application's own server announces, rather than a client.
//!
//! They pass the same checks of size and payload as clients' events, the embedder's stages and the teams' own rate, and reach
//! the same members; what judges a client (its rates, its standing, rules over its claims) has its publisher's key in its place.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::config::policy::{EventPolicy, Publisher};
use crate::decision_log::Who;
use crate::edition::Edition;
use crate::event::pipeline::{Labels, PUBLISHERS};
use crate::event::{Decision, EventId, Now, Refused, Sender, record};
use crate::internal::publish::{Publication, Published};
use crate::message::Event;
use crate::name::TEAMS;
use crate::namespace::entry::{EventPath, change};
use crate::peer::{Peer, PeerId, Standing};
use crate::reject::{Code, Name, Reject};

/// Teams that one event may be published to.
const MOST_TEAMS: usize = 64;

/// How logs and metrics call whoever brings the admin token.
const ADMIN: &str = "admin";

/// Relays one event of this publisher, or of whoever brings the admin token, by the policy in force.
pub fn publish(path: &EventPath, publisher: Option<&Publisher>, publication: &Publication) -> Published {
    let edition = path.current.hold();
    let asked = teams(publication, publisher).and_then(|teams| {
        let name = event_name(publication, &edition.policy.events)?;
        Ok(Asked { teams, text: packet(name, publication) })
    });
    // Nobody here is its sender.
    let tell = |sender: &Sender, id, decision: &Decision<'_>, now| {
        path.relay(sender.peer(), id, decision, true, now)
    };
    relay(path, &edition, publisher, asked, tell)
}

/// Relays one event that a server elsewhere has announced, as it would if this publisher had published it here, but for one
/// thing: whoever announced it has told all other nodes, so they are not told again. It is not held back for its equals.
///
/// `arguments` is JSON text as it stands behind the name in an array. `teams` are those of the event's that somebody is in here,
/// each once.
pub fn hear(
    path: &EventPath,
    publisher: &Publisher,
    name: &str,
    arguments: &str,
    teams: Box<[Arc<str>]>,
) -> Published {
    let edition = path.current.hold();
    let name = serde_json::Value::from(name);
    let text = if arguments.is_empty() { format!("[{name}]") } else { format!("[{name},{arguments}]") };
    let asked = allowed(&teams, Some(publisher)).map(|()| Asked { teams, text });
    let tell = |sender: &Sender, id, decision: &Decision<'_>, _| {
        Some(path.chronicle.hear(&change(sender.peer(), id, decision, true), &[], None))
    };
    relay(path, &edition, Some(publisher), asked, tell)
}

/// What is to be published: a packet's text, and for whom.
struct Asked {
    teams: Box<[Arc<str>]>,
    text: String,
}

/// Decides on an event, and has it told to members.
fn relay(
    path: &EventPath,
    edition: &Edition,
    publisher: Option<&Publisher>,
    asked: Result<Asked, Reject>,
    tell: impl FnOnce(&Sender, EventId, &Decision<'_>, Now) -> Option<usize>,
) -> Published {
    let (id, now) = (EventId::next(), Now::read());
    let who = || publisher.map_or(Who::Admin, |publisher| Who::Publisher(publisher.name.clone()));
    let outcome: Result<Published, Refused> = (|| {
        let Asked { teams, text } = asked.map_err(|reject| Refused { reject, stage: PUBLISHERS })?;
        let sender = edition.pipeline.sender(Arc::new(announcer(teams)), now);
        let may = |event: &Event<'_>| may_publish(event, publisher);
        let decision = edition.pipeline.publish(&sender, &text, id, now, may)?;
        let recipients = tell(&sender, id, &decision, now);
        if decision.observed.is_empty() && path.log.samples(id) {
            path.log.write(record::accepted(who(), id, &decision, recipients, now));
        }
        for refused in decision.observed.iter().filter(|_| path.log.is_on()) {
            path.log.write(record::observed(who(), id, &decision, refused, recipients, now));
        }
        let teams = decision.teams.iter().map(|team| (*team).clone()).collect();
        Ok(Published::Accepted { id, teams, recipients })
    })();
    path.metrics.published.count(publisher.map_or(ADMIN, |publisher| &publisher.name), outcome.is_ok());
    match outcome {
        Ok(published) => {
            path.metrics.events_accepted.inc();
            published
        }
        Err(refused) => {
            path.metrics.refused(refused.reject.code);
            if path.log.is_on() {
                path.log.write(record::refused(who(), id, &refused, Labels::default(), now));
            }
            Published::Refused(Box::new(refused.reject))
        }
    }
}

/// The teams, each once, that this publisher may publish to.
fn teams(publication: &Publication, publisher: Option<&Publisher>) -> Result<Box<[Arc<str>]>, Reject> {
    let no_room = |why| Reject::new(Code::NoRoom, why).field("teams");
    if publication.teams.is_empty() || publication.teams.len() > MOST_TEAMS {
        return Err(no_room("name one team to publish to, or up to 64"));
    }
    let mut teams: Vec<Arc<str>> = Vec::new();
    for team in &publication.teams {
        TEAMS.check(team).map_err(|_| no_room("no team can have such a name"))?;
        if !teams.iter().any(|known| **known == **team) {
            teams.push(team.as_str().into());
        }
    }
    allowed(&teams, publisher)?;
    Ok(teams.into())
}

/// Whether this publisher may publish to each of these teams.
fn allowed(teams: &[Arc<str>], publisher: Option<&Publisher>) -> Result<(), Reject> {
    let Some(publisher) = publisher else { return Ok(()) };
    let may = |team: &Arc<str>| publisher.teams.iter().any(|pattern| pattern.matches(team));
    if teams.iter().all(may) {
        return Ok(());
    }
    let why = "this publisher's key is not for such a team";
    Err(Reject::new(Code::NotAllowed, why).field("teams").rule(key(publisher, "teams")))
}

fn may_publish(event: &Event<'_>, publisher: Option<&Publisher>) -> Result<(), Reject> {
    let Some(publisher) = publisher else { return Ok(()) };
    let kind = event.payload.kind.as_deref().unwrap_or_default();
    if publisher.types.iter().any(|pattern| pattern.matches(kind)) {
        return Ok(());
    }
    let why = "this publisher's key is not for such a type";
    Err(Reject::new(Code::NotAllowed, why).rule(key(publisher, "types")))
}

fn key(publisher: &Publisher, name: &str) -> Name {
    Name::from(&Arc::from(format!("{}.{name}", publisher.key)))
}

/// The event's name: what the request says, or the only one that there is.
fn event_name<'n>(
    publication: &'n Publication,
    events: &'n HashMap<Arc<str>, Arc<EventPolicy>>,
) -> Result<&'n str, Reject> {
    match &publication.event {
        Some(name) => Ok(name),
        None if events.len() == 1 => Ok(events.keys().next().map_or("", |name| name)),
        None => Err(Reject::new(Code::UnknownEvent, "name the event: the policy has several").field("event")),
    }
}

/// The event as a client would have sent it, its payload byte for byte.
fn packet(name: &str, publication: &Publication) -> String {
    let name = serde_json::Value::from(name);
    match &publication.payload {
        Some(payload) => format!("[{name},{}]", payload.get()),
        None => format!("[{name}]"),
    }
}

/// A peer that is nobody's socket and holds the teams that are published to.
fn announcer(teams: Box<[Arc<str>]>) -> Peer {
    Peer {
        id: PeerId::next(),
        standing: Standing::Publisher,
        subject: None,
        teams,
        roles: [].into(),
        claims: None,
        chosen_team: None,
        filter: None,
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        expires_at: None,
    }
}
