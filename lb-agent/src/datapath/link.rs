//! Taking a program off its interface at once.
//!
//! Removing a link's last pin does that too, but a moment later: the kernel frees a bpffs inode
//! after a grace period. Until then the interface takes no other program.
#![expect(unsafe_code, reason = "bpf(2) commands that aya does not have")]

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// linux/bpf.h: `enum bpf_cmd`.
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_LINK_DETACH: libc::c_int = 34;

/// linux/bpf.h: `union bpf_attr`, the part for BPF_OBJ_GET.
#[repr(C)]
struct ObjGet {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// The part for BPF_LINK_DETACH.
#[repr(C)]
struct LinkDetach {
    link_fd: u32,
}

/// Detaches the link that is pinned at `pin`. The pin stays, and holds a link of nothing.
pub(crate) fn detach(pin: &Path) -> io::Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let link = bpf(
        BPF_OBJ_GET,
        &mut ObjGet {
            pathname: path.as_ptr() as u64,
            bpf_fd: 0,
            file_flags: 0,
        },
    )?;
    // SAFETY: the kernel has just made this descriptor for us.
    let link = unsafe { OwnedFd::from_raw_fd(link) };
    bpf(
        BPF_LINK_DETACH,
        &mut LinkDetach {
            link_fd: link.as_raw_fd() as u32,
        },
    )
    .map(|_| ())
}

fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<RawFd> {
    let attributes: *mut T = attributes;
    // SAFETY: the kernel reads and writes no more than the size given, which is the struct's; the
    // path that BPF_OBJ_GET's points to outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result as RawFd)
    }
}
