//! What the kernel counts for the whole machine: a provider's bill is by it, and datagrams that no socket had room for are
//! seen nowhere else.

use std::fs;

/// Devices that are told of, so that containers that come and go make no series.
const MOST: usize = 8;
/// Interfaces of virtual machines, containers and bridges of this host: what they carry is on no bill.
const INNER: [&str; 10] = ["lo", "veth", "docker", "br-", "virbr", "tap", "cali", "vnet", "ifb", "dummy"];

/// The devices of this machine when the process began.
#[derive(Debug)]
pub(crate) struct Devices(Vec<&'static str>);

impl Devices {
    /// Looks for them. To be called once a process.
    pub(crate) fn find() -> Self {
        let mut names: Vec<String> =
            counters(&read("/proc/net/dev")).map(|(name, ..)| name.to_owned()).collect();
        names.retain(|name| !INNER.iter().any(|inner| name.starts_with(inner)));
        names.sort_unstable();
        names.truncate(MOST);
        Self(names.into_iter().map(|name| &*name.leak()).collect())
    }

    /// Each device with the bytes that it has received and sent.
    pub(crate) fn bytes(&self) -> Vec<(&'static str, u64, u64)> {
        let text = read("/proc/net/dev");
        let of = |device: &&'static str| {
            let (_, received, sent) = counters(&text).find(|(name, ..)| name == device)?;
            Some((*device, received, sent))
        };
        self.0.iter().filter_map(of).collect()
    }
}

/// Datagrams of all sockets of this network namespace that were dropped because a receive buffer was full.
pub(crate) fn receive_drops() -> u64 {
    let v4 = read("/proc/net/snmp");
    let mut udp = v4.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let place = udp.next().and_then(|names| names.split(' ').position(|name| name == "RcvbufErrors"));
    let value = place.zip(udp.next()).and_then(|(place, values)| values.split(' ').nth(place)?.parse().ok());
    let v6 = read("/proc/net/snmp6");
    let of_v6 = v6.lines().find_map(|line| line.strip_prefix("Udp6RcvbufErrors"));
    value.unwrap_or(0) + of_v6.and_then(|value| value.trim().parse().ok()).unwrap_or(0_u64)
}

/// Name, bytes received, bytes sent.
fn counters(text: &str) -> impl Iterator<Item = (&str, u64, u64)> {
    text.lines().filter_map(|line| {
        let (name, numbers) = line.split_once(':')?;
        let mut numbers = numbers.split_ascii_whitespace();
        let received = numbers.next()?.parse().ok()?;
        Some((name.trim(), received, numbers.nth(7)?.parse().ok()?))
    })
}

/// Empty where there is none.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_table_of_devices_is_read() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
                    face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs\n    \
                    lo: 100       1    0    0    0     0          0         0      200       2    0    0    0     0       0          0\n  \
                    eth0:12345678 9999    0    0    0     0          0         0 87654321 8888    0    0    0     0       0          0\n";
        let found: Vec<_> = counters(text).collect();
        assert_eq!(found, [("lo", 100, 200), ("eth0", 12_345_678, 87_654_321)]);
    }
}
