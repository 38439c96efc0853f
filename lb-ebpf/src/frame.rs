//! The XDP context as a [`Frame`].
#![expect(unsafe_code, reason = "packet bytes are raw pointers")]

use aya_ebpf::{helpers::bpf_xdp_adjust_head, programs::XdpContext};
use lb_common::wire::Frame;

/// A packet in an XDP program.
pub(crate) struct Xdp<'a>(pub(crate) &'a XdpContext);

impl Frame for Xdp<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.0.data_end() - self.0.data()
    }

    #[inline(always)]
    fn window<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]> {
        let start = self.0.data() + offset;
        if start + N > self.0.data_end() {
            return None;
        }
        // SAFETY: [start, start + N) lies within the packet, just checked on the very pointer
        // that is used (the verifier checks it again); `&mut self` makes the window the only one.
        Some(unsafe { &mut *(start as *mut [u8; N]) })
    }

    #[inline(always)]
    fn grow(&mut self, bytes: usize) -> Option<()> {
        self.move_head(-i32::try_from(bytes).ok()?)
    }

    #[inline(always)]
    fn shrink(&mut self, bytes: usize) -> Option<()> {
        self.move_head(i32::try_from(bytes).ok()?)
    }
}

impl Xdp<'_> {
    /// Moves the frame's head by `delta` bytes: ahead when it is positive.
    #[inline(always)]
    fn move_head(&mut self, delta: i32) -> Option<()> {
        // SAFETY: the context is the program's own; the helper checks `delta` against the buffer.
        // `&mut self` ends every window before, and the next one reads the pointers anew.
        let refused = unsafe { bpf_xdp_adjust_head(self.0.ctx, delta) };
        (refused == 0).then_some(())
    }
}
