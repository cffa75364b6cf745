//! The driver: connections to one Redis or Valkey server, or to the masters of a cluster. It publishes, subscribes and carries
//! commands, and knows nothing of what they are about.
//!
//! To each server there are two connections, so that a flood on one does not delay the other: [`lane`] for commands, [`ear`]
//! for subscriptions. Each reconnects by itself ([`backoff`]). Nothing is sent again by the driver: a command that had no
//! answer failed, and whoever gave it decides. Subscriptions are wishes ([`desk`]), which are fulfilled whenever that is
//! possible; what was perhaps missed is told.
//!
//! It speaks RESP3 (Redis 6 and later, Valkey; a cluster needs Redis 7 for its sharded channels).
//!
//! # Permissions
//!
//! The driver itself uses `HELLO`, which needs none, `SELECT` where a database is named, `PING`, `PUBLISH`, `SUBSCRIBE` and
//! `UNSUBSCRIBE`; in a cluster `SPUBLISH`, `SSUBSCRIBE`, `SUNSUBSCRIBE`, `CLUSTER SLOTS` and `ASKING` instead. So an ACL user
//! needs `+ping +publish +subscribe +unsubscribe` (`+select`), or `+ping +spublish +ssubscribe +sunsubscribe +cluster|slots
//! +asking`, the channels (`&flowgate:*`), and what is [called](Driver::call) otherwise.

mod backoff;
mod board;
mod cluster;
mod config;
mod desk;
mod driver;
mod ear;
mod error;
mod events;
mod fleet;
mod lane;
mod link;
mod map;
mod place;
mod server;
mod slots;

pub use board::{Phase, State};
pub use config::{Address, Config, Password, Servers, Tls};
pub use driver::Driver;
pub use error::{CallError, Refusal};
pub use events::{Event, Events};
