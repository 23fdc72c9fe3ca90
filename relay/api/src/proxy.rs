//! Whose connection it is that the relay hands to signaling: the header of PROXY protocol version 2 in front of its bytes
//! (haproxy's proxy-protocol.txt §2.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The part of a header that tells its length.
pub const PREFIX_LEN: usize = 16;
/// Longest header that is read; §2.2 has senders stay within it.
pub const MAX_LEN: usize = 536;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY.
const VERSION_COMMAND: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// The two ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Who has connected.
    pub client: SocketAddr,
    /// The address it has connected to.
    pub server: SocketAddr,
}

/// What is wrong with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It does not begin with the signature.
    #[error("no PROXY protocol header of version 2")]
    Signature,
    /// It has another version, or is no command PROXY.
    #[error("another version or command than PROXY of version 2")]
    Command,
    /// The ends are no TCP ports of IPv4 or IPv6.
    #[error("another family than TCP over IPv4 or IPv6")]
    Family,
    /// It is shorter than its addresses, or longer than [`MAX_LEN`].
    #[error("a length that does not fit")]
    Length,
}

impl Ends {
    /// The header, of 28 bytes for IPv4 and 52 for IPv6.
    pub fn encode(&self) -> Vec<u8> {
        let mut header = SIGNATURE.to_vec();
        let (client, server) = (self.client.ip().to_canonical(), self.server.ip().to_canonical());
        let (family, addresses) = match (client, server) {
            (IpAddr::V4(client), IpAddr::V4(server)) => {
                (TCP_OVER_IPV4, [client.octets(), server.octets()].concat())
            }
            _ => (TCP_OVER_IPV6, [in_ipv6(client).octets(), in_ipv6(server).octets()].concat()),
        };
        let ports = [self.client.port().to_be_bytes(), self.server.port().to_be_bytes()].concat();
        let len = (addresses.len() + ports.len()) as u16;
        header.extend([VERSION_COMMAND, family]);
        header.extend(len.to_be_bytes());
        header.extend(addresses);
        header.extend(ports);
        header
    }

    /// Reads a header. What follows the addresses is skipped (§2.2.1).
    ///
    /// # Errors
    /// [`Malformed`] unless the bytes are one whole header.
    pub fn decode(header: &[u8]) -> Result<Self, Malformed> {
        let (prefix, rest) = header.split_first_chunk().ok_or(Malformed::Length)?;
        if rest.len() != rest_len(prefix)? {
            return Err(Malformed::Length);
        }
        match prefix[13] {
            TCP_OVER_IPV4 => {
                let (client, rest) = take::<4>(rest)?;
                let (server, rest) = take::<4>(rest)?;
                Self::with_ports(Ipv4Addr::from(client).into(), Ipv4Addr::from(server).into(), rest)
            }
            _ => {
                let (client, rest) = take::<16>(rest)?;
                let (server, rest) = take::<16>(rest)?;
                Self::with_ports(Ipv6Addr::from(client).into(), Ipv6Addr::from(server).into(), rest)
            }
        }
    }

    fn with_ports(client: IpAddr, server: IpAddr, rest: &[u8]) -> Result<Self, Malformed> {
        let (client_port, rest) = take(rest)?;
        let (server_port, _) = take(rest)?;
        Ok(Self {
            client: SocketAddr::new(client, u16::from_be_bytes(client_port)),
            server: SocketAddr::new(server, u16::from_be_bytes(server_port)),
        })
    }
}

/// How many bytes of a header follow its prefix.
///
/// # Errors
/// [`Malformed`] when no header that can be read begins so.
pub fn rest_len(prefix: &[u8; PREFIX_LEN]) -> Result<usize, Malformed> {
    let [.., version_command, family, high, low] = *prefix;
    if !prefix.starts_with(&SIGNATURE) {
        return Err(Malformed::Signature);
    }
    if version_command != VERSION_COMMAND {
        return Err(Malformed::Command);
    }
    if !matches!(family, TCP_OVER_IPV4 | TCP_OVER_IPV6) {
        return Err(Malformed::Family);
    }
    let len = usize::from(u16::from_be_bytes([high, low]));
    if len > MAX_LEN - PREFIX_LEN {
        return Err(Malformed::Length);
    }
    Ok(len)
}

fn in_ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

