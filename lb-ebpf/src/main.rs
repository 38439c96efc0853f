//! The XDP programs of lb.
//!
//! Adapters only: what is decided is decided in `lb-common`. For the host this crate is an empty
//! program, so that the ordinary tools see it; `lb-agent`'s build script compiles it for the
//! kernel.
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
mod atomic;
#[cfg(target_arch = "bpf")]
mod buckets;
#[cfg(target_arch = "bpf")]
mod frame;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod programs;
#[cfg(target_arch = "bpf")]
mod real_server;
#[cfg(target_arch = "bpf")]
mod stages;
#[cfg(target_arch = "bpf")]
mod tables;

#[cfg(not(target_arch = "bpf"))]
fn main() {
    eprintln!("lb-ebpf runs in the kernel: `cargo build -p lb-agent` compiles and embeds it");
}
