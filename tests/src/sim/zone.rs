//! What the sites of a run publish in DNS: mostly one place, in some sites several, or one that leads nowhere.

use std::net::IpAddr;

use s2s_core::addr::Domain;

use super::site::Site;
use crate::dns_server::Zone;

/// What a site publishes about where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Publication {
    /// One name with one address.
    Plain,
    /// Two names for one machine, of different weight.
    TwoTargets,
    /// A better target where nobody is.
    DeadTarget,
    /// A second address where nobody is.
    DeadAddress,
    /// Its domains are aliases.
    Alias,
}

impl Publication {
    /// All of them.
    pub(super) const ALL: [Self; 5] = [Self::Plain, Self::TwoTargets, Self::DeadTarget, Self::DeadAddress, Self::Alias];

    /// Whether a part of it leads nowhere.
    const fn is_broken(self) -> bool {
        matches!(self, Self::DeadTarget | Self::DeadAddress)
    }
}

/// An address that no site ever has. Some refuse connections, others do not answer.
fn nowhere(site: usize, like: IpAddr) -> IpAddr {
    let [high, low] = u16::try_from(site).expect("few sites").to_be_bytes();
    let network = 30 + low % 2;
    match like {
        IpAddr::V4(_) => IpAddr::from([172, network, high, low]),
        IpAddr::V6(_) => IpAddr::from([0xfd00 + u16::from(network), 0, 0, 0, 0, 0, 0, u16::from(low)]),
    }
}

/// Whether nobody answers there, not even to refuse.
pub(super) const fn is_silent(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => matches!(addr.octets(), [172, 31, ..]),
        IpAddr::V6(addr) => addr.segments()[0] == 0xfd1f,
    }
}

/// The zone with what a site says, as long as not all is healed.
pub(super) fn publish(mut zone: Zone, site: &Site, names: &[Domain], healed: bool) -> Zone {
    let number = site.life.site;
    let [host, other] = ["host", "other"].map(|name| format!("{name}{number}.example.net"));
    let publication = match site.orders.publication {
        publication if healed && publication.is_broken() => Publication::Plain,
        publication => publication,
    };
    let nowhere = nowhere(number, site.addr);
    zone = zone.address(&host, site.addr);
    zone = match publication {
        Publication::Plain | Publication::Alias => zone,
        Publication::TwoTargets => zone.address(&other, site.addr),
        Publication::DeadTarget => zone.address(&other, nowhere),
        Publication::DeadAddress => zone.address(&host, nowhere),
    };
    let services = [("_xmpp-server._tcp", 1, 5269, site.starttls), ("_xmpps-server._tcp", 0, 5270, site.direct_tls)];
    for (service, priority, port, _) in services.into_iter().filter(|(.., offered)| *offered) {
        let shared = format!("{service}.{host}");
        if publication == Publication::Alias {
            zone = zone.service(&shared, priority, 0, port, &host);
        }
        for domain in &site.domains {
            let owner = format!("{service}.{}", names[*domain]);
            zone = match publication {
                Publication::Plain | Publication::DeadAddress => zone.service(&owner, priority, 0, port, &host),
                Publication::TwoTargets => {
                    zone.service(&owner, priority, 5, port, &host).service(&owner, priority, 10, port, &other)
                }
                Publication::DeadTarget => {
                    zone.service(&owner, priority, 0, port, &other).service(&owner, priority + 1, 0, port, &host)
                }
                Publication::Alias => zone.alias(&owner, &shared),
            };
        }
    }
    if site.starttls || site.direct_tls {
        return zone;
    }
    for domain in &site.domains {
        let name = names[*domain].as_str();
        zone = match publication {
            Publication::Alias => zone.alias(name, &host),
            Publication::DeadAddress => zone.address(name, site.addr).address(name, nowhere),
            Publication::Plain | Publication::TwoTargets | Publication::DeadTarget => zone.address(name, site.addr),
        };
    }
    zone
}

#[cfg(test)]
mod tests {
    use super::super::federation::address;
    use super::*;

    #[test]
    fn no_site_is_nowhere_and_every_second_such_address_is_silent() {
        for site in 0..50 {
            for moves in [0, 1, 255] {
                let addr = address(site, moves);
                assert_ne!(nowhere(site, addr), addr);
                assert_eq!(is_silent(nowhere(site, addr)), site % 2 == 1, "{site}");
                assert!(!is_silent(addr), "{addr}");
            }
        }
    }
}
