//! Configuration: files and environment in, a checked [`policy::Policy`] out.
//!
//! In reading order: `schema` lists every setting; `files` and `environment` bring them in, each origin becoming a
//! `layer`, checked against the schema; the `config` crate lays the layers over each other; `raw` holds the result as
//! types; `compile` turns it into the policy, with what rules say as an [`expression`]. Every problem is collected, and
//! one is enough not to start.

pub mod admin_token;
pub mod bus;
pub mod certificate;
mod compile;
pub mod content;
mod dev;
mod effective;
mod environment;
pub mod expression;
mod files;
mod internal_port;
pub mod json_schema;
pub mod key_material;
mod key_path;
mod layer;
pub mod policy;
mod problem;
mod raw;
mod schema;
mod values;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use config::{Config, ConfigError, Map, Value, ValueKind};
use serde::Deserialize;

pub(crate) use compile::REFRESH;
use content::{Content, Look, NamedFile};
pub use dev::{DEV_ISSUER, DEV_SECRET};
pub use effective::{Effective, Setting};
pub use files::TESTS;
pub use internal_port::InternalPort;
use key_path::KeyPath;
use layer::Layer;
use policy::{AllowedOrigins, Policy};
pub use problem::{Problem, Problems};
pub(crate) use problem::{any_of, closest};

/// The shipped file that *is* the defaults.
pub const DEFAULT_TOML: &str = include_str!("../../config/default.toml");

/// How messages name [`DEFAULT_TOML`].
pub const BUILT_IN: &str = "config/default.toml (built in)";

/// Where settings come from, in rising rank: the built-in defaults, `dev_secret`, `VITE_CORS_ORIGIN`, `paths`, `texts`,
/// the `FLOWGATE__…` variables, `flags`.
///
/// Nothing is read from the process itself, so that tests and embedders decide.
#[derive(Clone, Default)]
pub struct Sources {
    /// Files, and folders whose `*.toml` are read in name order.
    pub paths: Vec<PathBuf>,
    /// TOML held in memory, as a file would hold it: how messages name it, and the text. Paths in it are relative to the
    /// working directory.
    pub texts: Vec<(String, String)>,
    /// The environment: settings, and the secrets that `secret_env` names.
    pub environment: Vec<(String, String)>,
    /// Settings from the command line.
    pub flags: Vec<Flag>,
    /// `serve --dev`: a throw-away HS256 secret, at least 32 bytes. It adds the issuer `dev`, whose `secret_env` is
    /// [`DEV_SECRET`], and admits browsers from localhost. It is never shown.
    pub dev_secret: Option<String>,
    /// `serve --dev`: a throw-away admin token. It counts where the variable of `internal.admin_token_env` is not set.
    pub dev_admin_token: Option<String>,
    /// For trying a policy where its secrets are not: issuers, secrets, key files and certificates that are not there are
    /// not missed. What is there is checked as ever. Nothing may be served with it.
    pub without_keys: bool,
}

/// A setting from the command line.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The flag as the user wrote it, such as `--listen`, for messages.
    pub flag: String,
    /// The dotted key that it sets, such as `server.listen`.
    pub key: String,
    /// What it sets it to.
    pub value: toml::Value,
}

impl Sources {
    /// These files and folders, with the environment of this process. Variables that are not Unicode are no settings.
    pub fn from_process(paths: Vec<PathBuf>) -> Self {
        let unicode = |(name, text): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, text.into_string().ok()?))
        };
        Sources {
            paths,
            environment: std::env::vars_os().filter_map(unicode).collect(),
            ..Sources::default()
        }
    }
}

/// A configuration that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// What the process acts on.
    pub policy: Policy,
    /// What was set, and where, for `config show`.
    pub effective: Effective,
    /// What it was made of, which tells it from another.
    pub content: Content,
    /// What can be used but deserves a second look.
    pub warnings: Vec<Problem>,
}

/// Reads, merges, checks and compiles.
///
/// Reads the files it is given and the key files they name; blocks; opens no connection.
///
/// # Errors
/// Everything that is wrong, at once. What merely seems to be missing is not said where it may be what could not be read
/// or was misspelt.
pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
    read(sources).result
}

/// What reading a configuration came to.
pub struct Reading {
    /// As [`load`] gives it.
    pub result: Result<Loaded, Problems>,
    /// The files that the settings name, as far as they were found out: who waits for a mend waits for them too.
    pub files: Vec<PathBuf>,
    /// What stood in all files.
    pub look: Look,
}

