use super::*;
use std::os::unix::fs::symlink;

#[test]
fn a_compiled_core_is_preferred_to_sources() {
    let root = Scratch::new("compiled");
    let sources = root.file("b/lib/rustlib/src/rust/library/core/src/lib.rs", "b");
    let compiled = root.file("a/lib/rustlib/bpfel-unknown-none/lib/libcore-1.rlib", "a");
    let places = Places {
        sysroots: vec![sources, compiled],
        programs: vec![root.linker("true")],
    };
    let found = Toolchain::find_in(&places).unwrap();
    assert!(!found.build_std);
    assert_eq!(found.rustc, root.0.join("a/bin/rustc"));
    assert_eq!(found.linker, root.0.join("true/bpf-linker"));
}

#[test]
fn sources_come_with_their_own_cargo() {
    let root = Scratch::new("sources");
    let sysroot = root.file("b/lib/rustlib/src/rust/library/core/src/lib.rs", "b");
    let cargo = root.file("b/bin/cargo", "b/bin/cargo");
    let places = Places {
        sysroots: vec![sysroot],
        programs: vec![root.linker("true")],
    };
    let found = Toolchain::find_in(&places).unwrap();
    assert!(found.build_std);
    assert_eq!(found.cargo, cargo);
}

#[test]
fn what_is_missing_is_named_with_its_cure() {
    let root = Scratch::new("missing");
    let missing = |sysroot: &Path, programs: Vec<PathBuf>| -> Vec<String> {
        let sysroots = vec![sysroot.to_owned()];
        let missing = Toolchain::missing_in(&Places { sysroots, programs });
        missing.iter().map(Error::to_string).collect()
    };
    let [compiler, linker] = &missing(&root.0, vec![])[..] else {
        panic!("both are missing");
    };
    for word in ["cargo xtask setup", "rust-src", "libstd-rust-web-dev-bpf"] {
        assert!(compiler.contains(word), "{compiler}");
    }
    for word in ["cargo xtask setup", "cargo install bpf-linker"] {
        assert!(linker.contains(word), "{linker}");
    }

    let sysroot = root.file("a/lib/rustlib/bpfel-unknown-none/lib/libcore-1.rlib", "a");
    let [broken] = &missing(&sysroot, vec![root.linker("false")])[..] else {
        panic!("the linker is broken, the compiler is not");
    };
    assert!(broken.contains("does not start"), "{broken}");
}

#[test]
fn the_outer_cargo_is_shut_out() {
    for name in [
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTFLAGS",
        "CARGO",
    ] {
        assert!(is_cargos_own(&name.into()), "{name}");
    }
    for name in [
        "CARGO_HOME",
        "CARGO_NET_OFFLINE",
        "CARGO_REGISTRIES_X_INDEX",
        "PATH",
    ] {
        assert!(!is_cargos_own(&name.into()), "{name}");
    }
}

/// A directory that is gone when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("lb-build-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Makes an empty file and returns the path of `parent`, both relative to this directory.
    fn file(&self, file: &str, parent: &str) -> PathBuf {
        let file = self.0.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "").unwrap();
        self.0.join(parent)
    }

    /// Puts `program` in the linker's place and returns the directory that holds it.
    fn linker(&self, program: &str) -> PathBuf {
        let directory = self.0.join(program);
        fs::create_dir(&directory).unwrap();
        symlink(
            Path::new("/bin").join(program),
            directory.join("bpf-linker"),
        )
        .unwrap();
        directory
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}
