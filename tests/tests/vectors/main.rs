//! Vectors: every frame goes through `process` on the host and through the object in the kernel,
//! and both must agree to the last byte of the last table.
//!
//! They need root, to load the object.

mod answer;
mod clock;
mod decap;
mod directory;
mod fit;
mod full;
mod ipv6;
mod masquerade;
mod random;
mod refuse;
mod route;
mod schedule;
mod state;
mod tunnel;
mod vlan;
