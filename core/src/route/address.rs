//! Which addresses may be dialled.
//!
//! SRV lets a domain direct us to any host and port ([RFC 2782](https://www.rfc-editor.org/rfc/rfc2782)): a stranger's zone
//! must not make us speak to what only we can reach.

use std::net::{IpAddr, Ipv6Addr};

use crate::limits;

/// Which addresses that are not public may be dialled: `s2s_allow_private_addresses`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PrivateAddresses {
    /// All.
    Always,
    /// None.
    #[default]
    Never,
    /// Those in one of these networks, given as address and prefix length.
    Within(Vec<(IpAddr, u8)>),
}

impl PrivateAddresses {
    /// Whether `addr` may be dialled.
    //= RFC2782-p9-1
    #[must_use]
    pub fn allow(&self, addr: IpAddr) -> bool {
        let addr = addr.to_canonical();
        match self {
            Self::Always => true,
            Self::Never => !is_private(addr),
            Self::Within(networks) => {
                !is_private(addr) || networks.iter().any(|(base, bits)| is_within(addr, *base, *bits))
            }
        }
    }
}

/// Whether `addr` is loopback, link-local, private, shared, multicast, unspecified, or otherwise not public.
#[must_use]
pub const fn is_private(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || a == 0
                || a >= 240
                || (a == 100 && b & 0xc0 == 64)
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && b & 0xfe == 18)
        }
        IpAddr::V6(v6) => {
            let [first, second, ..] = v6.segments();
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || first & 0xffc0 == 0xfe80
                || first & 0xffc0 == 0xfec0 // site-local, as private addresses were called before
                || first & 0xfe00 == 0xfc00
                || (first == 0x64 && second == 0xff9b) // NAT64: an IPv4 address in disguise
                || first == 0x2002 // 6to4: likewise
        }
    }
}

/// A part of the network that has a share of its own in what is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    base: IpAddr,
    bits: u8,
}

/// The places of an address, and how much each may have, in shares of one address: an IPv4 address; of IPv6 the /64,
/// which one subscriber has to itself at least, and the /48 around it, which is the most that one site gets
/// ([RFC 6177 section 2](https://www.rfc-editor.org/rfc/rfc6177#section-2)).
pub(crate) fn places(addr: IpAddr) -> impl Iterator<Item = (Place, usize)> + Clone {
    let (subscriber, site) = match addr.to_canonical() {
        IpAddr::V4(v4) => (Place { base: v4.into(), bits: 32 }, None),
        IpAddr::V6(v6) => {
            let within = |prefix: u128, bits| Place { base: Ipv6Addr::from(prefix).into(), bits };
            let whole = u128::from(v6);
            (within(whole >> 64 << 64, 64), Some(within(whole >> 80 << 80, 48)))
        }
    };
    [(subscriber, 1)].into_iter().chain(site.map(|site| (site, limits::SHARES_PER_SITE)))
}

fn is_within(addr: IpAddr, base: IpAddr, bits: u8) -> bool {
    let (addr, base, width) = match (addr, base.to_canonical()) {
        (IpAddr::V4(addr), IpAddr::V4(base)) => (u128::from(u32::from(addr)), u128::from(u32::from(base)), 32_u32),
        (IpAddr::V6(addr), IpAddr::V6(base)) => (u128::from(addr), u128::from(base), 128_u32),
        _ => return false,
    };
    let host_bits = width.saturating_sub(u32::from(bits));
    addr.checked_shr(host_bits).unwrap_or(0) == base.checked_shr(host_bits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    #[test]
    //= RFC2782-p9-1 test
    fn what_only_we_can_reach_is_not_dialled() {
        for text in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.1.1",
            "172.16.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "192.0.0.8",
            "198.18.0.1",
            "198.19.255.254",
            "fec0::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
        ] {
            assert!(!PrivateAddresses::Never.allow(ip(text)), "{text}");
            assert!(PrivateAddresses::Always.allow(ip(text)), "{text}");
        }
        for text in ["192.0.2.1", "8.8.8.8", "2001:db8::1", "100.128.0.1", "172.32.0.1"] {
            assert!(PrivateAddresses::Never.allow(ip(text)), "{text}");
        }
    }

    #[test]
    fn an_address_belongs_to_its_subscriber_and_of_ipv6_to_its_site_too() {
        let of = |text| places(ip(text)).collect::<Vec<_>>();
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_eq!(of("192.0.2.1").iter().map(|(_, shares)| *shares).collect::<Vec<_>>(), [1]);
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        let [subscriber, site] = of("2001:db8:1::1")[..] else { panic!("two places") };
        assert_eq!((subscriber.1, site.1), (1, limits::SHARES_PER_SITE));
        assert_ne!(subscriber.0, site.0, "they begin at the same address");
        assert_eq!(of("2001:db8:1:0:ffff::2"), [subscriber, site]);
        let neighbour = of("2001:db8:1:1::1");
        assert_ne!(neighbour[0], subscriber);
        assert_eq!(neighbour[1], site);
        assert_ne!(of("2001:db8:2::1")[1], site);
    }

    #[test]
    fn a_network_allows_what_lies_in_it() {
        let within = PrivateAddresses::Within(vec![(ip("10.0.0.0"), 8), (ip("fd00::"), 16), (ip("127.0.0.1"), 32)]);
        for text in ["10.200.0.1", "fd00::5", "127.0.0.1", "::ffff:10.0.0.1", "192.0.2.1"] {
            assert!(within.allow(ip(text)), "{text}");
        }
        for text in ["11.0.0.1", "127.0.0.2", "fd01::1", "192.168.0.1"] {
            assert_eq!(within.allow(ip(text)), text == "11.0.0.1", "{text}");
        }
    }
}
