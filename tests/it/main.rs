//! Tests of the whole sidecar over real sockets.

mod harness;

mod admission;
mod bytes;
mod config;
mod jwks;
mod keys;
mod limits;
mod order;
mod proxy_protocol;
mod rooms;
mod tls;
mod tokens;
