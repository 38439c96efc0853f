//! The model's rules, and what holds whatever the edits.

use super::*;
use lb_common::api::{
    Edit, Family, Forwarding, NoServer, Protocol, RefusalKind, Tunnel, TunnelChecksum,
};
use lb_common::layout::MARK_RULES;
use proptest::prelude::*;

pub(crate) fn service(number: u8) -> ServiceAddress {
    ServiceAddress::Address {
        protocol: Protocol::Tcp,
        address: [10, 0, 0, number].into(),
        port: 80,
    }
}

pub(crate) fn server(number: u8) -> ServerAddress {
    ServerAddress {
        address: [192, 168, 0, number].into(),
        port: 80,
    }
}

pub(crate) fn service_options(scheduler: &str) -> ServiceOptions {
    ServiceOptions {
        scheduler: scheduler.to_owned(),
        flags: 0,
        persistent: None,
        netmask: None,
        one_packet: false,
        persistence_engine: None,
    }
}

pub(crate) fn server_options(weight: u32) -> ServerOptions {
    ServerOptions {
        forwarding: Forwarding::Route,
        weight,
        upper_threshold: 0,
        lower_threshold: 0,
    }
}

pub(crate) fn add_service(number: u8) -> Edit {
    Edit::AddService {
        service: service(number),
        options: service_options("rr"),
    }
}

pub(crate) fn add_server(of: u8, number: u8) -> Edit {
    Edit::AddServer {
        service: service(of),
        server: server(number),
        options: server_options(1),
    }
}

pub(crate) fn delete_service(number: u8) -> Edit {
    Edit::DeleteService {
        service: service(number),
    }
}

pub(crate) fn delete_server(of: u8, number: u8) -> Edit {
    Edit::DeleteServer {
        service: service(of),
        server: server(number),
    }
}

fn rule(mark: u32) -> MarkRule {
    MarkRule {
        protocol: Some(Protocol::Udp),
        from: None,
        to: "10.0.0.0/8".parse().ok(),
        ports: Some((5000, 5010)),
        interface: None,
        mark,
    }
}

/// Any edit this version supports, over few enough objects for them to meet often.
pub(crate) fn edits() -> impl Strategy<Value = Edit> {
    let (s, r, w) = (0..4u8, 1..5u8, 0..4u32);
    let s0 = s.clone();
    prop_oneof![
        1 => (s.clone(), any::<bool>()).prop_map(|(s, wrr)| Edit::AddService {
            service: service(s),
            options: service_options(if wrr { "wrr" } else { "rr" }),
        }),
        1 => (s.clone(), any::<bool>()).prop_map(|(s, wrr)| Edit::EditService {
            service: service(s),
            options: service_options(if wrr { "wrr" } else { "rr" }),
        }),
        1 => s.clone().prop_map(delete_service),
        8 => (s.clone(), r.clone(), w.clone()).prop_map(|(s, r, w)| Edit::AddServer {
            service: service(s),
            server: server(r),
            options: server_options(w),
        }),
        2 => (s.clone(), r.clone(), w).prop_map(|(s, r, w)| Edit::EditServer {
            service: service(s),
            server: server(r),
            options: server_options(w),
        }),
        4 => (s.clone(), r).prop_map(|(s, r)| delete_server(s, r)),
        1 => s.prop_map(|s| Edit::Zero { service: Some(service(s)) }),
        1 => Just(Edit::Zero { service: None }),
        1 => Just(Edit::Clear),
        1 => (s0, any::<bool>()).prop_map(|(s, silent)| Edit::SetNoServer {
            service: service(s),
            answer: if silent { NoServer::Silent } else { NoServer::Icmp },
        }),
        2 => (1..4u32).prop_map(|mark| Edit::AddMarkRule { rule: rule(mark) }),
        1 => (1..4u32).prop_map(|mark| Edit::DeleteMarkRule { rule: rule(mark) }),
        1 => prop::option::of(0..3u32).prop_map(|value| Edit::Set {
            name: "conn_reuse_mode".to_owned(),
            value,
        }),
        1 => (0..3u32).prop_map(|tcp| Edit::SetTimeouts {
            timeouts: Timeouts { tcp, tcp_fin: 0, udp: 7 },
        }),
    ]
}

