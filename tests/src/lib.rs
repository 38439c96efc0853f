//! What the tests share.

pub mod nginx;
pub mod scene;
pub mod sniff;
pub mod udp;
