//! Vectors: every frame goes through `process` on the host and through the object in the kernel,
//! and both must agree to the last byte of the last table.
//!
//! They need root, to load the object.

mod answer;
mod clock;
mod decap;
mod directory;
mod fit;
mod fragments;
mod full;
mod helpers;
mod icmp;
mod ipv6;
mod marks;
mod masquerade;
mod random;
mod refuse;
mod route;
mod schedule;
mod schedule_hash;
mod schedule_load;
mod schedule_many;
mod schedule_recall;
mod state;
mod tunnel;
mod vlan;
