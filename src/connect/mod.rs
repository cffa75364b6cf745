//! Once per socket: from a token to a [`Peer`](crate::peer::Peer).
//!
//! [`source`] finds the token, [`token`] verifies it with [`keys`] (fetched by [`jwks`] where they are), [`claims`]
//! reads what it vouches for, of which [`evidence`] is kept; [`rooms`] says where the peer listens, [`audience`] what it hears
//! there, and [`admission`] puts these together.

pub mod admission;
pub mod audience;
pub mod claims;
pub mod evidence;
pub mod jwks;
pub mod keys;
pub mod rooms;
pub mod source;
pub mod token;
pub mod users;
