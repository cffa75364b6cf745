//! `GET /api/teams`: who hears together, how many they are, and how much is going on.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Json;
use serde_json::{Value, json};

use super::Operations;
use super::answer::Declined;
use super::query::{Query, cursor, invalid};
use crate::relay::room::Room;
use crate::relay::traffic::Rates;

/// What a list is sorted by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Name,
    Members,
    Events,
    Deliveries,
}

impl Sort {
    fn read(text: &str) -> Option<Self> {
        Some(match text {
            "name" => Sort::Name,
            "members" => Sort::Members,
            "events" => Sort::Events,
            "deliveries" => Sort::Deliveries,
            _ => return None,
        })
    }
}

struct Team {
    name: Arc<str>,
    /// Here and on other nodes.
    members: u64,
    here: usize,
    rates: Option<Rates>,
}

impl Team {
    /// What it is sorted by: the most first, and by name among equals.
    fn place(&self, sort: Sort) -> (Reverse<u64>, &str) {
        // In thousandths, so that a cursor says the same number.
        let rate = |of: fn(Rates) -> f64| self.rates.map_or(0, |rates| (of(rates) * 1000.0) as u64);
        let most = match sort {
            Sort::Name => 0,
            Sort::Members => self.members,
            Sort::Events => rate(|rates| rates.events),
            Sort::Deliveries => rate(|rates| rates.deliveries),
        };
        (Reverse(most), &self.name)
    }

    fn shown(&self) -> Value {
        let rounded = |rate: f64| (rate * 1000.0).round() / 1000.0;
        json!({
            "name": &*self.name,
            "members": self.members,
            "here": self.here,
            "eventsPerSecond": self.rates.map(|rates| rounded(rates.events)),
            "deliveriesPerSecond": self.rates.map(|rates| rounded(rates.deliveries)),
        })
    }
}

/// A page of the teams whose names begin as is wanted.
pub(super) async fn list(
    State(operations): State<Arc<Operations>>,
    uri: Uri,
) -> Result<Json<Value>, Declined> {
    let query = Query::read(&uri, &["prefix", "sort", "limit", "cursor"])?;
    let sort = Sort::read(query.text("sort").unwrap_or("name"))
        .ok_or_else(|| invalid("sort is name, members, events or deliveries".into()))?;
    let limit = query.limit()?;
    let after = query.after(|place| {
        let (most, name) = place.split_once(' ')?;
        Some((Reverse(most.parse::<u64>().ok()?), name.to_owned()))
    })?;
    let beginning = query.text("prefix").unwrap_or_default();
    let rooms = operations.rooms.named(beginning);
    let rates = operations.rooms.traffic().of(rooms.iter().map(|(name, _)| &**name));
    let team = |((name, room), rates): ((_, Arc<Room>), _)| {
        let here = room.len();
        Team { name, members: here as u64, here, rates }
    };
    let mut teams: Vec<Team> = rooms.into_iter().zip(rates).map(team).collect();
    let (only_elsewhere, warning) = count_others(&operations, beginning, &mut teams).await;
    let total = operations.metrics.rooms.get().max(0) as usize + only_elsewhere;
    let matching = teams.len();
    if let Some((most, name)) = &after {
        teams.retain(|team| team.place(sort) > (*most, name));
    }
    teams.sort_unstable_by(|one, other| one.place(sort).cmp(&other.place(sort)));
    let is_last = teams.len() <= limit;
    teams.truncate(limit);
    let shown: Vec<_> = teams.iter().map(Team::shown).collect();
    let mut answer = json!({ "teams": shown, "matching": matching, "total": total });
    if let Some(warning) = warning {
        answer["warning"] = warning.into();
    }
    if let Some(last) = teams.last().filter(|_| !is_last) {
        let (Reverse(most), name) = last.place(sort);
        answer["next"] = cursor(&format!("{most} {name}")).into();
    }
    Ok(Json(answer))
}

/// Adds the members on other nodes, and the teams that have members there only. Returns how many of those there are, whatever
/// their name begins with, and what is to be said of the numbers.
async fn count_others(
    operations: &Operations,
    beginning: &str,
    teams: &mut Vec<Team>,
) -> (usize, Option<&'static str>) {
    let Some(control) = &operations.control else { return (0, None) };
    let Ok(elsewhere) = control.elsewhere().await else {
        return (0, Some("Redis is away, so members of other nodes are not counted"));
    };
    for team in teams.iter_mut() {
        team.members += elsewhere.members.get(&*team.name).copied().unwrap_or_default();
    }
    let all = operations.rooms.named("");
    let here: HashSet<&str> = all.iter().map(|(name, _)| &**name).collect();
    let only_there = elsewhere.members.iter().filter(|(name, _)| !here.contains(&***name));
    let mut count = 0;
    for (name, members) in only_there {
        count += 1;
        if name.starts_with(beginning) {
            teams.push(Team { name: (&**name).into(), members: *members, here: 0, rates: None });
        }
    }
    let warning = elsewhere.is_cut.then_some("there are more teams on other nodes than are counted");
    (count, warning)
}
