//! TLS, with certificates on both sides, and a user who may do no more than the driver's documentation says.

use flowgate::bus::redis::{Address, CallError, Config, Password, Servers, Tls};

use super::{Redis, Scene, config, localhost, one, said};
use crate::harness::until;
use crate::redis::{Authority, Cluster};

/// What the documentation of `bus::redis` asks for, of one server.
const MINIMAL: &str = "bus on >hunter2 resetchannels &bus:* -@all +ping +publish +subscribe +unsubscribe";
/// Likewise, of a cluster.
const MINIMAL_IN_CLUSTER: &str = "bus on >hunter2 resetchannels &bus:* -@all \
    +ping +spublish +ssubscribe +sunsubscribe +cluster|slots +asking";

fn tls(authority: &Authority, has_certificate: bool) -> Tls {
    let (ca, certificate, key) =
        (authority.read("ca.crt"), authority.read("tls.crt"), authority.read("tls.key"));
    let identity = (certificate.as_slice(), key.as_slice());
    Tls::new(Some(&ca), has_certificate.then_some(identity)).unwrap()
}

fn as_user(mut config: Config) -> Config {
    config.username = Some("bus".to_owned());
    config.password = Some(Password::new("hunter2".to_owned()));
    config
}

async fn trouble(config: Config) -> String {
    let scene = Scene::start(config);
    until("it says why", async || scene.driver.state().last_error.is_some()).await;
    scene.driver.state().last_error.unwrap().to_string()
}

async fn works(config: Config) {
    let mut scene = Scene::up(config).await;
    scene.subscribe(&["bus:a", "bus:b"]).await;
    scene.publish("bus:a", "hello").await;
    assert_eq!(scene.message().await, said("bus:a", "hello"));
    scene.driver.unsubscribe("bus:a");
    scene.publish("bus:b", "over").await;
    assert_eq!(scene.message().await, said("bus:b", "over"));
}

#[tokio::test]
async fn tls_checks_the_server_and_shows_a_certificate() {
    let authority = Authority::new();
    let server = Redis::start_tls(&authority, &[]);
    let mut config = one(server.port);
    config.tls = Some(tls(&authority, true));
    works(config.clone()).await;

    // By its name as by its address.
    config.servers =
        Servers::One { address: Address { host: "localhost".to_owned(), port: server.port }, database: 3 };
    works(config.clone()).await;

    config.tls = Some(tls(&authority, false));
    let why = trouble(config.clone()).await;
    assert!(why.starts_with(&format!("localhost:{}: ", server.port)), "{why}");

    config.tls = Some(tls(&Authority::new(), true));
    let why = trouble(config.clone()).await;
    assert!(why.contains("the TLS handshake failed: invalid peer certificate"), "{why}");

    // Nor is it spoken to without.
    config.tls = None;
    trouble(config).await;
}

#[tokio::test]
async fn the_systems_certificates_do_not_vouch_for_one_of_our_own() {
    let authority = Authority::new();
    let server = Redis::start_tls(&authority, &["--tls-auth-clients", "no"]);
    let mut config = one(server.port);
    config.tls = Some(Tls::new(None, None).unwrap());
    let why = trouble(config.clone()).await;
    assert!(why.contains("the TLS handshake failed"), "{why}");
    config.tls = Some(tls(&authority, false));
    works(config).await;
}

#[tokio::test]
async fn a_user_needs_no_more_than_the_documentation_says() {
    // And there is no other.
    let user: Vec<&str> = MINIMAL.split_ascii_whitespace().collect();
    let server = Redis::start(&[&["--user", "default", "off", "--user"], &user[..]].concat());
    works(as_user(one(server.port))).await;

    let scene = Scene::up(as_user(one(server.port))).await;
    let refused = scene.driver.call(b"k", redis::cmd("SET").arg("k").arg(1)).await;
    let Err(CallError::Refused(refusal)) = refused else { panic!("{refused:?}") };
    assert_eq!(&*refusal.code, "NOPERM");

    // A channel that it may not hear is told of.
    scene.driver.subscribe("elsewhere");
    until("it says why", async || {
        scene.driver.state().last_error.is_some_and(|why| why.contains("it refused to subscribe: NOPERM"))
    })
    .await;

    let mut wrong = as_user(one(server.port));
    wrong.password = Some(Password::new("hunter3".to_owned()));
    let why = trouble(wrong).await;
    assert!(why.ends_with("it refused the user or the password (WRONGPASS)"), "{why}");
}

#[tokio::test]
async fn a_cluster_is_spoken_to_with_tls_and_a_user() {
    let authority = Authority::new();
    let cluster = Cluster::start_tls(&authority, &[]);
    for node in &cluster.nodes {
        let () = node.ask(&format!(
            "ACL SETUSER {}",
            MINIMAL_IN_CLUSTER.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
        ));
    }
    let seeds = vec![localhost(cluster.nodes[2].tls_port.unwrap())];
    let mut config = as_user(config(Servers::Cluster(seeds)));
    config.tls = Some(tls(&authority, true));
    works(config).await;
}
