//! A BPF array as memory of this process.
//!
//! Values in it change under our feet: the program writes them on other CPUs. So nothing here
//! hands out a reference to a value, only to single atomic words; whole values are copied.
#![expect(unsafe_code, reason = "the kernel's arrays are mapped memory")]

use anyhow::Context as _;
use aya::maps::MapData;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// An array map made with BPF_F_MMAPABLE, `len` values of type `T`.
#[derive(Debug)]
pub(crate) struct Mapped<T> {
    base: NonNull<c_void>,
    len: u32,
    value: PhantomData<T>,
}

// SAFETY: the memory is shared with the kernel's programs in any case; it is accessed by atomic
// and volatile operations only, and mapping and map belong to no thread.
unsafe impl<T> Send for Mapped<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Mapped<T> {}

impl<T: FromBytes + IntoBytes + Immutable + Copy> Mapped<T> {
    /// Distance between two values: the kernel rounds a value's size up to eight bytes
    /// (kernel/bpf/arraymap.c: `array_map_alloc`).
    const STRIDE: usize = size_of::<T>().next_multiple_of(8);

    /// Maps an array. The mapping keeps the map alive.
    ///
    /// # Errors
    ///
    /// When its values are not of `T`'s size, or the kernel refuses.
    pub(crate) fn new(name: &str, map: &MapData) -> anyhow::Result<Self> {
        let info = map
            .info()
            .with_context(|| format!("map {name}: reading its shape"))?;
        let (len, size) = (info.max_entries(), info.value_size() as usize);
        anyhow::ensure!(
            size == size_of::<T>() && align_of::<T>() <= 4096,
            "map {name} has values of {size} bytes where this agent has {}; \
             another version made it: run `lb-agent detach` and start again",
            size_of::<T>(),
        );
        let bytes = NonZeroUsize::new(Self::STRIDE * len as usize)
            .with_context(|| format!("map {name} is empty"))?;
        // SAFETY: a fresh mapping of a file at an address of the kernel's choice.
        let base = unsafe {
            mmap(
                None,
                bytes,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
                map.fd(),
                0,
            )
        }
        .with_context(|| format!("map {name}: mapping {bytes} bytes"))?;
        Ok(Self {
            base,
            len,
            value: PhantomData,
        })
    }

    /// How many values there are.
    #[must_use]
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Copies a value out. While the program changes it, its words may be of different moments.
    #[must_use]
    pub(crate) fn load(&self, index: u32) -> T {
        // SAFETY: `value` points to a mapped value, aligned, of which every bit pattern is a `T`.
        unsafe { self.value(index).read_volatile() }
    }

    /// Copies a value in, for values that the program does not read now.
    pub(crate) fn store(&self, index: u32, value: T) {
        // SAFETY: `value` points to a mapped value, aligned.
        unsafe { self.value(index).write_volatile(value) }
    }

    /// The 64-bit word at `offset` in a value.
    #[must_use]
    pub(crate) fn word64(&self, index: u32, offset: usize) -> &AtomicU64 {
        // SAFETY: mapped, aligned (`at` checks), and alive as long as `self`.
        unsafe { AtomicU64::from_ptr(self.at(index, offset)) }
    }

    /// The 32-bit word at `offset` in a value.
    #[must_use]
    pub(crate) fn word32(&self, index: u32, offset: usize) -> &AtomicU32 {
        // SAFETY: mapped, aligned (`at` checks), and alive as long as `self`.
        unsafe { AtomicU32::from_ptr(self.at(index, offset)) }
    }

    /// A place of a `W` within a value.
    fn at<W>(&self, index: u32, offset: usize) -> *mut W {
        assert!(
            offset + size_of::<W>() <= size_of::<T>() && offset.is_multiple_of(align_of::<W>())
        );
        // SAFETY: within the value, just checked.
        unsafe { self.value(index).cast::<u8>().add(offset).cast() }
    }

    fn value(&self, index: u32) -> *mut T {
        assert!(index < self.len, "index {index} of {} values", self.len);
        // SAFETY: within the mapping, just checked.
        unsafe {
            self.base
                .as_ptr()
                .cast::<u8>()
                .add(Self::STRIDE * index as usize)
                .cast()
        }
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        let bytes = size_of::<T>().next_multiple_of(8) * self.len as usize;
        // SAFETY: the mapping made in `new`, of which no pointer outlives `self`.
        let unmapped = unsafe { munmap(self.base, bytes) };
        debug_assert!(unmapped.is_ok());
    }
}
