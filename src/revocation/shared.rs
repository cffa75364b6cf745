//! What is known of one revocation, as several nodes share it, and how what two of them know is put together.
//!
//! It does not matter who hears of what in which order: what is known only grows. An undoing stays known for as long as the
//! revocation would have held, so that a node that was away does not bring it back. Whoever revokes the same again later has
//! said the last word: what was asked for later counts, and of two that were asked for at once the revocation does.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::entry::{Revocation, RevocationId};
use super::lifetimes::Lifetimes;
use super::written::{Time, whole_millis};

/// How much longer than the revocation an undoing is known: as far as the clocks of two nodes may differ, and a policy that is
/// being rolled out.
pub const MARGIN: Duration = Duration::from_secs(3600);

/// What is known of the revocation of one id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Form", try_from = "Form")]
pub struct Shared {
    /// Which.
    pub id: RevocationId,
    /// The revocation; also one that was undone, where it is known.
    revocation: Option<Revocation>,
    /// When it was undone, the last time.
    undone_at: Option<SystemTime>,
    /// When all of this is of no use any more, [`MARGIN`] not counted.
    end: SystemTime,
}

/// As it is written.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Form {
    id: RevocationId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revocation: Option<Revocation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    undone_at: Option<Time>,
    end: Time,
}

impl From<Shared> for Form {
    fn from(shared: Shared) -> Self {
        let Shared { id, revocation, undone_at, end } = shared;
        Form { id, revocation, undone_at: undone_at.map(Time), end: Time(end) }
    }
}

impl TryFrom<Form> for Shared {
    type Error = &'static str;

    fn try_from(form: Form) -> Result<Self, &'static str> {
        let Form { id, revocation, undone_at, end } = form;
        if revocation.as_ref().is_some_and(|revocation| revocation.id != id) {
            return Err("it is another's revocation");
        }
        if revocation.is_none() && undone_at.is_none() {
            return Err("nothing is known of it");
        }
        Ok(Shared { id, revocation, undone_at: undone_at.map(|time| time.0), end: end.0 })
    }
}

impl Shared {
    /// It holds, or does again since it was undone.
    pub fn holding(revocation: &Revocation, undone: Option<Undone>, lifetimes: &Lifetimes) -> Self {
        let end = whole_millis(lifetimes.end(revocation));
        Shared {
            id: revocation.id,
            revocation: Some(revocation.clone()),
            undone_at: undone.map(|undone| undone.at),
            end: undone.map_or(end, |undone| undone.end.max(end)),
        }
    }

    /// It holds no more.
    pub fn undone(id: RevocationId, undone: Undone) -> Self {
        Shared { id, revocation: None, undone_at: Some(undone.at), end: undone.end }
    }

    /// The revocation, where it holds.
    pub fn holds(&self) -> Option<&Revocation> {
        let revocation = self.revocation.as_ref()?;
        self.undone_at.is_none_or(|undone| undone <= revocation.revoked_at).then_some(revocation)
    }

    /// When it was undone, and until when that matters.
    pub fn undoing(&self) -> Option<Undone> {
        Some(Undone { at: self.undone_at?, end: self.end })
    }

    /// What this and `other`, of the same id, know together.
    #[must_use]
    pub fn with(&self, other: &Shared) -> Shared {
        let revocation = match (&self.revocation, &other.revocation) {
            (Some(one), Some(other)) => Some(together(one, other)),
            (one, other) => one.as_ref().or(other.as_ref()).cloned(),
        };
        Shared {
            id: self.id,
            revocation,
            undone_at: self.undone_at.max(other.undone_at),
            end: self.end.max(other.end),
        }
    }

    /// Whether nobody needs to know it any more.
    pub fn is_over(&self, now: SystemTime) -> bool {
        self.end.checked_add(MARGIN).is_some_and(|end| end <= now)
    }
}

/// Both, whichever comes first. Two of one id are about the same tokens.
fn together(one: &Revocation, other: &Revocation) -> Revocation {
    let rank = |revocation: &Revocation| (revocation.revoked_at, revocation.reason.clone());
    if rank(one) < rank(other) { one.with(other) } else { other.with(one) }
}

