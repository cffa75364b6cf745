//! The bus: what several nodes tell each other through Redis.
//!
//! What they say is an [`envelope`] on a [`channel`], perhaps under a [`seal`]. The [`outbox`] holds what waits for Redis, the
//! [`inbox`] knows what has come from each node, the [`roster`] which nodes there are, and [`interest`] which channels are
//! listened to. Where something may have been missed the members are told to fetch everything ([`resync`]). All of it goes through
//! the driver ([`redis`]), which knows nothing of it. What Socket.IO servers in Node
//! say to each other is in [`node_format`].

pub mod channel;
pub mod control;
pub mod envelope;
pub mod inbox;
pub mod interest;
pub mod node_format;
pub mod outbox;
pub mod redis;
pub mod resync;
pub mod roster;
pub mod seal;
