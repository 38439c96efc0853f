//! The questions asked of the kernel; each ends in an [`Answer`] or in the loss of the socket.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;

use futures_util::stream::StreamExt;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::{Error, Handle, RouteMessageBuilder};

use super::decide::{Hop, Keeper, Link, Neighbour, Route};
use super::duplicates::Place;
use super::message::{self, Upkeep};
use super::table::Question;

/// What came back from the kernel.
pub(super) enum Answer {
    Route(IpAddr, Question, Route),
    Refused(Hop, i32),
    Found(Hop, Option<Neighbour>),
    Done,
}

/// Asks how the kernel would forward a packet to an address.
pub(super) async fn look_up(
    requests: Handle,
    address: IpAddr,
    question: Question,
) -> Result<Answer, Error> {
    let message = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(address, if address.is_ipv4() { 32 } else { 128 })
        .map_err(|error| Error::InvalidNla(error.to_string()))?
        .build();
    let answer = Box::pin(requests.route().get(message).execute())
        .next()
        .await;
    let route = match answer {
        Some(Ok(answer)) => message::route(address, &answer),
        Some(Err(error)) => message::refused_route(errno(error)?),
        None => return Err(Error::RequestFailed),
    };
    Ok(Answer::Route(address, question, route))
}

/// Asks the kernel to keep a neighbour; on an entry that exists only where not `exclusive`.
pub(super) async fn keep(requests: Handle, hop: Hop, exclusive: bool) -> Result<Answer, Error> {
    let mut refusal = 0;
    for upkeep in [Upkeep::Managed, Upkeep::Once] {
        let mut request = requests.neighbours().add(hop.ifindex, hop.address);
        if !exclusive {
            request = request.replace();
        }
        message::keep(request.message_mut(), upkeep);
        let Err(error) = request.execute().await else {
            return Ok(Answer::Done);
        };
        refusal = errno(error)?;
        match refusal {
            // Entries that are being resolved come without a notification: look before touching.
            libc::EEXIST => return Ok(Answer::Found(hop, entry(requests, hop).await?)),
            libc::EINVAL | libc::EOPNOTSUPP => {
                tracing::debug!(
                    ?hop,
                    ?upkeep,
                    "kernel refuses this way of keeping a neighbour"
                );
            }
            _ => break,
        }
    }
    Ok(Answer::Refused(hop, refusal))
}

/// Removes a neighbour entry.
pub(super) async fn release(requests: Handle, hop: Hop) -> Result<Answer, Error> {
    match requests
        .neighbours()
        .del(message::name(hop))
        .execute()
        .await
    {
        Ok(()) => {}
        // Already gone, or gone with its interface: nothing is left to remove.
        Err(error) => tracing::debug!(errno = errno(error)?, ?hop, "neighbour not removed"),
    }
    Ok(Answer::Done)
}

/// One neighbour entry as the kernel has it.
async fn entry(mut requests: Handle, hop: Hop) -> Result<Option<Neighbour>, Error> {
    let message = RouteNetlinkMessage::GetNeighbour(message::name(hop));
    let mut message = NetlinkMessage::from(message);
    message.header.flags = NLM_F_REQUEST;
    match requests
        .request(message)?
        .next()
        .await
        .map(|answer| answer.payload)
    {
        Some(NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(m))) => {
            Ok(message::neighbour(&m).map(|(_, neighbour)| neighbour))
        }
        Some(_) => Ok(None),
        None => Err(Error::RequestFailed),
    }
}

/// All interfaces.
pub(super) async fn links(requests: &Handle) -> Result<HashMap<u32, Link>, Error> {
    let mut answers = Box::pin(requests.link().get().execute());
    let mut links = HashMap::new();
    while let Some(answer) = answers.next().await {
        links.extend(message::link(&answer?));
    }
    Ok(links)
}

