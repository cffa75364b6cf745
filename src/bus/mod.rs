//! The bus: what several nodes tell each other through Redis.

pub mod node_format;
pub mod redis;
