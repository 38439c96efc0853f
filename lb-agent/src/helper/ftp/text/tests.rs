//! Lines as clients and servers write them.

use super::*;
use proptest::prelude::*;

fn active(address: &str) -> Command {
    Command::Active(address.parse().unwrap())
}

#[test]
fn commands_are_read() {
    let cases = [
        ("PASV", false, Command::Passive),
        ("pasv ", false, Command::Passive),
        ("PASV", true, Command::Other),
        ("PASV x", false, Command::Other),
        ("PASVE", false, Command::Other),
        ("EPSV", false, Command::ExtendedPassive),
        ("EPSV", true, Command::ExtendedPassive),
        ("epsv 1", false, Command::ExtendedPassive),
        ("EPSV 2", true, Command::ExtendedPassive),
        ("EPSV 2", false, Command::Other),
        ("EPSV 1", true, Command::Other),
        ("EPSV ALL", false, Command::Other),
        ("EPSV1", false, Command::Other),
        ("PORT 192,0,2,1,156,64", false, active("192.0.2.1:40000")),
        ("port  192,0,2,1,0,1", false, active("192.0.2.1:1")),
        ("PORT 192,0,2,1,156,64", true, Command::Other),
        ("PORT 192,0,2,1,0,0", false, Command::Unusable),
        ("PORT 192,0,2,1,156", false, Command::Unusable),
        ("PORT 192,0,2,256,0,1", false, Command::Unusable),
        ("PORT 192,0,2,0001,0,1", false, Command::Unusable),
        ("PORT ,,,,,", false, Command::Unusable),
        ("PORT", false, Command::Unusable),
        ("PORT192,0,2,1,156,64", false, Command::Other),
        ("EPRT |1|192.0.2.1|40000|", false, active("192.0.2.1:40000")),
        ("eprt !1!192.0.2.1!40000!", false, active("192.0.2.1:40000")),
        (
            "EPRT |2|2001:db8::1|40000|",
            true,
            active("[2001:db8::1]:40000"),
        ),
        (
            "EPRT |2|::ffff:192.0.2.1|4|",
            true,
            active("[::ffff:192.0.2.1]:4"),
        ),
        ("EPRT |2|2001:db8::1|40000|", false, Command::Unusable),
        ("EPRT |1|192.0.2.1|40000|", true, Command::Unusable),
        ("EPRT |1|2001:db8::1|40000|", false, Command::Unusable),
        ("EPRT |1|192.0.2.1|0|", false, Command::Unusable),
        ("EPRT |1|192.0.2.1|65536|", false, Command::Unusable),
        ("EPRT |1|192.0.2.1|+7|", false, Command::Unusable),
        ("EPRT |1|192.0.2.1|40000", false, Command::Unusable),
        ("EPRT |1||40000|", false, Command::Unusable),
        ("EPRT", false, Command::Unusable),
        ("RETR PORT 1,2,3,4,5,6", false, Command::Other),
        ("", false, Command::Other),
        ("ABC", false, Command::Other),
    ];
    for (line, v6, expected) in cases {
        assert_eq!(command(line.as_bytes(), v6), expected, "{line:?} {v6}");
    }
}

#[test]
fn unfinished_commands_are_suspected() {
    for line in ["P", "pA", "EPS", "EPSV", "PORT 1,2", "eprt |"] {
        assert!(may_be_command(line.as_bytes()), "{line:?}");
    }
    for line in ["", "X", "PX", "PASS", "RETR PASV"] {
        assert!(!may_be_command(line.as_bytes()), "{line:?}");
    }
}

/// The text of a line that is to be replaced, and its port; or why there is none.
fn read(line: &str) -> Result<(&str, u16), Reply> {
    match Form::of(line.as_bytes()).unwrap().read(line.as_bytes()) {
        Reply::Listens(text, port) => Ok((&line[text], port)),
        other @ (Reply::Cut | Reply::Unusable) => Err(other),
    }
}

