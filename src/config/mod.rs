//! Configuration: files and environment in, a checked [`policy::Policy`] out.

pub mod key_material;
pub mod policy;
