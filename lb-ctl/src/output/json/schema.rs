//! The schemas of all documents, as tables: the page shows them, `lb-ctl schema` prints them as
//! JSON Schema, and the tests hold every document against them.
//!
//! A field that is added does not change a version; one that goes, or means something else, does.

use lb_common::api::WarningKind;
use serde_json::{Map, Value, json};

/// A kind of document.
#[derive(Debug)]
pub struct Schema {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: u32,
    /// The command that prints it.
    pub command: &'static str,
    /// Its fields beside `schema`.
    pub fields: &'static [Field],
}

/// A field of an object; it is always there.
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether it may be null instead.
    pub nullable: bool,
    /// What it says.
    pub about: &'static str,
}

/// What a field holds.
#[derive(Debug)]
pub enum Kind {
    /// A text.
    Text,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A whole number, not negative.
    Number,
    /// true or false.
    Flag,
    /// An object.
    Object(&'static [Field]),
    /// A list of objects.
    Objects(&'static [Field]),
    /// A list of texts.
    Texts,
}

use Kind::{Flag, Number, Object, Objects, OneOf, Text, Texts};

const fn field(name: &'static str, kind: Kind, about: &'static str) -> Field {
    Field {
        name,
        kind,
        nullable: false,
        about,
    }
}

const fn or_null(name: &'static str, kind: Kind, about: &'static str) -> Field {
    Field {
        name,
        kind,
        nullable: true,
        about,
    }
}

/// Every schema.
pub const SCHEMAS: &[&Schema] = &[
    &STATUS,
    &SERVICES,
    &CONNECTIONS,
    &TIMEOUTS,
    &DAEMONS,
    &MARKS,
    &SETTINGS,
    &SERVICE_EXTRAS,
    &REALSERVER,
    &IMPORT,
];

/// `lb-ctl status`.
pub const STATUS: Schema = Schema {
    name: "status",
    version: 1,
    command: "lb-ctl status",
    fields: &[
        field("agent", Object(AGENT), "the agent"),
        field("services", Number, "how many services there are"),
        field("servers", Number, "how many servers they have"),
        field("active", Number, "connections in an active state"),
        field("inactive", Number, "connections in any other state"),
        field(
            "unresolved",
            Objects(UNRESOLVED),
            "servers that no packet can be sent to",
        ),
        field("sync", Object(SYNC), "the sync daemons"),
    ],
};

const AGENT: &[Field] = &[
    field("version", Text, "its version"),
    field("pid", Number, "its process id"),
    field("layout", Number, "the number of its maps' layout"),
    field("flows", Number, "how many flows the flow table is for"),
    field("slots", Number, "how many entries the flow table has"),
    field(
        "interfaces",
        Objects(INTERFACES),
        "where the program is attached",
    ),
    field("missing", Texts, "configured interfaces that are gone"),
    field(
        "warnings",
        Objects(WARNINGS),
        "what keeps packets or answers from arriving, or may",
    ),
    field(
        "reasons",
        Objects(REASONS),
        "why packets went another way than to a server",
    ),
];

const INTERFACES: &[Field] = &[
    field("name", Text, "the interface"),
    field(
        "mode",
        OneOf(&["native", "generic"]),
        "in the driver, or behind it",
    ),
];

const WARNING_KINDS: [&str; WarningKind::ALL.len()] = {
    let mut names = [""; WarningKind::ALL.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = WarningKind::ALL[index].name();
        index += 1;
    }
    names
};

const WARNINGS: &[Field] = &[
    field("kind", OneOf(&WARNING_KINDS), "what it is about"),
    field(
        "seen",
        Flag,
        "whether it was seen to go wrong; else it may, which lb cannot see",
    ),
    field("message", Text, "what is wrong, and what mends it"),
];

const REASONS: &[Field] = &[
    field("reason", Text, "the reason"),
    field("packets", Number, "how many packets"),
];

const UNRESOLVED: &[Field] = &[
    field("service", Text, "the service"),
    field("server", Text, "the server"),
    field("why", Text, "what is missing on the way to it"),
];

/// `lb-ctl list services`.
pub const SERVICES: Schema = Schema {
    name: "services",
    version: 1,
    command: "lb-ctl list services",
    fields: &[
        field("slots", Number, "how many entries the flow table has"),
        field(
            "services",
            Objects(SERVICE),
            "the services, in the order they were added",
        ),
    ],
};

const SERVICE: &[Field] = &[
    PROTOCOL,
    SERVICE_ADDRESS,
    SERVICE_PORT,
    MARK,
    FAMILY,
    SCHEDULER,
    FLAGS,
    PERSISTENT,
    NETMASK,
    ONE_PACKET,
    ENGINE,
    NO_SERVER,
    field("counters", Object(COUNTERS), "since they were zeroed"),
    field(
        "rates",
        Object(COUNTERS),
        "the same a second, as ipvs estimates them",
    ),
    field("servers", Objects(SERVER), "its servers, the newest first"),
];

const PROTOCOL: Field = or_null(
    "protocol",
    OneOf(&["tcp", "udp", "sctp"]),
    "the protocol; null for a mark",
);
const SERVICE_ADDRESS: Field = or_null("address", Text, "the virtual address; null for a mark");
const SERVICE_PORT: Field = or_null("port", Number, "its port, 0 for all; null for a mark");
const MARK: Field = or_null("mark", Number, "the firewall mark; null for an address");
const FAMILY: Field = field(
    "family",
    OneOf(&["ipv4", "ipv6"]),
    "the family of its packets",
);
const SCHEDULER: Field = field("scheduler", Text, "the scheduler");
const FLAGS: Field = field("flags", Texts, "the scheduler's flags, by ipvsadm's names");
const PERSISTENT: Field = or_null("persistent", Number, "seconds of persistence");
const NETMASK: Field = or_null(
    "netmask",
    Text,
    "persistence looks at this mask, or IPv6 prefix length, of clients; null for all of it",
);
const ONE_PACKET: Field = field("one_packet", Flag, "one-packet scheduling");
const ENGINE: Field = or_null("persistence_engine", Text, "the persistence engine");

const NO_SERVER: Field = field(
    "no_server",
    OneOf(&["icmp", "reset", "silent"]),
    "what clients hear while no server may take connections",
);

const COUNTERS: &[Field] = &[
    field("connections", Number, "connections scheduled"),
    field("in_packets", Number, "packets from clients"),
    field("out_packets", Number, "packets to clients"),
    field("in_bytes", Number, "bytes from clients"),
    field("out_bytes", Number, "bytes to clients"),
];

const SERVER: &[Field] = &[
    ADDRESS,
    PORT,
    FORWARDING,
    TUNNEL,
    WEIGHT,
    UPPER,
    LOWER,
    field("active", Number, "connections in an active state"),
    field("inactive", Number, "connections in any other state"),
    field("persistent", Number, "persistence templates"),
    field("counters", Object(COUNTERS), "since they were zeroed"),
    field(
        "rates",
        Object(COUNTERS),
        "the same a second, as ipvs estimates them",
    ),
    field("next", Object(NEXT), "the way to it"),
];

const ADDRESS: Field = field("address", Text, "its address");
const PORT: Field = field("port", Number, "its port");
const FORWARDING: Field = field(
    "forwarding",
    OneOf(&["route", "tunnel", "masquerade", "local"]),
    "the forwarding method",
);
const TUNNEL: Field = or_null(
    "tunnel",
    Object(TUNNEL_FIELDS),
    "the tunnel; null for other methods",
);
const WEIGHT: Field = field("weight", Number, "its weight; 0 keeps new connections away");
const UPPER: Field = field(
    "upper_threshold",
    Number,
    "connections it takes; 0 for any number",
);
const LOWER: Field = field(
    "lower_threshold",
    Number,
    "connections at which it takes new ones again; 0 for three quarters",
);

const TUNNEL_FIELDS: &[Field] = &[
    field("type", OneOf(&["ipip", "gue", "gre"]), "the encapsulation"),
    or_null("port", Number, "the UDP port of gue"),
    or_null(
        "checksum",
        OneOf(&["none", "full", "remote"]),
        "its checksum; null for ipip",
    ),
];

const NEXT: &[Field] = &[
    field(
        "local",
        Flag,
        "whether it is the director itself, to which no way leads",
    ),
    or_null("interface", Text, "the interface to it; null while unknown"),
    or_null(
        "mac",
        Text,
        "the next hop's Ethernet address; null while unknown",
    ),
    or_null(
        "missing",
        Text,
        "why the way is unknown; null if it is known",
    ),
];

/// `lb-ctl mark list`.
pub const MARKS: Schema = Schema {
    name: "marks",
    version: 1,
    command: "lb-ctl mark list",
    fields: &[field(
        "rules",
        Objects(RULE),
        "the rules; a packet gets the mark of the first that matches",
    )],
};

const RULE: &[Field] = &[
    field("number", Number, "its number, for lb-ctl mark delete"),
    or_null(
        "protocol",
        OneOf(&["tcp", "udp", "sctp"]),
        "the protocol; null for any",
    ),
    or_null("from", Text, "the source's network; null for any"),
    or_null("to", Text, "the destination's network; null for any"),
    or_null("first_port", Number, "the first port; null for any"),
    or_null("last_port", Number, "the last port; null for any"),
    or_null(
        "interface",
        Text,
        "the interface it comes in by; null for any",
    ),
    field("mark", Number, "the mark"),
];

/// `lb-ctl setting`.
pub const SETTINGS: Schema = Schema {
    name: "settings",
    version: 1,
    command: "lb-ctl setting",
    fields: &[field(
        "settings",
        Objects(SETTING),
        "the settings, by the names of ipvs's sysctls",
    )],
};

const SETTING: &[Field] = &[
    field("name", Text, "its name"),
    field("value", Number, "its value"),
    field(
        "origin",
        OneOf(&["default", "configuration", "edit"]),
        "who chose the value",
    ),
];

/// `lb-ctl service`.
pub const SERVICE_EXTRAS: Schema = Schema {
    name: "service",
    version: 1,
    command: "lb-ctl service",
    fields: &[field(
        "services",
        Objects(&[
            PROTOCOL,
            SERVICE_ADDRESS,
            SERVICE_PORT,
            MARK,
            FAMILY,
            NO_SERVER,
        ]),
        "the services, in the order they were added",
    )],
};

/// `lb-ctl list connections`.
pub const CONNECTIONS: Schema = Schema {
    name: "connections",
    version: 1,
    command: "lb-ctl list connections",
    fields: &[field(
        "connections",
        Objects(CONNECTION),
        "the connections, each on a line of its own",
    )],
};

const CONNECTION: &[Field] = &[
    or_null(
        "protocol",
        OneOf(&["tcp", "udp", "sctp"]),
        "the protocol; null for the template of a mark",
    ),
    field("state", Text, "the state, by ipvs's name"),
    field(
        "expires",
        Number,
        "seconds until it ends unless packets come",
    ),
    field("client", Object(ENDPOINT), "the client"),
    field("service", Object(ENDPOINT), "what the client asked for"),
    field("server", Object(ENDPOINT), "the server that answers"),
    or_null(
        "engine",
        Object(ENGINE_FIELDS),
        "the persistence engine of a template",
    ),
];

const ENDPOINT: &[Field] = &[
    field("address", Text, "the address"),
    field("port", Number, "the port"),
];

const ENGINE_FIELDS: &[Field] = &[
    field("name", Text, "its name"),
    field("data", Text, "what it goes by"),
];

/// `lb-ctl list timeouts`.
pub const TIMEOUTS: Schema = Schema {
    name: "timeouts",
    version: 1,
    command: "lb-ctl list timeouts",
    fields: TIMEOUT_FIELDS,
};

const TIMEOUT_FIELDS: &[Field] = &[
    field("tcp", Number, "seconds of a TCP session"),
    field(
        "tcp_fin",
        Number,
        "seconds of a TCP session behind its first FIN",
    ),
    field("udp", Number, "seconds of a UDP session"),
];

/// `lb-ctl list daemons`.
pub const DAEMONS: Schema = Schema {
    name: "daemons",
    version: 1,
    command: "lb-ctl list daemons",
    fields: SYNC,
};

const SYNC: &[Field] = &[
    field("daemons", Objects(DAEMON), "the sync daemons that run"),
    field(
        "served",
        Flag,
        "whether they exchange connections with peers",
    ),
];

const DAEMON: &[Field] = &[
    field(
        "role",
        OneOf(&["master", "backup"]),
        "whether it sends or receives",
    ),
    field("interface", Text, "the interface it uses"),
    field("sync_id", Number, "tells groups of directors apart"),
    field(
        "max_length",
        Number,
        "the longest message; 0 for the default",
    ),
    field("group", Text, "the multicast group"),
    field("port", Number, "the UDP port"),
    field("ttl", Number, "the TTL of what it sends"),
];

/// `lb-ctl realserver check`, which lb-agent prints.
pub const REALSERVER: Schema = Schema {
    name: "realserver",
    version: 1,
    command: "lb-ctl realserver check",
    fields: &[
        field(
            "ok",
            Flag,
            "whether clients are served; advice does not count",
        ),
        field("vips", Texts, "the addresses that were looked for"),
        field("interface", Text, "where the director's packets come in"),
        field(
            "tunnels",
            Texts,
            "the tunnels that packets are to be taken out of",
        ),
        or_null("gue_port", Number, "the UDP port of gue; null without it"),
        field("findings", Objects(FINDING), "what was looked at"),
        field(
            "events",
            Objects(EVENT),
            "what the program counted since it was attached",
        ),
    ],
};

const FINDING: &[Field] = &[
    field("check", Text, "what was looked at, by a name for scripts"),
    field(
        "status",
        OneOf(&["ok", "warning", "failure"]),
        "how bad it is",
    ),
    field("text", Text, "what was found"),
    or_null("fix", Text, "what mends it; null when it is well"),
];

const EVENT: &[Field] = &[
    field(
        "label",
        Text,
        "the tunnel that packets came out of, or why they did not",
    ),
    field("count", Number, "how many packets"),
];

/// `lb-ctl import`.
pub const IMPORT: Schema = Schema {
    name: "import",
    version: 1,
    command: "lb-ctl import",
    fields: &[
        field(
            "services",
            Objects(IMPORTED),
            "the services, in the order of the file",
        ),
        or_null(
            "timeouts",
            Object(TIMEOUT_FIELDS),
            "session timeouts; 0 leaves one as it is",
        ),
        field("daemons", Objects(DAEMON), "the sync daemons it starts"),
        field(
            "omitted",
            Objects(OMITTED),
            "the lines that rules leave out",
        ),
    ],
};

const IMPORTED: &[Field] = &[
    PROTOCOL,
    SERVICE_ADDRESS,
    SERVICE_PORT,
    MARK,
    FAMILY,
    SCHEDULER,
    FLAGS,
    PERSISTENT,
    NETMASK,
    ONE_PACKET,
    ENGINE,
    field(
        "servers",
        Objects(IMPORTED_SERVER),
        "its servers, in the order of the file",
    ),
    or_null(
        "fallback",
        Object(IMPORTED_SERVER),
        "the server that takes the place of all others while none is up",
    ),
];

const IMPORTED_SERVER: &[Field] = &[ADDRESS, PORT, FORWARDING, TUNNEL, WEIGHT, UPPER, LOWER];

const OMITTED: &[Field] = &[
    field("file", Text, "the file"),
    field("line", Number, "the line"),
    field("text", Text, "what it says"),
    field("why", Text, "why it is left out"),
];

impl Schema {
    /// What a document's field `schema` says.
    #[must_use]
    pub fn id(&self) -> String {
        format!("lb-ctl/{}/{}", self.name, self.version)
    }

    /// The schema as JSON Schema (draft 2020-12).
    #[must_use]
    pub fn json_schema(&self) -> Value {
        let mut schema = object(self.fields);
        if let Value::Object(map) = &mut schema {
            map.insert(
                "$schema".into(),
                json!("https://json-schema.org/draft/2020-12/schema"),
            );
            map.insert("title".into(), json!(format!("{} -o json", self.command)));
            if let Some(Value::Object(properties)) = map.get_mut("properties") {
                properties.insert("schema".into(), json!({"const": self.id()}));
            }
            if let Some(Value::Array(required)) = map.get_mut("required") {
                required.push("schema".into());
            }
        }
        schema
    }
}

fn object(fields: &[Field]) -> Value {
    let properties: Map<String, Value> = fields
        .iter()
        .map(|field| (field.name.to_owned(), described(field)))
        .collect();
    let required: Vec<&str> = fields.iter().map(|field| field.name).collect();
    // Fields may be added without a new version.
    json!({"type": "object", "properties": properties, "required": required})
}

fn described(field: &Field) -> Value {
    let mut schema = match &field.kind {
        Text => json!({"type": "string"}),
        OneOf(words) => json!({"type": "string", "enum": words}),
        Number => json!({"type": "integer", "minimum": 0}),
        Flag => json!({"type": "boolean"}),
        Object(fields) => object(fields),
        Objects(fields) => json!({"type": "array", "items": object(fields)}),
        Texts => json!({"type": "array", "items": {"type": "string"}}),
    };
    if field.nullable {
        schema = json!({"anyOf": [schema, {"type": "null"}]});
    }
    if let Value::Object(map) = &mut schema {
        map.insert("description".into(), field.about.into());
    }
    schema
}
