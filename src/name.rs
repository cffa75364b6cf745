//! Names that come from claims: what they may be. Whatever looks for one of them asks here, so that it can be found.

/// The longest subject and token id, in bytes; each is a key of limits and revocations.
pub const MAX_IDENTIFIER_BYTES: usize = 256;

/// The longest team and role, in bytes: names stand in room names, logs and metrics.
pub const MAX_NAME_BYTES: usize = 128;

/// What may stand in a list of names.
#[derive(Clone, Copy, Debug)]
pub struct NameRules {
    /// How many names at most.
    pub most: usize,
    /// Characters that no name may hold, beside control characters.
    forbidden: &'static [char],
}

/// Most people are in a handful of teams, administrators in many; each is a room to join and to find again. A colon
/// separates the parts of a room's name and a star is a pattern; neither may come from outside.
pub const TEAMS: NameRules = NameRules { most: 256, forbidden: &['*', ':'] };

/// Roles are compared one by one in rules. Many providers write them as `read:tasks`.
pub const ROLES: NameRules = NameRules { most: 256, forbidden: &[] };

impl NameRules {
    /// Whether this may be a name; if not, why, as a phrase that follows what it is a name of.
    pub fn check(self, name: &str) -> Result<(), &'static str> {
        if name.is_empty() {
            return Err("has an empty name");
        }
        if name.len() > MAX_NAME_BYTES {
            return Err("has a name longer than 128 bytes");
        }
        if name.chars().any(|c| c.is_control() || self.forbidden.contains(&c)) {
            return Err("has a name with a character that it may not hold");
        }
        Ok(())
    }
}

/// Whether this may be a subject or a token's id; if not, why, as a phrase that follows what it is.
pub fn check_identifier(text: &str) -> Result<(), &'static str> {
    match text {
        "" => Err("is empty"),
        text if text.len() > MAX_IDENTIFIER_BYTES => Err("is longer than 256 bytes"),
        text if text.chars().any(char::is_control) => Err("has control characters"),
        _ => Ok(()),
    }
}
