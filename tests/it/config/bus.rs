//! `[bus]`: what leads to other nodes, what is refused, and what deserves a second look.

use std::fs;
use std::path::Path;
use std::time::Duration;

use flowgate::config::bus::{Bus, Driver, Redis};
use flowgate::config::content::Look;
use flowgate::config::{self, policy::Policy};

use super::Given;

/// The folder has a password, secrets of 64 bytes, one that is too short, and a certificate with its key and another.
fn given(text: &str) -> Given {
    let given = Given::file(text)
        .env("PASSWORD", "hunter2\n")
        .env("EMPTY", "")
        .env("ONE", &"1".repeat(64))
        .env("TWO", &"2".repeat(64))
        .env("SHORT", &"s".repeat(31));
    let write = |name: &str, content: &[u8]| fs::write(given.folder.path().join(name), content).unwrap();
    write("password", b"hunter3\r\n");
    write("empty", b"");
    write("three", "3".repeat(32).as_bytes());
    for (name, fixture) in [("crt", "p256.cert.pem"), ("key", "p256.pem"), ("other", "p256-other.pem")] {
        let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/keys");
        write(name, &fs::read(keys.join(fixture)).unwrap());
    }
    given
}

fn redis(policy: &Policy) -> &Redis {
    match &policy.bus.driver {
        Driver::Redis(redis) => redis,
        Driver::None => panic!("there is none"),
    }
}

fn secrets(bus: &Bus) -> Vec<&[u8]> {
    bus.hmac.iter().map(|secret| secret.expose()).collect()
}

#[test]
fn a_node_is_alone_by_default_and_called_as_its_machine() {
    let bus = Given::file("").policy().bus;
    assert!(matches!(bus.driver, Driver::None) && bus.hmac.is_empty());
    assert_eq!(*bus.node, *fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim());
    assert_eq!(bus.max_queued, 8 << 20);
}

#[test]
fn one_server_by_default() {
    let policy = given("bus.driver = \"redis\"\nbus.node = \"web-1\"").policy();
    let there = redis(&policy);
    assert_eq!((&*policy.bus.node, there.servers[0].to_string()), ("web-1", "127.0.0.1:6379".into()));
    assert_eq!((there.servers.len(), there.database, there.cluster), (1, 0, false));
    assert_eq!((&*there.prefix, &there.username, there.password.is_none()), ("flowgate", &None, true));
    let timeouts = (there.connect_timeout, there.response_timeout);
    assert_eq!(timeouts, (Duration::from_secs(2), Duration::from_secs(2)));
    assert!(there.tls.is_none());
}

#[test]
fn everything_that_leads_there_can_be_said() {
    let text = "[bus]\ndriver = \"redis\"\n[bus.redis]\nurl = \"rediss://[2001:db8::7]:6390/3\"\nprefix = \"app:a\"\n\
                username = \"flow\"\npassword_env = \"PASSWORD\"\nca_file = \"crt\"\ncertificate_file = \"crt\"\n\
                key_file = \"key\"\n[bus.hmac]\nsecret_env = [\"TWO\", \"ONE\"]";
    let given = given(text);
    let policy = given.policy();
    let there = redis(&policy);
    assert_eq!((there.servers[0].to_string(), there.database), ("[2001:db8::7]:6390".into(), 3));
    assert_eq!((&*there.prefix, there.username.as_deref()), ("app:a", Some("flow")));
    assert_eq!(there.password.as_ref().unwrap().expose(), b"hunter2");
    let tls = there.tls.as_ref().unwrap();
    let pem = |bytes: &[u8]| pem::parse(bytes).unwrap().tag().to_owned();
    assert_eq!(pem(tls.authorities.as_ref().unwrap()), "CERTIFICATE");
    let client = tls.client.as_ref().unwrap();
    assert_eq!(
        (pem(&client.certificate), pem(client.key.expose())),
        ("CERTIFICATE".into(), "PRIVATE KEY".into())
    );
    assert_eq!(secrets(&policy.bus), ["2".repeat(64).as_bytes(), "1".repeat(64).as_bytes()]);
    assert_eq!(given.load().unwrap().warnings, []);
    let shown = format!("{policy:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("2222") && !shown.contains("PRIVATE"), "{shown}");
}

#[test]
fn a_cluster_has_several_and_secrets_stand_in_files_too() {
    let text = "[bus]\ndriver = \"redis\"\n[bus.redis]\ncluster = true\nurl = [\"redis://127.0.0.1:7000\", \"redis://localhost\"]\n\
                password_file = \"password\"\n[bus.hmac]\nsecret_file = \"three\"";
    let given = given(text);
    let policy = given.policy();
    let there = redis(&policy);
    let servers: Vec<String> = there.servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["127.0.0.1:7000", "localhost:6379"]);
    assert_eq!(there.password.as_ref().unwrap().expose(), b"hunter3");
    assert_eq!(secrets(&policy.bus), ["3".repeat(32).as_bytes()]);
    let listed = Given::file("bus.driver = \"redis\"")
        .env("FLOWGATE__BUS__REDIS__URL", "redis://127.0.0.1:1,redis://127.0.0.1:2")
        .env("FLOWGATE__BUS__REDIS__CLUSTER", "true");
    assert_eq!(redis(&listed.policy()).servers.len(), 2);
}

