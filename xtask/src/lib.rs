//! Build, lab, demo, bench and test of lb: a library, so that tests use the same pieces as the
//! verbs of `cargo xtask`. A verb has a module of its own, named like it.

pub mod bench;
pub mod build;
pub mod ci;
pub mod demo;
pub mod lab;
pub mod load;
pub mod pages;
pub mod serve;
pub mod setup;
pub mod test;
pub mod vm;
