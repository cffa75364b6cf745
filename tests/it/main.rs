//! Tests of the whole sidecar over real sockets.

mod harness;

mod admission;
mod bytes;
mod config;
mod jwks;
mod keys;
mod limits;
mod order;
mod rooms;
mod tokens;
