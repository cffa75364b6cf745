//! The route: which of the sender's teams an event goes to. It knows no way to reach any other.

use std::borrow::Borrow;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::config::policy::{EventPolicy, Rooms};
use crate::message::Event;
use crate::peer::{Peer, Standing};
use crate::reject::{Code, Reject};

/// What refusals of the route are counted under.
pub(super) const NAME: &str = "route";

/// What the client said at its handshake, which is no key of the configuration.
const CHOSEN: &str = "auth.team";

/// Teams, as places in [`Peer::teams`], so that a team which the peer doesn't hold can't even be written down.
pub type Teams = SmallVec<[usize; 2]>;

/// Where one event goes.
pub struct Route<'p> {
    /// The teams.
    pub teams: Teams,
    /// The key that decided on them, or `auth.team` of the handshake.
    pub rule: &'p str,
}

/// Decides the teams of one event: each once, at least one.
///
/// With verified claims, the team that the payload names, else the one chosen at the handshake, else the only one; of
/// several either all or none, as `rooms.multi_team` says. With `auth.mode = "off"` the one room that there is. A stage
/// may have narrowed the event ([`Event::narrow`]): of these teams only those remain.
pub fn route<'p>(
    peer: &Peer,
    rooms: &Rooms,
    policy: &'p EventPolicy,
    event: &Event<'_>,
) -> Result<Route<'p>, Reject> {
    let mut route = match peer.standing() {
        Standing::Open => Route { teams: all(peer), rule: "auth.mode" },
        Standing::Verified | Standing::Anonymous | Standing::Publisher => wanted(peer, rooms, policy, event)?,
    };
    let teams = &mut route.teams;
    if let Some(only) = event.only_teams() {
        teams.retain(|&mut team| peer.teams().get(team).is_some_and(|team| only.contains(team)));
        if teams.is_empty() {
            return Err(Reject::new(Code::NoRoom, "no team is left that this event may reach"));
        }
    }
    if teams.is_empty() {
        return Err(Reject::new(Code::NoRoom, "you are in no team").rule("rooms.without_team"));
    }
    Ok(route)
}

/// The route before any stage's narrowing.
fn wanted<'p>(
    peer: &Peer,
    rooms: &Rooms,
    policy: &'p EventPolicy,
    event: &Event<'_>,
) -> Result<Route<'p>, Reject> {
    let to_one = |team, rule| Route { teams: Teams::from_slice(&[team]), rule };
    if let Some(named) = &event.payload.team {
        let Some(place) = place(peer, named) else {
            let mut reject =
                Reject::new(Code::NoRoom, "you are not in this team").rule(&policy.rules.team_field);
            reject.field = policy.team_field.as_ref().map(Into::into);
            return Err(reject);
        };
        return Ok(to_one(place, &*policy.rules.team_field));
    }
    if let Some(place) = peer.chosen_team().and_then(|chosen| place(peer, chosen)) {
        return Ok(to_one(place, CHOSEN));
    }
    match peer.teams() {
        [] | [_] => Ok(Route { teams: all(peer), rule: "auth.claims.teams" }),
        _ if rooms.send_to_all_teams => Ok(Route { teams: all(peer), rule: "rooms.multi_team" }),
        _ => Err(Reject::new(
            Code::NoRoom,
            "you are in several teams: name one, with auth.team or the team field",
        )
        .rule("rooms.multi_team")),
    }
}

fn all(peer: &Peer) -> Teams {
    (0..peer.teams().len()).collect()
}

