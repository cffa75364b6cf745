//! Tests of the whole sidecar over real sockets.

mod config;
mod docs;
mod jwks;
mod keys;
mod plugin;
mod tokens;
