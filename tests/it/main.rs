//! Tests of the whole sidecar over real sockets.

mod jwks;
mod keys;
mod tokens;
