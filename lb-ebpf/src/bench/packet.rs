//! Packet memory: one bounds check, then loads and stores of any width at constant offsets.

use aya_ebpf::programs::XdpContext;

/// The first `N` bytes of a packet, known to be there until the head or tail is moved.
#[derive(Clone, Copy)]
pub(crate) struct Head<const N: usize>(*mut u8);

impl<const N: usize> Head<N> {
    /// The packet's first `N` bytes, or none if it is shorter.
    #[inline(always)]
    pub(crate) fn of(ctx: &XdpContext) -> Option<Self> {
        let start = ctx.data();
        if start + N > ctx.data_end() {
            return None;
        }
        Some(Self(start as *mut u8))
    }

    /// The value at `OFFSET`, bytes as they are in the packet.
    #[inline(always)]
    pub(crate) fn load<const OFFSET: usize, T: Word>(self) -> T {
        const { assert!(OFFSET + size_of::<T>() <= N) };
        // SAFETY: `of` checked that N bytes are there, the assertion that the value is within
        // them; every bit pattern is a `Word`. BPF loads need no alignment.
        unsafe { *self.0.add(OFFSET).cast::<T>() }
    }

    /// Stores a value at `OFFSET` with one instruction, so that a load of the same bytes can be
    /// answered from the store.
    #[inline(always)]
    pub(crate) fn store<const OFFSET: usize, T: Word>(self, value: T) {
        const { assert!(OFFSET + size_of::<T>() <= N) };
        // SAFETY: as in `load`; packet memory is this CPU's alone while the program runs.
        // Volatile, or the compiler merges and splits stores.
        unsafe { self.0.add(OFFSET).cast::<T>().write_volatile(value) }
    }
}

/// An integer that one instruction loads or stores.
pub(crate) trait Word: Copy {}
impl Word for u8 {}
impl Word for u16 {}
impl Word for u32 {}
impl Word for u64 {}

/// Folds a sum of 16-bit words to the ones' complement checksum of them.
#[inline(always)]
pub(crate) fn checksum(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

/// The sum of a 32-bit word's two halves.
#[inline(always)]
pub(crate) fn halves(word: u32) -> u32 {
    (word & 0xffff) + (word >> 16)
}
