//! Messages as they are, and as they should not be.

use super::*;
use proptest::prelude::*;

const INVITE: &[u8] = b"INVITE sip:bob@biloxi.example SIP/2.0\r\n\
    Via: SIP/2.0/UDP pc33.atlanta.example;branch=z9hG4bK776asdhds\r\n\
    To: Bob <sip:bob@biloxi.example>\r\n\
    Call-ID: a84b4c76e66710@pc33.atlanta.example\r\n\
    CSeq: 314159 INVITE\r\n\
    \r\n\
    v=0\r\n";

/// The Call-ID of a message with one header.
fn of(header: &[u8]) -> Option<Vec<u8>> {
    let message = [b"BYE sip:a SIP/2.0\r\n", header].concat();
    call_id(&message).map(<[u8]>::to_vec)
}

#[test]
fn requests_and_responses_have_one() {
    assert_eq!(
        call_id(INVITE),
        Some(&b"a84b4c76e66710@pc33.atlanta.example"[..])
    );
    let short = b"SIP/2.0 200 OK\r\ni:x\r\n\r\n";
    assert_eq!(call_id(short), Some(&b"x"[..]));
}

#[test]
fn a_header_may_be_written_in_many_ways() {
    let ways: [&[u8]; 13] = [
        b"Call-ID: a@b\r\n",
        b"call-id:a@b\r\n",
        b"CALL-ID \t:\t  a@b\n",
        b"Call-ID: a@b\r",
        b"i: a@b\r\n",
        b"I : a@b\r\n",
        b"i\r\n : a@b\r\n",
        b"i:\r\n a@b\r\n",
        b"i:\n\ta@b\r\n",
        b"i:\r \t a@b\r\n",
        b"To: c\ni: a@b\n",
        b"To: c\r\n i: not this\r\ni: a@b\r\n",
        b"i: c@\r\ni: a@b\r\n",
    ];
    for way in ways {
        let text = String::from_utf8_lossy(way);
        assert_eq!(of(way), Some(b"a@b".to_vec()), "{text:?}");
    }
}

#[test]
fn what_is_no_header_or_no_value_has_none() {
    let others: [&[u8]; 15] = [
        b"",
        b"Call-ID",
        b"Call-ID:",
        b"Call-ID: ",
        b"Call-ID: \r\nCall-ID: a@b\r\n",
        b"Call-ID: a@b",
        b"i:\r\na@b\r\n",
        b"Call-ID: a@b c\r\n",
        b"Call-ID: a@b \r\n",
        b"Call-ID: a@b@c\r\n",
        b"Call-ID: a,b\r\n",
        b"Call-Identity: a\r\n",
        b"i-like: this\r\ni: a@b\r\n",
        b"Info: a\r\n",
        b" Call-ID: a@b\r\n",
    ];
    for other in others {
        assert_eq!(of(other), None, "{:?}", String::from_utf8_lossy(other));
    }
    // The first line is none.
    assert_eq!(call_id(b"Call-ID: a\r\n"), None);
}

#[test]
fn every_byte_of_a_word_is_taken_and_no_other() {
    let marks = b"-.!%*_+`'~()<>:\\\"/[]?{}";
    for byte in 0..=u8::MAX {
        let header = [b"i: a", &[byte][..], b"\r\n"].concat();
        let taken = of(&header).is_some_and(|value| value.len() == 2);
        let letter = byte.is_ascii_alphanumeric() || byte >= 0xc0;
        let sign = [0xd7, 0xf7].contains(&byte);
        assert_eq!(taken, marks.contains(&byte) || letter && !sign, "{byte:#x}");
    }
}

#[test]
fn a_long_one_counts_up_to_255_bytes() {
    let id = |len: usize| [b"i: ", "x".repeat(len).as_bytes(), b"\r\n"].concat();
    assert_eq!(of(&id(255)).unwrap().len(), 255);
    assert_eq!(of(&id(256)), None);
}

fn service(port: u16) -> ServiceAddress {
    ServiceAddress::Address {
        protocol: Protocol::Udp,
        address: "198.51.100.1".parse().unwrap(),
        port,
    }
}

fn options(persistent: Option<u32>) -> ServiceOptions {
    ServiceOptions {
        scheduler: "wlc".into(),
        flags: 0,
        persistent,
        netmask: Some(Netmask::Mask("255.0.255.0".parse().unwrap())),
        one_packet: true,
        persistence_engine: Some(NAME.into()),
    }
}

