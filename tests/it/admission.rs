//! Who is let in, how the others are turned away, and that nothing of anybody is left behind.

mod left_behind;
mod refused;
mod sources;
