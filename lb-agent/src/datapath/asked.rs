//! The features that services ask for, counted: with many services, an edit of one looks at that
//! one.

use lb_common::addr::{Port, protocol};
use lb_common::layout::{Service, features, service_flags};
use lb_common::service::Key;

/// How many services ask for each feature, by its bit.
#[derive(Debug, Default)]
pub(crate) struct Asked([u32; u32::BITS as usize]);

impl Asked {
    /// Notes a service that programs may see.
    pub(crate) fn add(&mut self, key: &Key, service: &Service) {
        let bits = by(key, service);
        for (_, count) in self.of(bits) {
            *count += 1;
        }
    }

    /// Lets go of a service as it was noted.
    pub(crate) fn remove(&mut self, key: &Key, service: &Service) {
        let bits = by(key, service);
        for (_, count) in self.of(bits) {
            *count -= 1;
        }
    }

    /// The features that some service asks for.
    pub(crate) fn bits(&self) -> u32 {
        (0..)
            .zip(&self.0)
            .filter(|(_, count)| **count > 0)
            .fold(0, |bits, (bit, _)| bits | 1 << bit)
    }

    fn of(&mut self, bits: u32) -> impl Iterator<Item = (u32, &mut u32)> {
        let counts = (0..).zip(&mut self.0);
        counts.filter(move |(bit, _)| bits & 1 << bit != 0)
    }
}

/// Those that count only if someone takes packets.
pub(crate) const HELPERS: u32 = features::HELPERS | features::EXPECTED | features::CALLS;

/// The features that a service asks for.
pub(crate) fn by(key: &Key, service: &Service) -> u32 {
    const FTP: u32 = 21;
    let ftp = Key::new(service.address, Port::new(FTP as u16), protocol::TCP);
    let by_key = if service.mark != 0 {
        features::MARKS
    } else if service.port == 0 {
        features::ANY_PORT
    } else if service.port == FTP && *key == ftp {
        features::FTP
    } else {
        0
    };
    if service.flags & service_flags::HELPED == 0 {
        return by_key;
    }
    // Of TCP, the helper is FTP's, and of UDP that of calls.
    let expects = key.protocol() == protocol::TCP && service.port != FTP;
    let masquerades = service.flags & service_flags::MASQUERADE != 0;
    let calls = key.protocol() == protocol::UDP && service.port != 0 && masquerades;
    let flag = |set: bool, flag: u32| if set { flag } else { 0 };
    by_key | features::HELPERS | flag(expects, features::EXPECTED) | flag(calls, features::CALLS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_common::addr::Addr;

    fn service(port: u32, mark: u32, flags: u32) -> (Key, Service) {
        let service = Service {
            port,
            mark,
            flags,
            ..Service::default()
        };
        let key = Key::new(Addr::default(), Port::new(port as u16), protocol::TCP);
        (key, service)
    }

    #[test]
    fn a_feature_is_asked_for_while_some_service_asks_for_it() {
        let mut asked = Asked::default();
        let services = [
            (service(80, 0, 0), 0),
            (service(0, 0, 0), features::ANY_PORT),
            (service(0, 7, 0), features::MARKS),
            (
                service(21, 0, service_flags::HELPED),
                features::FTP | features::HELPERS,
            ),
            (
                service(2121, 0, service_flags::HELPED),
                features::EXPECTED | features::HELPERS,
            ),
        ];
        for ((key, service), bits) in &services {
            asked.add(key, service);
            asked.add(key, service);
            assert_eq!(asked.bits(), *bits);
            asked.remove(key, service);
            assert_eq!(asked.bits(), *bits);
            asked.remove(key, service);
            assert_eq!(asked.bits(), 0);
        }
    }
}
