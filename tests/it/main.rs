//! Tests of the whole sidecar over real sockets.

mod admission;
mod audience;
mod bytes;
mod config;
mod docs;
mod drain;
mod feeds;
mod harness;
mod hostile;
mod http;
mod inbound;
mod internal;
mod jwks;
mod keys;
mod limits;
mod modes;
mod order;
mod plugin;
mod process;
mod proxy_protocol;
mod rooms;
mod rules;
mod shipped;
mod slow_reader;
mod tls;
mod tokens;
