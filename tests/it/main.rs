//! Tests of the whole sidecar over real sockets.

mod config;
mod jwks;
mod keys;
mod tokens;
