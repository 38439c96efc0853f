//! Every kernel's verifier takes every program.

use anyhow::{Context, Result, ensure};
use xtask::vm::{self, Series};

/// A tenth of what the kernel allows (include/linux/bpf.h: `BPF_COMPLEXITY_LIMIT_INSNS`).
const MOST: u64 = 100_000;

#[test]
fn root_every_program_loads_in_6_1() -> Result<()> {
    check(Series::V6_1)
}

#[test]
fn root_every_program_loads_in_6_12() -> Result<()> {
    check(Series::V6_12)
}

fn check(series: Series) -> Result<()> {
    let said = vm::verify(series)?.success()?;
    print!("{series:?}\n{said}");
    let counts = said.lines().map(count).collect::<Result<Vec<_>>>()?;
    ensure!(!counts.is_empty(), "`lb-agent verify` names no program");
    for (program, count) in counts {
        assert!(
            count <= MOST,
            "{series:?}: {program} costs {count} instructions"
        );
    }
    Ok(())
}

/// The program and its count in a line of `lb-agent verify`.
fn count(line: &str) -> Result<(&str, u64)> {
    line.split_once(": ")
        .and_then(|(program, rest)| {
            let (count, _) = rest.split_once(" instructions verified")?;
            Some((program, count.parse().ok()?))
        })
        .with_context(|| format!("no count of verified instructions: {line:?}"))
}
