//! From a decision to the members' connections.
//!
//! [`frame`] encodes once; [`local`] finds the [`room`]s and hands the frame to each [`member`], directly or through the
//! protocol library; [`flusher`] writes at the end of the tick.

pub mod flusher;
pub mod frame;
pub mod local;
pub mod member;
pub mod room;
