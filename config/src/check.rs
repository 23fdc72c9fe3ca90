//! Takes keys out of the file: the default when absent, a problem noted when refused.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::{Range, RangeInclusive},
    str::FromStr,
    time::Duration,
};

use ipnet::{IpNet, Ipv4Net};
use toml::Spanned;

use crate::{
    document::Origins,
    problem::Problem,
    raw::{Key, List},
    units::{format_duration, parse_bit_rate, parse_duration},
};

/// What is wrong with a value, as the rest of a sentence that starts with its key.
pub(crate) type Refusal = String;

/// Gathers problems, so that all are told at once.
pub(crate) struct Checker<'a> {
    origins: &'a Origins,
    /// Each with its offset in the document.
    problems: Vec<(usize, Problem)>,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(origins: &'a Origins) -> Self {
        Self { origins, problems: Vec::new() }
    }

    /// In the order of the document.
    pub(crate) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|(offset, _)| *offset);
        self.problems.into_iter().map(|(_, problem)| problem).collect()
    }

    /// The value of `key`, or its default when it is absent or refused.
    pub(crate) fn take<R, T>(
        &mut self,
        key: &str,
        raw: Key<R>,
        default: T,
        read: impl FnOnce(R) -> Result<T, Refusal>,
    ) -> T {
        let Some(raw) = raw else { return default };
        let span = raw.span();
        match read(raw.into_inner()) {
            Ok(value) => value,
            Err(refusal) => {
                self.refuse(key, Some(&span), &refusal);
                default
            }
        }
    }

    /// The items of the list `key`; each refused item is a problem of its own.
    pub(crate) fn take_list<T>(
        &mut self,
        key: &str,
        raw: List,
        default: Vec<T>,
        read: impl Fn(&str) -> Result<T, Refusal>,
    ) -> Vec<T> {
        let Some(raw) = raw else { return default };
        let read_item = |item: Spanned<String>| match read(item.get_ref()) {
            Ok(value) => Some(value),
            Err(refusal) => {
                self.refuse(key, Some(&item.span()), &refusal);
                None
            }
        };
        raw.into_inner().into_iter().filter_map(read_item).collect()
    }

    /// A list as above that must hold something.
    pub(crate) fn take_filled_list<T>(
        &mut self,
        key: &str,
        raw: List,
        default: Vec<T>,
        read: impl Fn(&str) -> Result<T, Refusal>,
    ) -> Vec<T> {
        let span = raw.as_ref().filter(|list| list.get_ref().is_empty()).map(Spanned::span);
        if span.is_some() {
            self.refuse(key, span.as_ref(), "is empty: list one at least, or leave the key out");
        }
        self.take_list(key, raw, default, read)
    }

    /// A whole number within limits.
    pub(crate) fn number<T: TryFrom<u64>>(
        &mut self,
        key: &str,
        raw: Key<i64>,
        default: T,
        limits: RangeInclusive<u64>,
    ) -> T {
        self.take(key, raw, default, |number| {
            let value = u64::try_from(number).ok().filter(|value| limits.contains(value));
            value.and_then(|value| T::try_from(value).ok()).ok_or_else(|| {
                format!("is {number}: write a whole number from {} to {}", limits.start(), limits.end())
            })
        })
    }

    /// A duration within limits.
    pub(crate) fn duration(
        &mut self,
        key: &str,
        raw: Key<String>,
        default: Duration,
        limits: RangeInclusive<Duration>,
    ) -> Duration {
        self.take(key, raw, default, |text| {
            let value = parse_duration(&text).map_err(|error| format!("is \"{text}\": {error}"))?;
            let (low, high) = (format_duration(*limits.start()), format_duration(*limits.end()));
            if limits.contains(&value) {
                return Ok(value);
            }
            Err(format!("is {text}: write a duration from {low} to {high}"))
        })
    }

    /// A limit of bits a second; 0, the default, is none.
    pub(crate) fn bit_rate(&mut self, key: &str, raw: Key<String>) -> u64 {
        self.take(key, raw, 0, |text| {
            parse_bit_rate(&text).map_err(|error| format!("is \"{text}\": {error}"))
        })
    }

    /// Yes or no.
    pub(crate) fn flag(&mut self, raw: Key<bool>, default: bool) -> bool {
        raw.map_or(default, Spanned::into_inner)
    }

    /// Notes that the value of `key` is refused.
    pub(crate) fn refuse(&mut self, key: &str, span: Option<&Range<usize>>, refusal: &str) {
        let place = self.origins.place(span);
        let problem = Problem { place, message: format!("`{key}` {refusal}") };
        self.problems.push((span.map_or(0, |span| span.start), problem));
    }
}

