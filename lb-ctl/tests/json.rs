//! What `-o json` prints is what the schemas say, no more and no less.

mod common;

use common::call::call;
use common::machine::Files;
use common::table::{Table, new_server};
use lb_common::api::{
    DaemonRole, Forwarding, Next, ServerAddress, ServerOptions, SyncDaemon, Tunnel, TunnelChecksum,
    Warning, WarningKind,
};
use lb_ctl::output::json::schema::SCHEMAS;
use serde_json::Value;

const RULES: &str = "\
-A -t 10.0.0.1:80 -s sh -p 600 -M 255.255.255.0 -b sh-port,flag-3
-a -t 10.0.0.1:80 -r 192.168.0.1:8080 -m -w 3 -x 100 -y 50
-a -t 10.0.0.1:80 -r 192.168.0.2 -i --tun-type gue --tun-port 6080 --tun-csum
-a -t 10.0.0.1:80 -r 192.168.0.3 -i --tun-type gre
-a -t 10.0.0.1:80 -r 192.168.0.4 -i
-A -u [2001:db8::1]:53 -o
-A --sctp-service 10.0.0.1:5060 -s rr
-A -u 10.0.0.1:5060 -p 60 --pe sip
-A -f 4294967295 -6 -s rr
";

const CONNECTIONS: &str = r#"{"protocol":"tcp","expires":899,"state":"ESTABLISHED","client":"192.168.10.10","client_port":8080,"address":"10.0.0.1","port":80,"server":{"address":"192.168.0.1","port":80}}
{"protocol":null,"expires":3600,"state":"ASSURED","client":"192.168.10.0","client_port":0,"address":"0.0.0.7","port":0,"server":{"address":"192.168.0.1","port":0},"engine":["sip","a\"b"]}"#;

/// A table with one of everything.
fn table() -> Table {
    let mut table = Table::default();
    let restored = call("ipvsadm", &["-R"], RULES, &mut table, &Files(Vec::new()));
    assert_eq!((restored.err.as_str(), restored.code), ("", 0));
    table.connections = CONNECTIONS.to_owned();
    table.daemons.daemons = vec![(
        DaemonRole::Backup,
        SyncDaemon {
            interface: "eth0".to_owned(),
            sync_id: 7,
            max_length: 1400,
            group: std::net::Ipv4Addr::new(224, 0, 0, 81).into(),
            port: 8848,
            ttl: 1,
        },
    )];
    table.daemons.served = true;
    table.warnings = WarningKind::ALL.map(warning).to_vec();
    let mut local = new_server(
        ServerAddress {
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            port: 80,
        },
        ServerOptions {
            forwarding: Forwarding::Local,
            weight: 1,
            upper_threshold: 0,
            lower_threshold: 0,
        },
    );
    local.next = Next::Unresolved {
        why: "no route".to_owned(),
    };
    table.services.services[0].servers.push(local);
    table
}

fn warning(kind: WarningKind) -> Warning {
    Warning {
        kind,
        message: "mend it".to_owned(),
    }
}

