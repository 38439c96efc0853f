//! Every command of ipvsadm: Debian's answers on the kernel's `ip_vs`, and lb-ctl's under
//! ipvsadm's name on lb. Standard output, standard error and exit code have to be the same.
//!
//! `transcript.txt` is written for this test: `$ words` is a command line of a shell, `< text` a
//! line of its standard input, `# name` begins a section with an empty table. The transcripts
//! that lb-ctl's own tests know are carried out as well, each as a section, so that what they
//! recorded stays true.

use crate::shell::{Kernel, Product, Shell as _};
use anyhow::{Context as _, Result, ensure};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use xtask::build::workspace;
use xtask::lab::Lab;
use xtask::lab::plan::Plan;
use xtask::vm::Output;

/// Where lb answers otherwise, and why; by section and command.
///
/// Each has to differ, and nothing else may.
const DEVIATIONS: &[(&str, &str, &str)] = &[
    ("what Debian leaves out", "-A -t 10.0.0.1:80 -s twos", TWOS),
    ("every scheduler", "-L -n --nosort", UNSORTED),
];

const TWOS: &str = "Debian builds its kernels without CONFIG_IP_VS_TWOS; the kernel's own source \
                    has the scheduler, and so has lb";

const UNSORTED: &str = "the kernel's order of services is that of a hash over their addresses and \
                        that of a pointer: another one after each boot; lb's is that of addition";

/// How many commands `transcript.txt` has at least.
const COMMANDS: usize = 400;

/// Between the answers of commands, behind the exit code.
const END: char = '\u{1e}';

/// One command.
#[derive(Clone, Debug)]
struct Step {
    line: String,
    input: String,
}

/// Commands that begin with an empty table.
#[derive(Clone, Debug)]
struct Section {
    name: String,
    steps: Vec<Step>,
}

/// What a command printed and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    out: String,
    err: String,
    code: String,
}

#[test]
fn root_every_command_of_ipvsadm_is_answered_as_by_ip_vs() -> Result<()> {
    let mut sections = read("", include_str!("transcript.txt"));
    let own = sections.iter().map(|section| section.steps.len()).sum();
    assert!(COMMANDS <= own, "only {own} commands");
    let recorded = workspace().join("lb-ctl/tests/transcripts");
    sections.extend(recorded_sections(&recorded)?);

    let script = script(&sections);
    let expected = answers(&Kernel::boot()?.run(&script)?, &sections)?;
    let lab = Lab::up(&Plan::servers(1))?;
    let found = answers(&Product::start(&lab)?.run(&script)?, &sections)?;

    let mut listed = DEVIATIONS.to_vec();
    let mut report = String::new();
    let mut deviating = 0;
    let all = sections
        .iter()
        .flat_map(|section| section.steps.iter().map(move |step| (section, step)));
    for ((section, step), (expected, found)) in all.clone().zip(expected.iter().zip(&found)) {
        if expected == found {
            continue;
        }
        deviating += 1;
        let is_this =
            |(name, line, _): &(&str, &str, &str)| *name == section.name && *line == step.line;
        if let Some(at) = listed.iter().position(is_this) {
            listed.remove(at);
        } else {
            writeln!(
                report,
                "[{}] $ ipvsadm {}\n{}{}",
                section.name,
                step.line,
                step.input,
                difference(expected, found)
            )?;
        }
    }
    for (section, line, reason) in listed {
        writeln!(
            report,
            "[{section}] $ ipvsadm {line}\nis answered as by ipvsadm, and listed because {reason}"
        )?;
    }
    println!(
        "{} commands, {own} of them of transcript.txt; {deviating} are answered otherwise, as listed",
        all.count()
    );
    assert!(report.is_empty(), "{report}");
    Ok(())
}

