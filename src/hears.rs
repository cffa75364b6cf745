//! What a member of a room hears: everything, or less, where the policy's audience rules or its own filter say so.
//!
//! It is decided once for a socket; no event asks an expression. And members of a room that hear the same stand together
//! in it, so that an event is judged once for all of them ([`crate::relay::room`]).

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;

use crate::config::policy::{AudienceRule, Mode};
use crate::filter::Filter;
use crate::message::Topic;

/// What one member hears in one room. By default everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Hears {
    rules: Vec<Withholder>,
    filter: Option<Arc<Filter>>,
}

/// One of a peer's rooms, and what it hears there.
#[derive(Clone, Debug)]
pub struct Listening {
    /// The room.
    pub room: Arc<str>,
    /// What is heard.
    pub hears: Hears,
}

/// An audience rule that does not let a member hear the types that it is on.
#[derive(Clone, Debug)]
pub struct Withholder(Arc<Withholding>);

#[derive(Debug)]
struct Withholding {
    rule: Arc<AudienceRule>,
    withheld: Counter,
}

/// What becomes of an event on its way to a member.
#[derive(Debug, PartialEq, Eq)]
pub enum Hearing<'h> {
    /// It is delivered.
    Heard,
    /// It is delivered, and would not be if this rule were enforced.
    Observed(&'h Withholder),
    /// This rule withholds it.
    Ruled(&'h Withholder),
    /// The member's own filter does not want it.
    Filtered,
}

impl Hears {
    /// All but what these rules withhold, or would, and `filter` does not want. The rules are in the order of the policy.
    pub fn less(rules: Vec<Withholder>, filter: Option<Arc<Filter>>) -> Self {
        Hears { rules, filter }
    }

    /// Whether it is everything, with nothing to count.
    pub fn is_everything(&self) -> bool {
        self.rules.is_empty() && self.filter.is_none()
    }

    /// What becomes of an event about `topic`. An event whose payload is not looked at is withheld by no rule; one that
    /// says no type though it should, by those that are on all types (`*`).
    pub fn judge(&self, topic: &Topic<'_>) -> Hearing<'_> {
        let rule = |enforced: bool| {
            let kind = topic.kind.as_deref()?;
            self.rules.iter().find(|rule| rule.is_enforced() == enforced && rule.0.rule.is_on(kind))
        };
        if let Some(rule) = rule(true) {
            return Hearing::Ruled(rule);
        }
        if self.filter.as_ref().is_some_and(|filter| !filter.wants(topic)) {
            return Hearing::Filtered;
        }
        rule(false).map_or(Hearing::Heard, Hearing::Observed)
    }
}

impl Hearing<'_> {
    /// Whether it is delivered.
    pub fn is_heard(&self) -> bool {
        matches!(self, Hearing::Heard | Hearing::Observed(_))
    }
}

impl Withholder {
    /// The rule, which counts in `withheld` what it withholds, or would.
    pub fn new(rule: Arc<AudienceRule>, withheld: Counter) -> Self {
        Withholder(Arc::new(Withholding { rule, withheld }))
    }

    /// The rule.
    pub fn rule(&self) -> &Arc<AudienceRule> {
        &self.0.rule
    }

    /// Counts so many deliveries.
    pub fn count(&self, deliveries: u64) {
        self.0.withheld.inc_by(deliveries);
    }

    fn is_enforced(&self) -> bool {
        self.0.rule.mode == Mode::Enforce
    }
}

/// The same rule of the same policy.
impl PartialEq for Withholder {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Withholder {}

impl Hash for Withholder {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}
