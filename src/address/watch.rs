//! Notices that the public address has become another one while the service runs.

use std::{sync::Arc, time::Duration};

use tokio::time::MissedTickBehavior;
use turnpike_config::{Config, Host, Learned, PublicAddress};

use super::ask;
use crate::reloading::Services;

/// How often the interfaces are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Others are asked at every so many looks: each five minutes.
const ASK_EVERY: u32 = 60;

/// Compares what "auto" finds with what is advertised, for as long as the process lives. An address written in the
/// configuration is taken at its word.
pub(crate) fn watch(config: &Config, services: Arc<Services>) {
    let advertised: Vec<PublicAddress> = config
        .node
        .public_addresses()
        .filter(|public| !matches!(public.learned, Learned::Configured | Learned::Loopback))
        .cloned()
        .collect();
    if advertised.is_empty() {
        return;
    }
    let ways: Vec<_> = config.node.detect.iter().filter(|way| way.asks_others()).cloned().collect();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut now = vec![None; advertised.len()];
        let (mut looks, mut before, mut told) = (0_u32, now.clone(), now.clone());
        loop {
            ticks.tick().await;
            looks += 1;
            let asks = looks.is_multiple_of(ASK_EVERY);
            let (all, ways) = (advertised.clone(), ways.clone());
            let look = move || {
                let found = all.iter().map(|public| find(public, asks.then_some(&ways[..])));
                found
                    .zip(&all)
                    .map(|(found, public)| found.map(|found| change(public, found)))
                    .collect::<Vec<_>>()
            };
            let Ok(looked) = tokio::task::spawn_blocking(look).await else { return };
            // What was not asked for, or not answered, is as it was.
            now.iter_mut().zip(looked).for_each(|(now, looked)| *now = looked.unwrap_or_else(|| now.take()));
            // What is there for one look alone is an interface on its way up or down.
            if now == before && now != told {
                let changes: Vec<String> = now.iter().flatten().cloned().collect();
                tell(&changes);
                services.set_address_changes(changes);
                told.clone_from(&now);
            }
            before.clone_from(&now);
        }
    });
}

/// The address of that family as it is found now; `None` when it is not asked for at this look.
fn find(public: &PublicAddress, ways: Option<&[turnpike_config::Detect]>) -> Option<Option<PublicAddress>> {
    match &public.learned {
        Learned::Interface(_) => {
            let host = Host::detect();
            // An advertised address that is still there is right, whatever others there are.
            let is_here = host.holds(public.address);
            let found = if public.address.is_ipv4() { host.public_ipv4() } else { host.public_ipv6() };
            Some(if is_here { Some(public.clone()) } else { found })
        }
        Learned::Metadata(_) | Learned::Stun(_) => ask(ways?).map(Some),
        Learned::Configured | Learned::Loopback => None,
    }
}

/// What has become of an advertised address; `None` while it is what it was.
fn change(public: &PublicAddress, found: Option<PublicAddress>) -> Option<String> {
    match found {
        Some(found) if found.address == public.address => None,
        Some(found) => Some(format!(
            "{} is advertised, and this machine's public address is {found} now",
            public.address
        )),
        None => Some(format!(
            "{} is advertised, and no interface of this machine has it any more",
            public.address
        )),
    }
}

fn tell(now: &[String]) {
    for change in now {
        tracing::warn!(
            code = "address_changed",
            "{change}: new clients cannot reach what is advertised; restart turnpike-relay and turnpike-signaling to \
             advertise what is found then, and change the DNS record if there is one"
        );
    }
    if now.is_empty() {
        tracing::info!("the advertised address is this machine's again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(address: &str) -> PublicAddress {
        PublicAddress { address: address.parse().unwrap(), learned: Learned::Metadata("AWS".to_owned()) }
    }

    #[test]
    fn another_address_or_none_is_a_change() {
        let said = |found: Option<PublicAddress>| change(&public("198.18.0.1"), found);
        assert_eq!(said(Some(public("198.18.0.1"))), None);
        let expected = "198.18.0.1 is advertised, and this machine's public address is 198.18.0.2 (told by the metadata \
                        service of AWS) now";
        assert_eq!(said(Some(public("198.18.0.2"))).as_deref(), Some(expected));
        assert!(said(None).unwrap().ends_with("has it any more"));
    }
}
