//! Once per socket: from a token to a peer.
