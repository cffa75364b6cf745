//! Tests of the whole sidecar over real sockets.

mod harness;

mod admission;
mod bytes;
mod config;
mod drain;
mod hostile_frames;
mod http;
mod jwks;
mod keys;
mod limits;
mod order;
mod process;
mod rooms;
mod slow_reader;
mod tokens;
