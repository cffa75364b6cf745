//! What a policy was made of: every setting, and what stood in every file that a setting names. It tells two policies
//! apart and says by which keys they differ, without keeping what was written there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256, digest};
use serde::Serialize;

use super::effective::Effective;
use super::files;
use super::key_material::{KeyKind, KeyMaterial};
use super::policy::Policy;

/// How much of a digest is the hash that people read: 48 bits, as in short commit ids.
const HASH_BYTES: usize = 6;

/// What each of several nodes has of its own, though all of them act by one policy: how it is called, where it listens and where
/// it keeps its files. It does not go into the hash.
const OWN: &[&str] =
    &["bus.node", "decision_log.path", "internal.listen", "revocation.store", "server.listen"];

/// A SHA-256.
pub(super) type Digest = [u8; 32];

/// What one policy was made of. Of values and files it keeps digests only, and shows none.
#[derive(Clone, Default)]
pub struct Content {
    settings: BTreeMap<String, Digest>,
    files: BTreeMap<String, Option<Digest>>,
    hash: Arc<str>,
}

/// A file that a setting names.
#[derive(Clone)]
pub(super) struct NamedFile {
    /// The setting.
    pub key: String,
    /// Where it is.
    pub path: PathBuf,
    /// What stood in it; `None` where it could not be read.
    pub digest: Option<Digest>,
    /// Whether that may go into the hash: it holds no secret, and no key either, which has a better name.
    pub is_public: bool,
}

/// By what one policy differs from the one before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// A dotted key, as in `auth.issuers[name="app"].secret_file`, or a whole entry, as in `rules[name="only editors"]`.
    pub key: String,
    /// What became of it.
    pub change: Kind,
}

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It was not there.
    Added,
    /// It is not there any more.
    Removed,
    /// It has another value, or the file that it names has another content.
    Changed,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.change {
            Kind::Added => "added",
            Kind::Removed => "removed",
            Kind::Changed => "changed",
        };
        write!(f, "{kind} {}", self.key)
    }
}

impl fmt::Debug for Content {
    /// A digest of a secret helps whoever guesses at it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content").field("hash", &self.hash).finish_non_exhaustive()
    }
}

