//! How many connections there may be: in all, from one place, and of strangers.
//!
//! - [RFC 6120 section 13.12](https://www.rfc-editor.org/rfc/rfc6120#section-13.12), [XEP-0205 section 4](https://xmpp.org/extensions/xep-0205.html)

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::node::Limits;
use crate::route::place;

/// The inbound connections, counted.
#[derive(Debug, Default)]
pub(super) struct Admission {
    total: usize,
    strangers: usize,
    by_place: BTreeMap<IpAddr, usize>,
}

impl Admission {
    /// Counts a connection from `addr`, unless one of the limits is reached.
    //= RFC6120-13.12-2
    //= XEP0205-4.1-1
    pub(super) fn admit(&mut self, addr: IpAddr, limits: &Limits) -> bool {
        let here = self.by_place.get(&place(addr)).copied().unwrap_or(0);
        let full = self.total >= limits.connections
            || self.strangers >= limits.unauthenticated
            || here >= limits.connections_per_address;
        if !full {
            self.total += 1;
            self.strangers += 1;
            self.by_place.insert(place(addr), here + 1);
        }
        !full
    }

    /// A stranger has proved itself.
    pub(super) const fn introduce(&mut self) {
        self.strangers = self.strangers.saturating_sub(1);
    }

    /// A connection from `addr` is gone.
    pub(super) fn leave(&mut self, addr: IpAddr, was_stranger: bool) {
        self.total = self.total.saturating_sub(1);
        if was_stranger {
            self.introduce();
        }
        if let Some(here) = self.by_place.get_mut(&place(addr)) {
            *here -= 1;
            if *here == 0 {
                self.by_place.remove(&place(addr));
            }
        }
    }
}
