//! The task that says every second that this node is there, and at once to who has just come; it hears by that whether it is heard.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use tokio::time::{MissedTickBehavior, interval};

use super::control::Control;
use super::envelope::Body;
use super::nodes::Nodes;
use super::redis::CallError;
use super::roster::EVERY;
use super::trouble::Trouble;
use crate::relay::bus::Bus as _;

/// Says so for as long as it is polled, until this node has left.
pub async fn beat(nodes: Arc<Nodes>, control: Arc<Control>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut trouble = Trouble::default();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = nodes.has_company.notified() => {}
        }
        if nodes.has_left.load(Ordering::Acquire) {
            return;
        }
        let alive = Body::alive(nodes.origin, &nodes.name, Some(control.about()), SystemTime::now());
        let said = nodes.say(&alive).await;
        if said.is_ok() {
            nodes.roster.lock().has_said();
        }
        if trouble.is_to_be_said(said.is_ok(), Instant::now()) {
            say_why(&nodes, said.err());
        }
    }
}

/// Has the log say why other nodes do not hear this one, be it that Redis was never reached.
fn say_why(nodes: &Nodes, error: Option<CallError>) {
    let why = match error {
        Some(CallError::Refused(refusal)) => Some(refusal.to_string()),
        _ => nodes.driver.load().state().last_error.map(|why| why.to_string()),
    };
    tracing::warn!(
        bus = nodes.state().as_str(),
        why,
        "other nodes do not hear of this one, which serves its own clients and tries again"
    );
}
