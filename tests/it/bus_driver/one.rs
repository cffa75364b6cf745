//! One server: order, and every way in which it can go away.

use std::time::Duration;

use flowgate::bus::redis::{CallError, Driver, Event, Password, Phase, Servers};
use redis::Value;

use super::{Redis, Scene, localhost, one, said};
use crate::harness::{until, within};
use crate::redis::Cutter;

#[tokio::test]
async fn messages_come_in_the_order_in_which_they_were_published() {
    let server = Redis::start(&[]);
    let mut scene = Scene::up(one(server.port)).await;
    scene.subscribe(&["a", "b"]).await;
    let messages: Vec<(String, String)> =
        (0..1000).map(|number| said(if number % 3 == 0 { "a" } else { "b" }, &number.to_string())).collect();
    for batch in messages.chunks(100) {
        let batch = batch.iter().map(|(channel, payload)| (channel.as_str(), payload.as_bytes()));
        assert_eq!(scene.driver.publish(batch).await, vec![Ok(1); 100]);
    }
    for message in messages {
        assert_eq!(scene.message().await, message);
    }
}

#[tokio::test]
async fn a_channel_that_is_wanted_no_more_is_left() {
    let server = Redis::start(&[]);
    let mut scene = Scene::up(one(server.port)).await;
    scene.subscribe(&["a", "b"]).await;
    scene.driver.unsubscribe("a");
    until("a is left", async || server.ask::<Vec<String>>("PUBSUB CHANNELS") == ["b"]).await;
    scene.publish("a", "nobody hears it").await;
    scene.publish("b", "heard").await;
    assert_eq!(scene.message().await, said("b", "heard"));

    // Taken back and renewed at once, it is heard, and said to be.
    scene.driver.unsubscribe("b");
    scene.subscribe(&["b"]).await;
    scene.publish("b", "again").await;
    assert_eq!(scene.message().await, said("b", "again"));
}

#[tokio::test]
async fn commands_are_answered_one_by_one() {
    let server = Redis::start(&[]);
    let scene = Scene::up(one(server.port)).await;
    let set = redis::cmd("SET").arg("k").arg(1).to_owned();
    assert_eq!(scene.driver.call(b"k", &set).await, Ok(Value::Okay));
    let (wrong, get) =
        (redis::cmd("LPUSH").arg("k").arg(2).to_owned(), redis::cmd("GET").arg("k").to_owned());
    let answers = scene.driver.pipeline([(b"k".as_slice(), &wrong), (b"k", &get)]).await;
    let Err(CallError::Refused(refusal)) = &answers[0] else { panic!("{answers:?}") };
    assert_eq!(&*refusal.code, "WRONGTYPE");
    assert_eq!(answers[1], Ok(Value::BulkString(b"1".to_vec())));
    assert_eq!(scene.driver.pipeline([]).await, []);
}

#[tokio::test]
async fn commands_are_about_the_database_of_the_settings() {
    let server = Redis::start(&[]);
    let mut config = one(server.port);
    config.servers = Servers::One { address: localhost(server.port), database: 3 };
    let scene = Scene::up(config).await;
    let set = redis::cmd("SET").arg("k").arg(1).to_owned();
    assert_eq!(scene.driver.call(b"k", &set).await, Ok(Value::Okay));
    let keys: String = server.ask("INFO keyspace");
    assert!(keys.contains("db3:keys=1") && !keys.contains("db0:"), "{keys}");
}

#[tokio::test]
async fn a_server_that_has_become_a_replica_is_looked_up_again() {
    let server = Redis::start(&[]);
    let scene = Scene::up(one(server.port)).await;
    let set = redis::cmd("SET").arg("k").arg(1).to_owned();
    let () = server.ask("REPLICAOF 127.0.0.1 1");
    let Err(CallError::Refused(refusal)) = scene.driver.call(b"k", &set).await else { panic!() };
    assert_eq!(&*refusal.code, "READONLY");
    until("it says why", async || {
        scene
            .driver
            .state()
            .last_error
            .is_some_and(|why| why.ends_with("it is a replica, which takes no writes"))
    })
    .await;
    let () = server.ask("REPLICAOF NO ONE");
    until("it is written to", async || scene.driver.call(b"k", &set).await == Ok(Value::Okay)).await;
}

