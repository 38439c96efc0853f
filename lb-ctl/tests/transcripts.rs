//! Every recorded command line gets the recorded answer.

mod common;

use common::machine::NoFiles;
use common::names::RecordedNames;
use common::table::Table;
use common::transcript::{self, Answer, Step};
use lb_ctl::command::{self, World};
use lb_ctl::invocation::Identity;

#[test]
fn every_transcript_is_answered_as_recorded() {
    let transcripts = transcript::all();
    let steps: usize = transcripts.iter().map(|(_, steps)| steps.len()).sum();
    assert!(steps >= 1500, "only {steps} commands are recorded");
    let mut wrong = Vec::new();
    for (name, steps) in &transcripts {
        let mut table = Table::default();
        for step in steps {
            let answer = answer(step, &mut table);
            if answer != step.answer {
                wrong.push(format!(
                    "{name}: $ {}\n{}recorded: {:#?}\ngot: {:#?}",
                    step.line, step.input, step.answer, answer
                ));
            }
        }
    }
    let shown = wrong
        .iter()
        .take(20)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n\n");
    assert!(
        wrong.is_empty(),
        "{} of {steps} differ:\n{shown}",
        wrong.len()
    );
}

fn answer(step: &Step, table: &mut Table) -> Answer {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = command::run(
        &step.words(),
        &mut World {
            program: "ipvsadm".to_owned(),
            identity: Identity::Ipvsadm,
            names: &RecordedNames,
            machine: &NoFiles,
            control: table,
            stdin: &mut step.input.as_bytes(),
            out: &mut out,
            err: &mut err,
        },
    );
    Answer {
        out: String::from_utf8_lossy(&out).into_owned(),
        err: String::from_utf8_lossy(&err).into_owned(),
        code: exit.code(),
    }
}
