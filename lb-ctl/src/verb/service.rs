//! `lb-ctl service`.

use super::words::{Grammar, OUTPUT, Tail, VerbOption, Words};
use super::{Verb, VerbError, carry_out};
use crate::args::address::endpoint;
use crate::command::World;
use crate::exit::Exit;
use crate::output::json::{document, extras, schema};
use lb_common::api::{Edit, Family, NoServer, Protocol, ServiceAddress, ServiceStatus};

pub(super) const SERVICE: Verb = Verb {
    grammar: Grammar {
        name: "service",
        operands: &[],
        options: &[&TCP, &UDP, &SCTP, &MARK, &IPV6, &NO_SERVER, &OUTPUT],
        tail: Tail::None,
    },
    about: "show or change what ipvsadm has no option for: what clients hear without a server",
    details: &[
        "While no server of a service may take connections, its clients hear what --no-server \
         says: icmp is port unreachable, as from ipvs; reset is a TCP reset, and port unreachable \
         for other protocols; silent is nothing. The service is named as with ipvsadm's options; \
         without one, all services are shown. -E leaves it as it is.",
    ],
    run: service,
};

const TCP: VerbOption = VerbOption {
    long: "tcp-service",
    shorts: &['t'],
    value: Some("ADDRESS:PORT"),
    about: "the TCP service",
    values: &[],
};

const UDP: VerbOption = VerbOption {
    long: "udp-service",
    shorts: &['u'],
    value: Some("ADDRESS:PORT"),
    about: "the UDP service",
    values: &[],
};

const SCTP: VerbOption = VerbOption {
    long: "sctp-service",
    shorts: &[],
    value: Some("ADDRESS:PORT"),
    about: "the SCTP service",
    values: &[],
};

const MARK: VerbOption = VerbOption {
    long: "fwmark-service",
    shorts: &['f'],
    value: Some("MARK"),
    about: "the service of a mark",
    values: &[],
};

const IPV6: VerbOption = VerbOption {
    long: "ipv6",
    shorts: &['6'],
    value: None,
    about: "the mark's IPv6 service",
    values: &[],
};

const NO_SERVER: VerbOption = VerbOption {
    long: "no-server",
    shorts: &[],
    value: Some("ANSWER"),
    about: "what clients are to hear: icmp, reset or silent",
    values: &["icmp", "reset", "silent"],
};

fn service(words: &Words<'_>, world: &mut World<'_>) -> Result<Exit, VerbError> {
    let named = named(words, world)?;
    let Some(answer) = words.option(&NO_SERVER) else {
        return show(named, words.json(), world);
    };
    if words.option(&OUTPUT).is_some() {
        return Err(wrong("--output does not go with --no-server".to_owned()));
    }
    let Some(service) = named else {
        return Err(wrong(
            "--no-server needs a service: -t, -u, --sctp-service or -f".to_owned(),
        ));
    };
    let found = NoServer::ALL
        .into_iter()
        .find(|known| known.name() == answer);
    let answer = found.unwrap_or_default();
    carry_out(vec![Edit::SetNoServer { service, answer }], world)
}

fn named(words: &Words<'_>, world: &World<'_>) -> Result<Option<ServiceAddress>, VerbError> {
    let given: Vec<(&VerbOption, Option<Protocol>, &str)> = [
        (&TCP, Some(Protocol::Tcp)),
        (&UDP, Some(Protocol::Udp)),
        (&SCTP, Some(Protocol::Sctp)),
        (&MARK, None),
    ]
    .into_iter()
    .filter_map(|(option, protocol)| Some((option, protocol, words.option(option)?)))
    .collect();
    let ipv6 = words.option(&IPV6).is_some();
    match given[..] {
        [] if ipv6 => Err(wrong("--ipv6 goes with --fwmark-service".to_owned())),
        [] => Ok(None),
        [(option, Some(protocol), text)] if !ipv6 => {
            let endpoint = endpoint(text, Some(protocol), world.names)
                .ok_or_else(|| wrong(format!("--{}: `{text}' is no ADDRESS:PORT", option.long)))?;
            Ok(Some(ServiceAddress::Address {
                protocol,
                address: endpoint.address,
                port: endpoint.port.unwrap_or_default(),
            }))
        }
        [(_, None, text)] => {
            let wrong_mark = |_| wrong(format!("--fwmark-service: `{text}' is no mark"));
            Ok(Some(ServiceAddress::Mark {
                mark: text.parse().map_err(wrong_mark)?,
                family: if ipv6 { Family::Ipv6 } else { Family::Ipv4 },
            }))
        }
        [_] => Err(wrong("--ipv6 goes with --fwmark-service".to_owned())),
        [_, (option, ..), ..] => Err(wrong(format!("--{} is a second service", option.long))),
    }
}

fn show(
    named: Option<ServiceAddress>,
    json: bool,
    world: &mut World<'_>,
) -> Result<Exit, VerbError> {
    let mut services = world.control.services()?.services;
    if let Some(named) = named {
        services.retain(|status| status.service == named);
        if services.is_empty() {
            return Err(VerbError::Refused {
                verb: "service",
                message: format!("no service {named}: add it with -A"),
            });
        }
    }
    if json {
        let body = extras::ServiceExtrasBody::from(services);
        document(&schema::SERVICE_EXTRAS, body, world.out)?;
        return Ok(Exit::Success);
    }
    for ServiceStatus {
        service, no_server, ..
    } in services
    {
        writeln!(world.out, "{service} --no-server {}", no_server.name())?;
    }
    Ok(Exit::Success)
}

fn wrong(what: String) -> VerbError {
    VerbError::Usage {
        verb: "service",
        what,
        usage: SERVICE.grammar.usage(),
    }
}