/// `None` when the text is empty, which stands for "not set" wherever a key may be unset.
pub(crate) fn unless_empty<T>(
    read: impl Fn(&str) -> Result<T, Refusal>,
) -> impl Fn(String) -> Result<Option<T>, Refusal> {
    move |text| if text.is_empty() { Ok(None) } else { read(&text).map(Some) }
}

pub(crate) fn ipv4(text: &str) -> Result<Ipv4Addr, Refusal> {
    text.parse().map_err(|_| format!("is \"{text}\": write an IPv4 address, such as \"198.18.0.1\""))
}

pub(crate) fn ipv6(text: &str) -> Result<Ipv6Addr, Refusal> {
    let address: Ipv6Addr =
        text.parse().map_err(|_| format!("is \"{text}\": write an IPv6 address, such as \"2001:db8::1\""))?;
    match address.to_ipv4_mapped() {
        Some(inner) => {
            Err(format!("is {text}, which stands for the IPv4 address {inner}: write one of IPv6"))
        }
        None => Ok(address),
    }
}

/// An address to listen on. Port 0 is refused: nobody could be told the port.
pub(crate) fn listener(text: &str) -> Result<SocketAddr, Refusal> {
    let address = SocketAddr::from_str(text)
        .map_err(|_| format!("holds \"{text}\": write an address and a port, such as \"0.0.0.0:3478\""))?;
    if address.port() == 0 {
        return Err(format!(
            "holds \"{text}\": port 0 is any port, which no client could know; write a number"
        ));
    }
    Ok(address)
}

/// `[::]` stands for both families, which are bound apart.
pub(crate) fn by_family(listeners: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut apart = Vec::new();
    for listener in listeners {
        let both = listener.ip() == Ipv6Addr::UNSPECIFIED;
        let v4 = both.then(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, listener.port())));
        for listener in v4.into_iter().chain([listener]) {
            if !apart.contains(&listener) {
                apart.push(listener);
            }
        }
    }
    apart
}

/// A network, or one address as a network of its own.
pub(crate) fn network(text: &str) -> Result<IpNet, Refusal> {
    let net = text.parse::<IpNet>().or_else(|_| text.parse().map(|address: std::net::IpAddr| address.into()));
    let net = net.map_err(|_| {
        format!(
            "holds \"{text}\": write a network, such as \"10.0.0.0/8\" or \"2001:db8::/32\", or an address"
        )
    })?;
    if net.trunc() != net {
        return Err(format!("holds \"{text}\", which has bits behind its prefix: write \"{}\"", net.trunc()));
    }
    // As a rule for peers it would leave the plain IPv4 addresses as they are.
    if let Some(plain) = unmapped(net) {
        return Err(format!("holds \"{text}\", which is IPv4 in the dress of IPv6: write \"{plain}\""));
    }
    Ok(net)
}

/// The IPv4 network of a part of ::ffff:0:0/96.
fn unmapped(net: IpNet) -> Option<Ipv4Net> {
    let IpNet::V6(net) = net else { return None };
    let prefix = net.prefix_len().checked_sub(96)?;
    Ipv4Net::new(net.addr().to_ipv4_mapped()?, prefix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_address_is_one_listener_for_each_family() {
        let listen = |texts: &[&str]| by_family(texts.iter().map(|text| text.parse().unwrap()).collect());
        assert_eq!(
            listen(&["[::]:443", "192.0.2.1:5349"]),
            ["0.0.0.0:443", "[::]:443", "192.0.2.1:5349"].map(|text| text.parse().unwrap())
        );
        assert_eq!(
            listen(&["0.0.0.0:443", "[::]:443"]),
            ["0.0.0.0:443", "[::]:443"].map(|text| text.parse().unwrap())
        );
    }
}
