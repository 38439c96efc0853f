//! The programs of `cargo xtask bench`: a ruler and what lb is compared with. They measure
//! lb's program from outside and are no part of it.
//!
//! | room | holds |
//! |---|---|
//! | `feeder` | the ruler: a fresh packet of a chosen flow for every repeat |
//! | `floor` | nothing, parsing alone |
//! | `kernel_maps` | balancing over the kernel's hash maps |
//! | `tuple`, `packet` | the comparison programs' parser, packet memory |
//! | `layout` | what user space shares with the feeder |
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![expect(
    unsafe_code,
    reason = "packet memory, map values and helpers are raw pointers"
)]

mod feeder;
mod floor;
mod kernel_maps;
mod layout;
mod packet;
mod tuple;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The helpers that change packets' heads want a licence compatible with the GPL.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