fn json(words: &[&str], input: &str, code: u8) -> Value {
    let call = call("lb-ctl", words, input, &mut table(), &Files(Vec::new()));
    assert_eq!(call.code, code, "{words:?}: {}", call.err);
    serde_json::from_str(&call.out).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

#[test]
fn every_document_fits_its_schema() {
    let import = format!("{RULES}--set 1 2 3\n--start-daemon master\n-L\n");
    for schema in SCHEMAS {
        let mut words: Vec<&str> = schema.command.split(' ').skip(1).collect();
        // An interface, but a server without a way; a file with a line that is left out.
        let code = match schema.name {
            "status" | "import" => 1,
            _ => 0,
        };
        if schema.name == "import" {
            words.extend(["ipvsadm", "-"]);
        }
        words.extend(["-o", "json"]);
        let document = match schema.name {
            // lb-agent prints it, and its tests hold it to this file.
            "realserver" => serde_json::from_str(include_str!("realserver/report.json")),
            _ => Ok(json(&words, &import, code)),
        };
        let document = document.expect("JSON");
        let printed = json(&["schema", schema.name], "", 0);
        assert_eq!(printed["properties"]["schema"]["const"], schema.id());
        check(&document, &printed, schema.name);
    }
}

/// Checks a value against a schema: the part of JSON Schema that the schemas use, and that no
/// field is there that they do not tell of.
fn check(value: &Value, schema: &Value, path: &str) {
    if let Some(alternatives) = schema["anyOf"].as_array() {
        let (other, null) = (&alternatives[0], &alternatives[1]);
        assert_eq!(null["type"], "null", "{path}");
        if !value.is_null() {
            check(value, other, path);
        }
        return;
    }
    if let Some(constant) = schema.get("const") {
        assert_eq!(value, constant, "{path}");
        return;
    }
    match schema["type"].as_str().expect("a type") {
        "string" => {
            let text = value.as_str().unwrap_or_else(|| panic!("{path}: {value}"));
            if let Some(words) = schema["enum"].as_array() {
                assert!(words.iter().any(|word| word == text), "{path}: {text}");
            }
        }
        "integer" => assert!(value.is_u64() && schema["minimum"] == 0, "{path}: {value}"),
        "boolean" => assert!(value.is_boolean(), "{path}: {value}"),
        "array" => {
            let items = value
                .as_array()
                .unwrap_or_else(|| panic!("{path}: {value}"));
            for item in items {
                check(item, &schema["items"], &format!("{path}[]"));
            }
        }
        "object" => {
            let fields = value
                .as_object()
                .unwrap_or_else(|| panic!("{path}: {value}"));
            let known = schema["properties"].as_object().expect("properties");
            for required in schema["required"].as_array().expect("a list") {
                let name = required.as_str().expect("a name");
                assert!(fields.contains_key(name), "{path}.{name} is missing");
            }
            for (name, value) in fields {
                let schema = known.get(name);
                let schema = schema.unwrap_or_else(|| panic!("{path}.{name} is not documented"));
                check(value, schema, &format!("{path}.{name}"));
            }
        }
        other => panic!("{path}: the schema has the type {other}"),
    }
}

#[test]
fn documents_say_what_the_table_says() {
    let services = json(&["list", "services", "-o", "json"], "", 0);
    let service = &services["services"][0];
    assert_eq!(service["flags"], serde_json::json!(["sh-port", "flag-3"]));
    assert_eq!(service["netmask"], "255.255.255.0");
    assert_eq!(service["family"], "ipv4");
    // The newest first: IPIP, GRE, GUE, masquerading, and the local one pushed behind.
    let tunnels: Vec<&Value> = (0..5).map(|n| &service["servers"][n]["tunnel"]).collect();
    assert_eq!(
        tunnels,
        [
            &serde_json::json!({"type": "ipip", "port": null, "checksum": null}),
            &serde_json::json!({"type": "gre", "port": null, "checksum": "none"}),
            &serde_json::json!({"type": "gue", "port": 6080, "checksum": "full"}),
            &Value::Null,
            &Value::Null,
        ]
    );
    assert_eq!(service["servers"][3]["upper_threshold"], 100);
    assert_eq!(service["servers"][4]["forwarding"], "local");
    assert_eq!(service["servers"][4]["next"]["missing"], "no route");
    let mark = &services["services"][4];
    assert_eq!(
        (&mark["mark"], &mark["family"]),
        (&4_294_967_295_u64.into(), &"ipv6".into())
    );

    let connections = json(&["list", "connections", "-o", "json"], "", 0);
    let template = &connections["connections"][1];
    assert_eq!(template["protocol"], Value::Null);
    assert_eq!(template["service"]["address"], "0.0.0.7");
    assert_eq!(
        template["engine"],
        serde_json::json!({"name": "sip", "data": "a\"b"})
    );

    let import = json(
        &["import", "ipvsadm", "-", "-ojson"],
        "-A -t 10.0.0.1:80\n-L\n",
        1,
    );
    assert_eq!(import["services"][0]["scheduler"], "wlc");
    assert_eq!(import["omitted"][0]["line"], 2);
}

#[test]
fn connections_are_one_document_with_a_line_each() {
    let words = ["list", "connections", "-o", "json"];
    let mut table = table();
    let full = call("lb-ctl", &words, "", &mut table, &Files(Vec::new()));
    assert_eq!(full.out.lines().count(), 4);
    table.connections.clear();
    let empty = call("lb-ctl", &words, "", &mut table, &Files(Vec::new()));
    let empty: Value = serde_json::from_str(&empty.out).unwrap();
    assert_eq!(empty["connections"], Value::Array(Vec::new()));
}

#[test]
fn text_lists_are_ipvsadm_s() {
    let machine = Files(Vec::new());
    for (verb, options) in [
        ("services", ["-L", "-n"].as_slice()),
        ("connections", &["-L", "-n", "-c"]),
        ("timeouts", &["-L", "--timeout"]),
        ("daemons", &["-L", "--daemon"]),
    ] {
        let list = call("lb-ctl", &["list", verb], "", &mut table(), &machine);
        let same = call("ipvsadm", options, "", &mut table(), &machine);
        assert_eq!(list, same, "{verb}");
        assert!(!list.out.is_empty());
    }
}

/// ipvsadm's own listing has no place for it.
#[test]
fn daemons_that_serve_no_peer_are_told_apart() {
    let machine = Files(Vec::new());
    let mut table = table();
    table.daemons.served = false;
    let mut said = |program, words: &[&str]| call(program, words, "", &mut table, &machine).out;
    let plain = said("ipvsadm", &["-L", "--daemon"]);
    let told = "the backup sync daemon on eth0 serves no peer: this version of lb-agent only keeps \
                it\n";
    assert_eq!(said("lb-ctl", &["list", "daemons"]), plain + told);
    let status = said("lb-ctl", &["status"]);
    assert!(status.contains(told), "{status}");
    let list: Value = serde_json::from_str(&said("lb-ctl", &["list", "daemons", "-o", "json"]))
        .expect("a document");
    assert_eq!(list["served"], false);
}

/// The tunnels' names in documents are those of the control API.
#[test]
fn tunnels_and_checksums_have_the_api_s_names() {
    let name = |value: Value| value.as_str().map(str::to_owned);
    for (checksum, expected) in [
        (TunnelChecksum::None, "none"),
        (TunnelChecksum::Full, "full"),
        (TunnelChecksum::Remote, "remote"),
    ] {
        let api = serde_json::to_value(checksum).unwrap();
        assert_eq!(name(api).as_deref(), Some(expected));
    }
    let api = serde_json::to_value(Tunnel::Ipip).unwrap();
    assert_eq!(name(api).as_deref(), Some("ipip"));
}
