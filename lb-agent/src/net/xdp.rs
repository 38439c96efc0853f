//! Which XDP programs interfaces carry.

use futures_util::stream::TryStreamExt as _;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};
use rtnetlink::LinkGetRequest;

/// The id of the XDP program on an interface, as far as the kernel tells.
///
/// For an error's message, from code without a runtime at hand: it asks on a thread of its own.
pub(crate) fn program_id(ifindex: u32) -> Option<u32> {
    let links = ask(move |request| request.match_index(ifindex))?;
    links.iter().find_map(|link| ids(link).next())
}

/// The XDP programs on all interfaces, each with the interface's index and its own id; none when
/// the kernel does not tell.
///
/// From code without a runtime at hand, too.
pub(crate) fn program_ids() -> Option<Vec<(u32, u32)>> {
    let links = ask(|request| request)?;
    let mut all = Vec::new();
    for link in &links {
        all.extend(ids(link).map(|id| (link.header.index, id)));
    }
    Some(all)
}

fn ask(
    which: impl FnOnce(LinkGetRequest) -> LinkGetRequest + Send + 'static,
) -> Option<Vec<LinkMessage>> {
    let ask = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .ok()?;
        runtime.block_on(async move {
            let (connection, requests, _) = rtnetlink::new_connection().ok()?;
            let connection = tokio::spawn(connection);
            let links = which(requests.link().get()).execute().try_collect().await;
            connection.abort();
            links.ok()
        })
    };
    std::thread::spawn(ask).join().ok()?
}

/// The ids of the programs on an interface: one, or one in each mode.
fn ids(link: &LinkMessage) -> impl Iterator<Item = u32> {
    let id = |attribute: &LinkXdp| match *attribute {
        LinkXdp::ProgId(id)
        | LinkXdp::DrvProgId(id)
        | LinkXdp::SkbProgId(id)
        | LinkXdp::HwProgId(id) => Some(id),
        LinkXdp::Fd(_)
        | LinkXdp::Attached(_)
        | LinkXdp::Flags(_)
        | LinkXdp::ExpectedFd(_)
        | LinkXdp::Other(_)
        | _ => None,
    };
    link.attributes.iter().flat_map(programs).filter_map(id)
}

fn programs(attribute: &LinkAttribute) -> &[LinkXdp] {
    if let LinkAttribute::Xdp(programs) = attribute {
        programs
    } else {
        &[]
    }
}
