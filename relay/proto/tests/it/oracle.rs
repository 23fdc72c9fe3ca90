//! The peer policy once more: ranges of integers and shifts, written from the design's lists. It uses nothing of the
//! server's but the names of its reasons; [`Oracle::policy`] is what it is compared with.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use turnpike_proto::{Denied, OwnAddresses, PeerPolicy};

/// First and last address of what is denied in IPv4.
pub const IPV4: [(u32, u32); 19] = [
    (0x0000_0000, 0x00FF_FFFF), // 0/8
    (0x0A00_0000, 0x0AFF_FFFF), // 10/8
    (0x6440_0000, 0x647F_FFFF), // 100.64/10
    (0x7F00_0000, 0x7FFF_FFFF), // 127/8
    (0xA83F_8110, 0xA83F_8110), // 168.63.129.16
    (0xA9FE_0000, 0xA9FE_FFFF), // 169.254/16
    (0xAC10_0000, 0xAC1F_FFFF), // 172.16/12
    (0xC000_0000, 0xC000_00FF), // 192.0.0/24
    (0xC000_0200, 0xC000_02FF), // 192.0.2/24
    (0xC01F_C400, 0xC01F_C4FF), // 192.31.196/24
    (0xC034_C100, 0xC034_C1FF), // 192.52.193/24
    (0xC058_6300, 0xC058_63FF), // 192.88.99/24
    (0xC0A8_0000, 0xC0A8_FFFF), // 192.168/16
    (0xC0AF_3000, 0xC0AF_30FF), // 192.175.48/24
    (0xC612_0000, 0xC613_FFFF), // 198.18/15
    (0xC633_6400, 0xC633_64FF), // 198.51.100/24
    (0xCB00_7100, 0xCB00_71FF), // 203.0.113/24
    (0xE000_0000, 0xEFFF_FFFF), // 224/4
    (0xF000_0000, 0xFFFF_FFFF), // 240/4
];

/// First and last address of what is denied in IPv6: below and above 2000::/3, what is cut out of it, and again :: and ::1.
pub const IPV6: [(u128, u128); 9] = [
    (0, 0x1FFF << 112 | LOW_112),
    (0x4000 << 112, 0x7FFF << 112 | LOW_112),
    (0x8000 << 112, u128::MAX),
    (0x2001_0000 << 96, 0x2001_01FF << 96 | LOW_96), // 2001::/23
    (0x2001_0DB8 << 96, 0x2001_0DB8 << 96 | LOW_96), // 2001:db8::/32
    (0x2002 << 112, 0x2002 << 112 | LOW_112),        // 2002::/16
    (0x2620_004F_8000 << 80, 0x2620_004F_8000 << 80 | LOW_112 >> 32), // 2620:4f:8000::/48
    (0x3FFF_0000 << 96, 0x3FFF_0FFF << 96 | LOW_96), // 3fff::/20
    (0, 1),                                          // ::/127
];
/// What is allowed in IPv6 where nothing narrower is denied: 2000::/3.
const GLOBAL: (u128, u128) = (0x2000 << 112, 0x3FFF << 112 | LOW_112);

const LOW_112: u128 = (1 << 112) - 1;
const LOW_96: u128 = (1 << 96) - 1;

/// An address as an integer beside its family.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Address {
    pub is_ipv4: bool,
    pub bits: u128,
}

impl Address {
    pub fn v4(bits: u32) -> Self {
        Self { is_ipv4: true, bits: bits.into() }
    }

    pub fn v6(bits: u128) -> Self {
        Self { is_ipv4: false, bits }
    }

    pub fn ip(self) -> IpAddr {
        match self.is_ipv4 {
            true => IpAddr::from((self.bits as u32).to_be_bytes()),
            false => IpAddr::from(self.bits.to_be_bytes()),
        }
    }

    pub fn highest(self) -> u128 {
        if self.is_ipv4 { u32::MAX.into() } else { u128::MAX }
    }

