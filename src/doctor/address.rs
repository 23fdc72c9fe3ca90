//! Do the name and the advertised address lead here?

use std::net::{IpAddr, ToSocketAddrs as _};

use turnpike_config::{Learned, PublicAddress};

use super::{Findings, Patient};

pub(super) fn examine(patient: &Patient, findings: &mut Findings) {
    let node = &patient.loaded.config.node;
    for public in node.public_addresses() {
        advertised(patient, public, findings);
    }
    match &node.domain {
        Some(domain) => named(domain, [&node.public_ipv4, &node.public_ipv6], findings),
        None => findings.warn(
            "no node.domain: strangers cannot use the page, for a browser gives no camera without HTTPS, which needs a \
             name; your own page over HTTPS can use the relay by its address",
        ),
    }
}

fn advertised(patient: &Patient, public: &PublicAddress, findings: &mut Findings) {
    let address = public.address;
    let is_here =
        patient.host.addresses.iter().any(|found| found.address == address) || address.is_loopback();
    if public.is_private() {
        findings.warn(format!(
            "{public} is private: strangers on the internet cannot reach it; set node.public_{} to the public one",
            family(address)
        ));
    } else if is_here {
        findings.ok(format!("{public} is advertised, and is this machine's own"));
    } else if public.learned == Learned::Configured {
        findings.unknown(format!(
            "{address} is advertised and on no interface of this machine: right behind a provider's 1:1 NAT, wrong \
             otherwise; `turnpike probe` from another machine tells"
        ));
    }
}

/// Whether every address of the name is one that this node advertises.
fn named(domain: &str, public: [&Option<PublicAddress>; 2], findings: &mut Findings) {
    let found: Vec<IpAddr> = match (domain, 0).to_socket_addrs() {
        Ok(found) => found.map(|address| address.ip().to_canonical()).collect(),
        Err(error) => {
            let records: Vec<String> = public
                .iter()
                .filter_map(|public| public.as_ref())
                .map(|public| record(public.address))
                .collect();
            return findings.fail(format!(
                "{domain} has no address ({error}): make a DNS record {domain} {}",
                records.join(" and ")
            ));
        }
    };
    for (v4, public) in [true, false].into_iter().zip(public) {
        let of_family: Vec<&IpAddr> = found.iter().filter(|ip| ip.is_ipv4() == v4).collect();
        let kind = if v4 { "A" } else { "AAAA" };
        match (public, of_family.as_slice()) {
            (Some(public), []) => {
                findings.warn(format!("{domain} has no {kind} record, and this node serves {}", public.address));
            }
            (Some(public), ips) => match ips.iter().find(|ip| ***ip != public.address) {
                Some(other) => findings.fail(format!(
                    "{domain} leads to {other}, and this node is {}: change the record, or node.public_{}",
                    public.address,
                    family(public.address)
                )),
                None => findings.ok(format!("{domain} leads to {}", public.address)),
            },
            (None, [ip, ..]) => findings.fail(format!(
                "{domain} leads to {ip} as well, and this node serves no IPv{}: clients try it first and wait; remove \
                 the {kind} record, or set node.public_{}",
                if v4 { 4 } else { 6 },
                family(**ip)
            )),
            (None, []) => {}
        }
    }
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ipv4" } else { "ipv6" }
}

fn record(address: IpAddr) -> String {
    format!("{} {address}", if address.is_ipv4() { "A" } else { "AAAA" })
}
