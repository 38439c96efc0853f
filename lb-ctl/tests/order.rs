//! A recorded listing whose order depends on the order in the kernel.

mod common;

use common::machine::NoFiles;
use common::names::RecordedNames;
use common::table::Table;
use common::transcript;
use lb_ctl::args::request::Format;
use lb_ctl::command::{self, World};
use lb_ctl::invocation::Identity;
use lb_ctl::output::listing;

#[test]
fn circular_addresses_are_sorted_as_recorded() {
    let steps = transcript::read(include_str!("order.txt"));
    let [restore, unsorted, sorted] = steps.as_slice() else {
        panic!("the recording has three steps");
    };
    let mut table = Table::default();
    run(&restore.words(), &restore.input, &mut table);

    // The kernel lists by hash; put the services into the order it had them.
    let recorded: Vec<&str> = unsorted.answer.out.lines().collect();
    table.services.services.sort_by_key(|status| {
        let mut row = Vec::new();
        let format = Format {
            numeric: true,
            ..Format::default()
        };
        listing::services(vec![status.clone()], format, &RecordedNames, &mut row).unwrap();
        let row = String::from_utf8(row).unwrap();
        let row = row.lines().last().unwrap();
        recorded.iter().position(|line| *line == row)
    });
    assert_eq!(run(&unsorted.words(), "", &mut table), unsorted.answer.out);
    assert_eq!(run(&sorted.words(), "", &mut table), sorted.answer.out);
}

fn run(words: &[String], input: &str, table: &mut Table) -> String {
    let mut out = Vec::new();
    command::run(
        words,
        &mut World {
            program: "ipvsadm".to_owned(),
            identity: Identity::Ipvsadm,
            names: &RecordedNames,
            machine: &NoFiles,
            control: table,
            stdin: &mut input.as_bytes(),
            out: &mut out,
            err: &mut Vec::new(),
        },
    );
    String::from_utf8_lossy(&out).into_owned()
}
