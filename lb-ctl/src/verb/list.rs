//! `lb-ctl list`.

use super::words::{Grammar, OUTPUT, Operand, Tail, Words};
use super::{Verb, VerbError};
use crate::args::request::Format;
use crate::command::World;
use crate::control::ControlError;
use crate::exit::Exit;
use crate::output::json::{self, document, schema};
use crate::output::{connections, daemons, listing, timeouts};

pub(super) const LIST: Verb = Verb {
    grammar: Grammar {
        name: "list",
        operands: &[Operand {
            name: "WHAT",
            about: "what to list",
            values: &[
                ("services", "the services and their servers, as -L -n"),
                ("connections", "the connections, as -L -n -c"),
                ("timeouts", "the session timeouts, as -L --timeout"),
                (
                    "daemons",
                    "the sync daemons, as -L --daemon, and whether they serve peers",
                ),
            ],
            optional: false,
        }],
        options: &[&OUTPUT],
        tail: Tail::None,
    },
    about: "list services, connections, timeouts or sync daemons, for scripts as JSON",
    details: &[
        "As text it prints what ipvsadm's options print, with numbers for names; those options \
         choose other columns, a single service, or names. With them, -o is --ops and prints no \
         JSON.",
    ],
    run: list,
};

fn list(words: &Words<'_>, world: &mut World<'_>) -> Result<Exit, VerbError> {
    let json = words.json();
    let format = Format {
        numeric: true,
        ..Format::default()
    };
    match words.operand(0) {
        "services" => {
            let services = world.control.services()?;
            if json {
                let body = json::table::ServicesBody::from(services);
                document(&schema::SERVICES, body, world.out)?;
            } else {
                listing::version(services.slots, world.out)?;
                listing::services(services.services, format, world.names, world.out)?;
            }
        }
        "connections" => connection_rows(json, format, world)?,
        "timeouts" => {
            let answer = world.control.timeouts()?;
            if json {
                document(
                    &schema::TIMEOUTS,
                    json::TimeoutsBody::from(answer),
                    world.out,
                )?;
            } else {
                timeouts::timeouts(&answer, world.out)?;
            }
        }
        // The grammar lets no other word pass.
        _ => {
            let answer = world.control.daemons()?;
            if json {
                document(&schema::DAEMONS, json::DaemonsBody::from(answer), world.out)?;
            } else {
                daemons::daemons(&answer, world.out)?;
                daemons::unserved(&answer, world.out)?;
            }
        }
    }
    Ok(Exit::Success)
}

fn connection_rows(json: bool, format: Format, world: &mut World<'_>) -> Result<(), VerbError> {
    let out = &mut *world.out;
    if json {
        let mut rows = json::Connections::default();
        world.control.connections(&mut |line| {
            rows.print(line, out)
                .map_err(|error| match error.io_error_kind() {
                    Some(kind) => ControlError::Output(kind.into()),
                    None => ControlError::Answer {
                        request: "GET /v1/connections".to_owned(),
                        source: error,
                    },
                })
        })?;
        rows.finish(out)?;
    } else {
        let mut rows = connections::Rows::new(format, world.names);
        world
            .control
            .connections(&mut |line| rows.print(line, out))?;
        rows.title(out)?;
    }
    Ok(())
}
