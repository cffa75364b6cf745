//! The policies under which packets are decided: the shipped ones, and one for each way in which they may be changed.

use std::sync::{Arc, LazyLock};

use flowgate::config::policy::Policy;
use flowgate::config::{Sources, load};
use flowgate::event::fixtures::{event, peer_of, per_second};
use flowgate::event::{Pipeline, Sender};
use flowgate::peer::Standing;

use crate::noon;

/// One policy, and peers of every kind that send under it.
pub struct World {
    /// For messages.
    pub name: &'static str,
    /// What the pipeline acts on.
    pub policy: Arc<Policy>,
    /// Decides.
    pub pipeline: Pipeline,
    /// Peers of every kind.
    pub senders: Vec<Sender>,
}

const ISSUER: &str = "
[[auth.issuers]]
name = 'app'
algorithms = ['HS256']
secret_env = 'APP_SECRET'
";

const STRICT_ISSUER: &str = "
[[auth.issuers]]
name = 'app'
algorithms = ['ES256']
public_key_file = '../tests/fixtures/keys/p256.pub.pem'
";

/// Fields of every kind, one that must be there, and teams named in the payload.
const FIELDS: &str = "
[events.database-change]
team_field = 'team'
unknown_fields = 'strip'
[events.database-change.fields]
s = { kind = 'string', max_length = 8 }
i = { kind = 'integer' }
n = { kind = 'number' }
b = { kind = 'boolean' }
o = { kind = 'object', max_length = 3 }
a = { kind = 'array', max_length = 3 }
";

const PASS: &str = "
[rooms]
multi_team = 'all'
without_team = 'admit'
[events.database-change]
team_field = 'team'
unknown_fields = 'pass'
sender = 'exclude'
timestamp = { presence = 'required', max_age = '1h' }
task_id = { kinds = ['string'], max_length = 4 }
[[events.database-change.types]]
match = '*'
task_id = 'required'
";

/// All of them, made once.
pub static WORLDS: LazyLock<Vec<World>> = LazyLock::new(|| {
    vec![
        World::new("default", &[ISSUER]),
        World::new("strict", &[include_str!("../../config/strict.toml"), STRICT_ISSUER]),
        World::new("photoflow", &[include_str!("../../config/photoflow.toml")]),
        World::new("fields", &[ISSUER, FIELDS]),
        World::new("pass", &[ISSUER, PASS]),
    ]
});

/// Rates that a handful of packets use up; see [`limited`].
static LIMITED: LazyLock<Arc<Policy>> = LazyLock::new(|| {
    let mut policy = policy(&[ISSUER, PASS]);
    policy.limits.events.per_address = per_second(1_000_000_000);
    let events = &mut policy.limits.events;
    events.per_socket = per_second(2);
    events.per_user = per_second(3);
    events.per_team = per_second(6);
    Arc::new(policy)
});

/// A pipeline with all its buckets full, where a socket may send 2 events, a user 3, and a team take 6. Of its four senders
/// the first two are one user; all are in one team.
pub fn limited() -> World {
    let pipeline = Pipeline::new(LIMITED.clone(), Vec::new(), noon());
    let sender = |subject| {
        let peer = peer_of(Standing::Verified, Some(subject), &["red"], None);
        pipeline.sender(Arc::new(peer), noon())
    };
    let senders = vec![sender("ada"), sender("ada"), sender("bob"), sender("cleo")];
    World { name: "limited", policy: LIMITED.clone(), pipeline, senders }
}

impl World {
    fn new(name: &'static str, texts: &[&str]) -> Self {
        let mut policy = policy(texts);
        let plenty = per_second(1_000_000_000);
        let events = &mut policy.limits.events;
        (events.per_socket, events.per_user) = (plenty, plenty);
        (events.per_address, events.per_team) = (plenty, plenty);
        let policy = Arc::new(policy);
        let pipeline = Pipeline::new(policy.clone(), Vec::new(), noon());
        let senders = [
            peer_of(Standing::Verified, Some("ada"), &["red"], None),
            peer_of(Standing::Verified, Some("bob"), &["red", "blue", "größe"], None),
            peer_of(Standing::Verified, Some("cleo"), &["red", "blue"], Some("blue")),
            peer_of(Standing::Verified, Some("dan"), &[], None),
            peer_of(Standing::Anonymous, None, &["red"], None),
            peer_of(Standing::Open, None, &["everyone"], None),
        ];
        let senders = senders.map(|peer| pipeline.sender(Arc::new(peer), noon())).into();
        World { name, policy, pipeline, senders }
    }
}

/// The texts over the defaults, and an event `any` of any payload that may name a team, which only embedders can have.
fn policy(texts: &[&str]) -> Policy {
    // Paths in the texts begin at this crate, wherever the fuzzer was started.
    let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests");
    let texts = texts.iter().map(|text| ("fuzz".to_owned(), text.replace("../tests", keys)));
    let sources = Sources {
        texts: texts.collect(),
        environment: vec![("APP_SECRET".into(), "s".repeat(64))],
        ..Sources::default()
    };
    let mut policy = load(&sources).unwrap_or_else(|problems| panic!("{problems}")).policy;
    policy.events.insert("any".into(), Arc::new(event("any", None)));
    policy
}
