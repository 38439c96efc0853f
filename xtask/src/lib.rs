//! Build, lab, demo, bench and test of lb.

pub mod bench;
pub mod demo;
pub mod lab;
pub mod load;
pub mod serve;
