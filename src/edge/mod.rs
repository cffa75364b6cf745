//! HTTP on the public port, before Socket.IO: who may open a session at all, and how much of everything.
//!
//! A connection is accepted ([`accept`]), perhaps introduced by a proxy ([`proxy_protocol`]) and encrypted ([`tls`]); each of its requests passes [`front`], which reads its [`query`] and asks
//! [`origin`], [`proxy`] and [`caps`] before the protocol library sees it, and completes the library's [`handshake`].

pub mod accept;
pub mod caps;
pub mod front;
mod handshake;
pub mod origin;
pub mod proxy;
pub mod proxy_protocol;
pub mod query;
pub mod tls;
