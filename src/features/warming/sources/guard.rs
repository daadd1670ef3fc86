//! Which addresses and URLs an HTTP source may have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A network in CIDR notation, such as `10.20.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::features::warming) struct Network {
    address: IpAddr,
    bits: u32,
}

impl std::str::FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a network such as 10.20.0.0/16");
        let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits: u32 = bits.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        if bits <= most { Ok(Self { address, bits }) } else { Err(wrong()) }
    }
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        let prefix = |value: u128, width: u32| value.checked_shr(width - self.bits).unwrap_or(0);
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                prefix(u128::from(net.to_bits()), 32) == prefix(u128::from(address.to_bits()), 32)
            }
            (IpAddr::V6(net), IpAddr::V6(address)) => prefix(net.to_bits(), 128) == prefix(address.to_bits(), 128),
            _ => false,
        }
    }
}

/// The address to dial: the first one, if every address of the name is public or in an allowed network. What was checked
/// is dialled, so that a second resolution cannot return another address.
///
/// # Errors
/// The address that is not allowed.
pub(super) fn choose(addresses: &[SocketAddr], private: &[Network]) -> Result<SocketAddr, String> {
    for address in addresses {
        let ip = address.ip().to_canonical();
        if !is_public(ip) && !private.iter().any(|network| network.contains(ip)) {
            return Err(format!("the host has the address {ip}, which is not public"));
        }
    }
    addresses.first().copied().ok_or_else(|| "the host has no address".to_owned())
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Source: the IANA IPv4 Special-Purpose Address Registry.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_documentation()
        || address.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b));
    !is_special
}

/// Only the global unicast block, without the parts of it that contain IPv4 addresses or are for documentation.
///
/// Source: the IANA IPv6 Special-Purpose Address Registry.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let is_special = (first == 0x2001 && (second < 0x200 || second == 0xdb8)) || first == 0x2002 || first == 0x3fff;
    first & 0xe000 == 0x2000 && !is_special
}

/// Whether the fixed beginning of a URL template is inside an allowed prefix, so that no part of a key can leave it.
pub(in crate::features::warming) fn is_allowed(url: &str, allow: &[String]) -> bool {
    let fixed = url.split('{').next().unwrap_or_default();
    allow.iter().any(|prefix| {
        let Some(rest) = fixed.strip_prefix(prefix.as_str()) else { return false };
        prefix.ends_with('/') || rest.is_empty() && fixed == url || rest.starts_with(['/', '?'])
    })
}

/// The rule that an entry of the list of allowed URLs violates.
pub(in crate::features::warming) fn check_allowed(prefix: &str) -> Result<(), String> {
    let is_http = prefix.starts_with("http://") || prefix.starts_with("https://");
    let uri: Option<axum::http::Uri> = prefix.parse().ok();
    let authority = uri.as_ref().and_then(axum::http::Uri::authority);
    let has_path = prefix.splitn(4, '/').count() == 4;
    match authority {
        Some(authority) if is_http && has_path && !authority.as_str().contains('@') => Ok(()),
        _ => {
            Err(format!("must be the beginning of a URL with a path, such as https://example.org/v1/, got `{prefix}`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().expect(text), 80)
    }

    #[test]
    fn only_public_addresses_are_dialled() {
        for ip in [
            "127.0.0.1",
            "127.1.2.3",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.0.1",
            "198.18.0.1",
            "240.0.0.1",
            "203.0.113.1",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::7f00:1",
            "64:ff9b::7f00:1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2001::1",
            "100::1",
        ] {
            assert!(choose(&[address(ip)], &[]).is_err(), "{ip}");
        }
        for ip in ["1.1.1.1", "8.8.8.8", "2606:4700::1111"] {
            assert_eq!(choose(&[address(ip)], &[]), Ok(address(ip)));
        }
    }

    #[test]
    fn one_private_address_among_public_ones_is_refused() {
        let answers = [address("1.1.1.1"), address("127.0.0.1")];
        assert!(choose(&answers, &[]).is_err());
        let loopback: Network = "127.0.0.0/8".parse().expect("a network");
        assert_eq!(choose(&answers, &[loopback]), Ok(answers[0]));
        assert!(choose(&[address("10.0.0.1")], &[loopback]).is_err());
    }

    #[test]
    fn urls_stay_inside_the_allowed_prefixes() {
        let allow = ["https://a.example/v1/".to_owned(), "https://b.example/list".to_owned()];
        for (url, is_inside) in [
            ("https://a.example/v1/{id}", true),
            ("https://a.example/v1/x/{id}", true),
            ("https://a.example/{id}", false),
            ("https://a.example.evil/v1/{id}", false),
            ("https://{host}/v1/", false),
            ("http://a.example/v1/{id}", false),
            ("https://b.example/list", true),
            ("https://b.example/list/{id}", true),
            ("https://b.example/list{id}", false),
        ] {
            assert_eq!(is_allowed(url, &allow), is_inside, "{url}");
        }
    }

    #[test]
    fn allowed_urls_name_a_host_and_a_path() {
        for (prefix, is_valid) in [
            ("https://a.example/v1/", true),
            ("http://127.0.0.1:80/", true),
            ("https://a.example", false),
            ("ftp://a.example/", false),
            ("https://user@a.example/", false),
            ("/v1/", false),
        ] {
            assert_eq!(check_allowed(prefix).is_ok(), is_valid, "{prefix}");
        }
    }
}