fn take<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), Malformed> {
    bytes.split_first_chunk().map(|(taken, rest)| (*taken, rest)).ok_or(Malformed::Length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ends(client: &str, server: &str) -> Ends {
        Ends { client: client.parse().unwrap(), server: server.parse().unwrap() }
    }

    #[test]
    fn a_header_is_written_byte_for_byte_as_the_specification_has_it() {
        let header = ends("192.0.2.1:258", "198.51.100.2:443").encode();
        let expected =
            [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c"[..], &[192, 0, 2, 1, 198, 51, 100, 2, 1, 2, 1, 187]];
        assert_eq!(header, expected.concat());

        let header = ends("[2001:db8::1]:1", "[2001:db8::2]:443").encode();
        let mut addresses = [0; 32];
        addresses[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        addresses[16..20].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        (addresses[15], addresses[31]) = (1, 2);
        let expected = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x24"[..], &addresses, &[0, 1, 1, 187]];
        assert_eq!(header, expected.concat());
    }

    #[test]
    fn ipv4_in_ipv6_is_written_as_ipv4_and_mixed_ends_as_ipv6() {
        let mapped = ends("[::ffff:192.0.2.1]:5", "[::ffff:192.0.2.2]:443");
        assert_eq!(Ends::decode(&mapped.encode()), Ok(ends("192.0.2.1:5", "192.0.2.2:443")));
        let mixed = ends("192.0.2.1:5", "[2001:db8::2]:443");
        assert_eq!(Ends::decode(&mixed.encode()), Ok(ends("[::ffff:192.0.2.1]:5", "[2001:db8::2]:443")));
    }

    #[test]
    fn what_is_no_header_is_told_from_its_prefix() {
        let header = ends("192.0.2.1:258", "198.51.100.2:443").encode();
        let changed = |place: usize, byte: u8| {
            let mut header = header.clone();
            header[place] = byte;
            Ends::decode(&header).unwrap_err()
        };
        for place in 0..12 {
            assert_eq!(changed(place, b'x'), Malformed::Signature, "{place}");
        }
        for (byte, what) in [(0x20, "LOCAL"), (0x11, "version 1"), (0x22, "no command")] {
            assert_eq!(changed(12, byte), Malformed::Command, "{what}");
        }
        for (byte, what) in [(0x00, "unspecified"), (0x12, "UDP"), (0x31, "Unix"), (0x41, "none")] {
            assert_eq!(changed(13, byte), Malformed::Family, "{what}");
        }
        assert_eq!(changed(13, TCP_OVER_IPV6), Malformed::Length, "12 bytes hold no IPv6");
        assert_eq!(changed(14, 0xff), Malformed::Length);
        assert_eq!(changed(15, 11), Malformed::Length);
        assert_eq!(Ends::decode(b"GET / HTTP/1.1\r\n\r\n"), Err(Malformed::Signature));
    }

    #[test]
    fn what_follows_the_addresses_is_skipped() {
        let ends = ends("192.0.2.1:258", "198.51.100.2:443");
        let mut header = ends.encode();
        header.extend([0xe0, 0, 2, 1, 2]);
        header[15] += 5;
        assert_eq!(Ends::decode(&header), Ok(ends));
    }

    proptest! {
        #[test]
        fn every_header_reads_back(
            (client, server) in prop_oneof![
                (any::<[u8; 4]>(), any::<[u8; 4]>()).prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
                (any::<[u8; 16]>(), any::<[u8; 16]>()).prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
            ],
            ports: (u16, u16),
        ) {
            let (client, server) = (client.to_canonical(), server.to_canonical());
            prop_assume!(client.is_ipv4() == server.is_ipv4());
            let ends =
                Ends { client: SocketAddr::new(client, ports.0), server: SocketAddr::new(server, ports.1) };
            let header = ends.encode();
            prop_assert_eq!(header.len(), if client.is_ipv4() { 28 } else { 52 });
            prop_assert_eq!(rest_len(header.first_chunk().unwrap()).unwrap() + PREFIX_LEN, header.len());
            prop_assert_eq!(Ends::decode(&header), Ok(ends));
            for cut in 0..header.len() {
                prop_assert!(Ends::decode(&header[..cut]).is_err());
            }
        }

        #[test]
        fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), genuine: bool) {
            if genuine && bytes.len() >= PREFIX_LEN {
                bytes[..12].copy_from_slice(&SIGNATURE);
                bytes[12] = VERSION_COMMAND;
                bytes[13] = if bytes[13] & 1 == 0 { TCP_OVER_IPV4 } else { TCP_OVER_IPV6 };
            }
            if let Some(prefix) = bytes.first_chunk() {
                let len = rest_len(prefix);
                prop_assert!(len.is_err() || len.unwrap() <= MAX_LEN - PREFIX_LEN);
            }
            let _ = Ends::decode(&bytes);
        }
    }
}