/// Whoever waits for a change of files waits for these too.
#[test]
fn its_files_are_looked_at() {
    let text =
        "bus.driver = \"redis\"\nbus.redis.password_file = \"password\"\nbus.hmac.secret_file = \"three\"";
    let given = given(text);
    let reading = config::read(&given.sources);
    assert!(Look::at(&given.sources.paths, &reading.files) == reading.look);
    for file in ["password", "three"] {
        fs::write(given.folder.path().join(file), "4".repeat(40)).unwrap();
        let next = config::read(&given.sources);
        assert!(next.look != reading.look, "{file}");
    }
    let (before, after) =
        (reading.result.unwrap().content, config::read(&given.sources).result.unwrap().content);
    let changes: Vec<String> = after.changes_since(&before).iter().map(|change| change.key.clone()).collect();
    assert_eq!(changes, ["bus.hmac.secret_file", "bus.redis.password_file"]);
    assert_eq!(before.hash(), after.hash(), "no secret goes into it");
}

/// What a file says, with `driver = "redis"` before it, and a part of the only line that answers it.
#[rustfmt::skip] // One case a line.
const IMPOSSIBLE: &[(&str, &str)] = &[
    ("bus.node = \"\"", "bus.node: found an empty name; write at most 64 visible ASCII characters"),
    ("bus.node = \"a b\"", "bus.node: \"a b\" holds what is not visible ASCII"),
    ("bus.node = \"nöde\"", "bus.node: \"nöde\" holds what is not visible ASCII"),
    ("bus.max_queued = \"32KiB\"", "bus.max_queued: 32768 bytes hold less than one event of limits.payload.hard_max_bytes, 65536"),
    ("bus.max_queued = 0", "bus.max_queued: 0 lets nothing through"),
    ("bus.redis.url = []", "bus.redis.url: 0 addresses; write \"redis://127.0.0.1:6379\", or a list of at most 32"),
    ("bus.redis.url = \"127.0.0.1:6379\"", "bus.redis.url: this is not a URL; write one such as \"redis://127.0.0.1:6379\""),
    ("bus.redis.url = \"http://a\"", "bus.redis.url: this begins neither with redis:// nor with rediss://"),
    ("bus.redis.url = \"unix:///run/redis\"", "bus.redis.url: sockets of the file system are not supported"),
    ("bus.redis.url = \"redis://\"", "bus.redis.url: there is no host in it"),
    ("bus.redis.url = \"redis:///1\"", "bus.redis.url: there is no host in it"),
    ("bus.redis.url = \"redis://a/x\"", "bus.redis.url: \"/x\" is not the number of a database; write one such as \"redis://127.0.0.1:6379/1\""),
    ("bus.redis.url = \"redis://a?protocol=3\"", "bus.redis.url: there is more behind the address"),
    ("bus.redis.url = \"redis://:hunter2@a\"", "bus.redis.url: there is a name or a password in it, and settings are shown; write bus.redis.username, and password_env"),
    ("bus.redis.url = \"redis://hunter2@a\"", "bus.redis.url: there is a name or a password in it"),
    ("bus.redis.url = [\"redis://a\", \"redis://b\"]", "bus.redis.url: 2 addresses without bus.redis.cluster = true; write cluster = true"),
    ("bus.redis.url = [\"redis://a\", \"b\"]\nbus.redis.cluster = true", "bus.redis.url[1]: this is not a URL"),
    ("bus.redis.url = [\"redis://a\", \"rediss://b\"]\nbus.redis.cluster = true", "bus.redis.url: redis:// beside rediss://"),
    ("bus.redis.url = \"redis://127.0.0.1/1\"\nbus.redis.cluster = true", "bus.redis.url: a database, while bus.redis.cluster = true"),
    ("bus.redis.prefix = \"\"", "bus.redis.prefix: \"\" cannot begin the name of a channel"),
    ("bus.redis.prefix = \"a{b}\"", "bus.redis.prefix: \"a{b}\" cannot begin the name of a channel; write at most 64 letters"),
    ("bus.redis.connect_timeout = \"0s\"", "bus.redis.connect_timeout: \"0s\" is no time at all"),
    ("bus.redis.response_timeout = \"2\"", "bus.redis.response_timeout: \"2\" is not a duration"),
    ("bus.redis.username = \"a\"", "bus.redis.username: a name without a password; write password_env or password_file"),
    ("bus.redis.username = \" \"", "bus.redis.username: found an empty name"),
    ("bus.redis.password_env = \"hunter2\"", "bus.redis.password_env: the environment variable that this names is not set"),
    ("bus.redis.password_env = \"UNSET\"", "bus.redis.password_env: the environment variable UNSET is not set; set UNSET"),
    ("bus.redis.password_env = \"EMPTY\"", "bus.redis.password_env: this password is empty"),
    ("bus.redis.password_file = \"empty\"", "bus.redis.password_file: empty is empty"),
    ("bus.redis.password_env = \"PASSWORD\"\nbus.redis.password_file = \"password\"", "bus.redis.password_file: password_env and password_file together; keep one"),
    ("bus.redis.ca_file = \"crt\"", "bus.redis.ca_file: there is no TLS over redis://, which this is for; write rediss://"),
    ("bus.redis.url = \"rediss://a\"\nbus.redis.ca_file = \"key\"", "bus.redis.ca_file: there are no certificates in it, or more than those"),
    ("bus.redis.url = \"rediss://a\"\nbus.redis.ca_file = \"nowhere\"", "bus.redis.ca_file: nowhere cannot be read"),
    ("bus.redis.url = \"rediss://a\"\nbus.redis.certificate_file = \"crt\"", "bus.redis.certificate_file: a certificate without its key; write key_file"),
    ("bus.redis.url = \"rediss://a\"\nbus.redis.key_file = \"key\"", "bus.redis.key_file: a key without its certificate; write certificate_file"),
    ("bus.redis.url = \"rediss://a\"\nbus.redis.certificate_file = \"crt\"\nbus.redis.key_file = \"other\"", "bus.redis.key_file: this is not the key of the first certificate in certificate_file"),
    ("bus.hmac.secret_env = \"SHORT\"", "bus.hmac.secret_env: this secret is 31 bytes long; use at least 32 bytes"),
    ("bus.hmac.secret_env = [\"ONE\", \"SHORT\"]", "bus.hmac.secret_env[1]: this secret is 31 bytes long"),
    ("bus.hmac.secret_env = \"UNSET\"", "bus.hmac.secret_env: the environment variable UNSET is not set"),
    ("bus.hmac.secret_file = \"nowhere\"", "bus.hmac.secret_file: nowhere cannot be read"),
    ("bus.hmac.secret_file = \"three\"\nbus.hmac.secret_env = \"ONE\"", "bus.hmac.secret_file: secret_env and secret_file together"),
    ("bus.hmac.secret_env = [\"ONE\", \"TWO\", \"ONE\", \"TWO\", \"ONE\"]", "bus.hmac.secret_env: 5 secrets; keep 4 at most"),
];

