//! What is wrong with a configuration, said so that it can be mended: where, which key, what was found, what to write.

use std::fmt;

use super::environment;

/// One thing that is wrong, or, as a warning, one that deserves a second look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, `environment variable NAME`, `flag --name`, or [`super::BUILT_IN`].
    pub origin: String,
    /// The dotted key, as in `auth.issuers[name="app"].algorithms`; empty where a whole file is meant.
    pub key: String,
    /// What was found there, as a phrase. Never the content of a secret.
    pub found: String,
    /// What to write instead, as a phrase; may be empty beside a suggestion.
    pub mend: String,
    /// The known key or value that is spelt most alike.
    pub did_you_mean: Option<String>,
}

impl Problem {
    /// Whether what this could not read may be what `missing` misses: a whole file, the same place, or a key that is spelt
    /// like it.
    pub(super) fn may_hide(&self, missing: &Problem) -> bool {
        if self.key.is_empty() {
            return true;
        }
        let parent = self.key.rsplit_once('.').map_or("", |(parent, _)| parent);
        let place = match &self.did_you_mean {
            // Of a table that lacks something, a key that is misspelt may be it.
            Some(_) if missing.key == parent => return true,
            Some(known) if parent.is_empty() => known.clone(),
            Some(known) => environment::key_of(known).unwrap_or_else(|| format!("{parent}.{known}")),
            None => self.key.clone(),
        };
        let inside = missing.key.strip_prefix(place.as_str());
        inside.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.found)?;
        if let Some(suggestion) = &self.did_you_mean {
            write!(f, "; did you mean `{suggestion}`?")?;
        }
        match (self.mend.is_empty(), self.did_you_mean.is_some()) {
            (true, _) => Ok(()),
            (false, true) => write!(f, " ({})", self.mend),
            (false, false) => write!(f, "; {}", self.mend),
        }
    }
}

/// Everything that keeps a configuration from being used; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}")?;
        }
        match self.0.len() {
            1 => write!(f, "1 problem in the configuration"),
            count => write!(f, "{count} problems in the configuration"),
        }
    }
}

impl std::error::Error for Problems {}

/// The candidate that is spelt most alike, when one is near enough to be meant: a third of its letters may differ.
pub(crate) fn closest<'a>(found: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let found = plain(found);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&found, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.to_owned())
}

/// A list for people: `a, b or c`, each in backquotes.
pub(crate) fn any_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.pop() {
        Some(last) if !names.is_empty() => format!("{} or {last}", names.join(", ")),
        Some(only) => only,
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_only_what_is_near() {
        let known = ["per_socket", "per_user", "per_team"];
        assert_eq!(closest("per_sockt", known).as_deref(), Some("per_socket"));
        assert_eq!(closest("PER-TEAM", known).as_deref(), Some("per_team"));
        assert_eq!(closest("colour", known), None);
    }

    #[test]
    fn reads_as_a_sentence() {
        let mut problem = Problem {
            origin: "config/app.toml".into(),
            key: "limits.events.per_sockt".into(),
            found: "unknown key".into(),
            mend: String::new(),
            did_you_mean: Some("per_socket".into()),
        };
        assert_eq!(
            problem.to_string(),
            "config/app.toml: limits.events.per_sockt: unknown key; did you mean `per_socket`?"
        );
        problem.did_you_mean = None;
        problem.mend = "leave it out".into();
        assert_eq!(
            problem.to_string(),
            "config/app.toml: limits.events.per_sockt: unknown key; leave it out"
        );
        assert!(
            Problems(vec![problem.clone(), problem]).to_string().ends_with("2 problems in the configuration")
        );
    }

    #[test]
    fn lists_for_people() {
        assert_eq!(any_of(["a", "b", "c"]), "`a`, `b` or `c`");
        assert_eq!(any_of(["a"]), "`a`");
    }
}
