//! Who counts as one when addresses are counted.

use std::net::{IpAddr, Ipv6Addr};

/// The address by which a remote is counted: who has one address of IPv6 has a /64 of them (RFC 6177 §2), and an address
/// of IPv4 is the same in either form.
pub(crate) fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_64_of_ipv6_is_one_and_an_address_of_ipv4_is_itself() {
        for (address, counted) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2::", "2001:db8:1:2::"),
            ("2001:db8:1:3::1", "2001:db8:1:3::"),
        ] {
            let [address, counted] = [address, counted].map(|text| text.parse::<IpAddr>().expect("an address"));
            assert_eq!(household(address), counted, "{address}");
        }
    }
}