fn model() -> Model {
    Model::new(Limits::NONE)
}

fn with(edits: &[Edit]) -> Model {
    let mut model = model();
    for edit in edits {
        model.apply(edit).expect("a good edit");
    }
    model.commit();
    model
}

fn kind(model: &mut Model, edit: &Edit) -> RefusalKind {
    let before = model.image();
    let refusal = model.apply(edit).expect_err("a refusal");
    assert_eq!(
        model.image(),
        before,
        "a refused edit changes nothing: {edit:?}"
    );
    refusal.kind
}

fn id(model: &Model, of: u8, number: u8) -> ServerId {
    model
        .live_server(&service(of), &server(number))
        .expect("a live server")
        .0
        .id
}

#[test]
fn the_kernels_refusals() {
    let model = &mut with(&[add_service(1), add_server(1, 1)]);
    assert_eq!(kind(model, &add_service(1)), RefusalKind::Exists);
    assert_eq!(kind(model, &add_server(1, 1)), RefusalKind::Exists);
    assert_eq!(kind(model, &delete_service(2)), RefusalKind::NoService);
    assert_eq!(kind(model, &add_server(2, 1)), RefusalKind::NoService);
    assert_eq!(kind(model, &delete_server(2, 1)), RefusalKind::NoService);
    assert_eq!(kind(model, &delete_server(1, 2)), RefusalKind::NoServer);
    let zero = Edit::Zero {
        service: Some(service(2)),
    };
    assert_eq!(kind(model, &zero), RefusalKind::NoService);
    let unknown = Edit::EditService {
        service: service(1),
        options: service_options("fastest"),
    };
    assert_eq!(kind(model, &unknown), RefusalKind::NoScheduler);
    let stop = Edit::StopDaemon {
        role: DaemonRole::Backup,
    };
    assert_eq!(kind(model, &stop), RefusalKind::NoService);
}

#[test]
fn values_that_do_not_fit_are_refused() {
    let model = &mut with(&[add_service(1)]);
    let add = |server: ServerAddress, options: ServerOptions| Edit::AddServer {
        service: service(1),
        server,
        options,
    };
    let other_port = ServerAddress {
        port: 8080,
        ..server(1)
    };
    let edit = add(other_port, server_options(1));
    assert_eq!(kind(model, &edit), RefusalKind::Invalid);
    for address in [[224, 0, 0, 1], [255; 4], [0; 4]] {
        let server = ServerAddress {
            address: address.into(),
            port: 80,
        };
        let edit = add(server, server_options(1));
        assert_eq!(kind(model, &edit), RefusalKind::Invalid, "{server}");
    }
    let edit = add(server(1), server_options(1 << 31));
    assert_eq!(kind(model, &edit), RefusalKind::Range);
    let mut options = server_options(1);
    options.lower_threshold = 1;
    assert_eq!(kind(model, &add(server(1), options)), RefusalKind::Range);
    let port_0 = ServiceAddress::Address {
        protocol: Protocol::Tcp,
        address: [10, 0, 0, 2].into(),
        port: 0,
    };
    let edit = Edit::AddService {
        service: port_0,
        options: service_options("rr"),
    };
    assert_eq!(kind(model, &edit), RefusalKind::Invalid);
}

#[test]
fn the_engine_sip_is_taken_and_no_other() {
    let model = &mut with(&[]);
    let with_engine = |engine: &str| {
        let mut options = service_options("rr");
        options.persistent = Some(300);
        options.persistence_engine = Some(engine.to_owned());
        let service = service(1);
        Edit::AddService { service, options }
    };
    assert_eq!(kind(model, &with_engine("smtp")), RefusalKind::NoScheduler);
    model.apply(&with_engine("sip")).expect("it is an engine");
    assert_eq!(kind(model, &with_engine("sip")), RefusalKind::Exists);
}