/// As [`load`], and says which files it has looked at beside those that it was given.
pub fn read(sources: &Sources) -> Reading {
    let (mut files, mut look) = (Vec::new(), Look::default());
    let result = read_noting(sources, &mut look, &mut files);
    for file in &files {
        look.note_digest(&file.path, file.digest);
    }
    Reading { result, files: files.into_iter().map(|file| file.path).collect(), look }
}

fn read_noting(sources: &Sources, look: &mut Look, files: &mut Vec<NamedFile>) -> Result<Loaded, Problems> {
    let mut problems = Vec::new();
    let (stack, warnings) = Stack::gather(sources, look, &mut problems);
    let tree = stack.tree().map_err(|error| Problems(vec![internal(&error)]))?;
    let raw = match raw::Raw::deserialize(tree.clone()) {
        Ok(raw) => raw,
        Err(error) => {
            problems.push(internal(&error));
            return Err(Problems(problems));
        }
    };
    let mut warnings = warnings;
    warnings.extend(environment::near_misses(&sources.environment, &tree));
    let environment = stack.secrets(sources, &raw.internal.admin_token_env);
    let context = compile::Context {
        tree: &tree,
        folders: &stack.folders,
        environment: &environment,
        without_keys: sources.without_keys,
    };
    let compiled = compile::compile(&raw, &context);
    *files = compiled.files;
    let missing = compiled.missing.into_iter();
    let missing: Vec<Problem> =
        missing.filter(|missing| !problems.iter().any(|problem| problem.may_hide(missing))).collect();
    problems.extend(compiled.problems);
    problems.extend(missing);
    match compiled.policy {
        Some(mut policy) if problems.is_empty() => {
            if dev::decides_origins(&tree) {
                policy.server.allowed_origins = AllowedOrigins::Loopback;
            }
            let warnings = warnings.into_iter().chain(compiled.warnings).collect();
            let effective = Effective::new(tree);
            let content = Content::new(&effective, files, &policy);
            policy.hash = content.hash().clone();
            policy.effective = Some(Arc::new(effective.clone()));
            Ok(Loaded { policy, effective, content, warnings })
        }
        _ => Err(Problems(problems)),
    }
}

/// Reads a file of TOML that holds no settings; what is wrong with it goes to `problems`.
pub(crate) fn read_toml(path: &Path, problems: &mut Vec<Problem>) -> Option<toml::Table> {
    Some(files::read_file(path, &mut Look::default(), problems)?.settings)
}

/// A duration as settings write it.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    values::duration(text).ok()
}

/// What the schema let through and the types did not: a mistake of this program's, still said rather than a panic.
fn internal(error: &ConfigError) -> Problem {
    Problem {
        origin: "flowgate".into(),
        key: String::new(),
        found: format!("the settings do not fit together: {error}"),
        mend: "please report this".into(),
        did_you_mean: None,
    }
}

/// Layers, lowest first, and the folder that each file's paths are relative to.
#[derive(Default)]
struct Stack {
    layers: Vec<Layer>,
    folders: HashMap<String, PathBuf>,
}

impl Stack {
    fn gather(sources: &Sources, look: &mut Look, problems: &mut Vec<Problem>) -> (Self, Vec<Problem>) {
        let mut stack = Stack::default();
        stack.toml(BUILT_IN, DEFAULT_TOML, problems);
        if sources.dev_secret.is_some() {
            stack.toml(dev::ORIGIN, dev::SETTINGS, problems);
        }
        let below_files = stack.layers.len();
        for file in
            sources.paths.iter().flat_map(|path| files::read(path, look, problems)).collect::<Vec<_>>()
        {
            stack.layers.push(Layer::new(&file.origin, file.settings, problems));
            stack.folders.insert(file.origin, file.folder);
        }
        for (origin, text) in &sources.texts {
            stack.toml(origin, text, problems);
        }
        stack.environment(&sources.environment, problems);
        for flag in &sources.flags {
            let settings = nested(&flag.key, flag.value.clone());
            stack.layers.push(Layer::new(&format!("flag {}", flag.flag), settings, problems));
        }
        let warnings = stack.cors_alias(&sources.environment, below_files, problems);
        stack.new_events();
        (stack, warnings)
    }

    fn toml(&mut self, origin: &str, text: &str, problems: &mut Vec<Problem>) {
        if let Some(settings) = files::parse(origin, text, problems) {
            self.layers.push(Layer::new(origin, settings, problems));
        }
    }