    /// The addresses beside this one, where there are any.
    pub fn neighbours(self) -> impl Iterator<Item = Self> {
        let below = self.bits.checked_sub(1);
        let above = self.bits.checked_add(1).filter(|bits| *bits <= self.highest());
        below.into_iter().chain(above).map(move |bits| Self { bits, ..self })
    }

    /// An IPv4 address in every dress that reaches a lax filter.
    pub fn dressed(self) -> Vec<(&'static str, Self)> {
        assert!(self.is_ipv4);
        let (ip, inverted) = (self.bits, u128::from(!(self.bits as u32)));
        let public = 0x0808_0808;
        let all = [
            ("mapped", 0xFFFF << 32 | ip),
            ("compatible", ip),
            ("translated", 0xFFFF_0000 << 32 | ip),
            ("NAT64", 0x0064_FF9B << 96 | ip),
            ("NAT64 of a local /96", 0x0064_FF9B_0001 << 80 | 0x0808_0008_0800_0000 << 16 | ip),
            ("NAT64 of a local /48", 0x0064_FF9B_0001 << 80 | (ip >> 16) << 64 | (ip & 0xFFFF) << 40 | 0x08),
            ("6to4", 0x2002 << 112 | ip << 80 | 1),
            ("Teredo server", 0x2001_0000 << 96 | ip << 64 | u128::from(!0x0808_0808_u32)),
            ("Teredo client", 0x2001_0000 << 96 | public << 64 | inverted),
            ("ISATAP", 0x2606_4700 << 96 | 0x0000_5EFE << 32 | ip),
            ("ISATAP of a global address", 0x2606_4700 << 96 | 0x0200_5EFE << 32 | ip),
        ];
        all.into_iter().map(|(dress, bits)| (dress, Self::v6(bits))).collect()
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::v4(ip.into()),
            IpAddr::V6(ip) => Self::v6(ip.into()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip().fmt(f)
    }
}

/// First and last address of every denied range.
pub fn denied() -> impl Iterator<Item = (Address, Address)> {
    let v4 = IPV4.into_iter().map(|(first, last)| (Address::v4(first), Address::v4(last)));
    v4.chain(IPV6.into_iter().map(|(first, last)| (Address::v6(first), Address::v6(last))))
}

/// A network of an operator's list: so many leading bits of an address.
#[derive(Debug, Clone, Copy)]
pub struct Network {
    pub of: Address,
    pub prefix: u8,
}

impl Network {
    pub fn first(self) -> Address {
        Address { bits: self.of.bits & !self.hosts(), ..self.of }
    }

    pub fn last(self) -> Address {
        Address { bits: self.of.bits | self.hosts(), ..self.of }
    }

    fn hosts(self) -> u128 {
        self.of.highest().checked_shr(self.prefix.into()).unwrap_or(0)
    }
}

/// The settings of a node.
#[derive(Debug, Default, Clone)]
pub struct Oracle {
    pub allow: Vec<Network>,
    pub deny: Vec<Network>,
    pub relayed: Vec<Address>,
    pub others: Vec<Address>,
    pub listeners: Vec<u16>,
    pub min_port: u16,
}

impl Oracle {
    /// The server's policy under these settings.
    pub fn policy(&self) -> PeerPolicy {
        let networks = |list: &[Network]| -> Vec<IpNet> {
            let net = |network: &Network| IpNet::new(network.of.ip(), network.prefix);
            list.iter().map(|network| net(network).expect("a prefix within the family's bits")).collect()
        };
        let addresses = |list: &[Address]| -> Vec<IpAddr> { list.iter().map(|one| one.ip()).collect() };
        let own = OwnAddresses {
            relayed: addresses(&self.relayed),
            others: addresses(&self.others),
            listeners: self.listeners.clone(),
        };
        PeerPolicy::new(&networks(&self.allow), &networks(&self.deny), own, self.min_port)
    }