/// That a revocation was undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undone {
    /// When, by the clock of who did it; later than it was revoked in any case.
    pub at: SystemTime,
    /// When the revocation would have ended.
    pub end: SystemTime,
}

impl Undone {
    /// Undoes this at `now`.
    pub fn of(revocation: &Revocation, now: SystemTime, lifetimes: &Lifetimes) -> Self {
        let after = revocation.revoked_at.checked_add(Duration::from_millis(1)).unwrap_or(now);
        Undone { at: whole_millis(now).max(after), end: whole_millis(lifetimes.end(revocation)) }
    }

    /// Whether nobody could bring the revocation back any more.
    pub fn is_over(&self, now: SystemTime) -> bool {
        self.end.checked_add(MARGIN).is_some_and(|end| end <= now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::entry::Target;
    use super::*;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    fn revocation(revoked_at: u64, reason: Option<&str>) -> Revocation {
        Revocation {
            id: RevocationId::at(at(1), 7),
            target: Target::Subject("ann".into()),
            issuer: None,
            issued_before: Some(at(revoked_at)),
            revoked_at: at(revoked_at),
            until: None,
            reason: reason.map(Into::into),
        }
    }

    fn known(revoked: Option<u64>, undone: Option<u64>) -> Shared {
        Shared {
            id: RevocationId::at(at(1), 7),
            revocation: revoked.map(|second| revocation(second, None)),
            undone_at: undone.map(at),
            end: at(revoked.max(undone).unwrap_or_default() + 100),
        }
    }

    #[test]
    fn what_was_said_last_counts() {
        let holds = |one: Shared, other: Shared| one.with(&other).holds().is_some();
        assert!(holds(known(Some(5), None), known(Some(3), None)));
        assert!(!holds(known(Some(5), None), known(None, Some(6))));
        assert!(!holds(known(None, Some(6)), known(Some(5), None)));
        assert!(holds(known(None, Some(6)), known(Some(7), None)));
        assert!(holds(known(None, Some(6)), known(Some(6), None)), "rather one too many");
    }

    #[test]
    fn it_is_read_as_it_is_written_and_nothing_else_is_read() {
        for known in [known(Some(5), None), known(None, Some(6)), known(Some(5), Some(6))] {
            let text = serde_json::to_string(&known).unwrap();
            assert_eq!(serde_json::from_str::<Shared>(&text).unwrap(), known, "{text}");
        }
        let text = serde_json::to_string(&known(Some(5), None)).unwrap();
        let id = known(Some(5), None).id.to_string();
        for bad in [
            text.replacen(&id, "0000000000000009", 1),
            format!("{{\"id\":\"{id}\",\"end\":\"2026-03-01T12:00:00Z\"}}"),
            text.replace("\"end\"", "\"more\":1,\"end\""),
            "{}".to_owned(),
        ] {
            assert!(serde_json::from_str::<Shared>(&bad).is_err(), "{bad}");
        }
    }

    fn any_known() -> impl Strategy<Value = Shared> {
        (proptest::option::of(1..9_u64), proptest::option::of(1..9_u64), 0..3_usize)
            .prop_filter("something", |(revoked, undone, _)| revoked.is_some() || undone.is_some())
            .prop_map(|(revoked, undone, reason)| {
                let mut known = known(revoked, undone);
                if let Some(revocation) = &mut known.revocation {
                    revocation.reason = [None, Some("a"), Some("b")][reason].map(Into::into);
                }
                known
            })
    }

    proptest! {
        #[test]
        fn in_whichever_order_nodes_hear_of_it_they_come_to_know_the_same(
            one in any_known(), two in any_known(), three in any_known(),
        ) {
            prop_assert_eq!(one.with(&one), one.clone());
            prop_assert_eq!(one.with(&two), two.with(&one));
            let (left, right) = (one.with(&two).with(&three), one.with(&two.with(&three)));
            prop_assert_eq!(left.with(&right), right.with(&left));
            // But for the reason, which is for people, and comes to be the same when they hear of each other.
            let plain = |mut known: Shared| {
                known.revocation.iter_mut().for_each(|revocation| revocation.reason = None);
                known
            };
            prop_assert_eq!(plain(left), plain(right));
        }
    }
}
