//! Configuration from files, environment and flags: what is merged, what is refused, and in which words.

mod bus;
mod hostile;
mod layers;
mod refused;
mod schemas;
mod shown;

use std::path::Path;
use std::time::Duration;

use flowgate::config::policy::{AllowedOrigins, AuthMode, Policy, Presence, RefusalDetail};
use flowgate::config::{self, BUILT_IN, Flag, Loaded, Problems, Sources};

/// A folder of settings files, an environment and flags, all of this test's own.
struct Given {
    folder: tempfile::TempDir,
    sources: Sources,
}

/// An issuer whose secret is set, so that everything else is what a test is about.
const ISSUER: &str = r#"
[[auth.issuers]]
name = "app"
algorithms = ["HS256"]
secret_env = "APP_SECRET"
"#;

impl Given {
    fn nothing() -> Self {
        Given { folder: tempfile::tempdir().unwrap(), sources: Sources::default() }
    }

    /// An issuer, and this in a later file, `app.toml`.
    fn file(text: &str) -> Self {
        Self::nothing().env("APP_SECRET", &"s".repeat(64)).and("issuer.toml", ISSUER).and("app.toml", text)
    }

    fn and(mut self, name: &str, text: &str) -> Self {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        self.sources.paths.push(path);
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.sources.environment.push((name.into(), value.into()));
        self
    }

    fn flag(mut self, flag: &str, key: &str, value: impl Into<toml::Value>) -> Self {
        self.sources.flags.push(Flag { flag: flag.into(), key: key.into(), value: value.into() });
        self
    }

    fn load(&self) -> Result<Loaded, Problems> {
        config::load(&self.sources)
    }

    fn policy(&self) -> Policy {
        self.load().unwrap_or_else(|problems| panic!("{problems}")).policy
    }

    /// The problems as lines, without this folder's name.
    fn problems(&self) -> String {
        let problems = self.load().map(|loaded| loaded.warnings).expect_err("it should be refused");
        self.plain(&problems)
    }

    fn warnings(&self) -> String {
        let loaded = self.load().unwrap_or_else(|problems| panic!("{problems}"));
        self.plain(&Problems(loaded.warnings))
    }

    fn plain(&self, problems: &Problems) -> String {
        problems.to_string().replace(&format!("{}/", self.folder.path().display()), "")
    }
}

#[test]
fn the_defaults_need_an_issuer_and_nothing_else() {
    let policy = Given::file("").policy();
    assert_eq!(policy.server.listen.to_string(), "127.0.0.1:3000");
    assert_eq!(policy.server.path, "/socket.io/");
    assert_eq!(policy.server.allowed_origins, AllowedOrigins::List(Vec::new()));
    assert!(policy.server.polling && policy.server.websocket && policy.server.allow_missing_origin);
    assert_eq!(policy.auth.mode, AuthMode::Required);
    assert_eq!(policy.auth.issuers[0].max_lifetime, Duration::from_secs(24 * 3600));
    assert_eq!(policy.limits.events.per_socket.rate.burst.get(), 40);
    assert_eq!(policy.limits.connections.handshakes_per_ip.burst.get(), 20);
    assert_eq!(policy.limits.payload.max_bytes, 16 * 1024);
    assert_eq!(policy.refusal_detail, RefusalDetail::Code);
    let event = &policy.events["database-change"];
    assert_eq!(&*event.emit, "database-changed");
    assert_eq!(&*event.rules.task_id, "events.database-change.task_id");
    let typed = event.typed.as_ref().unwrap();
    assert_eq!(typed.exact_types["task-created"].task_id, Presence::Optional);
    assert_eq!(typed.exact_types["task-deleted"].task_id, Presence::Required);
    let problems = Given::nothing().problems();
    assert!(problems.starts_with(&format!("{BUILT_IN}: auth.issuers: no issuer")), "{problems}");
}

/// What is said to be missing can be pasted.
#[test]
fn the_issuer_that_is_advised_is_one() {
    for settings in ["", "[auth]\nasymmetric_only = true"] {
        let without = Given::nothing().and("app.toml", settings);
        let advice = without.load().unwrap_err().0[0].mend.clone();
        let issuer = advice.strip_prefix("add one:\n").unwrap();
        assert!(issuer.lines().all(|line| line.starts_with("    ")), "{issuer}");
        let with = without.and("issuer.toml", issuer).env("FLOWGATE_JWT_SECRET", &"s".repeat(64));
        assert_eq!(&*with.policy().auth.issuers[0].name, "app");
    }
}

#[test]
fn shipped_files_load() {
    let shipped = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
    let mut alone = Given::nothing();
    alone.sources.paths.push(shipped("photoflow.toml"));
    let policy = alone.policy();
    assert_eq!((policy.auth.mode, policy.server.allowed_origins), (AuthMode::Off, AllowedOrigins::Any));
    assert!(policy.events["database-change"].typed.is_none() && policy.events["database-change"].echo);

    let mut strict = Given::nothing();
    strict.sources.paths.push(shipped("strict.toml"));
    assert!(strict.problems().contains("no issuer"));
    let issuer =
        "[[auth.issuers]]\nname = \"app\"\nalgorithms = [\"ES256\"]\njwks_url = \"https://a.example/jwks\"";
    let policy = strict.and("issuer.toml", issuer).policy();
    let typed = policy.events["database-change"].typed.as_ref().unwrap();
    assert!(typed.exact_types.values().all(|kind| kind.task_id == Presence::Required));
    assert_eq!((typed.exact_types.len(), typed.timestamp.presence), (4, Presence::Required));

    let mut with_secret = Given::file("");
    with_secret.sources.paths.push(shipped("strict.toml"));
    assert!(with_secret.problems().contains("auth.asymmetric_only = true"));
    let mut again = Given::file("");
    again.sources.paths.push(shipped("default.toml"));
    assert_eq!(again.load().unwrap().warnings, []);
}
