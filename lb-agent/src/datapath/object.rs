//! The compiled eBPF object, embedded by the build script.

/// The object's bytes at an address that an ELF reader can use.
#[repr(C, align(16))]
struct Aligned<T: ?Sized>(T);

static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(env!("LB_EBPF")));

/// The object.
#[must_use]
pub(crate) fn object() -> &'static [u8] {
    &OBJECT.0
}