impl Content {
    /// Of a policy that these settings have led to, with the files that they name.
    pub(super) fn new(effective: &Effective, files: &[NamedFile], policy: &Policy) -> Self {
        let mut settings = BTreeMap::new();
        let mut hash = Context::new(&SHA256);
        let mut note = |what: &str, key: &str, value: &[u8]| {
            for part in [what.as_bytes(), key.as_bytes(), value] {
                // The length keeps two parts apart from one that is both.
                hash.update(&(part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        };
        for (key, exact, shown) in effective.settings() {
            if !OWN.contains(&&*key) {
                note("setting", &key, shown.as_bytes());
            }
            settings.insert(key, sha256(exact.as_bytes()));
        }
        let files: BTreeMap<&str, &NamedFile> = files.iter().map(|file| (&*file.key, file)).collect();
        for file in files.values().filter(|file| file.is_public) {
            note("file", &file.key, file.digest.as_ref().map_or(&[][..], |digest| digest));
        }
        for issuer in &policy.auth.issuers {
            let KeyMaterial::Keys(keys) = &issuer.key else { continue };
            for key in keys.iter().filter(|key| key.kind() != KeyKind::Secret) {
                note("key", &issuer.name, &key.id().to_bytes());
            }
        }
        let digest = hash.finish();
        let hash: String =
            digest.as_ref().iter().take(HASH_BYTES).map(|byte| format!("{byte:02x}")).collect();
        let files = files.values().map(|file| (file.key.clone(), file.digest)).collect();
        Content { settings, files, hash: hash.into() }
    }

    /// A short name of the policy: the beginning of a SHA-256 over every setting but those that are each node's own, the content of
    /// schemas and the public keys. No secret goes into it, so that it can stand in logs.
    pub fn hash(&self) -> &Arc<str> {
        &self.hash
    }

    /// By what this one differs from the one `before` it, sorted by key. Secrets and keys are compared too.
    pub fn changes_since(&self, before: &Content) -> Vec<Change> {
        let keys = |content: &Content| -> BTreeSet<String> { content.settings.keys().cloned().collect() };
        let (old, new) = (keys(before), keys(self));
        let changed_value = new.intersection(&old).filter(|key| self.settings[*key] != before.settings[*key]);
        let changed_file = self
            .files
            .iter()
            .filter(|(key, digest)| before.files.get(*key).is_some_and(|before| before != *digest));
        let mut changes: BTreeMap<String, Kind> =
            changed_value.map(|key| (key.clone(), Kind::Changed)).collect();
        changes.extend(changed_file.map(|(key, _)| (key.clone(), Kind::Changed)));
        changes.extend(new.difference(&old).map(|key| (entry(key, &old), Kind::Added)));
        changes.extend(old.difference(&new).map(|key| (entry(key, &new), Kind::Removed)));
        changes.into_iter().map(|(key, change)| Change { key, change }).collect()
    }
}

/// The entry that a key is part of, where the other policy has nothing of that; else the key.
fn entry(key: &str, others: &BTreeSet<String>) -> String {
    let ends = key.match_indices("].").map(|(at, _)| &key[..=at]);
    let mut unknown = ends.filter(|entry| !others.iter().any(|other| other.starts_with(*entry)));
    unknown.next().unwrap_or(key).to_owned()
}

/// What a set of files holds at one moment.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Look(BTreeMap<PathBuf, Option<Digest>>);

impl Look {
    /// Looks at these files and folders of settings, and at these files that settings name. By content rather than time:
    /// mounted files are links that keep their times. Blocks.
    pub fn at(settings: &[PathBuf], named: &[PathBuf]) -> Self {
        let mut look = Look::default();
        for path in settings
            .iter()
            .flat_map(|path| files::listed(path).unwrap_or_default())
            .chain(named.iter().cloned())
        {
            look.note(&path, files::read_some(&path).as_deref().ok());
        }
        look
    }

    /// Notes what stands in a file; `None` where it cannot be read.
    pub(super) fn note(&mut self, path: &Path, content: Option<&[u8]>) {
        self.note_digest(path, content.map(sha256));
    }

    pub(super) fn note_digest(&mut self, path: &Path, digest: Option<Digest>) {
        self.0.insert(path.to_owned(), digest);
    }
}

/// The SHA-256 of some content.
pub(super) fn sha256(content: &[u8]) -> Digest {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, content).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, read};

    const ISSUER: &str = r#"
[[auth.issuers]]
name = "app"
algorithms = ["HS256"]
secret_file = "secret"
"#;

    fn content(settings: &str, secret: &str) -> Content {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), secret.repeat(64)).unwrap();
        std::fs::write(folder.path().join("a.json"), r#"{"type":"object"}"#).unwrap();
        let file = folder.path().join("a.toml");
        std::fs::write(&file, format!("{ISSUER}{settings}")).unwrap();
        read(&Sources { paths: vec![file], ..Sources::default() }).result.unwrap().content
    }

    fn changes(before: &Content, after: &Content) -> Vec<String> {
        after.changes_since(before).iter().map(Change::to_string).collect()
    }

    const RULE: &str = "[[rules]]\nname = \"a\"\non = [\"*\"]\nallow_if = 'true'\n";

    #[test]
    fn the_hash_follows_settings_and_not_secrets() {
        let first = content("", "first secret");
        assert_eq!(first.hash().len(), 12);
        assert_eq!(content("# a comment", "first secret").hash(), first.hash());
        let other_secret = content("", "other secret");
        assert_eq!(other_secret.hash(), first.hash());
        assert_eq!(changes(&first, &other_secret), ["changed auth.issuers[name=\"app\"].secret_file"]);
        assert_ne!(content("[refusals]\ndetail = \"full\"", "first secret").hash(), first.hash());
        assert!(!format!("{first:?}").contains("secret"));
    }

