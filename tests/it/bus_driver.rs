//! The driver of Redis by itself, against real servers.

mod cluster;
mod guarded;
mod load;
mod one;

use std::time::Duration;

use flowgate::bus::redis::{Address, Config, Driver, Event, Events, Phase, Servers};

use crate::harness::{until, within};
use crate::redis::Redis;

/// A driver, and what it tells.
struct Scene {
    driver: Driver,
    events: Events,
}

fn localhost(port: u16) -> Address {
    Address { host: "127.0.0.1".into(), port }
}

fn config(servers: Servers) -> Config {
    Config {
        servers,
        tls: None,
        username: None,
        password: None,
        connect_timeout: Duration::from_secs(5),
        response_timeout: Duration::from_secs(2),
    }
}

fn one(port: u16) -> Config {
    config(Servers::One { address: localhost(port), database: 0 })
}

impl Scene {
    /// Once it is up.
    async fn up(config: Config) -> Self {
        let mut scene = Scene::start(config);
        scene.until_event("it is up", |event| *event == Event::Up).await;
        scene
    }

    fn start(config: Config) -> Self {
        let (driver, events) = Driver::start(config);
        Scene { driver, events }
    }

    async fn next(&mut self) -> Event {
        within("an event", self.events.recv()).await.unwrap()
    }

    /// The first event of the kind; those before it are left out.
    async fn until_event(&mut self, what: &str, is_it: impl Fn(&Event) -> bool) -> Event {
        let found = async {
            loop {
                let event = self.events.recv().await.unwrap();
                if is_it(&event) {
                    return event;
                }
            }
        };
        within(what, found).await
    }

    /// Wants channels, and waits until all of them are heard.
    async fn subscribe(&mut self, channels: &[&str]) {
        channels.iter().for_each(|channel| self.driver.subscribe(channel));
        self.subscribed(channels).await;
    }

    /// Waits until each of the channels is said to be heard.
    async fn subscribed(&mut self, channels: &[&str]) {
        let mut left: Vec<&str> = channels.to_vec();
        while !left.is_empty() {
            let event =
                self.until_event("a subscription", |event| matches!(event, Event::Subscribed { .. })).await;
            let Event::Subscribed { channel } = event else { unreachable!() };
            left.retain(|wanted| *wanted != &*channel);
        }
    }

    /// Waits until the channels are said to be interrupted, and nothing else.
    async fn interrupted(&mut self) -> Vec<String> {
        let event =
            self.until_event("an interruption", |event| matches!(event, Event::Interrupted { .. })).await;
        let Event::Interrupted { channels } = event else { unreachable!() };
        let mut channels: Vec<_> = channels.iter().map(|channel| channel.to_string()).collect();
        channels.sort();
        channels
    }

    /// The next message, whatever else comes before it.
    async fn message(&mut self) -> (String, String) {
        let event = self.until_event("a message", |event| matches!(event, Event::Message { .. })).await;
        let Event::Message { channel, payload } = event else { unreachable!() };
        (channel.to_string(), String::from_utf8(payload.to_vec()).unwrap())
    }

    async fn publish(&self, channel: &str, payload: &str) {
        let reached = self.driver.publish([(channel, payload.as_bytes())]).await;
        assert_eq!(reached.len(), 1);
        reached.into_iter().for_each(|reached| _ = reached.unwrap());
    }

    async fn until_phase(&self, phase: Phase) {
        until(&format!("{phase:?}"), async || self.driver.state().phase == phase).await;
    }
}

fn said(channel: &str, payload: &str) -> (String, String) {
    (channel.to_owned(), payload.to_owned())
}
