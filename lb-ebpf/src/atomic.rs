//! Atomic operations on map memory.
//!
//! `core::sync::atomic` has no read-modify-write operations on this target, and its loads crash
//! the compiler; the intrinsics below become the kernel's BPF_ATOMIC instructions.
#![expect(unsafe_code, reason = "operations on raw map memory")]

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd};
use lb_common::addr::Addr;

const ORDER: AtomicOrdering = AtomicOrdering::SeqCst;

/// A word of map memory that others change at the same time.
pub(crate) struct Shared<T>(*mut T);

impl<T: Copy> Shared<T> {
    /// # Safety
    ///
    /// `pointer` must point to a `T` in a map's memory, aligned, for as long as this is used.
    #[inline(always)]
    pub(crate) unsafe fn new(pointer: *mut T) -> Self {
        Self(pointer)
    }

    /// Reads the word.
    #[inline(always)]
    pub(crate) fn get(&self) -> T {
        // SAFETY: by the contract of `new`; volatile, so that it is one load and stays one.
        unsafe { self.0.read_volatile() }
    }

    /// Stores the word. For words that only one party writes.
    #[inline(always)]
    pub(crate) fn set(&self, value: T) {
        // SAFETY: by the contract of `new`; volatile, so that it is one store.
        unsafe { self.0.write_volatile(value) }
    }
}

impl Shared<Addr> {
    /// Reads the address, by halves: they are aligned wherever an address lies in a map.
    #[inline(always)]
    pub(crate) fn halves(&self) -> Addr {
        Addr::from_halves(Shared(self.0.cast::<[u64; 2]>()).get())
    }

    /// Stores the address, by halves.
    #[inline(always)]
    pub(crate) fn set_halves(&self, value: Addr) {
        Shared(self.0.cast::<[u64; 2]>()).set(value.halves());
    }
}

impl Shared<u64> {
    /// Puts `new` in the place of `old`; false when another word stood there.
    #[inline(always)]
    pub(crate) fn swap_if(&self, old: u64, new: u64) -> bool {
        // SAFETY: by the contract of `Shared::new`.
        unsafe { atomic_cxchg::<u64, ORDER, ORDER>(self.0, old, new).1 }
    }

    /// Adds to the word.
    #[inline(always)]
    pub(crate) fn add(&self, value: u64) {
        // SAFETY: by the contract of `Shared::new`.
        unsafe { atomic_xadd::<u64, u64, ORDER>(self.0, value) };
    }
}

impl Shared<u32> {
    /// Adds to the word, around its end.
    #[inline(always)]
    pub(crate) fn add(&self, value: i32) {
        // SAFETY: by the contract of `Shared::new`.
        unsafe { atomic_xadd::<u32, u32, ORDER>(self.0, value as u32) };
    }
}

/// A field of a struct in map memory, as a shared word.
macro_rules! field {
    ($pointer:expr) => {
        // SAFETY: the pointer comes from a map lookup, so it is valid and aligned for its type
        // while the program runs.
        unsafe { $crate::atomic::Shared::new($pointer) }
    };
    ($pointer:expr, $($field:tt)+) => {
        // SAFETY: the pointer comes from a map lookup, so it is valid and aligned for its type
        // while the program runs; only the field's address is taken.
        unsafe { $crate::atomic::Shared::new(&raw mut (*$pointer).$($field)+) }
    };
}
pub(crate) use field;
