//! flowgate: a hardened sidecar in front of untrusted Socket.IO clients.
//!
//! # The life of a socket
//!
//! [`edge::accept`] takes the TCP connection and wraps it in an [`link::outlet`]. Each HTTP request passes
//! [`edge::front`]: path, origin, query, real client address, caps. A handshake opens a [`link::session`], which lives
//! until the protocol library lets go of it. CONNECT comes to [`namespace`], which asks [`connect::admission`] who this
//! is; the [`peer::Peer`] it makes joins its rooms in [`relay::local`]. Expiry, a slow reader, too many refusals or the
//! drain close the session's transport, and what it held is freed by `Drop`.
//!
//! # The life of an event
//!
//! The library calls [`namespace::entry`] with the packet's text. [`event::pipeline`] holds the only loop over the stages:
//! size and depth, rates, validation, authorization, rules, the embedder's own; then the route and the teams' own rate. What
//! passes is framed once ([`relay::frame`]), published to the rooms ([`relay::local`], [`link::feed`]) and written to every
//! member's connection ([`link::outlet`]) at the end of the tick ([`relay::flusher`]). Last, the answer.
//!
//! # Embedding
//!
//! [`server::Builder`] runs the sidecar inside another program, with [stages](event::pipeline::Stage) of its own.

#![warn(clippy::unwrap_used, clippy::expect_used)]

pub mod cli;
pub mod server;
mod survey;
pub mod trial;

pub mod internal;

pub mod edge;
pub mod namespace;
pub mod nodejs;
pub mod publish;

pub mod reload;
pub mod seat;

pub mod bus;

pub mod edition;

pub mod connect;
pub mod event;
pub mod relay;

pub mod link;

pub mod decision_log;
pub mod event_id;
pub mod filter;
pub mod hears;
pub mod message;
pub mod metrics;
pub mod name;
pub mod peer;
pub mod process;
pub mod reject;
pub mod revocation;

pub mod config;
pub mod unique_json;