#[test]
fn every_method_family_and_kind_of_service_is_taken() {
    let mut all = Vec::new();
    for (protocol, address) in [
        (Protocol::Tcp, "10.0.0.9"),
        (Protocol::Udp, "2001:db8::9"),
        (Protocol::Sctp, "10.0.0.9"),
    ] {
        let service = ServiceAddress::Address {
            protocol,
            address: address.parse().expect("an address"),
            port: 0,
        };
        let mut options = service_options("rr");
        options.persistent = Some(300);
        options.one_packet = protocol == Protocol::Udp;
        all.push(Edit::AddService { service, options });
    }
    let marked = ServiceAddress::Mark {
        mark: 7,
        family: Family::Ipv6,
    };
    all.push(Edit::AddService {
        service: marked,
        options: service_options("none"),
    });
    let checksum = TunnelChecksum::Full;
    let methods = [
        Forwarding::Tunnel(Tunnel::Ipip),
        Forwarding::Tunnel(Tunnel::Gre { checksum }),
        Forwarding::Tunnel(Tunnel::Gue { port: 1, checksum }),
        Forwarding::Tunnel(Tunnel::Gue {
            port: 1,
            checksum: TunnelChecksum::Remote,
        }),
    ];
    for (number, forwarding) in (1..).zip(methods) {
        let mut options = server_options(1);
        options.forwarding = forwarding;
        options.upper_threshold = 10;
        all.push(Edit::AddServer {
            service: marked,
            server: server(number),
            options,
        });
    }
    let model = with(&all);
    assert_eq!((model.services().count(), model.servers().count()), (4, 4));
}

#[test]
fn mark_rules_are_checked() {
    let model = &mut with(&[Edit::AddMarkRule { rule: rule(1) }]);
    let mut refused = |change: fn(&mut MarkRule), expected| {
        let mut rule = rule(2);
        change(&mut rule);
        assert_eq!(kind(model, &Edit::AddMarkRule { rule }), expected);
    };
    refused(|rule| rule.mark = 0, RefusalKind::Invalid);
    refused(|rule| rule.mark = 1, RefusalKind::Exists);
    refused(|rule| rule.ports = Some((2, 1)), RefusalKind::Invalid);
    refused(|rule| rule.from = "::/0".parse().ok(), RefusalKind::Invalid);
    refused(
        |rule| rule.interface = Some("x".repeat(16)),
        RefusalKind::Invalid,
    );
    let unknown = Edit::DeleteMarkRule { rule: rule(2) };
    assert_eq!(kind(model, &unknown), RefusalKind::NoService);

    // One that is for both families takes two places.
    for mark in 2..MARK_RULES {
        let rule = rule(mark);
        model.apply(&Edit::AddMarkRule { rule }).expect("room");
    }
    let mut both = rule(MARK_RULES);
    both.to = None;
    let both = Edit::AddMarkRule { rule: both };
    assert_eq!(kind(model, &both), RefusalKind::Full);
    let last = Edit::AddMarkRule {
        rule: rule(MARK_RULES),
    };
    model.apply(&last).expect("room for one");
}

#[test]
fn full_tables_refuse_and_revival_needs_no_room() {
    let model = &mut with(&[
        add_service(1),
        add_service(2),
        add_server(1, 1),
        add_server(1, 2),
        add_server(2, 1),
    ]);
    model.set_limits(Limits {
        services: 2,
        servers: 3,
        servers_per_service: 2,
    });
    assert_eq!(kind(model, &add_service(3)), RefusalKind::Full);
    assert_eq!(
        kind(model, &add_server(1, 3)),
        RefusalKind::Full,
        "in the service"
    );
    assert_eq!(
        kind(model, &add_server(2, 2)),
        RefusalKind::Full,
        "in the table"
    );
    model.apply(&delete_server(2, 1)).expect("there");
    assert_eq!(
        kind(model, &add_server(2, 2)),
        RefusalKind::Full,
        "retired ones count"
    );
    model.apply(&add_server(2, 1)).expect("revived");
}

