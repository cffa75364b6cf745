//! The task that says every second that this node is there, and at once to who has just come; it hears by that whether it is heard.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use tokio::time::{MissedTickBehavior, interval};

use super::control::Control;
use super::envelope::Body;
use super::nodes::Nodes;
use super::roster::EVERY;

/// Says so for as long as it is polled, until this node has left.
pub async fn beat(nodes: Arc<Nodes>, control: Arc<Control>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = nodes.has_company.notified() => {}
        }
        if nodes.has_left.load(Ordering::Acquire) {
            return;
        }
        let alive = Body::alive(nodes.origin, &nodes.name, Some(control.about()), SystemTime::now());
        if nodes.say(&alive).await {
            nodes.roster.lock().has_said();
        }
    }
}
