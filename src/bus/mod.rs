//! The bus: what several nodes tell each other through Redis.

pub mod redis;
