//! `lb-ctl`, and `ipvsadm` when it is called by that name.
#![forbid(unsafe_code)]

use lb_ctl::{client::Client, command::World, invocation::Invocation, names::SystemNames, verb};
use std::io::{BufWriter, stderr, stdin, stdout};
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let environment = std::env::var_os("LB_SOCKET").map(Into::into);
    let invocation = match Invocation::from_words(words, environment) {
        Ok(invocation) => invocation,
        Err(error) => {
            eprintln!("{error}");
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
        control: &mut control,
        stdin: &mut stdin().lock(),
        out: &mut out,
        err: &mut stderr().lock(),
    };
    verb::run(&invocation, &mut world).into()
}
