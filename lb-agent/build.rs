//! Builds the XDP object and tells the agent where it lies, in `LB_EBPF`, to be embedded.
//!
//! `LB_EBPF_OBJECT=path` embeds a prebuilt object and asks for no eBPF toolchain. A relative path
//! counts from the workspace's root.

use std::path::{Path, PathBuf};
use std::process::exit;
use std::{env, fs};

#[expect(
    dead_code,
    unreachable_pub,
    reason = "xtask uses the rest of its module"
)]
#[path = "../xtask/src/build.rs"]
mod ebpf;

fn main() {
    println!("cargo::rerun-if-env-changed=LB_EBPF_OBJECT");
    match env::var_os("LB_EBPF_OBJECT") {
        Some(path) => prebuilt(Path::new(&path)),
        None => built(),
    }
}

fn prebuilt(path: &Path) {
    // A build script runs in its package's directory; the user typed the path at the root.
    let path = ebpf::workspace().join(path);
    match fs::read(&path) {
        Ok(bytes) if is_ebpf(&bytes) => {
            println!("cargo::rerun-if-changed={}", path.display());
            embed(&path);
        }
        Ok(_) => refuse(&format!(
            "LB_EBPF_OBJECT={} is not an eBPF object",
            path.display()
        )),
        Err(error) => {
            refuse(&format!(
                "LB_EBPF_OBJECT={} cannot be read: {error}",
                path.display()
            ));
        }
    }
}

fn built() {
    for source in [
        "lb-ebpf/src",
        "lb-ebpf/Cargo.toml",
        "lb-common/src",
        "lb-common/Cargo.toml",
    ] {
        println!("cargo::rerun-if-changed=../{source}");
    }
    println!("cargo::rerun-if-changed=../Cargo.toml");
    println!("cargo::rerun-if-changed=../Cargo.lock");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    match ebpf::object_in("lb", &out) {
        Ok(object) => embed(&object),
        Err(error @ ebpf::Error::Build { .. }) => {
            // The compiler's own words, as cargo shows them when a script fails.
            eprintln!("{error}");
            exit(1);
        }
        Err(error) => refuse(&error.to_string()),
    }
}

fn embed(object: &Path) {
    println!("cargo::rustc-env=LB_EBPF={}", object.display());
}

/// Stops the build with one line. Cargo sees to the exit code.
fn refuse(message: &str) {
    println!("cargo::error={}", message.replace('\n', "; "));
}

/// A little-endian, 64-bit ELF file for machine 247, as the kernel's `EM_BPF` has it.
fn is_ebpf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF\x02\x01") && bytes.get(18..20) == Some(&[247, 0])
}
