//! Publishing: events that the application's own server announces, rather than a client.
//!
//! They pass the same checks of size and payload as clients' events, the embedder's stages and the teams' own rate, and reach
//! the same members; what judges a client (its rates, its standing, rules over its claims) has its publisher's key in its place.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::config::policy::{EventPolicy, Publisher};
use crate::decision_log::Who;
use crate::event::pipeline::{Labels, PUBLISHERS};
use crate::event::{EventId, Now, Refused, record};
use crate::internal::publish::{Publication, Published};
use crate::message::Event;
use crate::name::TEAMS;
use crate::namespace::entry::EventPath;
use crate::peer::{Peer, PeerId, Standing};
use crate::reject::{Code, Name, Reject};

/// Teams that one event may be published to.
const MOST_TEAMS: usize = 64;

/// How logs and metrics call whoever brings the admin token.
const ADMIN: &str = "admin";

/// Relays one event of this publisher, or of whoever brings the admin token, by the policy in force.
pub fn publish(path: &EventPath, publisher: Option<&Publisher>, publication: &Publication) -> Published {
    let (id, now) = (EventId::next(), Now::read());
    let edition = path.current.hold();
    let who = || publisher.map_or(Who::Admin, |publisher| Who::Publisher(publisher.name.clone()));
    let of_key = |reject| Refused { reject, stage: PUBLISHERS };
    let outcome: Result<Published, Refused> = (|| {
        let teams = teams(publication, publisher).map_err(of_key)?;
        let name = event_name(publication, &edition.policy.events).map_err(of_key)?;
        let sender = edition.pipeline.sender(Arc::new(announcer(teams)), now);
        let text = packet(name, publication);
        let may = |event: &Event<'_>| may_publish(event, publisher);
        let decision = edition.pipeline.publish(&sender, &text, id, now, may)?;
        // Nobody here is its sender.
        let recipients = path.relay(sender.peer(), id, &decision, true, now);
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
        if let Some(publisher) = publisher
            && !publisher.teams.iter().any(|pattern| pattern.matches(team))
        {
            let why = "this publisher's key is not for such a team";
            return Err(Reject::new(Code::NotAllowed, why).field("teams").rule(key(publisher, "teams")));
        }
        if !teams.iter().any(|known| **known == **team) {
            teams.push(team.as_str().into());
        }
    }
    Ok(teams.into())
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
