//! `lb-ctl`, and `ipvsadm` when it is called by that name.
#![forbid(unsafe_code)]

use lb_ctl::client::Client;
use lb_ctl::command::World;
use lb_ctl::invocation::Invocation;
use lb_ctl::machine::ThisMachine;
use lb_ctl::names::SystemNames;
use lb_ctl::verb;
use std::io::{BufWriter, Write as _, stderr, stdin, stdout};
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let environment = std::env::var_os("LB_SOCKET").map(Into::into);
    let invocation = match Invocation::from_words(words, environment) {
        Ok(invocation) => invocation,
        Err(error) => {
            // A message that nobody reads changes nothing.
            let _ = writeln!(stderr(), "{error}");
            return error.exit().into();
        }
    };

    let mut control = Client::new(invocation.socket.clone());
    let names = SystemNames::default();
    let mut out = BufWriter::with_capacity(1 << 16, stdout().lock());
    let mut world = World {
        program: invocation.program.clone(),
        identity: invocation.identity,
        names: &names,
        machine: &ThisMachine,
        control: &mut control,
        stdin: &mut stdin().lock(),
        out: &mut out,
        err: &mut stderr().lock(),
    };
    verb::run(&invocation, &mut world).into()
}
