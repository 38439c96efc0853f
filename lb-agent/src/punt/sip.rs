//! Datagrams of services with the persistence engine `sip`, between the reader and its decisions.

use super::helper::{Case, Side};
use crate::datapath::{CallEvent, HelpedService, Known, Punts};
use crate::helper::sip::{self, Decision, Template};
use crate::model::ServerId;
use lb_common::addr::protocol;
use lb_common::flow::{Role, Tuple};
use lb_common::wire::Udp;
use std::net::SocketAddr;

/// What is remembered besides the flow table.
#[derive(Debug, Default)]
pub(super) struct Sip {
    /// Datagrams dropped for want of a Call-ID.
    dropped: u64,
    /// How many of those the log was told of.
    told: u64,
}

impl Sip {
    /// Takes a packet of a service, and sends what goes on.
    pub(super) fn help(
        &mut self,
        punts: &Punts,
        case: &Case<'_>,
        service: &HelpedService,
        known: Option<&Known>,
    ) {
        match case.side {
            Side::Client => self.request(punts, case, service, known),
            Side::Server => answer(punts, case, service, known),
        }
    }

    fn request(
        &mut self,
        punts: &Punts,
        case: &Case<'_>,
        service: &HelpedService,
        known: Option<&Known>,
    ) {
        let now = case.now;
        let call = call(case, service, case.packet.tuple.client.into());
        let named = call
            .as_ref()
            .map(|call| (call, punts.template_of(service.id, call)));
        let found = named
            .as_ref()
            .and_then(|(_, template)| punts.template(template, now));
        let decision = sip::decide(
            &service.options,
            call.is_some(),
            known.map(|known| known.server),
            found,
        );
        match (decision, &named) {
            (Decision::Drop, _) => {
                self.dropped += 1;
                return;
            }
            (Decision::Follow, Some((call, template))) => {
                // A connection that other calls share is none of this one's.
                if found.is_some() && found == known.map(|known| known.server) {
                    punts.continue_call(service, template, call, CallEvent::Datagram, now);
                }
            }
            (Decision::Join(server), Some((call, template))) => {
                let connection = Tuple {
                    role: Role::Connection,
                    ..case.packet.tuple
                };
                if let Err(error) = punts.connect(service, connection, server, now) {
                    tracing::warn!("a datagram of {} is lost: {error:#}", service.address);
                    return;
                }
                punts.continue_call(service, template, call, CallEvent::Connection, now);
            }
            (Decision::Begin { reopen: true }, _) => {
                if let Some(known) = known {
                    punts.close(known, now);
                }
            }
            (Decision::Follow | Decision::Join(_) | Decision::Begin { reopen: false }, _) => {}
        }
        case.send(punts, &case.punt.frame);
        if let (Decision::Begin { .. }, Some((call, template))) = (decision, named)
            && let Some(opened) = punts.known(Side::Client, case.packet, now)
        {
            punts.begin_call(service, &template, call, opened.server, now);
        }
    }

    /// Tells the log what went wrong. To be called every minute.
    pub(super) fn sweep(&mut self) {
        if self.dropped != self.told {
            tracing::warn!(
                "{} datagrams without a Call-ID were dropped: services with --pe sip take none",
                self.dropped - self.told
            );
            self.told = self.dropped;
        }
    }
}

/// A server's datagram of a known connection: its call is answered.
fn answer(punts: &Punts, case: &Case<'_>, service: &HelpedService, known: Option<&Known>) {
    if let Some(known) = known
        && let Some(call) = call(case, service, case.packet.tuple.address.into())
    {
        let template = punts.template_of(service.id, &call);
        if punts.template(&template, case.now) == Some(known.server) {
            punts.continue_call(service, &template, &call, CallEvent::Answer, case.now);
        }
    }
    case.send(punts, &case.punt.frame);
}

/// A server's datagram of no connection: it may open one.
pub(super) fn call_out(punts: &Punts, case: &Case<'_>) {
    let tuple = &case.packet.tuple;
    let server = SocketAddr::new(tuple.client.into(), tuple.client_port().number());
    let client = SocketAddr::new(tuple.address.into(), tuple.port().number());
    if let Some((service, id)) = punts.helped().caller(server)
        && let Some(data) = payload(case)
        && let Some(opened) = sip::conn_out(service.address, &service.options, server, client, data)
        && let Err(error) = open(punts, case, &service, id, &opened)
    {
        tracing::warn!("a datagram of server {server} goes on untranslated: {error:#}");
    }
    case.send(punts, &case.punt.frame);
}

fn open(
    punts: &Punts,
    case: &Case<'_>,
    service: &HelpedService,
    server: ServerId,
    opened: &sip::Outbound,
) -> anyhow::Result<()> {
    let connection = crate::datapath::connection(opened.client, opened.address, protocol::UDP);
    punts.connect(service, connection, server, case.now)?;
    let Some(call) = &opened.template else {
        return Ok(());
    };
    let template = punts.template_of(service.id, call);
    if punts.template(&template, case.now).is_some() {
        punts.continue_call(service, &template, call, CallEvent::Connection, case.now);
    } else {
        punts.begin_call(service, &template, call, server, case.now);
    }
    Ok(())
}

/// The call that a datagram from or for `client` belongs to.
fn call(case: &Case<'_>, service: &HelpedService, client: std::net::IpAddr) -> Option<Template> {
    let data = payload(case)?;
    Template::of(service.address, service.options.netmask, client, data)
}

/// A datagram's payload, as much of it as the packet has.
fn payload<'a>(case: &Case<'a>) -> Option<&'a [u8]> {
    if case.packet.tuple.protocol != protocol::UDP {
        return None;
    }
    let at = case.packet.transport();
    let udp: &[u8; Udp::LEN] = case.punt.frame.get(at..)?.first_chunk()?;
    let len = usize::from(u16::from_be_bytes([udp[4], udp[5]]));
    let end = case.punt.frame.len().min(at + len);
    case.punt.frame.get(at + Udp::LEN..end)
}
