//! Tests of the whole sidecar over real sockets.

mod harness;

mod admission;
mod bytes;
mod config;
mod docs;
mod jwks;
mod keys;
mod limits;
mod order;
mod plugin;
mod proxy_protocol;
mod rooms;
mod tls;
mod tokens;