/// The commands of a file; those before its first `# name` are of a section `name`.
fn read(name: &str, text: &str) -> Vec<Section> {
    let mut sections = vec![Section {
        name: name.to_owned(),
        steps: Vec::new(),
    }];
    for line in text.lines() {
        let (kind, rest) = line.split_at_checked(2).unwrap_or((line, ""));
        let last = sections.last_mut().expect("there is one from the start");
        match (kind, last.steps.last_mut()) {
            ("# ", _) if name.is_empty() => sections.push(Section {
                name: rest.to_owned(),
                steps: Vec::new(),
            }),
            ("$ " | "$", _) => last.steps.push(Step {
                line: rest.to_owned(),
                input: String::new(),
            }),
            ("< " | "<", Some(step)) => {
                step.input.push_str(rest);
                step.input.push('\n');
            }
            _ => {}
        }
    }
    sections.retain(|section| !section.steps.is_empty());
    sections
}

/// What lb-ctl's tests have recorded.
fn recorded_sections(folder: &Path) -> Result<Vec<Section>> {
    let mut sections = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            sections.extend(read(&name, &fs::read_to_string(&path)?));
        }
    }
    sections.sort_by(|a, b| a.name.cmp(&b.name));
    ensure!(sections.len() > 10, "{} recordings", sections.len());
    Ok(sections)
}

/// A shell script that carries out all sections. One process a command: they are slow in
/// emulation.
fn script(sections: &[Section]) -> String {
    let mut script =
        format!("set -f\nanswered() {{ code=$?; echo \"{END}$code\"; echo \"{END}\" >&2; }}\n");
    for Section { name: _, steps } in sections {
        script.push_str(
            "{ ipvsadm -C; ipvsadm --set 900 120 300; ipvsadm --stop-daemon master\n\
             ipvsadm --stop-daemon backup; } >/dev/null 2>&1\n",
        );
        for Step { line, input } in steps {
            let input = match input.as_str() {
                "" => "</dev/null\n".to_owned(),
                input => format!("<<'END OF INPUT'\n{input}END OF INPUT\n"),
            };
            script.push_str(&format!("ipvsadm {line} {input}answered\n"));
        }
    }
    script
}

/// The answers to all sections' commands, in order.
fn answers(output: &Output, sections: &[Section]) -> Result<Vec<Answer>> {
    let mut answers = Vec::new();
    let (mut out, mut err) = (output.stdout.as_str(), output.stderr.as_str());
    for Section { name, steps } in sections {
        for step in steps {
            let next = || format!("[{name}] $ {}: no answer", step.line);
            let (said, rest) = out.split_once(END).with_context(next)?;
            let (code, rest) = rest.split_once('\n').with_context(next)?;
            out = rest;
            let (complained, rest) = err.split_once(&format!("{END}\n")).with_context(next)?;
            err = rest;
            answers.push(Answer {
                out: said.to_owned(),
                err: complained.to_owned(),
                code: code.to_owned(),
            });
        }
    }
    Ok(answers)
}

/// What ipvsadm says that lb-ctl does not (`-`), and the other way round (`+`).
fn difference(expected: &Answer, found: &Answer) -> String {
    let mut text = String::new();
    for (name, expected, found) in [
        ("1> ", &expected.out, &found.out),
        ("2> ", &expected.err, &found.err),
        ("= ", &expected.code, &found.code),
    ] {
        if expected == found {
            continue;
        }
        let (old, new) = (lines(expected), lines(found));
        let first = same(old.iter(), new.iter());
        let last = same(old[first..].iter().rev(), new[first..].iter().rev());
        for (sign, lines) in [('-', &old), ('+', &new)] {
            for line in &lines[first..lines.len() - last] {
                text.push_str(&format!("{sign} {name}{line}\n"));
            }
        }
    }
    text
}

fn lines(text: &str) -> Vec<&str> {
    text.split('\n').collect()
}

/// How many lines both begin with.
fn same<'a>(
    one: impl Iterator<Item = &'a &'a str>,
    other: impl Iterator<Item = &'a &'a str>,
) -> usize {
    one.zip(other)
        .take_while(|(one, other)| one == other)
        .count()
}
