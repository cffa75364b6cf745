//! One client's link: the guarded TCP connection ([`outlet`], and the byte stream the library sees, [`outlet_io`]), the
//! [`feed`] of a room that it follows, the Engine.IO [`session`] on it, and the [`tally`] of what the library still has to write, read
//! from the frames it wrote ([`websocket`]), with TLS above it ([`plaintext`]). What the client sends is told apart
//! ([`inbound`]) as it is read ([`inbound_io`]). How much waits for one client at most is a [`peak`]. Operators [`disconnect`] and [`revoke`].

pub mod disconnect;
pub mod feed;
pub mod inbound;
pub mod inbound_io;
pub mod outlet;
pub mod outlet_io;
pub mod peak;
pub mod plaintext;
pub mod revoke;
pub mod session;
pub mod tally;
pub mod websocket;