    fn environment(&mut self, environment: &[(String, String)], problems: &mut Vec<Problem>) {
        let settings = environment::settings(environment);
        for (at, (variable, text)) in settings.iter().enumerate() {
            if at > 0 && settings[at - 1].0.eq_ignore_ascii_case(variable) {
                problems.push(Problem {
                    origin: environment::origin_of(variable),
                    key: String::new(),
                    found: format!("the same setting as {}", settings[at - 1].0),
                    mend: "keep one of them".into(),
                    did_you_mean: None,
                });
            }
            let below = self.tree().unwrap_or_default();
            self.layers.push(environment::layer(variable, text, &below, problems));
        }
    }

    /// Puts `VITE_CORS_ORIGIN` beneath the files. Its `*` opens the door to every page, which PhotoFlow's variable may
    /// only do where nobody is asked who they are; elsewhere it does not count, and that is said.
    fn cors_alias(
        &mut self,
        environment: &[(String, String)],
        below_files: usize,
        problems: &mut Vec<Problem>,
    ) -> Vec<Problem> {
        let Some(layer) = environment::cors_alias(environment, problems) else { return Vec::new() };
        self.layers.insert(below_files, layer);
        let Ok(tree) = self.tree() else { return Vec::new() };
        let origins = KeyPath::of("server.allowed_origins");
        let alias = environment::origin_of(environment::CORS_ALIAS);
        let any = text_at(&tree, &origins.index(0)).is_some_and(|origin| origin == "*");
        let open = text_at(&tree, &KeyPath::of("auth.mode")).is_some_and(|mode| mode == "off");
        if !any || open || origins.origin(&tree, BUILT_IN) != alias {
            return Vec::new();
        }
        self.layers.remove(below_files);
        vec![Problem {
            origin: alias,
            key: origins.to_string(),
            found: "its `*` does not count, since it only does with auth.mode = \"off\"".into(),
            mend:
                "name the origins, as in VITE_CORS_ORIGIN=https://app.example, or set server.allowed_origins"
                    .into(),
            did_you_mean: None,
        }]
    }

    /// Gives events that the defaults don't know the settings of the one they do, as all layers leave them, but for what is
    /// its own: what a strict file demands of one event it demands of those that are added too.
    fn new_events(&mut self) {
        let Ok(tree) = self.tree() else { return };
        let Some(defaults) = self.layers.first().and_then(|layer| layer.table_at("events")) else { return };
        let ValueKind::Table(mut sections) = tree.kind else { return };
        let Some(ValueKind::Table(events)) = sections.remove("events").map(|events| events.kind) else {
            return;
        };
        let model = defaults.keys().next().and_then(|name| events.get(name)).map(|event| event.kind.clone());
        let Some(ValueKind::Table(model)) = model else { return };
        let shared: Map<String, Value> = model
            .into_iter()
            .filter(|(key, _)| !["emit", "team_field", "replay", "fields", "types"].contains(&key.as_str()))
            .collect();
        let new: Map<String, Value> = events
            .into_keys()
            .filter(|name| !defaults.contains_key(name))
            .map(|name| (name, Value::new(None, shared.clone())))
            .collect();
        self.layers.insert(1, Layer::of(Map::from([("events".to_owned(), Value::new(None, new))])));
    }

    /// All layers laid over each other.
    fn tree(&self) -> Result<Value, ConfigError> {
        let builder =
            self.layers.iter().cloned().fold(Config::builder(), |builder, layer| builder.add_source(layer));
        Ok(builder.build()?.cache)
    }

    /// The variables that `secret_env` and `admin_token_env`, which is this one, may name.
    fn secrets(&self, sources: &Sources, admin_token_env: &str) -> HashMap<String, String> {
        let throw_away = |name: &str, text: &Option<String>| Some((name.to_owned(), text.clone()?));
        let secret = throw_away(DEV_SECRET, &sources.dev_secret);
        let admin_token = throw_away(admin_token_env, &sources.dev_admin_token);
        // The later of two counts.
        admin_token.into_iter().chain(sources.environment.iter().cloned()).chain(secret).collect()
    }
}

fn text_at(tree: &Value, path: &KeyPath) -> Option<String> {
    match &path.find(tree)?.kind {
        ValueKind::String(text) => Some(text.clone()),
        _ => None,
    }
}

/// `a.b = value` as nested tables.
fn nested(dotted: &str, value: toml::Value) -> toml::Table {
    match dotted.split_once('.') {
        Some((first, rest)) => toml::Table::from_iter([(first.to_owned(), nested(rest, value).into())]),
        None => toml::Table::from_iter([(dotted.to_owned(), value)]),
    }
}
