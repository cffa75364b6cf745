//! From a decision to the members' connections.
//!
//! [`frame`] encodes once; [`local`] publishes to the [`room`]s: in the feed that most members follow, and to each other
//! [`member`] by itself, directly or through the protocol library; [`flusher`] writes at the end of the tick, a feed's
//! followers in a [`round`].

pub mod flusher;
pub mod frame;
pub mod local;
pub mod member;
pub mod room;
pub mod round;
