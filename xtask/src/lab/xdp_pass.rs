//! The program that a director's veth peer must carry for `XDP_TX` frames to arrive.

#![expect(
    unsafe_code,
    reason = "bpf(2) has no safe wrapper that loads bare instructions"
)]

use anyhow::{Context, Result};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `r0 = XDP_PASS; exit`: loaded as bare instructions, so that no compiler is needed.
const PROGRAM: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 2, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];

/// Loads the program and pins it on a bpffs.
///
/// # Errors
/// Without root, or when the path is not on a bpffs.
pub fn pin(path: &Path) -> Result<()> {
    let program = load().context("cannot load the XDP_PASS program")?;
    let name = CString::new(path.as_os_str().as_bytes()).context("a pin path holds no NUL")?;
    let request = ObjPin {
        pathname: name.as_ptr() as u64,
        bpf_fd: program.as_raw_fd().cast_unsigned(),
        file_flags: 0,
    };
    bpf(BPF_OBJ_PIN, &request)
        .map(drop)
        .with_context(|| format!("cannot pin the XDP_PASS program at {}", path.display()))
}

fn load() -> io::Result<OwnedFd> {
    let request = ProgLoad {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: 2,
        insns: PROGRAM.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name: *b"lblab_xdp_pass\0\0",
    };
    let fd = bpf(BPF_PROG_LOAD, &request)?;
    // SAFETY: BPF_PROG_LOAD succeeded, so `fd` is a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The leading part of `union bpf_attr` for `BPF_PROG_LOAD`; the kernel takes the rest as zero.
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

/// The leading part of `union bpf_attr` for `BPF_OBJ_PIN`.
#[repr(C)]
struct ObjPin {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

// linux/bpf.h
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_PROG_TYPE_XDP: u32 = 6;

/// A prefix of `union bpf_attr` whose pointers are valid.
trait Request {}
impl Request for ProgLoad {}
impl Request for ObjPin {}

fn bpf<R: Request>(command: libc::c_long, request: &R) -> io::Result<i32> {
    // SAFETY: `request` is a `repr(C)` prefix of `union bpf_attr` of the given size, which the
    // kernel only reads; the pointers in it are to values that their makers keep alive over the
    // call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(request),
            size_of::<R>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(io::Error::other)
}