#[test]
fn servers_are_newest_first_and_come_back_at_the_head() {
    let mut model = with(&[
        add_service(1),
        add_server(1, 1),
        add_server(1, 2),
        add_server(1, 3),
    ]);
    let list = |model: &Model| -> Vec<_> {
        model
            .servers_of(ServiceId(0))
            .map(|server| server.address)
            .collect()
    };
    assert_eq!(list(&model), [server(3), server(2), server(1)]);
    let first = id(&model, 1, 1);
    model.apply(&delete_server(1, 1)).expect("there");
    assert_eq!(list(&model), [server(3), server(2)]);
    let changes = model.apply(&add_server(1, 1)).expect("revived");
    assert_eq!(list(&model), [server(1), server(3), server(2)]);
    assert_eq!(id(&model, 1, 1), first, "the same id");
    assert!(
        !changes.contains(&Change::ServerAdopted(first)),
        "the same service counts on"
    );
}

#[test]
fn servers_of_a_deleted_service_are_adopted_by_the_next_one() {
    let mut model = with(&[add_service(1), add_server(1, 1)]);
    let first = id(&model, 1, 1);
    model.apply(&delete_service(1)).expect("there");
    model.apply(&add_service(2)).expect("takes id 0");
    model.apply(&add_service(1)).expect("takes id 1");
    let changes = model.apply(&add_server(1, 1)).expect("revived");
    assert!(
        changes.contains(&Change::ServerAdopted(first)),
        "{changes:?}"
    );
    assert_eq!(id(&model, 1, 1), first);
}

#[test]
fn an_id_is_used_again_only_when_freed() {
    let mut model = with(&[add_service(1), add_server(1, 1), delete_server(1, 1)]);
    model.apply(&add_server(1, 2)).expect("room");
    assert_eq!(id(&model, 1, 2), ServerId(1));
    assert!(model.free(ServerId(1)).is_none(), "live ones stay");
    assert!(model.free(ServerId(0)).is_some());
    model.apply(&add_server(1, 3)).expect("room");
    assert_eq!(id(&model, 1, 3), ServerId(0));
}

#[test]
fn reserved_ids_are_kept_apart() {
    let mut model = with(&[add_service(1)]);
    assert!(model.reserve(ServerId(0)));
    assert!(!model.reserve(ServerId(0)));
    model.apply(&add_server(1, 1)).expect("room");
    assert_eq!(id(&model, 1, 1), ServerId(1));
    model.free(ServerId(0));
    model.apply(&add_server(1, 2)).expect("room");
    assert_eq!(id(&model, 1, 2), ServerId(0));
}

#[test]
fn zero_leaves_a_timeout_as_it_is() {
    let mut model = model();
    let timeouts = Timeouts {
        tcp: 0,
        tcp_fin: 30,
        udp: 0,
    };
    model.apply(&Edit::SetTimeouts { timeouts }).expect("good");
    let expected = Timeouts {
        tcp: 900,
        tcp_fin: 30,
        udp: 300,
    };
    assert_eq!(model.timeouts(), expected);
}

#[test]
fn contradicting_images_are_refused() {
    let model = with(&[add_service(1), add_server(1, 1)]);
    let good = serde_json::to_value(model.image()).expect("JSON");
    for (part, at) in [("services", 0), ("servers", 0)] {
        let mut twice = good.clone();
        let entry = twice[part][at].clone();
        twice[part].as_array_mut().expect("a list").push(entry);
        let image: Image = serde_json::from_value(twice).expect("an image");
        let error = Model::from_image(image).expect_err("refused");
        assert!(error.ends_with("is there twice"), "{error}");
    }
    let mut orphan = good;
    orphan["services"] = serde_json::json!([]);
    let image: Image = serde_json::from_value(orphan).expect("an image");
    assert!(Model::from_image(image).is_err());
}