#[test]
fn plain_replies_are_read() {
    let cases = [
        (
            "227 Entering Passive Mode (10,0,0,1,4,1).\r\n",
            Ok(("10,0,0,1,4,1", 1025)),
        ),
        (
            "227 Entering Passive Mode 10,0,0,1,4,1\r\n",
            Ok(("10,0,0,1,4,1", 1025)),
        ),
        ("227 10,0,0,1,255,255\n", Ok(("10,0,0,1,255,255", 65535))),
        (
            "227 =010,000,000,001,156,064\r\n",
            Ok(("010,000,000,001,156,064", 40000)),
        ),
        (
            "227 Passive on unit 2 of 10,3 (10,0,0,1,4,1)\r\n",
            Ok(("10,0,0,1,4,1", 1025)),
        ),
        // The reply says it all once the last number has ended.
        (
            "227 Entering Passive Mode (10,0,0,1,4,1)",
            Ok(("10,0,0,1,4,1", 1025)),
        ),
        ("227 Entering Passive Mode (10,0,0,1,4,1", Err(Reply::Cut)),
        ("227 Entering Passive Mode (10,0,", Err(Reply::Cut)),
        ("227 Ent", Err(Reply::Cut)),
        (
            "227 Entering Passive Mode (10,0,0,1,4)\r\n",
            Err(Reply::Unusable),
        ),
        (
            "227 Entering Passive Mode (10,0,0,1,4,256)\r\n",
            Err(Reply::Unusable),
        ),
        (
            "227 Entering Passive Mode (10,0,0,1,3,255)\r\n",
            Err(Reply::Unusable),
        ),
        ("227 Entering Passive Mode\r\n", Err(Reply::Unusable)),
    ];
    for (line, expected) in cases {
        assert_eq!(read(line), expected, "{line:?}");
    }
}

#[test]
fn extended_replies_are_read() {
    let cases = [
        (
            "229 Entering Extended Passive Mode (|||1025|)\r\n",
            Ok(("|||1025|", 1025)),
        ),
        ("229 ok (!!!65535!)", Ok(("!!!65535!", 65535))),
        (
            "229 ok (|1|10.0.0.1|1025|)\r\n",
            Ok(("|1|10.0.0.1|1025|", 1025)),
        ),
        (
            "229 ok (|2|2001:db8::1|1025|)\r\n",
            Ok(("|2|2001:db8::1|1025|", 1025)),
        ),
        ("229 ok (|||1025", Err(Reply::Cut)),
        ("229 ok (|||1025)\r\n", Err(Reply::Unusable)),
        ("229 ok |||1025|\r\n", Err(Reply::Unusable)),
        ("229 ok (|||65536|)\r\n", Err(Reply::Unusable)),
        ("229 ok (|||1023|)\r\n", Err(Reply::Unusable)),
        ("229 ok (||||)\r\n", Err(Reply::Unusable)),
        ("229 ok (\r\n", Err(Reply::Unusable)),
        ("229 ok (", Err(Reply::Cut)),
    ];
    for (line, expected) in cases {
        assert_eq!(read(line), expected, "{line:?}");
    }
}

#[test]
fn other_replies_have_no_form() {
    for line in ["", "227", "227-", "2270 ", "226 ok", " 227 x"] {
        assert_eq!(Form::of(line.as_bytes()), None, "{line:?}");
    }
    for (line, may) in [("2", true), ("229", true), ("21", false), ("227-", false)] {
        assert_eq!(may_be_reply(line.as_bytes()), may, "{line:?}");
    }
}

proptest! {
    #[test]
    fn listeners_are_read_as_they_were_written(address: [u8; 4], port in 1024..=u16::MAX) {
        let listening = SocketAddr::new(address.into(), port);
        for (form, code) in [(Form::Plain, 227), (Form::Extended, 229)] {
            let text = String::from_utf8(listener(form, listening)).unwrap();
            let line = format!("{code} Entering Mode ({text})\r\n");
            prop_assert_eq!(read(&line), Ok((&*text, port)));
        }
        let text = String::from_utf8(listener(Form::Plain, listening)).unwrap();
        let line = format!("PORT {text}");
        prop_assert_eq!(command(line.as_bytes(), false), Command::Active(listening));
    }

    #[test]
    fn no_bytes_make_it_panic(
        line in prop::collection::vec(any::<u8>(), 0..60),
        hinted in "(PORT|EPRT|EPSV|227|229)? ?[(|,0-9a:]{0,30}\r?\n?",
        v6: bool,
    ) {
        for line in [&line, hinted.as_bytes()] {
            command(line, v6);
            may_be_command(line);
            if let Some(form) = Form::of(line)
                && let Reply::Listens(text, _) = form.read(line)
            {
                prop_assert!(!text.is_empty() && text.end <= line.len());
            }
        }
    }
}