    /// What becomes of a peer's address: the address itself first, then what is wrapped in it.
    pub fn judge(&self, address: Address) -> Result<(), Denied> {
        self.judge_one(address)?;
        wrapped(address).into_iter().try_for_each(|inner| self.judge_one(inner))
    }

    /// Whether data may go to the port of a permitted address.
    pub fn judge_port(&self, address: Address, port: u16) -> Result<(), Denied> {
        if port < self.min_port.max(1) {
            return Err(Denied::Port);
        }
        let mut all = wrapped(address).into_iter().chain([address]);
        match self.listeners.contains(&port) && all.any(|one| self.is_own(one)) {
            true => Err(Denied::OwnAddress),
            false => Ok(()),
        }
    }

    fn judge_one(&self, address: Address) -> Result<(), Denied> {
        let is_host = |network: &&Network| network.first() == address && network.last() == address;
        let denied_host = self.deny.iter().find(is_host).is_some();
        let allowed_host = self.allow.iter().find(is_host).is_some();
        if self.relayed.contains(&address) {
            return if denied_host { Err(Denied::Configured) } else { Ok(()) };
        }
        if self.others.contains(&address) && (denied_host || !allowed_host) {
            return Err(Denied::OwnAddress);
        }
        self.narrowest(address)
    }

    /// The smallest range that holds the address decides; of equal ones the first in the order of the lists.
    fn narrowest(&self, address: Address) -> Result<(), Denied> {
        let configured = |network: &Network| (network.first(), network.last());
        let deny = self.deny.iter().map(configured).map(|range| (range, Err(Denied::Configured)));
        let allow = self.allow.iter().map(configured).map(|range| (range, Ok(())));
        let built_in = denied().map(|range| (range, Err(Denied::BuiltIn)));
        let open = [(Address::v4(0), Address::v4(u32::MAX)), (Address::v6(GLOBAL.0), Address::v6(GLOBAL.1))];
        let all = deny.chain(allow).chain(built_in).chain(open.map(|range| (range, Ok(()))));
        let holding = all.filter(|((first, last), _)| {
            first.is_ipv4 == address.is_ipv4 && (first.bits..=last.bits).contains(&address.bits)
        });
        let narrowest = holding.min_by_key(|((first, last), _)| last.bits - first.bits);
        narrowest.expect("the built-in list holds every address").1
    }

    fn is_own(&self, address: Address) -> bool {
        self.relayed.contains(&address) || self.others.contains(&address)
    }
}

/// The IPv4 addresses that an IPv6 address may stand for.
pub fn wrapped(address: Address) -> Vec<Address> {
    if address.is_ipv4 {
        return Vec::new();
    }
    let bits = address.bits;
    let mut found: Vec<u32> = Vec::new();
    // ::/96 less :: and ::1, ::ffff:0:0/96, ::ffff:0:0:0/96, 64:ff9b::/96
    if bits > 1 && [0, 0xFFFF, 0xFFFF_0000, 0x0064_FF9B << 64].contains(&(bits >> 32)) {
        found.push(bits as u32);
    }
    // 64:ff9b:1::/48 cut at 48, 56, 64 and 96 bits, where bits 64 to 71 are left out
    if bits >> 80 == 0x0064_FF9B_0001 {
        found.push((bits >> 64 << 16) as u32 | (bits >> 40) as u32 & 0xFFFF);
        found.push((bits >> 64 << 24) as u32 | (bits >> 32) as u32 & 0xFF_FFFF);
        found.push((bits >> 24) as u32);
        found.push(bits as u32);
    }
    if bits >> 112 == 0x2002 {
        found.push((bits >> 80) as u32);
    }
    if bits >> 96 == 0x2001_0000 {
        found.push((bits >> 64) as u32);
        found.push(bits as u32 ^ u32::MAX);
    }
    if (bits >> 32) as u32 & 0xFDFF_FFFF == 0x0000_5EFE {
        found.push(bits as u32);
    }
    found.into_iter().map(Address::v4).collect()
}
