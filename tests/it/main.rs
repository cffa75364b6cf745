//! Tests of the whole sidecar over real sockets.

mod config;
