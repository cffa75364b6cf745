//! The bus: what several nodes tell each other through Redis.
//!
//! What they say is an [`envelope`] on a [`channel`], perhaps under a [`seal`]. The [`outbox`] holds what waits for Redis, the
//! [`inbox`] knows what has come from each node, the [`roster`] which nodes there are, and [`interest`] which channels are
//! listened to. Where something may have been missed the members are told to fetch everything ([`resync`]). All of it goes through
//! the driver ([`redis`]), which knows nothing of it. What Socket.IO servers in Node
//! say to each other is in [`node_format`].
//!
//! What concerns all nodes and no team is in [`control`].
//!
//! [`nodes`] is what those see who relay and admit. What they give it is carried out by tasks: one hands over what waits, one
//! hears what others say, and one says every second that this node is there. Where all nodes keep one history it is in [`streams`],
//! and [`sharing`] is what this node has to do with it; a fourth task follows its time.

pub mod channel;
pub mod control;
pub mod envelope;
pub mod inbox;
pub mod interest;
mod listening;
pub mod node_format;
pub mod nodes;
pub mod outbox;
mod pulse;
pub mod redis;
pub mod resync;
pub mod roster;
pub mod seal;
mod sending;
pub mod settings;
pub mod sharing;
pub mod streams;
mod trouble;

use std::sync::Arc;

use self::control::Control;
use self::listening::Listener;
use self::nodes::Nodes;
use self::redis::Events;
use crate::edition::Current;
use crate::relay::chronicle::Chronicle;

/// Carries on for as long as it is polled.
pub type Task = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// What is to run while this node is one of several: it tells the members of `chronicle` what others relay, by the policy in force.
pub fn tasks(
    nodes: &Arc<Nodes>,
    events: Events,
    current: Arc<Current>,
    chronicle: Arc<Chronicle>,
    control: &Arc<Control>,
) -> [Task; 4] {
    let listener = Listener::new(nodes.clone(), events, current, chronicle.clone(), control.clone());
    [
        Box::pin(sending::send(nodes.clone())),
        Box::pin(listener.run()),
        Box::pin(pulse::beat(nodes.clone(), control.clone())),
        Box::pin(sharing::keep_time(nodes.clone(), chronicle)),
    ]
}
