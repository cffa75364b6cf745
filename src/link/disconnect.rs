//! Closing connections: those of a user, a team or an address, on behalf of an operator.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::session::{Session, Sessions};
use crate::decision_log::{DecisionLog, Kind, Outcome, Record, Who};
use crate::metrics::CloseReason;
use crate::peer::Peer;

/// Bytes of a reason; as long as that of a revocation.
pub const LONGEST_REASON: usize = 200;

/// Bytes of a user's or a team's name: no claim that is longer is accepted.
pub const LONGEST_NAME: usize = 256;

/// Connections that are looked at in one go; others have something to do too.
const AT_ONCE: usize = 64;

/// Whose connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// Exactly this subject's.
    User(Box<str>),
    /// Of whoever holds exactly this team.
    Team(Box<str>),
    /// Those from this network.
    Address(IpNet),
}

/// What an operator wants closed, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disconnect {
    /// Whose connections.
    pub target: Target,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Box<str>>,
}

impl Target {
    fn is(&self, session: &Session) -> bool {
        let of_peer = |is: &dyn Fn(&Peer) -> bool| match session.who() {
            Who::Peer(peer) => is(&peer),
            _ => false,
        };
        match self {
            Target::User(user) => of_peer(&|peer| peer.subject() == Some(user)),
            Target::Team(team) => of_peer(&|peer| peer.teams().iter().any(|held| **held == **team)),
            Target::Address(network) => network.contains(&session.address().to_canonical()),
        }
    }

    /// As logs say it.
    pub fn said(&self) -> String {
        match self {
            Target::User(user) => format!("user {user}"),
            Target::Team(team) => format!("team {team}"),
            Target::Address(network) => format!("address {network}"),
        }
    }
}

impl Disconnect {
    /// Whether it is within what anybody may ask for.
    pub fn is_possible(&self) -> bool {
        let fits = |name: &str| (1..=LONGEST_NAME).contains(&name.len());
        let is_target = match &self.target {
            Target::User(name) | Target::Team(name) => fits(name),
            Target::Address(_) => true,
        };
        is_target && self.reason.as_deref().is_none_or(is_reason)
    }
}

/// Whether this may be a reason: one line.
pub fn is_reason(text: &str) -> bool {
    text.len() <= LONGEST_REASON && !text.chars().any(char::is_control)
}

/// An address, or a network of them in CIDR notation.
pub fn network(text: &str) -> Option<IpNet> {
    let address = text.parse::<IpAddr>().ok().map(|address| IpNet::from(address.to_canonical()));
    address.or_else(|| text.parse().ok())
}

/// Closes all that are wanted, and has the log say so; `by` says which node was asked, where it is not this one. Returns how
/// many there were.
pub async fn disconnect(
    sessions: &Sessions,
    log: &DecisionLog,
    wanted: &Disconnect,
    by: Option<&str>,
) -> usize {
    let Disconnect { target, reason } = wanted;
    let mut closed = 0;
    for sessions in sessions.snapshot().chunks(AT_ONCE) {
        for session in sessions.iter().filter(|session| target.is(session)) {
            closed += usize::from(close(session));
        }
        tokio::task::yield_now().await;
    }
    let what = by.map_or_else(|| target.said(), |by| format!("{} (asked of node {by})", target.said()));
    tracing::info!(what, closed, "disconnected by an operator");
    note(log, "disconnect", Some(said(&what, reason.as_deref())), Some(closed));
    closed
}

/// Closes one. Returns whether it was open until now.
pub fn close(session: &Arc<Session>) -> bool {
    let was_open = session.closing().is_none();
    // Nobody waits for it: one must not keep the others open.
    drop(session.close(CloseReason::Admin));
    was_open
}

/// What was done, and why.
pub fn said(what: &str, reason: Option<&str>) -> String {
    reason.map_or_else(|| what.to_owned(), |reason| format!("{what}: {reason}"))
}

/// Has the decision log say what an operator did.
pub fn note(log: &DecisionLog, done: &'static str, why: Option<String>, closed: Option<usize>) {
    if log.is_on() {
        log.write(Record {
            outcome: Some(Outcome::Accepted),
            code: Some(done),
            why: why.map(Into::into),
            closed,
            ..Record::new(Kind::Admin, Who::Admin, SystemTime::now())
        });
    }
}
