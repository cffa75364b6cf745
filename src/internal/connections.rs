//! `GET /api/connections`: who is connected.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Json;
use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::Operations;
use super::answer::{Declined, time};
use super::path_name::PathName;
use super::query::{Query, cursor, invalid};
use crate::decision_log::Who;
use crate::link::disconnect::network;
use crate::link::session::Session;
use crate::peer::{Peer, PeerId, Standing};

/// Teams, and roles, that a list names of one connection; it says how many more there are. One connection's own page names all.
const MOST_NAMED: usize = 8;

/// Which connections are wanted. What is `None` lets all pass.
struct Filter<'q> {
    user: Option<&'q str>,
    user_prefix: Option<&'q str>,
    team: Option<&'q str>,
    team_prefix: Option<&'q str>,
    address: Option<IpNet>,
    transport: Option<&'q str>,
}

impl<'q> Filter<'q> {
    const PARTS: [&'static str; 6] = ["user", "userPrefix", "team", "teamPrefix", "address", "transport"];

    fn read(query: &'q Query) -> Result<Self, Declined> {
        let transport = query.text("transport");
        if transport.is_some_and(|transport| !matches!(transport, "polling" | "websocket")) {
            return Err(invalid("transport is polling or websocket".into()));
        }
        let address = query.text("address").map(|text| {
            network(text)
                .ok_or_else(|| invalid("address is an IP address, or a network such as 192.0.2.0/24".into()))
        });
        Ok(Filter {
            user: query.text("user"),
            user_prefix: query.text("userPrefix"),
            team: query.text("team"),
            team_prefix: query.text("teamPrefix"),
            address: address.transpose()?,
            transport,
        })
    }

    fn lets_pass(&self, session: &Session, who: &Who, transport: &str) -> bool {
        let peer = peer(who);
        let subject = peer.and_then(Peer::subject);
        let teams = peer.map_or(&[][..], Peer::teams);
        self.user.is_none_or(|user| subject == Some(user))
            && self.user_prefix.is_none_or(|prefix| subject.is_some_and(|it| it.starts_with(prefix)))
            && self.team.is_none_or(|team| teams.iter().any(|it| **it == *team))
            && self.team_prefix.is_none_or(|prefix| teams.iter().any(|it| it.starts_with(prefix)))
            && self.address.is_none_or(|network| network.contains(&session.address().to_canonical()))
            && self.transport.is_none_or(|wanted| transport == wanted)
    }
}

/// One connection as it was when it was looked at.
struct Live {
    session: Arc<Session>,
    who: Who,
    id: PeerId,
    transport: &'static str,
}

impl Live {
    /// `None` for one that is being closed.
    fn of(session: Arc<Session>) -> Option<Self> {
        let transport = session.transport()?;
        let who = session.who();
        let id = who.id().unwrap_or(session.id());
        Some(Live { session, who, id, transport })
    }

    fn shown(&self, most: usize) -> Map<String, Value> {
        let peer = peer(&self.who);
        let standing = match peer.map(Peer::standing) {
            None => "connecting",
            Some(Standing::Verified) => "verified",
            Some(Standing::Anonymous) => "anonymous",
            Some(Standing::Open) => "open",
            Some(Standing::Publisher) => "publisher",
        };
        let mut shown = Map::new();
        let mut put = |name: &str, value: Value| shown.insert(name.to_owned(), value);
        put("id", self.id.to_string().into());
        put("standing", standing.into());
        if let Some(subject) = peer.and_then(Peer::subject) {
            put("subject", subject.into());
        }
        for (name, more, all) in [
            ("teams", "moreTeams", peer.map_or(&[][..], Peer::teams)),
            ("roles", "moreRoles", peer.map_or(&[][..], Peer::roles)),
        ] {
            put(name, all.iter().take(most).map(|one| &**one).collect());
            if all.len() > most {
                put(more, (all.len() - most).into());
            }
        }
        put("address", self.session.address().to_string().into());
        put("transport", self.transport.into());
        put("since", time(self.session.opened()).into());
        if let Some(expires) = peer.and_then(Peer::expires_at) {
            put("expires", time(expires).into());
        }
        shown
    }
}

fn peer(who: &Who) -> Option<&Peer> {
    match who {
        Who::Peer(peer) => Some(peer),
        _ => None,
    }
}

/// A page of the connections that are wanted, in the order in which they came.
pub(super) async fn list(
    State(operations): State<Arc<Operations>>,
    uri: Uri,
) -> Result<Json<Value>, Declined> {
    let query = Query::read(&uri, &[&Filter::PARTS[..], &["limit", "cursor"]].concat())?;
    let (filter, limit) = (Filter::read(&query)?, query.limit()?);
    let after = query.after(PeerId::parse)?;
    let (mut total, mut matching, mut page) = (0, 0, Vec::new());
    for live in operations.sessions.snapshot().into_iter().filter_map(Live::of) {
        total += 1;
        if filter.lets_pass(&live.session, &live.who, live.transport) {
            matching += 1;
            if after.is_none_or(|after| live.id > after) {
                page.push(live);
            }
        }
    }
    let is_last = page.len() <= limit;
    if !is_last {
        page.select_nth_unstable_by_key(limit, |live| live.id);
        page.truncate(limit);
    }
    page.sort_unstable_by_key(|live| live.id);
    let next = page.last().filter(|_| !is_last).map(|last| cursor(&last.id.to_string()));
    let connections: Vec<_> = page.iter().map(|live| live.shown(MOST_NAMED)).collect();
    let mut answer = json!({ "connections": connections, "matching": matching, "total": total });
    if let Some(next) = next {
        answer["next"] = next.into();
    }
    Ok(Json(answer))
}

/// One connection, with all of its teams and roles.
pub(super) async fn one(
    State(operations): State<Arc<Operations>>,
    PathName(name): PathName,
    uri: Uri,
) -> Result<Json<Value>, Declined> {
    Query::read(&uri, &[])?;
    let live = find(&operations, &name).and_then(Live::of).ok_or_else(no_such)?;
    let mut shown = live.shown(usize::MAX);
    let peer = peer(&live.who);
    shown.insert("filtered".into(), peer.is_some_and(|peer| peer.filter().is_some()).into());
    if let Some(team) = peer.and_then(Peer::chosen_team) {
        shown.insert("chosenTeam".into(), (**team).into());
    }
    Ok(Json(shown.into()))
}

/// The session that is called so.
pub(super) fn find(operations: &Operations, name: &str) -> Option<Arc<Session>> {
    operations.sessions.of(PeerId::parse(name)?)
}

/// Nobody is called so.
pub(super) fn no_such() -> Declined {
    Declined::new(StatusCode::NOT_FOUND, "not_found", "there is no live connection of this id")
}
