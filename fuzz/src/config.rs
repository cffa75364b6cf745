//! The configuration: any text as a file, with any environment.

use std::sync::Arc;

use flowgate::config::key_material::KeyMaterial;
use flowgate::config::{Loaded, Problem, Problems, Sources, load};
use flowgate::connect::audience::Audience;
use flowgate::connect::token::Verifier;
use flowgate::event::fixtures::peer;
use flowgate::event::{EventId, Pipeline};
use flowgate::message::Topic;
use flowgate::metrics::AudienceCounters;
use serde_json::{Map, Value};

/// More variables find nothing that fewer don't, and each is merged by itself.
const MOST_VARIABLES: usize = 8;

/// The secret that the issuers of the corpus name. It must not come out anywhere.
const SECRET: &str = "Gx7-this-secret-must-never-be-shown-by-anything-that-flowgate-writes-Qk2";

/// TOML, in which lines `#env NAME=value` set the environment and a line `#dev` asks for `serve --dev`.
///
/// Promised: a message names its place and fits the terminal it is shown on; the secret is in none; what is accepted makes
/// a verifier and a pipeline; what `config show` writes is accepted again and says the same of every setting in it.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let sources = sources(text);
    match load(&sources) {
        Ok(loaded) => accepted(text, sources, loaded),
        Err(problems) => {
            assert!(!problems.0.is_empty());
            check_problems(text, &problems.0);
            let shown = Problems(problems.0).to_string();
            assert!(shown.ends_with("in the configuration"), "{shown}");
        }
    }
}

fn sources(text: &str) -> Sources {
    let variables = text.lines().filter_map(|line| line.strip_prefix("#env ")?.split_once('='));
    let mut environment = vec![("APP_SECRET".to_owned(), SECRET.to_owned())];
    environment
        .extend(variables.take(MOST_VARIABLES).map(|(name, value)| (name.to_owned(), value.to_owned())));
    let dev_secret = text.lines().any(|line| line == "#dev").then(|| SECRET.to_owned());
    Sources { texts: vec![("fuzz.toml".into(), text.into())], environment, dev_secret, ..Sources::default() }
}

fn check_problems(text: &str, problems: &[Problem]) {
    for problem in problems {
        assert!(!problem.origin.is_empty() && !problem.found.is_empty(), "{problem:?}");
        assert_ne!(problem.mend, "please report this", "{problem}");
        tells_nothing(text, &problem.to_string());
    }
}

fn accepted(text: &str, sources: Sources, loaded: Loaded) {
    check_problems(text, &loaded.warnings);
    let shown = loaded.effective.to_toml();
    let values = values(&loaded);
    tells_nothing(text, &shown);
    tells_nothing(text, &loaded.effective.to_json().to_string());
    works(loaded);
    // The environment ranks above files, so that only its secrets are kept.
    let is_setting = |name: &str| {
        name.to_ascii_uppercase().starts_with("FLOWGATE__") || name.eq_ignore_ascii_case("VITE_CORS_ORIGIN")
    };
    let environment = sources.environment.into_iter().filter(|(name, _)| !is_setting(name)).collect();
    let again = Sources { texts: vec![("shown.toml".into(), shown.clone())], environment, ..sources };
    match load(&again) {
        // Of arrays that layers have erased and filled anew, those entries come back that the defaults have.
        Ok(again) => {
            let again = self::values(&again);
            for (key, value) in &values {
                assert_eq!(again.get(key), Some(value), "{key}\n{shown}");
            }
        }
        Err(problems) => panic!("{problems}\n{shown}"),
    }
}

/// The settings without their origins.
fn values(loaded: &Loaded) -> Map<String, Value> {
    let Value::Object(mut settings) = loaded.effective.to_json() else { panic!("settings are no object") };
    for setting in settings.values_mut() {
        *setting = setting["value"].take();
    }
    settings
}

/// What a server does with a policy first.
fn works(loaded: Loaded) {
    let policy = loaded.policy;
    // An issuer's HTTPS client reads the system's certificates, which takes longer than everything else together.
    if policy.auth.issuers.iter().all(|issuer| matches!(issuer.key, KeyMaterial::Keys(_))) {
        Verifier::new(&policy.auth).expect("keys were checked");
    }
    let now = crate::noon();
    let red: [Arc<str>; 1] = ["red".into()];
    let listening =
        Audience::new(&policy, &AudienceCounters::default()).listens(&peer(&["red"]), &red, now.wall);
    listening[0].hears.judge(&Topic { kind: Some("task-updated".into()), task_id: None });
    let pipeline = Pipeline::new(Arc::new(policy), Vec::new(), now);
    let sender = pipeline.sender(Arc::new(peer(&["red"])), now);
    let text = r#"["database-change",{"type":"task-updated","taskId":1}]"#;
    let _ = pipeline.decide(&sender, text, EventId::next(), now);
}

/// Where the input holds the secret itself, a message may quote the input.
fn tells_nothing(text: &str, shown: &str) {
    assert!(!shown.contains(SECRET) || text.contains("Gx7"), "the secret is shown: {shown}");
}
