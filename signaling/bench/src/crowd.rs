//! Many strangers at once, from as many addresses as they need.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use anyhow::Context as _;
use tokio::{sync::Semaphore, task::JoinSet};

use crate::stranger::Stranger;

/// A server admits 200 sockets of one address.
const PER_ADDRESS: usize = 180;
/// Connections that are under way at once: less than a listener's backlog.
const AT_ONCE: usize = 200;

/// Where the stranger of this number comes from: loopback has 16 million addresses.
pub fn source(number: usize) -> IpAddr {
    let address = (number / PER_ADDRESS) as u32;
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 1)) + address).into()
}

/// Connects so many.
///
/// # Errors
/// When one of them is refused.
pub async fn connect(server: SocketAddr, count: usize) -> anyhow::Result<Vec<Stranger>> {
    let gate = Arc::new(Semaphore::new(AT_ONCE));
    let mut connecting = JoinSet::new();
    for number in 0..count {
        let gate = Arc::clone(&gate);
        connecting.spawn(async move {
            let _turn = gate.acquire_owned().await;
            let stranger = Stranger::connect(server, source(number)).await;
            stranger.with_context(|| format!("stranger {number}"))
        });
    }
    let mut strangers = Vec::with_capacity(count);
    while let Some(connected) = connecting.join_next().await {
        strangers.push(connected??);
    }
    Ok(strangers)
}