fn place(peer: &Peer, name: &str) -> Option<usize> {
    peer.teams().iter().position(|team: &Arc<str>| Borrow::<str>::borrow(team) == name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::fixtures::{peer, policy};

    struct Case {
        peer: Peer,
        all: bool,
        named: Option<&'static str>,
        only: Option<Vec<Arc<str>>>,
    }

    impl Case {
        fn of(teams: &[&str]) -> Self {
            Case { peer: peer(teams), all: false, named: None, only: None }
        }

        fn teams(&self) -> Result<Vec<String>, Reject> {
            let policy = policy(|policy| policy.rooms.send_to_all_teams = self.all);
            let mut event = Event::split(r#"["any"]"#).unwrap();
            event.payload.team = self.named.map(Into::into);
            if let Some(only) = &self.only {
                event.narrow(only.clone());
            }
            let route = route(&self.peer, &policy.rooms, &policy.events["any"], &event)?;
            Ok(route.teams.iter().map(|&team| self.peer.teams()[team].to_string()).collect())
        }

        fn refusal(&self) -> (Code, String) {
            let reject = self.teams().unwrap_err();
            (reject.code, reject.rule.map(|rule| rule.to_string()).unwrap_or_default())
        }
    }

    #[test]
    fn one_team_needs_no_name() {
        assert_eq!(Case::of(&["red"]).teams().unwrap(), ["red"]);
    }

    #[test]
    fn several_teams_need_a_name_or_the_policy() {
        let mut case = Case::of(&["red", "blue"]);
        assert_eq!(case.refusal(), (Code::NoRoom, "rooms.multi_team".into()));
        case.all = true;
        assert_eq!(case.teams().unwrap(), ["red", "blue"]);
        case.peer.chosen_team = Some("blue".into());
        assert_eq!(case.teams().unwrap(), ["blue"]);
        case.named = Some("red");
        assert_eq!(case.teams().unwrap(), ["red"]);
    }

    #[test]
    fn a_team_that_is_not_held_is_never_reached() {
        let mut case = Case::of(&["red"]);
        case.named = Some("blue");
        assert_eq!(case.refusal(), (Code::NoRoom, "events.any.team_field".into()));
        case.all = true;
        assert_eq!(case.refusal().0, Code::NoRoom);
    }

    #[test]
    fn no_team_is_no_room() {
        assert_eq!(Case::of(&[]).refusal(), (Code::NoRoom, "rooms.without_team".into()));
    }

    #[test]
    fn an_open_peer_reaches_its_one_room() {
        let mut case = Case::of(&["everyone"]);
        case.peer.standing = Standing::Open;
        assert_eq!(case.teams().unwrap(), ["everyone"]);
    }

    #[test]
    fn narrowing_takes_away_and_never_adds() {
        let mut case = Case::of(&["red", "blue"]);
        case.all = true;
        case.only = Some(vec!["blue".into(), "green".into()]);
        assert_eq!(case.teams().unwrap(), ["blue"]);
        case.only = Some(vec!["green".into()]);
        assert_eq!(case.refusal().0, Code::NoRoom);
        case.only = Some(vec![]);
        assert_eq!(case.refusal().0, Code::NoRoom);
        case.only = Some(vec!["blue".into()]);
        case.named = Some("red");
        assert_eq!(case.refusal().0, Code::NoRoom);
    }

    proptest! {
        #[test]
        fn what_is_reached_is_held_wanted_and_met_once(
            held in prop::collection::btree_set(prop::sample::select(vec!["a", "b", "c", "d"]), 0..4),
            named in prop::option::of(prop::sample::select(vec!["a", "b", "c", "d", "e"])),
            chosen in any::<prop::sample::Index>(),
            choose: bool,
            all: bool,
            open: bool,
            only in prop::option::of(prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "d", "e"]), 0..4)),
        ) {
            let held: Vec<&str> = held.into_iter().collect();
            let mut case = Case::of(&held);
            case.all = all;
            case.named = named;
            case.peer.standing = if open { Standing::Open } else { Standing::Verified };
            if choose && !held.is_empty() {
                case.peer.chosen_team = Some(held[chosen.index(held.len())].into());
            }
            case.only = only.clone().map(|only| only.into_iter().map(Into::into).collect());
            if let Ok(reached) = case.teams() {
                prop_assert!(!reached.is_empty());
                let mut once = reached.clone();
                once.dedup();
                prop_assert_eq!(&once, &reached);
                for team in &reached {
                    prop_assert!(held.contains(&team.as_str()));
                    prop_assert!(only.as_ref().is_none_or(|only| only.contains(&team.as_str())));
                    prop_assert!(open || named.is_none_or(|named| named == team));
                }
            }
        }
    }
}