#[test]
fn what_cannot_lead_anywhere_is_refused_with_its_mend() {
    for (text, expected) in IMPOSSIBLE {
        let problems = given(&format!("bus.driver = \"redis\"\n{text}")).problems();
        assert!(
            problems.starts_with(&format!("app.toml: {expected}"))
                && problems.ends_with("\n1 problem in the configuration"),
            "{text}\nwants {expected}\nhas   {problems}"
        );
        assert!(!problems.contains("hunter2"), "{problems}");
    }
    let problems = given("bus.driver = \"nats\"").problems();
    assert!(problems.contains("bus.driver: found \"nats\"; write `none` or `redis`"), "{problems}");
}

#[test]
fn what_strangers_could_read_or_write_is_warned_of() {
    let far = "bus.driver = \"redis\"\nbus.redis.url = \"redis://redis:6379\"";
    let signed = "bus.hmac.secret_env = \"ONE\"";
    let password = "bus.redis.password_env = \"PASSWORD\"";
    let unsigned =
        "app.toml: bus.redis.url: whoever can write to redis:6379, or sits on the way, can announce changes";
    let plain = "app.toml: bus.redis.url: the password goes to redis:6379 over a network in plain text";
    for (text, expected) in [
        (far.to_owned(), &[unsigned][..]),
        (format!("{far}\n{password}"), &[plain, unsigned]),
        (format!("{far}\n{password}\n{signed}"), &[plain]),
        (format!("{far}\n{signed}"), &[]),
        (format!("bus.driver = \"redis\"\n{password}"), &[]),
        ("bus.driver = \"redis\"\nbus.redis.url = \"rediss://redis\"".into(), &[]),
        (
            "bus.redis.url = \"redis://redis\"".into(),
            &[
                "app.toml: bus.redis.url: has no effect with bus.driver = \"none\"; write bus.driver = \"redis\"",
            ],
        ),
    ] {
        let loaded = given(&text).load().unwrap_or_else(|problems| panic!("{text}: {problems}"));
        let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings.len(), expected.len(), "{text}: {warnings:?}");
        for (warning, expected) in std::iter::zip(&warnings, expected) {
            let expected = expected.trim_start_matches("app.toml: ");
            assert!(warning.contains(expected), "wants {expected}\nhas {warning}");
        }
    }
}

/// A policy is tried, and a node runs alone, where neither Redis nor its secrets are.
#[test]
fn what_is_not_used_is_not_asked_for() {
    let text = "[bus.redis]\npassword_env = \"UNSET\"\n[bus.hmac]\nsecret_file = \"nowhere\"";
    assert!(given(text).policy().bus.hmac.is_empty());
    let mut tried = given(&format!("[bus]\ndriver = \"redis\"\n{text}"));
    assert!(tried.load().is_err());
    tried.sources.without_keys = true;
    assert!(tried.policy().bus.hmac.is_empty());
}
