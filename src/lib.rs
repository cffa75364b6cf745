//! flowgate: a hardened sidecar in front of untrusted Socket.IO clients.

#![warn(clippy::unwrap_used, clippy::expect_used)]

pub mod cli;
pub mod config;
pub mod connect;
pub mod event;
pub mod message;
pub mod peer;
pub mod reject;
