//! From a decision to the members' connections.

pub mod flusher;
pub mod frame;
pub mod local;