proptest! {
    #[test]
    fn invariants_hold(steps in prop::collection::vec((edits(), any::<prop::sample::Index>(), 0..8u8), 0..80)) {
        let mut model = model();
        let mut owners: HashMap<ServerId, (ServiceAddress, ServerAddress)> = HashMap::new();
        for (edit, which, dice) in steps {
            let before = model.image();
            if model.apply(&edit).is_err() {
                prop_assert_eq!(&before, &model.image(), "refused, so unchanged");
            }
            model.commit();
            if dice == 0 && model.servers().next().is_some() {
                let all: Vec<_> = model.servers().map(|server| server.id).collect();
                if let Some(freed) = model.free(*which.get(&all)) {
                    owners.remove(&freed.id);
                }
            }
            for server in model.servers() {
                let key = (server.service, server.address);
                let owner = *owners.entry(server.id).or_insert(key);
                prop_assert_eq!(owner, key, "an id is never shared before it is freed");
            }
            check_indices(&model)?;
        }
    }

    #[test]
    fn rollback_restores_everything(
        first in prop::collection::vec(edits(), 0..40),
        then in prop::collection::vec(edits(), 0..40),
        probe in prop::collection::vec(edits(), 0..10),
    ) {
        let mut model = model();
        first.iter().for_each(|edit| drop(model.apply(edit)));
        model.commit();
        let mut untouched = model.clone();
        for edit in &then {
            drop(model.apply(edit));
        }
        model.rollback();
        // `next` has moved on; the order it gives has not.
        let without_next = |model: &Model| {
            let mut image = serde_json::to_value(model.image()).expect("JSON");
            image["next"] = 0.into();
            image
        };
        prop_assert_eq!(without_next(&model), without_next(&untouched));
        check_indices(&model)?;
        for edit in &probe {
            prop_assert_eq!(model.apply(edit), untouched.apply(edit));
        }
    }

    #[test]
    fn images_are_whole(steps in prop::collection::vec(edits(), 0..60)) {
        let mut model = model();
        steps.iter().for_each(|edit| drop(model.apply(edit)));
        let json = serde_json::to_vec(&model.image()).expect("JSON");
        let image = serde_json::from_slice(&json).expect("an image");
        let again = Model::from_image(image).expect("consistent");
        prop_assert_eq!(again.image(), model.image());
        check_indices(&again)?;
    }
}

/// The derived tables say what the tables say.
fn check_indices(model: &Model) -> Result<(), TestCaseError> {
    let index = &model.index;
    prop_assert_eq!(index.order.len(), model.services.len());
    prop_assert_eq!(index.service.len(), model.services.len());
    prop_assert_eq!(index.service_ids.used() as usize, model.services.len());
    for (id, service) in &model.services {
        prop_assert_eq!(index.order.get(&service.added), Some(id));
        prop_assert_eq!(index.service.get(&service.address), Some(id));
    }
    let in_use = model.servers.len() + model.reserved.len();
    prop_assert_eq!(index.server_ids.used() as usize, in_use);
    prop_assert_eq!(index.server.len(), model.servers.len());
    let (mut live, mut retired) = (0, 0);
    for (id, server) in &model.servers {
        prop_assert_eq!(
            index.server.get(&(server.service, server.address)),
            Some(id)
        );
        let owner = match server.standing {
            Standing::Live { service, added } => {
                live += 1;
                prop_assert_eq!(index.live.get(&(service, Reverse(added))), Some(id));
                Some(service)
            }
            Standing::Retired { service } => {
                retired += usize::from(service.is_some());
                prop_assert!(service.is_none_or(|s| index.retired.contains(&(s, *id))));
                service
            }
        };
        if let Some(owner) = owner {
            prop_assert_eq!(
                model.service(owner).map(|s| s.address),
                Some(server.service)
            );
        }
    }
    prop_assert_eq!((index.live.len(), index.retired.len()), (live, retired));
    Ok(())
}
