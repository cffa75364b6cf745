//! Much at once: many channels, and more than the user takes.

use std::collections::HashSet;

use flowgate::bus::redis::{CallError, Event};

use super::{Redis, Scene, one};
use crate::harness::{until, within};

#[tokio::test]
async fn twenty_thousand_channels_are_subscribed_and_again_after_a_break() {
    let server = Redis::start(&[]);
    let mut scene = Scene::up(one(server.port)).await;
    let channels: Vec<String> = (0..20_000).map(|number| format!("flowgate:t:{{team-{number}}}")).collect();
    channels.iter().for_each(|channel| scene.driver.subscribe(channel));
    confirmed(&mut scene, channels.len()).await;
    let _: i64 = server.ask("CLIENT KILL TYPE pubsub");
    assert_eq!(scene.interrupted().await.len(), channels.len());
    confirmed(&mut scene, channels.len()).await;
    for channel in [&channels[0], &channels[19_999]] {
        scene.publish(channel, "heard").await;
        assert_eq!(scene.message().await.0, *channel);
    }
}

async fn confirmed(scene: &mut Scene, number: usize) {
    let all = async {
        let mut heard = HashSet::new();
        while heard.len() < number {
            if let Event::Subscribed { channel } = scene.events.recv().await.unwrap() {
                heard.insert(channel);
            }
        }
    };
    within("all are confirmed", all).await;
}

/// What the user does not take stays in Redis until that lets go of the connection, which is told.
#[tokio::test]
async fn a_user_who_takes_nothing_makes_the_driver_stop_reading() {
    let server = Redis::start(&["--client-output-buffer-limit", "pubsub 32mb 0 0"]);
    let mut scene = Scene::up(one(server.port)).await;
    scene.subscribe(&["a"]).await;
    let payload = vec![b'x'; 1 << 20];
    let waiting = || {
        let clients: String = server.ask("CLIENT LIST TYPE pubsub");
        let waits =
            clients.split_once("omem=").and_then(|(_, rest)| rest.split(' ').next()?.parse::<u64>().ok());
        waits.unwrap_or_default()
    };
    // In the driver's queue there is room for eight; some more are in the kernel, and the next ones wait in Redis.
    let mut published = 0;
    while waiting() < 8 << 20 {
        assert_eq!(scene.driver.publish([("a", payload.as_slice())]).await, [Ok(1)]);
        published += 1;
        assert!(published < 200, "they are read without being taken");
    }
    // Commands are not held up by it, and nothing is missing once they are taken.
    for _ in 0..published {
        assert_eq!(scene.message().await.1.len(), payload.len());
    }
    // Past Redis's own limit the connection breaks, which is told.
    until("Redis has let go of it", async || {
        scene.driver.publish([("a", payload.as_slice())]).await == [Ok(0)]
    })
    .await;
    assert_eq!(scene.interrupted().await, ["a"]);
    scene.subscribed(&["a"]).await;
}

#[tokio::test]
async fn many_who_ask_at_once_are_all_answered() {
    let server = Redis::start(&[]);
    let scene = Scene::up(one(server.port)).await;
    let asked: Vec<_> = (0..5000)
        .map(|number| {
            let driver = scene.driver.clone();
            tokio::spawn(async move { driver.call(b"", redis::cmd("ECHO").arg(number)).await })
        })
        .collect();
    for (number, asked) in asked.into_iter().enumerate() {
        assert_eq!(
            within("an answer", asked).await.unwrap(),
            Ok(redis::Value::BulkString(number.to_string().into_bytes()))
        );
    }
}

#[tokio::test]
async fn those_who_wait_behind_a_server_that_stands_still_are_told() {
    let server = Redis::start(&[]);
    let scene = Scene::up(one(server.port)).await;
    server.stop();
    let asked: Vec<_> = (0..5000)
        .map(|_| {
            let driver = scene.driver.clone();
            tokio::spawn(async move { driver.call(b"", &redis::cmd("PING")).await })
        })
        .collect();
    for asked in asked {
        let answer = within("an answer", asked).await.unwrap();
        assert!(matches!(answer, Err(CallError::Lost | CallError::Away | CallError::Busy)), "{answer:?}");
    }
    server.go_on();
}
