//! Networks of addresses, as `10.244.0.0/16` writes them.

use std::{fmt, net::IpAddr, str::FromStr};

/// The addresses that begin with the same bits (CIDR, RFC 4632).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    /// The first one; the bits behind the prefix are 0.
    first: IpAddr,
    /// How many bits they share.
    prefix: u8,
}

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    #[error("expected an address and how many of its bits count, such as 10.244.0.0/16")]
    Form,
    /// It names an address inside; the network is meant, or another one.
    #[error("its address is not the first one of the network; write {0} if that is meant")]
    Inside(Network),
}

impl Network {
    /// How many bits its addresses share.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// How many bits tell its addresses apart.
    pub fn free_bits(self) -> u8 {
        width(self.first) - self.prefix
    }

    /// Whether it is of IPv6.
    pub fn is_ipv6(self) -> bool {
        self.first.is_ipv6()
    }

    /// Whether the address is in it.
    pub fn contains(self, address: IpAddr) -> bool {
        self.is_ipv6() == address.is_ipv6() && masked(address, self.prefix) == self.first
    }

    /// Whether an address is in both.
    pub fn overlaps(self, other: Network) -> bool {
        self.contains(other.first) || other.contains(self.first)
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv6() { 128 } else { 32 }
}

/// The address with every bit behind the prefix 0.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            let address: IpAddr = address.parse().ok()?;
            let plain = prefix.bytes().all(|b| b.is_ascii_digit()) && (prefix == "0" || !prefix.starts_with('0'));
            let prefix: u8 = prefix.parse().ok().filter(|bits| plain && *bits <= width(address))?;
            Some((address, prefix))
        };
        let (address, prefix) = parse().ok_or(InvalidNetwork::Form)?;
        let network = Self { first: masked(address, prefix), prefix };
        if network.first == address { Ok(network) } else { Err(InvalidNetwork::Inside(network)) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().expect(text)
    }

    #[test]
    fn networks_overlap_where_one_holds_the_other() {
        for (one, other, both) in [
            ("10.244.0.0/16", "10.96.0.0/12", false),
            ("10.96.0.0/12", "10.100.0.0/16", true),
            ("10.100.0.0/16", "10.96.0.0/12", true),
            ("0.0.0.0/0", "192.168.1.0/24", true),
            ("fd00::/48", "fd00:0:0:1::/64", true),
            ("fd00::/64", "fd00:0:0:1::/64", false),
            ("0.0.0.0/0", "::/0", false),
        ] {
            assert_eq!(network(one).overlaps(network(other)), both, "{one} {other}");
        }
        assert!(network("10.0.0.4/32").contains("10.0.0.4".parse().expect("an address")));
        assert!(!network("10.0.0.4/32").contains("10.0.0.5".parse().expect("an address")));
    }

    #[test]
    fn a_network_is_written_with_its_first_address() {
        for text in ["10.0.0.0/8", "fd00::/48", "0.0.0.0/0"] {
            assert_eq!(network(text).to_string(), text);
        }
        assert_eq!("10.244.3.1/16".parse::<Network>(), Err(InvalidNetwork::Inside(network("10.244.0.0/16"))));
        for text in ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/08", "10.0.0.0/+8", "10.0.0/8", "::/129", "/8", ""] {
            assert_eq!(text.parse::<Network>(), Err(InvalidNetwork::Form), "{text}");
        }
    }
}
