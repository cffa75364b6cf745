//! Tests of the whole sidecar over real sockets.

mod harness;

mod config;
mod jwks;
mod keys;
mod order;
mod tokens;
