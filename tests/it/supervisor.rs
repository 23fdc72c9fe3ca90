//! What the service manager hears by NOTIFY_SOCKET.

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::net::UnixDatagram,
    time::{Duration, Instant},
};

use nix::{sys::ptrace, sys::wait::waitpid, unistd::Pid};
use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use crate::node::{Node, Site};

const PATIENCE: Duration = Duration::from_secs(20);
/// A shard hangs that has not gone round for five seconds.
const HANGS_AFTER: Duration = Duration::from_secs(5);

struct Manager {
    _folder: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    /// Starts a service as its manager, which wants to hear from it within this time.
    fn start(service: &str, keys: &str, watchdog: Option<Duration>) -> (Self, Node) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let site = Site::new(Ipv4Addr::LOCALHOST, &format!("allow_peers = [\"127.0.0.1/32\"]\n{keys}"));
        let mut command = site.command(&[service]);
        command.env("NOTIFY_SOCKET", &path);
        if let Some(watchdog) = watchdog {
            command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        let node = site.start_by(command);
        (Self { _folder: folder, socket }, node)
    }

    /// What is said next, if it is within this time.
    fn hear(&self, within: Duration) -> Option<String> {
        let mut message = [0; 1024];
        self.socket.set_read_timeout(Some(within)).unwrap();
        let len = self.socket.recv(&mut message).ok()?;
        Some(String::from_utf8(message[..len].to_vec()).unwrap())
    }

    fn next(&self) -> String {
        self.hear(PATIENCE).expect("nothing is said")
    }

    /// Waits until nothing is said for this long.
    fn hear_silence(&self, lasting: Duration) {
        let deadline = Instant::now() + PATIENCE;
        while let Some(said) = self.hear(lasting) {
            assert_eq!(said, "WATCHDOG=1\n");
            assert!(Instant::now() < deadline, "it goes on and on");
        }
    }
}

#[test]
fn each_service_says_that_it_is_ready_and_that_it_stops() {
    for service in ["relay", "signaling", "run"] {
        let (manager, mut node) = Manager::start(service, "drain_timeout = \"7s\"", None);
        assert_eq!(manager.next(), "READY=1\n", "{service}");
        assert_eq!(manager.hear(Duration::from_millis(100)), None, "no watchdog is asked for");
        node.terminate();
        let stopping = "STOPPING=1\nSTATUS=Draining for 7 s at most\nEXTEND_TIMEOUT_USEC=17000000\n";
        assert_eq!(manager.next(), stopping, "{service}");
        assert!(node.exit(PATIENCE).success());
    }
}

#[test]
fn a_reload_is_told_from_its_beginning_to_its_end() {
    let (manager, node) = Manager::start("relay", "", None);
    assert_eq!(manager.next(), "READY=1\n");
    kill_process(rustix::process::Pid::from_raw(node.id() as i32).unwrap(), Signal::HUP).unwrap();
    assert!(manager.next().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(manager.next(), "READY=1\n");
    node.log.wait_for_start("reloaded: ");
}

#[test]
fn the_watchdog_is_fed_while_every_shard_goes_round() {
    let within = Duration::from_millis(400);
    let (manager, node) = Manager::start("run", "", Some(within));
    assert_eq!(manager.next(), "READY=1\n");
    for _ in 0..10 {
        assert_eq!(manager.hear(PATIENCE).as_deref(), Some("WATCHDOG=1\n"));
    }

    let shard = thread_of(&node, "relay-1");
    ptrace::attach(shard).unwrap();
    waitpid(shard, None).unwrap();
    let stopped = Instant::now();
    manager.hear_silence(within * 4);
    assert!(stopped.elapsed() >= HANGS_AFTER, "{:?}", stopped.elapsed());
    assert_eq!(node.log.wait_for_start("a part of the service hangs")["code"], "hangs");

    ptrace::detach(shard, None).unwrap();
    assert_eq!(manager.next(), "WATCHDOG=1\n", "it goes on");
}

/// The thread of a process with this name.
fn thread_of(node: &Node, name: &str) -> Pid {
    let tasks = format!("/proc/{}/task", node.id());
    let found = fs::read_dir(tasks)
        .unwrap()
        .map(|task| task.unwrap().path())
        .find(|task| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name));
    Pid::from_raw(found.unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap())
}
