//! Addresses in attributes, plain and XORed (RFC 8489 §14.1, §14.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::{MAGIC_COOKIE, TransactionId};

const IPV4: u8 = 1;
const IPV6: u8 = 2;

/// The value of an XOR-...-ADDRESS attribute.
pub fn encode_xor_address(address: SocketAddr, transaction: TransactionId) -> Vec<u8> {
    let mask = mask(transaction);
    let (family, octets) = match address.ip() {
        IpAddr::V4(ip) => (IPV4, ip.octets().to_vec()),
        IpAddr::V6(ip) => (IPV6, ip.octets().to_vec()),
    };
    let port = address.port().to_be_bytes();
    let mut value = vec![0, family, port[0] ^ mask[0], port[1] ^ mask[1]];
    value.extend(octets.iter().zip(mask).map(|(octet, mask)| octet ^ mask));
    value
}

/// The address in an XOR-...-ADDRESS attribute; `None` when its family or length is wrong.
pub fn decode_xor_address(value: &[u8], transaction: TransactionId) -> Option<SocketAddr> {
    let mask = mask(transaction);
    let mut plain = value.to_vec();
    for (byte, mask) in plain.iter_mut().skip(2).zip(mask[..2].iter().chain(&mask)) {
        *byte ^= mask;
    }
    decode_address(&plain)
}

/// The address in an attribute that is not XORed, such as ALTERNATE-SERVER.
pub fn decode_address(value: &[u8]) -> Option<SocketAddr> {
    let (head, octets) = value.split_first_chunk::<4>()?;
    let ip = match head[1] {
        IPV4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?)),
        IPV6 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes([head[2], head[3]])))
}

fn mask(transaction: TransactionId) -> [u8; 16] {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC_COOKIE);
    mask[4..].copy_from_slice(&transaction.0);
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769 §2.2 and §2.3.
    #[test]
    fn the_published_addresses_are_written_and_read() {
        let transaction =
            TransactionId([0xB7, 0xE7, 0xA7, 0x01, 0xBC, 0x34, 0xD6, 0x86, 0xFA, 0x87, 0xDF, 0xAE]);
        let v4 = [0x00, 0x01, 0xA1, 0x47, 0xE1, 0x12, 0xA6, 0x43];
        let v6 = [
            0x00, 0x02, 0xA1, 0x47, 0x01, 0x13, 0xA9, 0xFA, 0xA5, 0xD3, 0xF1, 0x79, 0xBC, 0x25, 0xF4, 0xB5,
            0xBE, 0xD2, 0xB9, 0xD9,
        ];
        for (address, value) in
            [("192.0.2.1:32853", &v4[..]), ("[2001:db8:1234:5678:11:2233:4455:6677]:32853", &v6)]
        {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(encode_xor_address(address, transaction), value);
            assert_eq!(decode_xor_address(value, transaction), Some(address));
            assert_eq!(decode_xor_address(&value[..value.len() - 1], transaction), None);
        }
        assert_eq!(decode_xor_address(&[0, 3, 0, 0, 0, 0, 0, 0], transaction), None);
    }
}
