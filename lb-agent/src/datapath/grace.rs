//! Waiting until no program can still see what was replaced.
#![expect(unsafe_code, reason = "membarrier(2) has no wrapper")]

use anyhow::Context as _;

/// Returns when every XDP program that was running has ended.
///
/// membarrier(2) with MEMBARRIER_CMD_GLOBAL is the kernel's synchronize_rcu(), and programs run
/// inside an RCU read-side section. It takes milliseconds, so it is only asked for when a place
/// is to be used again.
pub(crate) fn wait() -> anyhow::Result<()> {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: a system call with integer arguments only.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result == 0 {
        return Ok(());
    }
    Err(std::io::Error::last_os_error()).context(
        "waiting for running programs by membarrier(2), which the kernel refuses when CPUs are \
         isolated by nohz_full=: boot without that",
    )
}
