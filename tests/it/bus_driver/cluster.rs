//! Three masters: every message and command finds its shard, also when that changes.

use flowgate::bus::redis::{CallError, Config, Event, Phase, Servers};
use redis::Value;

use super::{Scene, config, localhost, said};
use crate::harness::{until, within};
use crate::redis::Cluster;

/// Of three channels, one on each master, in the order of these.
const CHANNELS: [&str; 3] = ["t:{bar}", "t:{c}", "t:{foo}"];

/// A driver that is told of one node only.
fn of(cluster: &Cluster) -> Config {
    config(Servers::Cluster(vec![localhost(cluster.nodes[0].port)]))
}

fn owners(cluster: &Cluster) -> Vec<usize> {
    CHANNELS.iter().map(|channel| cluster.owner(channel)).collect()
}

#[tokio::test]
async fn messages_cross_all_three_shards_in_order() {
    let cluster = Cluster::start(&[]);
    let mut shards = owners(&cluster);
    shards.sort_unstable();
    assert_eq!(shards, [0, 1, 2], "the channels are to be on different masters");
    let mut scene = Scene::up(of(&cluster)).await;
    scene.subscribe(&CHANNELS).await;
    let messages: Vec<_> = (0..300).map(|number| said(CHANNELS[number % 3], &number.to_string())).collect();
    for batch in messages.chunks(50) {
        let batch = batch.iter().map(|(channel, payload)| (channel.as_str(), payload.as_bytes()));
        assert_eq!(scene.driver.publish(batch).await, vec![Ok(1); 50]);
    }
    let mut heard = Vec::new();
    for _ in &messages {
        heard.push(scene.message().await);
    }
    // Each channel keeps its order; between shards there is none.
    for channel in CHANNELS {
        let of_channel = |all: &[(String, String)]| -> Vec<String> {
            all.iter().filter(|(name, _)| name == channel).map(|(_, payload)| payload.clone()).collect()
        };
        assert_eq!(of_channel(&heard), of_channel(&messages));
    }
}

#[tokio::test]
async fn commands_find_the_server_of_their_key() {
    let cluster = Cluster::start(&[]);
    let scene = Scene::up(of(&cluster)).await;
    let keys: Vec<String> = (0..50).map(|number| format!("key-{number}")).collect();
    let sets: Vec<_> = keys.iter().map(|key| redis::cmd("SET").arg(key).arg(key).to_owned()).collect();
    let sets = keys.iter().zip(&sets).map(|(key, set)| (key.as_bytes(), set));
    assert_eq!(scene.driver.pipeline(sets).await, vec![Ok(Value::Okay); keys.len()]);
    for key in &keys {
        let get = redis::cmd("GET").arg(key).to_owned();
        let answer = scene.driver.call(key.as_bytes(), &get).await;
        assert_eq!(answer, Ok(Value::BulkString(key.clone().into_bytes())));
    }
}

#[tokio::test]
async fn a_channel_whose_slot_moves_is_interrupted_and_heard_where_it_is_now() {
    let cluster = Cluster::start(&[]);
    let mut scene = Scene::up(of(&cluster)).await;
    let other = Scene::up(of(&cluster)).await;
    scene.subscribe(&CHANNELS).await;
    let (moving, to) = (CHANNELS[2], (cluster.owner(CHANNELS[2]) + 1) % 3);
    cluster.migrate(moving, to);
    assert_eq!(scene.interrupted().await, [moving]);
    scene.subscribed(&[moving]).await;
    until("its new owner has it", async || {
        cluster.nodes[to].ask::<Vec<String>>("PUBSUB SHARDCHANNELS").contains(&moving.to_owned())
    })
    .await;
    // Who knows the old map is told, and finds it.
    other.publish(moving, "moved").await;
    assert_eq!(scene.message().await, said(moving, "moved"));
    scene.publish(CHANNELS[0], "stayed").await;
    assert_eq!(scene.message().await, said(CHANNELS[0], "stayed"));
    let set = redis::cmd("SET").arg("{foo}").arg(1).to_owned();
    assert_eq!(other.driver.call(b"{foo}", &set).await, Ok(Value::Okay));
}

/// It is over before anybody can draw a map, so no map tells of it; the server does.
#[tokio::test]
async fn a_slot_that_goes_away_and_comes_back_at_once_has_interrupted_its_channels() {
    let cluster = Cluster::start(&[]);
    let mut scene = Scene::up(of(&cluster)).await;
    scene.subscribe(&CHANNELS).await;
    let (here, slot) = (cluster.owner("foo"), 12182);
    let ids: Vec<String> = cluster.nodes.iter().map(|node| node.ask("CLUSTER MYID")).collect();
    let give = |id: &str| redis::cmd("CLUSTER").arg("SETSLOT").arg(slot).arg("NODE").arg(id).to_owned();
    let mut both = redis::pipe();
    both.atomic().add_command(give(&ids[(here + 1) % 3])).add_command(give(&ids[here]));
    let () = both.query(&mut cluster.nodes[here].connect()).unwrap();
    assert_eq!(scene.interrupted().await, [CHANNELS[2]]);
    scene.subscribed(&[CHANNELS[2]]).await;
    scene.publish(CHANNELS[2], "again").await;
    assert_eq!(scene.message().await, said(CHANNELS[2], "again"));
}

