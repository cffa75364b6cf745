//! Once per socket: from a token to a peer.

pub mod claims;
pub mod jwks;
pub mod keys;
pub mod source;
pub mod token;
