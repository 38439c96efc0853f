//! lb's tunnels end in the kernel's own.

use anyhow::{Result, ensure};
use std::time::Duration;
use xtask::build::workspace;
use xtask::vm::{Series, Vm};

/// How many tunnels the script tries.
const TUNNELS: usize = 5;

#[test]
fn root_what_lb_tunnels_the_kernel_takes_out() -> Result<()> {
    let programs = ["lb-agent", "lb-ctl"].map(|name| workspace().join("target/release").join(name));
    let mut vm = Vm::new(Series::V6_1)?.with_limit(Duration::from_secs(600));
    for program in programs {
        ensure!(
            program.is_file(),
            "{} is missing: run `cargo build --release`",
            program.display()
        );
        vm = vm.with_file(program);
    }
    let said = vm.run(include_str!("tunnels.sh"))?.success()?;
    let good = said.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(good == TUNNELS && !said.contains("BAD"), "{said}");
    Ok(())
}
