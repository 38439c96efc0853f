//! lb, line by line, but for the flow table: flows are in a hash map of the kernel's. What
//! `cargo xtask bench` compares lb's own table with.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(
    target_arch = "bpf",
    feature(asm_experimental_arch, core_intrinsics, linkage),
    expect(
        internal_features,
        reason = "core::sync::atomic does not exist on this target"
    )
)]

#[cfg(target_arch = "bpf")]
#[path = "../../atomic.rs"]
mod atomic;
#[cfg(target_arch = "bpf")]
mod flows;
#[cfg(target_arch = "bpf")]
#[path = "../../frame.rs"]
mod frame;
#[cfg(target_arch = "bpf")]
#[expect(dead_code, reason = "lb's own flow table is not used here")]
#[path = "../../maps.rs"]
mod maps;
#[cfg(target_arch = "bpf")]
#[path = "../../programs.rs"]
mod programs;
#[cfg(target_arch = "bpf")]
#[path = "../../stages.rs"]
mod stages;
#[cfg(target_arch = "bpf")]
#[path = "../../tables.rs"]
mod tables;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