/// The own IPv6 addresses that another machine has.
pub(super) async fn duplicates(requests: &Handle) -> Result<BTreeSet<Place>, Error> {
    let mut request = requests.address().get();
    request.message_mut().header.family = AddressFamily::Inet6;
    let mut answers = Box::pin(request.execute());
    let mut found = BTreeSet::new();
    while let Some(answer) = answers.next().await {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if is_without_family(&error) => break,
            Err(error) => return Err(error),
        };
        found.extend(message::duplicate(&answer).and_then(|(place, is)| is.then_some(place)));
    }
    Ok(found)
}

/// Whether a kernel says that it does not know the family that it was asked about. One that has
/// addresses of any family tells those instead (net/core/rtnetlink.c: `rtnetlink_rcv_msg`).
fn is_without_family(error: &Error) -> bool {
    let Error::NetlinkError(message) = error else {
        return false;
    };
    matches!(-message.raw_code(), libc::EAFNOSUPPORT | libc::EOPNOTSUPP)
}

/// The longest packet of the interface of this name, in bytes; none when there is no such one.
///
/// # Errors
/// When the kernel cannot be asked.
pub(crate) async fn interface_mtu(name: &str) -> io::Result<Option<u32>> {
    let (connection, requests, _) = rtnetlink::new_connection()?;
    let connection = tokio::spawn(connection);
    let request = requests.link().get().match_name(name.to_owned());
    let answer = Box::pin(request.execute()).next().await;
    connection.abort();
    match answer {
        Some(Ok(answer)) => Ok(message::link(&answer).map(|(_, link)| link.mtu)),
        Some(Err(error)) => errno(error).map(|_| None).map_err(io::Error::other),
        None => Ok(None),
    }
}

/// Removes the neighbour entries that the kernel keeps for lb; returns how many there were.
///
/// For the end of all, from code without a runtime at hand. Should another agent of this network
/// namespace need one, it asks for it again, and holds packets back until it is answered.
///
/// # Errors
/// When the kernel cannot be asked.
pub(crate) fn release_neighbours() -> io::Result<usize> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let (connection, requests, _) = rtnetlink::new_connection()?;
        let connection = tokio::spawn(connection);
        let all = neighbours(&requests).await.map_err(io::Error::other)?;
        let kept = all
            .into_iter()
            .filter(|(_, neighbour)| neighbour.keeper == Keeper::Lb);
        let mut released = 0;
        for (hop, _) in kept {
            let request = requests.neighbours().del(message::name(hop));
            match request.execute().await {
                Ok(()) => released += 1,
                Err(error) => match errno(error).map_err(io::Error::other)? {
                    // It went with its interface meanwhile.
                    libc::ENOENT => {}
                    errno => return Err(io::Error::from_raw_os_error(errno)),
                },
            }
        }
        connection.abort();
        Ok(released)
    })
}

/// All IPv4 and IPv6 neighbour entries.
pub(super) async fn neighbours(requests: &Handle) -> Result<HashMap<Hop, Neighbour>, Error> {
    let mut neighbours = HashMap::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let request = requests.neighbours().get().set_address_family(family);
        let mut answers = Box::pin(request.execute());
        while let Some(answer) = answers.next().await {
            neighbours.extend(message::neighbour(&answer?));
        }
    }
    Ok(neighbours)
}

/// The kernel's `errno` in an error, or the error where the kernel did not speak.
fn errno(error: Error) -> Result<i32, Error> {
    if let Error::NetlinkError(message) = &error {
        Ok(-message.raw_code())
    } else {
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtnetlink::packet_core::ErrorMessage;
    use std::num::NonZeroI32;

    #[test]
    fn only_a_missing_family_is_no_error() {
        for (errno, expected) in [
            (libc::EAFNOSUPPORT, true),
            (libc::EOPNOTSUPP, true),
            (libc::EINTR, false),
            (libc::ENOBUFS, false),
            (libc::EPERM, false),
        ] {
            let mut message = ErrorMessage::default();
            message.code = NonZeroI32::new(-errno);
            let error = Error::NetlinkError(message);
            assert_eq!(is_without_family(&error), expected, "{errno}");
        }
        assert!(!is_without_family(&Error::RequestFailed));
    }
}
