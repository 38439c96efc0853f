//! What the tests of the command line share.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its part of this module"
)]

pub mod call;
pub mod languages;
pub mod machine;
pub mod names;
pub mod rule_sets;
pub mod server;
pub mod table;
pub mod transcript;