#[tokio::test]
async fn a_server_killed_and_started_again_is_subscribed_again() {
    let mut server = Redis::start(&[]);
    let mut scene = Scene::up(one(server.port)).await;
    scene.subscribe(&["a", "b"]).await;
    server.kill();
    assert_eq!(scene.interrupted().await, ["a", "b"]);
    scene.until_phase(Phase::Away).await;
    let get = redis::cmd("GET").arg("k").to_owned();
    assert_eq!(scene.driver.call(b"k", &get).await, Err(CallError::Away));
    // Wishes are taken while it is away.
    scene.driver.unsubscribe("a");
    scene.driver.subscribe("c");
    server.start_again();
    scene.subscribed(&["b", "c"]).await;
    scene.until_phase(Phase::Up).await;
    for channel in ["a", "b", "c"] {
        scene.publish(channel, "again").await;
    }
    assert_eq!(scene.message().await, said("b", "again"));
    assert_eq!(scene.message().await, said("c", "again"));
}

#[tokio::test]
async fn going_away_and_coming_back_is_told_once_each() {
    let mut server = Redis::start(&[]);
    let mut scene = Scene::up(one(server.port)).await;
    server.kill();
    let Event::Down { why } = scene.next().await else { panic!() };
    assert!(why.contains(&format!("127.0.0.1:{}", server.port)), "{why}");
    server.start_again();
    assert_eq!(scene.next().await, Event::Up);
    assert_eq!(scene.driver.state().ups, 2);
}

#[tokio::test]
async fn a_server_that_stands_still_is_noticed() {
    let server = Redis::start(&[]);
    let mut scene = Scene::up(one(server.port)).await;
    scene.subscribe(&["a"]).await;
    let get = redis::cmd("GET").arg("k").to_owned();
    server.stop();
    assert_eq!(within("an answer", scene.driver.call(b"k", &get)).await, Err(CallError::Lost));
    assert_eq!(scene.interrupted().await, ["a"]);
    scene.until_phase(Phase::Away).await;
    assert_eq!(scene.driver.call(b"k", &get).await, Err(CallError::Away));
    server.go_on();
    scene.subscribed(&["a"]).await;
    scene.until_phase(Phase::Up).await;
    assert_eq!(scene.driver.call(b"k", &get).await, Ok(Value::Nil));
    scene.publish("a", "again").await;
    assert_eq!(scene.message().await, said("a", "again"));
}

#[tokio::test]
async fn a_connection_cut_in_the_middle_of_a_message_delivers_no_part_of_it() {
    let server = Redis::start(&[]);
    let cutter = Cutter::start(server.address()).await;
    let mut scene = Scene::up(one(cutter.port)).await;
    let publisher = Scene::up(one(server.port)).await;
    scene.subscribe(&["a"]).await;
    let long = "x".repeat(100_000);
    publisher.publish("a", &long).await;
    assert_eq!(scene.message().await, said("a", &long));
    cutter.cut_after(50_000);
    publisher.publish("a", &long).await;
    let Event::Interrupted { .. } = scene
        .until_event("the cut", |event| {
            assert!(!matches!(event, Event::Message { .. }), "half a message");
            matches!(event, Event::Interrupted { .. })
        })
        .await
    else {
        unreachable!()
    };
    assert!(cutter.has_cut());
    scene.subscribed(&["a"]).await;
    publisher.publish("a", "whole").await;
    assert_eq!(scene.message().await, said("a", "whole"));
}