#[test]
fn a_template_is_of_service_network_and_call() {
    let mask = options(None).netmask;
    let of = |service, client: &str, message: &[u8]| {
        Template::of(service, mask, client.parse().unwrap(), message)
    };
    let template = of(service(5060), "192.0.2.77", INVITE).unwrap();
    assert_eq!(template.client, "192.0.2.0".parse::<IpAddr>().unwrap());
    assert_eq!(&*template.call_id, b"a84b4c76e66710@pc33.atlanta.example");

    let same = of(service(5060), "192.255.2.1", INVITE);
    assert_eq!(same.as_ref(), Some(&template));
    assert_ne!(
        of(service(5061), "192.0.2.77", INVITE).as_ref(),
        Some(&template)
    );
    assert_ne!(
        of(service(5060), "192.0.3.77", INVITE).as_ref(),
        Some(&template)
    );
    let other_case = INVITE.to_ascii_uppercase();
    assert_ne!(
        of(service(5060), "192.0.2.77", &other_case).as_ref(),
        Some(&template)
    );
    assert_eq!(of(service(5060), "192.0.2.77", b"INVITE"), None);
}

#[test]
fn masks_keep_what_they_say() {
    let cases = [
        ("192.0.2.77", None, "192.0.2.77"),
        (
            "192.0.2.77",
            Some(Netmask::Mask(Ipv4Addr::UNSPECIFIED)),
            "0.0.0.0",
        ),
        ("2001:db8::77", Some(Netmask::Prefix(120)), "2001:db8::"),
        ("2001:db8::77", Some(Netmask::Prefix(128)), "2001:db8::77"),
        ("2001:db8::77", Some(Netmask::Prefix(0)), "::"),
        ("2001:db8::77", None, "2001:db8::77"),
    ];
    for (address, mask, expected) in cases {
        let expected: IpAddr = expected.parse().unwrap();
        assert_eq!(network(address.parse().unwrap(), mask), expected);
    }
}

#[test]
fn a_server_that_calls_opens_a_connection() {
    let (server, client) = (
        "10.0.0.1:5070".parse().unwrap(),
        "192.0.2.77:5060".parse().unwrap(),
    );
    let plain = conn_out(
        service(5060),
        &options(None),
        server,
        client,
        b"not even SIP",
    );
    let expected = Outbound {
        template: None,
        client,
        address: "198.51.100.1:5060".parse().unwrap(),
        server,
        one_packet: true,
    };
    assert_eq!(plain, Some(expected.clone()));

    let persistent = conn_out(service(5060), &options(Some(60)), server, client, INVITE);
    let template = Template::of(service(5060), options(None).netmask, client.ip(), INVITE);
    assert!(template.is_some());
    assert_eq!(
        persistent,
        Some(Outbound {
            template,
            ..expected
        })
    );
}

#[test]
fn a_server_that_calls_otherwise_opens_none() {
    let server: SocketAddr = "10.0.0.1:5070".parse().unwrap();
    let opens = |service, options: &ServiceOptions, server, message: &[u8]| {
        conn_out(
            service,
            options,
            server,
            "192.0.2.77:5060".parse().unwrap(),
            message,
        )
        .is_some()
    };
    let persistent = options(Some(60));
    assert!(opens(service(5060), &persistent, server, INVITE));

    assert!(!opens(service(5060), &persistent, server, b"no Call-ID"));
    assert!(!opens(service(0), &persistent, server, INVITE));
    assert!(!opens(
        service(5060),
        &persistent,
        SocketAddr::new(server.ip(), 0),
        INVITE
    ));
    let mark = ServiceAddress::Mark {
        mark: 1,
        family: lb_common::api::Family::Ipv4,
    };
    assert!(!opens(mark, &persistent, server, INVITE));
    let tcp = ServiceAddress::Address {
        protocol: Protocol::Tcp,
        address: "198.51.100.1".parse().unwrap(),
        port: 5060,
    };
    assert!(!opens(tcp, &persistent, server, INVITE));
    let other = ServiceOptions {
        persistence_engine: None,
        ..persistent
    };
    assert!(!opens(service(5060), &other, server, INVITE));
}

#[test]
fn digests_tell_calls_apart() {
    let mut digests: Vec<_> = (0..10_000u32)
        .map(|n| digest(format!("{n:x}@host").as_bytes(), 7))
        .collect();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), 10_000);
    assert_ne!(digest(b"a", 1), digest(b"a", 2));
    // Zero bytes at the end count.
    assert_ne!(digest(b"a", 1), digest(b"a\0", 1));
    assert_ne!(digest(b"", 1), digest(&[0; 8], 1));
}

proptest! {
    #[test]
    fn a_call_id_is_a_line_s_value(
        message in "(a|i|I|Call-ID|:| |\t|\r|\n|\r\n|@|,|;|x){0,40}",
    ) {
        if let Some(value) = call_id(message.as_bytes()) {
            let at = value.as_ptr() as usize - message.as_ptr() as usize;
            prop_assert!(!value.is_empty());
            prop_assert!(matches!(message.as_bytes()[at + value.len()], b'\r' | b'\n'));
            let before = message[..at].trim_end();
            prop_assert!(before.ends_with(':'), "{:?}", before);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(message in prop::collection::vec(any::<u8>(), 0..300)) {
        call_id(&message);
        call_id(&[b"\ni:", &message[..]].concat());
        call_id(&[b"\nCall-ID:", &message[..], b"\r"].concat());
    }
}
