//! What arrives on a public socket: one test for each kind of attack, against the real binary over real sockets. Each
//! asserts what becomes of the attacker, that the process lives, and that an honest team, connected throughout, sends
//! and hears before, during and after it.

mod addresses;
mod events;
mod floods;
mod frames;
mod handshake;
mod jwks;
mod operations;
mod origin;
mod payloads;
mod readers;
mod scene;
mod secrets;
mod sessions;
mod stages;
mod tokens;