    /// Nodes that act by one policy have one hash.
    #[test]
    fn what_is_a_nodes_own_is_a_change_and_not_in_the_hash() {
        let on = |settings: &str| content(settings, "s");
        let (one, two) = (on("[bus]\nnode = \"a\""), on("[bus]\nnode = \"b\""));
        assert_eq!((one.hash(), changes(&one, &two)), (two.hash(), vec!["changed bus.node".to_owned()]));
        assert_eq!(on("[server]\nlisten = \"127.0.0.1:4000\"").hash(), one.hash());
        assert_ne!(on("[server]\npath = \"/elsewhere/\"").hash(), one.hash());
        assert_ne!(on("[bus.redis]\nprefix = \"other\"").hash(), one.hash());
    }

    #[test]
    fn differences_name_keys_and_whole_entries() {
        let (bare, ruled) = (content("", "s"), content(RULE, "s"));
        assert_eq!(changes(&bare, &bare), Vec::<String>::new());
        assert_eq!(changes(&bare, &ruled), ["added rules[name=\"a\"]"]);
        assert_eq!(changes(&ruled, &bare), ["removed rules[name=\"a\"]"]);
        let other = content(&RULE.replace("true", "false"), "s");
        assert_eq!(changes(&ruled, &other), ["changed rules[name=\"a\"].allow_if"]);
        let limited = content("[limits.events]\nper_user = \"1/s\"", "s");
        assert_eq!(changes(&bare, &limited), ["changed limits.events.per_user"]);
    }

    #[test]
    fn a_password_in_an_address_counts_and_is_not_in_the_hash() {
        let url = |password: &str| {
            let issuer = "[[auth.issuers]]\nname = \"b\"\nissuer = \"b\"\nalgorithms = [\"ES256\"]\n";
            content(&format!("{issuer}jwks_url = \"https://a:{password}@keys.example/\""), "s")
        };
        let (one, two) = (url("hunter2"), url("hunter3"));
        assert_eq!(one.hash(), two.hash());
        assert_eq!(changes(&one, &two), ["changed auth.issuers[name=\"b\"].jwks_url"]);
    }

    #[test]
    fn a_schema_counts_by_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let (file, schema) = (folder.path().join("a.toml"), folder.path().join("a.json"));
        std::fs::write(folder.path().join("secret"), "s".repeat(64)).unwrap();
        let types = "[[events.database-change.types]]\nmatch = \"task-updated\"\nschema = \"a.json\"\n";
        std::fs::write(&file, format!("{ISSUER}{types}")).unwrap();
        let sources = Sources { paths: vec![file.clone()], ..Sources::default() };
        let load = |text: &str| {
            std::fs::write(&schema, text).unwrap();
            let reading = read(&sources);
            assert!(Look::at(&sources.paths, &reading.files) == reading.look, "nothing has changed since");
            (reading.result.unwrap().content, reading.look)
        };
        let (one, seen) = load(r#"{"type":"object"}"#);
        let (two, then) = load(r#"{"type":"object","minProperties":1}"#);
        assert_ne!(one.hash(), two.hash());
        assert!(seen != then);
        let key = "changed events.database-change.types[match=\"task-updated\"].schema";
        assert_eq!(changes(&one, &two), [key]);
        std::fs::remove_file(&schema).unwrap();
        assert!(Look::at(&sources.paths, std::slice::from_ref(&schema)) != then);
        // Whatever cannot be used is the same as long as it stays as it is.
        for unusable in [Some(""), Some("{"), None] {
            match unusable {
                Some(text) => std::fs::write(&schema, text).unwrap(),
                None => std::fs::remove_file(&schema).unwrap(),
            }
            let reading = read(&sources);
            assert!(reading.result.is_err());
            assert!(Look::at(&sources.paths, &reading.files) == reading.look, "{unusable:?}");
        }
        std::fs::write(&file, "").unwrap();
        let reading = read(&sources);
        assert!(Look::at(&sources.paths, &reading.files) == reading.look);
    }
}
