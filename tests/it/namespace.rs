//! A network of one test alone: what it does there reaches nobody.

use std::{process::Command, thread};

use nix::sched::{CloneFlags, unshare};

/// Calls a function on a thread in a network namespace of its own, whose loopback is up. Processes that it starts are
/// there too.
pub(crate) fn alone<T: Send>(call: impl FnOnce() -> T + Send) -> T {
    let enter_and_call = || {
        unshare(CloneFlags::CLONE_NEWNET).expect("network namespaces need root");
        ip("link set dev lo up");
        call()
    };
    thread::scope(|scope| scope.spawn(enter_and_call).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Runs ip(8) where the calling thread is.
pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An interface that leads nowhere, with these addresses.
pub(crate) fn interface(name: &str, addresses: &[&str]) {
    ip(&format!("link add {name} type veth peer name {name}-far"));
    ip(&format!("link set dev {name} up"));
    ip(&format!("link set dev {name}-far up"));
    for address in addresses {
        ip(&format!("address add {address} dev {name}{}", if address.contains(':') { " nodad" } else { "" }));
    }
}
