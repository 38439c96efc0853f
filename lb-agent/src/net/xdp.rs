//! Which XDP program an interface carries.

use futures_util::stream::TryStreamExt as _;
use netlink_packet_route::link::{LinkAttribute, LinkXdp};

/// The id of the XDP program on an interface, as far as the kernel tells.
///
/// For an error's message, from code without a runtime at hand: it asks on a thread of its own.
pub(crate) fn program_id(ifindex: u32) -> Option<u32> {
    let ask = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .ok()?;
        runtime.block_on(async move {
            let (connection, requests, _) = rtnetlink::new_connection().ok()?;
            let connection = tokio::spawn(connection);
            let mut links = requests.link().get().match_index(ifindex).execute();
            let link = links.try_next().await.ok()??;
            connection.abort();
            let id = |attribute| match attribute {
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
            let xdp = |attribute| {
                if let LinkAttribute::Xdp(xdp) = attribute {
                    xdp
                } else {
                    Vec::new()
                }
            };
            link.attributes.into_iter().flat_map(xdp).find_map(id)
        })
    };
    std::thread::spawn(ask).join().ok()?
}
