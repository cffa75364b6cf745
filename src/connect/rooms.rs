//! Which rooms a peer listens in: from verified claims and policy only.

use std::sync::Arc;

use crate::config::policy;
use crate::peer::{Peer, Standing};

/// The one room of `auth.mode = "off"`. No claim can name it: team names hold no `*`.
pub const EVERYONE: &str = "*";

/// The rooms in which this peer hears broadcasts, each once.
///
/// A peer without any team, which policy admits, is in its own user's room only. Its name cannot be a team's: those hold
/// no colon.
pub fn of(peer: &Peer, rooms: &policy::Rooms) -> Vec<Arc<str>> {
    match (peer.standing(), peer.subject()) {
        (Standing::Anonymous, _) => rooms.anonymous.iter().cloned().collect(),
        (Standing::Verified, Some(subject)) if peer.teams().is_empty() => {
            vec![format!("user:{subject}").into()]
        }
        _ => peer.teams().to_vec(),
    }
}
