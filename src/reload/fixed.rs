//! What only a start can set: what listeners and the protocol library were made with.

use crate::config::Problem;
use crate::config::content::Change;

/// These keys, and all below them.
const FIXED: &[&str] = &[
    "server.listen",
    "server.path",
    "server.transports",
    "server.tls",
    "internal.listen",
    "limits.payload.hard_max_bytes",
    "relay.history.store",
    "revocation",
    "bus",
];

/// A problem for each change that needs a restart. The whole of a policy with such a change is refused: half of a policy is
/// one that nobody wrote. `origin_of` says where a key is set.
pub(super) fn problems(changes: &[Change], origin_of: impl Fn(&str) -> String) -> Vec<Problem> {
    let fixed = changes.iter().filter(|change| is_fixed(&change.key));
    fixed.map(|change| problem(change, origin_of(&change.key))).collect()
}

fn is_fixed(key: &str) -> bool {
    FIXED
        .iter()
        .any(|fixed| key.strip_prefix(fixed).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

fn problem(change: &Change, origin: String) -> Problem {
    Problem {
        origin,
        key: change.key.clone(),
        found: "this cannot change while the process runs".into(),
        mend: "restart it, or write what it was".into(),
        did_you_mean: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::content::Kind;

    #[test]
    fn only_what_a_start_sets_is_fixed() {
        let refused = |key: &str| {
            let change = Change { key: key.into(), change: Kind::Changed };
            problems(&[change], |_| "a.toml".into()).first().map(|problem| problem.key.clone())
        };
        for key in [
            "server.listen",
            "server.tls.key_file",
            "limits.payload.hard_max_bytes",
            "bus.redis.url",
            "relay.history.store",
        ] {
            assert_eq!(refused(key).as_deref(), Some(key));
        }
        for key in ["server.allowed_origins", "limits.payload.max_bytes", "server.listens", "auth.mode"] {
            assert_eq!(refused(key), None, "{key}");
        }
    }
}
