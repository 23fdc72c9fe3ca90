//! Peers under any lists and own addresses: judged as by ranges of integers.

use super::input::Input;
use crate::oracle::{Address, IPV4, IPV6, Network, Oracle};

const LISTENER: u16 = 3478;
const MIN_PORT: u16 = 1024;
/// More of them tell nothing new.
const MOST: usize = 8;

/// The first byte says how many addresses there are, which all else is made of: lists, own addresses, peers.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let count = 1 + usize::from(input.byte()) % MOST;
    let some: Vec<Address> = (0..count).map(|_| address(&mut input)).collect();
    let mut oracle = Oracle { listeners: vec![LISTENER], min_port: MIN_PORT, ..Oracle::default() };
    for _ in 0..MOST {
        let role = input.byte();
        let of = input.pick(&some);
        match role % 8 {
            1 | 2 => oracle.allow.push(network(&mut input, of)),
            3 | 4 => oracle.deny.push(network(&mut input, of)),
            5 => oracle.relayed.push(of),
            6 => oracle.others.push(of),
            _ => {}
        }
    }
    compare(&oracle, &some);
}

/// Any address, or one at or near an end of a denied range, bare or dressed.
fn address(input: &mut Input<'_>) -> Address {
    let how = input.byte();
    let at = usize::from(input.byte());
    let offset = input.byte() as i8;
    let v4 = |bits: u32| Address::v4(bits.wrapping_add_signed(offset.into()));
    match how % 6 {
        1 => v4(IPV4[at % IPV4.len()].0),
        2 => v4(IPV4[at % IPV4.len()].1),
        3 => Address::v6(IPV6[at % IPV6.len()].0.wrapping_add_signed(offset.into())),
        4 => Address::v6(IPV6[at % IPV6.len()].1.wrapping_add_signed(offset.into())),
        5 => {
            let dressed =
                v4(if how < 128 { IPV4[at % IPV4.len()].0 } else { IPV4[at % IPV4.len()].1 }).dressed();
            dressed[usize::from(how / 12) % dressed.len()].1
        }
        _ if at.is_multiple_of(2) => Address::v4(u32::from_be_bytes(bits(input))),
        _ => Address::v6(u128::from_be_bytes(bits(input))),
    }
}

fn bits<const N: usize>(input: &mut Input<'_>) -> [u8; N] {
    let mut bits = [0; N];
    let taken = input.take(N);
    bits[..taken.len()].copy_from_slice(taken);
    bits
}

fn network(input: &mut Input<'_>, of: Address) -> Network {
    let longest = if of.is_ipv4 { 32 } else { 128 };
    Network { of, prefix: input.byte() % (longest + 1) }
}

fn compare(oracle: &Oracle, some: &[Address]) {
    let policy = oracle.policy();
    let ends = oracle.allow.iter().chain(&oracle.deny).flat_map(|network| [network.first(), network.last()]);
    let bare: Vec<Address> = some.iter().copied().chain(ends).collect();
    let beside = bare.iter().flat_map(|address| address.neighbours());
    let dressed = bare.iter().filter(|address| address.is_ipv4).flat_map(|address| address.dressed());
    for address in bare.iter().copied().chain(beside).chain(dressed.map(|(_, outer)| outer)) {
        assert_eq!(policy.judge(address.ip()), oracle.judge(address), "{address:?} under {oracle:?}");
        for port in [0, MIN_PORT - 1, MIN_PORT, LISTENER] {
            let verdict = policy.judge_port((address.ip(), port).into());
            assert_eq!(verdict, oracle.judge_port(address, port), "{address:?}:{port} under {oracle:?}");
        }
    }
}
