//! What Socket.IO servers in Node.js say to each other through Redis: messages as `@socket.io/redis-adapter` 8 (its classic
//! adapter) and `@socket.io/redis-emitter` 5 write them, read within bounds and written. Pure: bytes in, bytes out.
//!
//! A message is MessagePack, as the package `notepack.io` 3 writes it: `[uid, packet, opts]` with
//! `packet = {type: 2, data: [event, …arguments], nsp: "/"}` and `opts = {rooms: […], except: […], flags: {…}}`. It is published
//! once, to the channel of its only room or else to the general one ([`Channels`]).
//!
//! Not here, on purpose:
//! - Requests (`fetchSockets`, `socketsJoin`, `disconnectSockets`, `serverSideEmit`, broadcasts with an ack). They have a channel of
//!   their own, and whoever asks waits for as many answers as that channel has subscribers. flowgate does not subscribe to it,
//!   so it is not counted and nobody waits for it.
//! - The sharded adapter. Its requests come on the general channel itself, whose subscribers it counts; so whoever hears its
//!   broadcasts has to answer all its requests too.

mod broadcast;
mod channels;
mod item;
mod json;
mod number;
#[cfg(test)]
mod tests;
mod unreadable;
mod write;

pub use broadcast::{Broadcast, MOST_ROOMS, UID_PREFIX, read};
pub use channels::{Address, Channels};
pub use unreadable::Unreadable;
pub use write::{Unwritable, write};

/// How deep arrays and maps of a message may be nested: more than `limits.payload.max_depth` can be (100) with the message,
/// its packet and its data around the payload, and little enough for the stack.
pub const DEEPEST: usize = 128;
