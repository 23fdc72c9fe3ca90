//! Network namespaces with links between them; to make them takes root.

use std::{
    fs::File,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use nix::sched::{CloneFlags, setns};

/// Namespaces that go with it.
pub(crate) struct Network {
    prefix: String,
    names: Vec<&'static str>,
}

/// One end of a link: namespace, interface, addresses.
pub(crate) type End<'a> = (&'static str, &'a str, &'a [&'a str]);

impl Network {
    pub(crate) fn new(names: &[&'static str]) -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let network =
            Self { prefix: format!("turnpike{}-{serial}", std::process::id()), names: names.into() };
        for name in names {
            run(&format!("ip netns add {}", network.name(name)));
            network.ip(name, "link set dev lo up");
        }
        network
    }

    /// Connects two namespaces. IPv6 finds its neighbours only where each end has a link-local address as well.
    pub(crate) fn link(&self, one: End<'_>, other: End<'_>, mtu: u32) {
        let (here, there) = (self.name(one.0), self.name(other.0));
        run(&format!(
            "ip link add name {} netns {here} mtu {mtu} type veth peer name {} netns {there} mtu {mtu}",
            one.1, other.1
        ));
        for (name, interface, addresses) in [one, other] {
            self.ip(name, &format!("link set dev {interface} addrgenmode none"));
            self.ip(name, &format!("link set dev {interface} up"));
            for address in addresses {
                let nodad = if address.contains(':') { " nodad" } else { "" };
                self.ip(name, &format!("address add {address} dev {interface}{nodad}"));
            }
        }
    }

    /// Makes a namespace forward.
    pub(crate) fn forward(&self, name: &str) {
        for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            run(&format!("ip netns exec {} sysctl -qw {key}=1", self.name(name)));
        }
    }

    /// Runs ip(8) in a namespace.
    pub(crate) fn ip(&self, name: &str, arguments: &str) {
        run(&format!("ip -n {} {arguments}", self.name(name)));
    }

    /// Calls a function on a thread in a namespace. What it opens and starts stays there.
    pub(crate) fn inside<T: Send>(&self, name: &str, call: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.name(name));
        let enter_and_call = || {
            setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            call()
        };
        thread::scope(|scope| scope.spawn(enter_and_call).join()).unwrap()
    }

    /// The same for a test of its own runtime.
    pub(crate) fn block_on(&self, name: &str, test: impl Future<Output = ()> + Send) {
        self.inside(name, || {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            runtime.worker_threads(1).enable_all().build().unwrap().block_on(test);
        });
    }

    fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "delete", &self.name(name)]).status();
        }
    }
}

fn run(command: &str) {
    let words: Vec<&str> = command.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {said}(network namespaces take root)");
}
