//! Build, lab, demo, bench and test of lb.

pub mod bench;