#[tokio::test]
async fn a_key_on_its_way_is_asked_for_where_it_goes() {
    let cluster = Cluster::start(&[]);
    let scene = Scene::up(of(&cluster)).await;
    let (from, slot) = (cluster.owner("foo"), 12182);
    let to = (from + 1) % 3;
    let ids: Vec<String> = cluster.nodes.iter().map(|node| node.ask("CLUSTER MYID")).collect();
    let () = cluster.nodes[to].ask(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", ids[from]));
    let () = cluster.nodes[from].ask(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", ids[to]));
    let set = redis::cmd("SET").arg("foo").arg("new").to_owned();
    assert_eq!(scene.driver.call(b"foo", &set).await, Ok(Value::Okay));
    assert_eq!(cluster.nodes[to].ask::<u64>(&format!("CLUSTER COUNTKEYSINSLOT {slot}")), 1);
    let get = redis::cmd("GET").arg("foo").to_owned();
    assert_eq!(scene.driver.call(b"foo", &get).await, Ok(Value::BulkString(b"new".to_vec())));
}

#[tokio::test]
async fn a_master_killed_takes_only_its_own_slots_along() {
    // With the others going on; by default all of a cluster stops when a slot is not served.
    let mut cluster = Cluster::start(&["--cluster-require-full-coverage", "no"]);
    let mut scene = Scene::up(of(&cluster)).await;
    scene.subscribe(&CHANNELS).await;
    let shards = owners(&cluster);
    let (lost, kept) = (CHANNELS[2], CHANNELS[1]);
    // The one that the settings name may be among those that are gone.
    cluster.nodes[shards[2]].kill();
    assert_eq!(scene.interrupted().await, [lost]);
    scene.until_phase(Phase::Away).await;
    scene.publish(kept, "goes on").await;
    assert_eq!(scene.message().await, said(kept, "goes on"));
    let failed = within("an answer", scene.driver.publish([(lost, b"nobody".as_slice())])).await;
    assert_eq!(failed, [Err(CallError::Away)]);

    cluster.nodes[shards[2]].start_again();
    scene.subscribed(&[lost]).await;
    cluster.wait_until_whole();
    scene.until_phase(Phase::Up).await;
    until("it is published again", async || {
        scene.driver.publish([(lost, b"again".as_slice())]).await == [Ok(1)]
    })
    .await;
    assert_eq!(scene.message().await, said(lost, "again"));
}

#[tokio::test]
async fn the_first_server_that_answers_says_where_the_others_are() {
    let cluster = Cluster::start(&[]);
    let seeds = vec![localhost(1), localhost(cluster.nodes[1].port)];
    let mut scene = Scene::up(config(Servers::Cluster(seeds))).await;
    scene.subscribe(&CHANNELS).await;
}

#[tokio::test]
async fn a_server_that_is_no_cluster_is_told_of() {
    let server = crate::redis::Redis::start(&[]);
    let scene = Scene::start(config(Servers::Cluster(vec![localhost(server.port)])));
    until("it says why", async || scene.driver.state().last_error.is_some()).await;
    let why = scene.driver.state().last_error.unwrap();
    let expected = format!("127.0.0.1:{}: it refused CLUSTER SLOTS", server.port);
    assert!(why.starts_with(&expected), "{why}");
    let answer = scene.driver.call(b"k", redis::cmd("GET").arg("k")).await;
    assert_eq!(answer, Err(CallError::Away));
}

#[tokio::test]
async fn many_channels_of_a_cluster_are_subscribed_again_after_a_break() {
    let cluster = Cluster::start(&[]);
    let mut scene = Scene::up(of(&cluster)).await;
    let channels: Vec<String> = (0..3000).map(|number| format!("t:{{team-{number}}}")).collect();
    let names: Vec<&str> = channels.iter().map(String::as_str).collect();
    scene.subscribe(&names).await;
    let mut interrupted = Vec::new();
    for node in &cluster.nodes {
        let _: i64 = node.ask("CLIENT KILL TYPE pubsub");
    }
    while interrupted.len() < channels.len() {
        let event =
            scene.until_event("interruptions", |event| matches!(event, Event::Interrupted { .. })).await;
        let Event::Interrupted { channels } = event else { unreachable!() };
        interrupted.extend(channels);
    }
    until("all are subscribed again", async || {
        let counts = cluster.nodes.iter().map(|node| node.ask::<Vec<String>>("PUBSUB SHARDCHANNELS").len());
        counts.sum::<usize>() == channels.len()
    })
    .await;
}
