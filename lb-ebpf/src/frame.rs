//! The XDP context as a [`Frame`].
#![expect(unsafe_code, reason = "packet bytes are raw pointers")]

use aya_ebpf::{
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_load_bytes},
    programs::XdpContext,
};
use core::arch::asm;
use lb_common::wire::Frame;

/// A packet in an XDP program.
pub(crate) struct Xdp<'a>(pub(crate) &'a XdpContext);

impl Frame for Xdp<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        let (data, end) = self.bounds();
        end - data
    }

    #[inline(always)]
    fn total(&self) -> usize {
        // SAFETY: the helper reads the program's own context.
        unsafe { bpf_xdp_get_buff_len(self.0.ctx) as usize }
    }

    #[inline(always)]
    fn window<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]> {
        let (data, end) = self.bounds();
        let start = data + offset;
        if start + N > end {
            return None;
        }
        // SAFETY: [start, start + N) lies within the packet, just checked on the very pointer
        // that is used (the verifier checks it again); `&mut self` makes the window the only one.
        Some(unsafe { &mut *(start as *mut [u8; N]) })
    }

    #[inline(always)]
    fn load<const N: usize>(&mut self, offset: u32, len: u32, words: &mut [u64; N]) -> Option<()> {
        if len == 0 || len > 8 * N as u32 {
            return None;
        }
        let len = within(len, const { 8 * N as u32 });
        // SAFETY: the helper reads the packet, if it has as many bytes, and writes `len` bytes, which
        // `words` have.
        let refused =
            unsafe { bpf_xdp_load_bytes(self.0.ctx, offset, words.as_mut_ptr().cast(), len) };
        (refused == 0).then_some(())
    }

    #[inline(always)]
    fn grow(&mut self, bytes: usize) -> Option<()> {
        self.move_head(-i32::try_from(bytes).ok()?)
    }

    #[inline(always)]
    fn shrink(&mut self, bytes: usize) -> Option<()> {
        self.move_head(i32::try_from(bytes).ok()?)
    }

    #[inline(always)]
    fn truncate(&mut self, len: usize) -> Option<()> {
        let delta = i32::try_from(self.total()).ok()? - i32::try_from(len).ok()?;
        if delta < 0 {
            return None;
        }
        // SAFETY: as in `move_head`; the helper checks that the frame stays longer than a header.
        let refused = unsafe { bpf_xdp_adjust_tail(self.0.ctx, -delta) };
        (refused == 0).then_some(())
    }
}

/// `len`, which is 1 to `most`, a constant and a power of two, so that every verifier sees it is.
/// Older ones do not carry what a comparison says over to a copy, nor that what is not 0 is 1 at
/// least.
#[inline(always)]
pub(crate) fn within(len: u32, most: u32) -> u32 {
    let mut last = u64::from(len.wrapping_sub(1));
    // SAFETY: it moves a register to itself. The compiler does not know what comes out of it, so the
    // mask stays, and the verifier finds the bounds in the very register that is passed.
    unsafe { asm!("{0} = {0}", inout(reg) last, options(pure, nomem, nostack)) };
    (last as u32 & (most - 1)) + 1
}

impl Xdp<'_> {
    /// Where the frame begins and ends, of the part of it that can be read directly.
    ///
    /// The context has both as 32-bit fields, which the verifier turns into 64-bit pointers as they
    /// are loaded. Loaded by the compiler, one that is needed again further on would be widened
    /// there by a 32-bit move, and what is left is no pointer to the verifier.
    #[inline(always)]
    fn bounds(&self) -> (usize, usize) {
        let (data, end);
        // SAFETY: two loads from the program's own context: offsets are linux/bpf.h's, `struct
        // xdp_md`. They change nothing, and what moves the head is a call that changes memory.
        unsafe {
            asm!(
                "{data} = *(u32 *)({ctx} + 0)",
                data = out(reg) data,
                ctx = in(reg) self.0.ctx,
                options(pure, readonly, nostack, preserves_flags),
            );
            asm!(
                "{end} = *(u32 *)({ctx} + 4)",
                end = out(reg) end,
                ctx = in(reg) self.0.ctx,
                options(pure, readonly, nostack, preserves_flags),
            );
        }
        (data, end)
    }

    /// Moves the frame's head by `delta` bytes: ahead when it is positive.
    #[inline(always)]
    fn move_head(&mut self, delta: i32) -> Option<()> {
        // SAFETY: the context is the program's own; the helper checks `delta` against the buffer.
        // `&mut self` ends every window before, and the next one reads the pointers anew.
        let refused = unsafe { bpf_xdp_adjust_head(self.0.ctx, delta) };
        (refused == 0).then_some(())
    }
}