#[tokio::test]
async fn answers_before_a_cut_count_and_those_after_it_are_lost() {
    let server = Redis::start(&[]);
    let cutter = Cutter::start(server.address()).await;
    let scene = Scene::up(one(cutter.port)).await;
    let long = "x".repeat(10_000);
    let echo = redis::cmd("ECHO").arg(&long).to_owned();
    cutter.cut_after(35_000);
    let answers = scene.driver.pipeline([(b"".as_slice(), &echo); 10]).await;
    // A PING may have taken some of the bytes.
    let (answered, lost) = answers.split_at(3);
    assert!(
        answered.iter().all(|answer| *answer == Ok(Value::BulkString(long.clone().into_bytes()))),
        "{answered:?}"
    );
    assert!(lost.iter().all(|answer| *answer == Err(CallError::Lost)), "{lost:?}");
    scene.until_phase(Phase::Up).await;
    until("it answers again", async || scene.driver.call(b"", &echo).await.is_ok()).await;
}

#[tokio::test]
async fn only_a_connection_that_breaks_is_made_anew() {
    let server = Redis::start(&[]);
    let mut scene = Scene::up(one(server.port)).await;
    scene.subscribe(&["a"]).await;
    let set = redis::cmd("SET").arg("k").arg(1).to_owned();
    let before = server.ask::<String>("CLIENT LIST TYPE normal");
    let _: i64 = server.ask("CLIENT KILL TYPE pubsub");
    // The driver's own channel is what it was.
    assert_eq!(scene.interrupted().await, ["a"]);
    assert_eq!(scene.driver.call(b"k", &set).await, Ok(Value::Okay));
    scene.subscribed(&["a"]).await;
    assert!(before.contains("name=flowgate"), "{before}");
}

#[tokio::test]
async fn a_wrong_password_is_told_without_being_shown() {
    let server = Redis::start(&["--requirepass", "the-right-one"]);
    for password in [Some("hunter2"), None] {
        let mut config = one(server.port);
        config.password = password.map(|password| Password::new(password.to_owned()));
        let scene = Scene::start(config);
        until("it says why", async || scene.driver.state().last_error.is_some()).await;
        let why = scene.driver.state().last_error.unwrap();
        let expected = format!("127.0.0.1:{}: it refused the user or the password", server.port);
        assert!(why.starts_with(&expected), "{why}");
        assert!(!why.contains("hunter2") && !format!("{:?}", scene.driver).contains("hunter2"), "{why}");
        assert_eq!(scene.driver.state().phase, Phase::Connecting);
    }
    let mut config = one(server.port);
    config.password = Some(Password::new("the-right-one".to_owned()));
    Scene::up(config).await;
}

#[tokio::test]
async fn nobody_there_is_told_and_found_when_it_comes() {
    let mut server = Redis::start(&[]);
    server.kill();
    let mut scene = Scene::start(one(server.port));
    scene.driver.subscribe("a");
    until("it says why", async || scene.driver.state().last_error.is_some()).await;
    let why = scene.driver.state().last_error.unwrap();
    assert!(why.contains("cannot connect"), "{why}");
    server.start_again();
    scene.subscribed(&["a"]).await;
}

#[tokio::test]
async fn a_server_that_never_says_a_word_is_no_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = one(listener.local_addr().unwrap().port());
    config.connect_timeout = Duration::from_millis(200);
    let scene = Scene::start(config);
    until("it says why", async || scene.driver.state().last_error.is_some()).await;
    let why = scene.driver.state().last_error.unwrap();
    assert!(why.ends_with("no welcome within the time for connecting"), "{why}");
}

#[tokio::test]
async fn its_connections_end_with_the_driver() {
    let server = Redis::start(&[]);
    let scene = Scene::up(one(server.port)).await;
    let ours = || server.ask::<String>("CLIENT LIST").matches("name=flowgate").count();
    until("both are there", async || ours() == 2).await;
    let Scene { driver, mut events } = scene;
    let clone: Driver = driver.clone();
    drop(driver);
    assert_eq!(ours(), 2);
    drop(clone);
    until("none is left", async || ours() == 0).await;
    while within("the end", events.recv()).await.is_some() {}
}
