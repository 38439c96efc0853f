//! A call of the program, within the test's own process.

use super::names::RecordedNames;
use super::table::Table;
use lb_ctl::command::World;
use lb_ctl::invocation::Invocation;
use lb_ctl::machine::Machine;
use lb_ctl::verb;

/// What a call printed and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub out: String,
    pub err: String,
    pub code: u8,
}

/// Calls the program under a name.
pub fn call(
    program: &str,
    words: &[&str],
    input: &str,
    table: &mut Table,
    machine: &dyn Machine,
) -> Call {
    let all = std::iter::once(&program).chain(words);
    let all = all.map(|word| (*word).to_owned()).collect();
    let invocation = match Invocation::from_words(all, None) {
        Ok(invocation) => invocation,
        Err(error) => {
            return Call {
                out: String::new(),
                err: error.to_string(),
                code: error.exit().code(),
            };
        }
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = verb::run(
        &invocation,
        &mut World {
            program: invocation.program.clone(),
            identity: invocation.identity,
            names: &RecordedNames,
            machine,
            control: table,
            stdin: &mut input.as_bytes(),
            out: &mut out,
            err: &mut err,
        },
    );
    Call {
        out: String::from_utf8_lossy(&out).into_owned(),
        err: String::from_utf8_lossy(&err).into_owned(),
        code: exit.code(),
    }
}
