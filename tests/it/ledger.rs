//! The ledger: what it says is what was relayed, whatever becomes of the process and of its disk.

use std::{
    collections::HashMap,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use turnpike_relay_api::{
    admin::{SESSIONS, STATUS, Session, Sessions, Status, Traffic},
    usage::{Record, USAGE, Usage, flows},
};
use turnpike_turn_client::{AllocateOptions, Allocation, Connection, Credentials, Endpoint, Transport};

use crate::{
    capture::Capture,
    grafana::Prometheus,
    http,
    node::{Node, SECRET, Service, Site, in_an_hour, turnpike},
};

const PATIENCE: Duration = Duration::from_secs(20);
const IP_UDP: u64 = 28;

fn credentials(subject: &str) -> Credentials {
    Credentials::mint(SECRET.as_bytes(), in_an_hour(), subject)
}

/// A peer that sends back what comes.
struct Echo(UdpSocket);

impl Echo {
    fn new(ip: IpAddr) -> Self {
        let socket = UdpSocket::bind((ip, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Self(socket)
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    fn once(&self) {
        let mut buffer = [0; 2_000];
        let (length, from) = self.0.recv_from(&mut buffer).unwrap();
        self.0.send_to(&buffer[..length], from).unwrap();
    }
}

/// How an allocation is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    ChannelData,
    Send,
    Ipv6,
    Tcp,
    Hairpin,
}

struct Caller {
    kind: Kind,
    allocation: Allocation,
    peer: Echo,
}

impl Caller {
    fn new(site: &Site, kind: Kind, nth: usize) -> Self {
        let (ip, transport) = match kind {
            Kind::Ipv6 => (IpAddr::from(Ipv6Addr::LOCALHOST), Transport::Udp),
            Kind::Tcp => (IpAddr::from(Ipv4Addr::LOCALHOST), Transport::Tcp),
            _ => (IpAddr::from(Ipv4Addr::LOCALHOST), Transport::Udp),
        };
        let server = SocketAddr::new(ip, site.turn.port());
        let bind = Some(SocketAddr::new(ip, 0));
        let connection = Connection::open(&Endpoint { server, transport, tls: None, bind }).unwrap();
        let options = AllocateOptions { ipv6: kind == Kind::Ipv6, ..AllocateOptions::default() };
        let credentials = credentials(&format!("user-{nth}"));
        let allocation = Allocation::open(connection, credentials, None, &options).unwrap();
        Self { kind, allocation, peer: Echo::new(ip) }
    }

    fn prepare(&mut self) {
        match self.kind {
            Kind::Send | Kind::Hairpin => self.allocation.permit(&[self.peer.address().ip()]).unwrap(),
            _ => drop(self.allocation.bind(self.peer.address()).unwrap()),
        }
    }

    fn round_trip(&mut self, payload: &[u8]) {
        let peer = self.peer.address();
        match self.kind {
            Kind::Send => self.allocation.send_indication(peer, payload).unwrap(),
            _ => self.allocation.send(peer, payload).unwrap(),
        }
        self.peer.once();
        let back = self.allocation.receive(Duration::from_secs(5)).unwrap().expect("the answer comes back");
        assert_eq!(back.payload, payload);
    }
}

#[test]
fn ledger_admin_socket_metrics_and_a_capture_agree_on_twenty_allocations_of_all_kinds() {
    let capture = Capture::start("udp");
    let keys = "allow_peers = [\"127.0.0.1/32\", \"::1/128\"]\ndrain_timeout = \"0s\"";
    let site = Site::new(Ipv4Addr::LOCALHOST, keys).with_ipv6();
    let mut command = site.command(&["relay"]);
    command.env("TURNPIKE_USAGE__USER", "full").env("TURNPIKE_USAGE__CLIENT_ADDRESS", "full");
    let mut node = site.start_by(command);
    let kinds = [Kind::ChannelData, Kind::Send, Kind::Ipv6, Kind::Tcp, Kind::Hairpin];
    let mut callers: Vec<Caller> =
        (0..20).map(|nth| Caller::new(&node.site, kinds[nth % kinds.len()], nth)).collect();
    callers.iter_mut().for_each(Caller::prepare);
    for round in 0..30 {
        for (nth, caller) in callers.iter_mut().enumerate().filter(|(_, caller)| caller.kind != Kind::Hairpin)
        {
            caller.round_trip(&vec![nth as u8; 10 + 37 * round]);
        }
        let relays: Vec<SocketAddr> =
            callers.iter().filter(|c| c.kind == Kind::Hairpin).map(|c| c.allocation.relayed()).collect();
        let mut hairpins: Vec<&mut Caller> = callers.iter_mut().filter(|c| c.kind == Kind::Hairpin).collect();
        for place in 0..hairpins.len() {
            let to = (place + 1) % relays.len();
            hairpins[place].allocation.send_indication(relays[to], &vec![9; 20 + round]).unwrap();
            let came = hairpins[to].allocation.receive(Duration::from_secs(5)).unwrap();
            assert_eq!(came.expect("it comes by the relay").peer, relays[place]);
        }
    }

    let (sessions, usage) = settled(&node, 20);
    assert_sums_agree(&node, &sessions, &usage);
    assert_capture_agrees(&capture, &node.site, &sessions);
    for record in &usage.records {
        let session = sessions.iter().find(|session| session.id == record.id).unwrap();
        assert_eq!((&record.subject, &record.client), (&session.subject, &session.client.ip().to_string()));
        assert_eq!((record.ended, &record.transport), (None, &session.transport));
    }

    node.terminate();
    assert!(node.exit(Duration::from_secs(10)).success());
    let again = node.site.start_beside("relay");
    let after: Usage = node.admin(&format!("{USAGE}?by=allocation"));
    assert_eq!(after.records.len(), 20);
    for record in &after.records {
        let session = sessions.iter().find(|session| session.id == record.id).unwrap();
        assert_eq!(record.traffic, session.traffic);
        assert_eq!(record.cause.as_deref(), Some("drain"));
    }
    drop(again);
}

/// Sessions and records once both say the same, and nothing of them changes any more.
fn settled(node: &Node, count: usize) -> (Vec<Session>, Usage) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let sessions: Sessions = node.admin(SESSIONS);
        let usage: Usage = node.admin(&format!("{USAGE}?by=allocation"));
        let status: Status = node.admin(STATUS);
        let of = |session: &Session| usage.records.iter().find(|record| record.id == session.id);
        let all_agree = sessions.sessions.len() == count
            && sessions.sessions.iter().all(|s| of(s).is_some_and(|record| record.traffic == s.traffic));
        if all_agree && status.traffic == usage.total.traffic {
            return (sessions.sessions, usage);
        }
        assert!(Instant::now() < deadline, "{sessions:#?} {usage:#?}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn assert_sums_agree(node: &Node, sessions: &[Session], usage: &Usage) {
    let mut all = Traffic::default();
    sessions.iter().for_each(|session| all.add(&session.traffic));
    assert_eq!(usage.total.traffic, all);
    let days: Usage = node.admin(&format!("{USAGE}?by=day"));
    assert_eq!((days.total.traffic, days.total.allocations), (all, 20));
    let metrics = http::get(node.site.relay_metrics, "/metrics");
    for (name, flow) in flows(&all) {
        let Some((leg, direction)) = name.split_once('_') else {
            assert_eq!(sum(&metrics, "turnpike_relay_hairpin_bytes_total", &[]), flow.bytes);
            continue;
        };
        let labels = [format!("leg=\"{leg}\""), format!("direction=\"{direction}\"")];
        assert_eq!(sum(&metrics, "turnpike_relay_bytes_total", &labels), flow.bytes, "{name}");
        assert_eq!(sum(&metrics, "turnpike_relay_packets_total", &labels), flow.packets, "{name}");
    }
    let billed = all.client_out.bytes + all.peer_out.bytes - all.hairpin.bytes;
    assert_eq!(sum(&metrics, "turnpike_relay_billed_bytes_total", &[]), billed);
    assert_eq!(usage.total.billed_bytes, billed);
}

/// On the UDP legs; what goes from relay to relay is on no wire.
fn assert_capture_agrees(capture: &Capture, site: &Site, sessions: &[Session]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut flows: HashMap<(SocketAddr, SocketAddr), Vec<u64>> = HashMap::new();
        for packet in capture.packets() {
            flows.entry((packet.from, packet.to)).or_default().push(packet.bytes);
        }
        let of = |fits: &dyn Fn(&(SocketAddr, SocketAddr)) -> bool| -> u64 {
            flows.iter().filter(|(ends, _)| fits(ends)).flat_map(|(_, bytes)| bytes).sum()
        };
        // Two Allocates come before there is an allocation, and one 401 goes out.
        let client = |from, to, before: usize| -> u64 {
            flows.get(&(from, to)).map_or(0, |bytes| bytes.iter().skip(before).sum())
        };
        let wrong: Vec<String> = sessions
            .iter()
            .filter_map(|session| {
                let listener = SocketAddr::new(session.client.ip(), site.turn.port());
                let traffic = &session.traffic;
                let is_hairpin = traffic.hairpin.packets > 0;
                let on_wire = |bytes: u64| if is_hairpin { 0 } else { bytes };
                let mut counted =
                    vec![on_wire(traffic.peer_in.bytes), traffic.peer_out.bytes - traffic.hairpin.bytes];
                let relayed = session.relayed;
                let mut seen = vec![of(&|(_, to)| *to == relayed), of(&|(from, _)| *from == relayed)];
                if session.transport == "udp" {
                    counted.extend([traffic.client_in.bytes, traffic.client_out.bytes]);
                    seen.extend([client(session.client, listener, 2), client(listener, session.client, 1)]);
                }
                (counted != seen).then(|| format!("{session:?}: counted {counted:?}, seen {seen:?}"))
            })
            .collect();
        if wrong.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{wrong:#?}");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn the_bytes_of_a_long_allocation_are_on_metrics_within_two_seconds() {
    let node = Node::relay("");
    let mut caller = Caller::new(&node.site, Kind::ChannelData, 0);
    caller.prepare();
    for _ in 0..3 {
        let before = peer_out(&node);
        caller.round_trip(&[7; 1_000]);
        let flowed = Instant::now();
        while peer_out(&node) < before + 1_000 + IP_UDP {
            assert!(flowed.elapsed() < Duration::from_secs(2), "the counters lag behind");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn peer_out(node: &Node) -> u64 {
    let metrics = http::get(node.site.relay_metrics, "/metrics");
    sum(&metrics, "turnpike_relay_bytes_total", &["leg=\"peer\"".into(), "direction=\"out\"".into()])
}

#[test]
fn kill_9_amid_200_allocations_loses_5_seconds_at_most_and_counts_nothing_twice() {
    kill_9(Duration::from_millis(6_500));
}

#[test]
#[ignore = "of `make soak`"]
fn soak_kill_9_amid_200_allocations_20_times() {
    for nth in 0..20 {
        kill_9(Duration::from_millis(5_000 + 370 * nth));
    }
}

const ALLOCATIONS: usize = 200;
const MOST_LOST: Duration = Duration::from_secs(5);
/// A loaded machine writes a little later than it should.
const SLACK: Duration = Duration::from_millis(700);

fn kill_9(lives: Duration) {
    // Relay ports on an address of the test's own: more than the other tests leave.
    let [.., high, low] = std::process::id().to_be_bytes();
    let relayed = Ipv4Addr::new(127, 77, high, low);
    let site = Site::new(relayed, "allow_peers = [\"127.0.0.1/32\"]\ndrain_timeout = \"0s\"");
    let mut node = start(&site);
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    sink.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let peer = sink.local_addr().unwrap();
    let mut allocations: Vec<Allocation> = (0..ALLOCATIONS)
        .map(|nth| {
            let mut allocation = site.allocate_as(credentials(&format!("user-{nth}"))).unwrap();
            allocation.permit(&[peer.ip()]).unwrap();
            allocation
        })
        .collect();

    let (received, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let receiver = {
        let (received, stop) = (Arc::clone(&received), Arc::clone(&stop));
        thread::spawn(move || {
            let mut buffer = [0; 2_000];
            while !stop.load(Ordering::Relaxed) {
                if let Ok(length) = sink.recv(&mut buffer) {
                    received.fetch_add(length as u64 + IP_UDP, Ordering::Relaxed);
                }
            }
        })
    };
    let begun = Instant::now();
    let mut known = Vec::new();
    let mut sent = 0;
    while begun.elapsed() < lives {
        for allocation in &mut allocations {
            allocation.send_indication(peer, &[1; 100]).unwrap();
            sent += 100 + IP_UDP;
        }
        known.push((Instant::now(), received.load(Ordering::Relaxed)));
        thread::sleep(Duration::from_millis(50));
    }
    let killed = Instant::now();
    node.kill();
    stop.store(true, Ordering::Relaxed);
    receiver.join().unwrap();
    let safe = known.iter().rev().find(|(at, _)| killed.duration_since(*at) > MOST_LOST + SLACK);
    let safe = safe.map_or(0, |(_, bytes)| *bytes);

    let _again = start(&site);
    let usage: Usage = site.admin(&format!("{USAGE}?by=allocation"));
    assert_eq!(usage.records.len(), ALLOCATIONS, "{usage:?}");
    assert!(usage.records.iter().all(|record| record.cause.as_deref() == Some("lost")), "{usage:?}");
    assert!(usage.records.iter().all(|record| record.ended.is_some_and(|ended| ended >= record.started)));
    let kept = usage.total.traffic.peer_out.bytes;
    assert!(safe <= kept && kept <= sent, "{safe} <= {kept} <= {sent}");
    let days: Usage = site.admin(&format!("{USAGE}?by=day"));
    assert_eq!((days.total.traffic, days.total.allocations), (usage.total.traffic, ALLOCATIONS as u64));
    assert_eq!(days.total.seconds, usage.total.seconds);
    let mut all = Traffic::default();
    usage.records.iter().for_each(|record| all.add(&record.traffic));
    assert_eq!(all, usage.total.traffic);
}

fn start(site: &Site) -> Service {
    let mut command = site.command(&["relay"]);
    command.env("TURNPIKE_RELAY__PORT_RANGE", "[40000, 41999]");
    site.start_beside_by(command)
}

#[test]
fn on_a_full_disk_the_relay_goes_on_counts_what_it_cannot_write_and_writes_it_later() {
    let site = Site::new(Ipv4Addr::LOCALHOST, "allow_peers = [\"127.0.0.1/32\"]");
    let state = site.folder.path().join("state");
    fs::create_dir(&state).unwrap();
    let mut command = in_own_mounts(&site, &format!("mount -t tmpfs -o size=600k tmpfs {}", state.display()));
    command.env("TURNPIKE_USAGE__INTERIM", "2s");
    let node = site.start_by(command);
    let mut caller = Caller::new(&node.site, Kind::ChannelData, 0);
    caller.prepare();
    caller.round_trip(&[7; 100]);
    until(&node, "turnpike_usage_records_total{status=\"start\"}", |written| written == 1.0);

    let fill = state.join("fill");
    inside(&node, &format!("dd if=/dev/zero of={} bs=1k 2>/dev/null; true", fill.display()));
    until(&node, "turnpike_usage_records_dropped_total{status=\"interim\"}", |dropped| {
        caller.round_trip(&[7; 500]);
        dropped >= 2.0
    });
    let said = node.log.wait_until(|lines| lines.iter().find(|l| l["code"] == "ledger_not_written").cloned());
    assert!(said["message"].as_str().unwrap().contains("make room"), "{said}");
    let warnings = node.log.wait_until(|lines| {
        Some(lines.iter().filter(|line| line["code"].is_string()).cloned().collect::<Vec<_>>())
    });
    assert_eq!(warnings, [said], "one line, however often it fails");
    let flushed = value(&node, "turnpike_usage_last_flush_timestamp_seconds");
    assert!(flushed > 0.0);

    inside(&node, &format!("rm {}", fill.display()));
    node.log.wait_for("the usage ledger is written again");
    let (sessions, usage) = settled(&node, 1);
    assert_eq!(usage.records[0].traffic, sessions[0].traffic, "nothing was lost after all");
}

#[test]
fn on_a_disk_that_turns_read_only_the_relay_goes_on_and_an_alert_says_so() {
    let mut site = Site::new(Ipv4Addr::LOCALHOST, "allow_peers = [\"127.0.0.1/32\"]");
    let state = site.folder.path().join("state");
    fs::create_dir(&state).unwrap();
    let image = site.folder.path().join("disk");
    fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    assert!(Command::new("mkfs.ext4").arg("-q").arg(&image).status().unwrap().success());
    // As a disk that fails: the file system itself goes read-only under the open files.
    let mount = format!("mount -o loop,errors=remount-ro {} {}", image.display(), state.display());
    let alerting = SocketAddr::from((Ipv4Addr::LOCALHOST, site.ports.listener()));
    let mut command = in_own_mounts(&site, &mount);
    command.env("TURNPIKE_USAGE__INTERIM", "2s");
    let node = site.start_by(command);
    let prometheus = Prometheus::start(&node.site, alerting);
    let mut caller = Caller::new(&node.site, Kind::ChannelData, 0);
    caller.prepare();
    caller.round_trip(&[7; 100]);
    until(&node, "turnpike_usage_records_total{status=\"start\"}", |written| written == 1.0);

    let device = format!("$(basename $(findmnt -no SOURCE {}))", state.display());
    inside(&node, &format!("echo 1 > /sys/fs/ext4/{device}/trigger_fs_error"));
    until(&node, "turnpike_usage_records_dropped_total{status=\"interim\"}", |dropped| {
        caller.round_trip(&[7; 500]);
        dropped >= 2.0
    });
    let said = node.log.wait_until(|lines| lines.iter().find(|l| l["code"] == "ledger_not_written").cloned());
    assert!(said["message"].as_str().unwrap().contains("the relay goes on"), "{said}");
    let firing = "ALERTS{alertname=\"TurnpikeUsageRecordsDropped\",alertstate=\"firing\"}";
    let deadline = Instant::now() + PATIENCE;
    while prometheus.query(firing).is_empty() {
        assert!(Instant::now() < deadline, "{firing} is not there");
        caller.round_trip(&[7; 500]);
        thread::sleep(Duration::from_millis(100));
    }
    let sessions: Sessions = node.admin(SESSIONS);
    assert_eq!(sessions.sessions.len(), 1);
}

#[test]
fn in_a_folder_that_may_not_be_written_the_relay_goes_on_and_says_so_once() {
    let site = Site::new(Ipv4Addr::LOCALHOST, "allow_peers = [\"127.0.0.1/32\"]");
    let state = site.folder.path().join("state");
    fs::create_dir(&state).unwrap();
    let lock = state.join("relay.lock");
    fs::write(&lock, "").unwrap();
    for (path, mode) in [(site.folder.path(), 0o777), (&state, 0o555), (&lock, 0o666)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "--inh-caps",
        "-all",
        "--bounding-set",
        "-all",
    ]);
    wrap(&mut command, &site);
    command.env("TURNPIKE_USAGE__INTERIM", "2s");
    let node = site.start_by(command);
    let mut caller = Caller::new(&node.site, Kind::ChannelData, 0);
    caller.prepare();
    until(&node, "turnpike_usage_records_dropped_total{status=\"interim\"}", |dropped| {
        caller.round_trip(&[7; 500]);
        dropped >= 2.0
    });
    assert_eq!(value(&node, "turnpike_usage_last_flush_timestamp_seconds"), 0.0);
    let said = node.log.wait_until(|lines| {
        let said: Vec<_> =
            lines.iter().filter(|line| line["code"] == "ledger_not_written").cloned().collect();
        (!said.is_empty()).then_some(said)
    });
    assert_eq!(said.len(), 1);
    assert!(said[0]["error"].as_str().unwrap().contains("Permission denied"), "{said:?}");
    let (code, _, told) = run(node.site.command(&["usage"]));
    assert_eq!(code, 1);
    assert!(told.contains("The usage ledger cannot be read") && told.contains("usage.db"), "{told}");
}

#[test]
fn usage_sessions_and_status_are_read_from_the_command_line() {
    let node = Node::relay("");
    let mut caller = Caller::new(&node.site, Kind::ChannelData, 7);
    caller.prepare();
    caller.round_trip(&[7; 1_000]);
    settled(&node, 1);

    let (code, text, _) = run(node.site.command(&["usage", "--by", "allocation", "--open"]));
    assert_eq!(code, 0);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("Began (UTC)") && lines[0].ends_with("Billed"), "{text}");
    assert!(lines[1].contains("udp ipv4") && lines[1].contains("live"), "{text}");
    assert!(!text.contains("user-7"), "subjects are labels unless told otherwise: {text}");
    assert!(lines[2].starts_with("total"), "{text}");
    let of = |subject: &str| {
        let (_, text, _) =
            run(node.site.command(&["usage", "--by", "subject", "--subject", subject, "--json"]));
        serde_json::from_str::<Usage>(&text).unwrap()
    };
    assert_eq!((of("user-7").sums.len(), of("user-8").sums.len()), (1, 0), "a name finds its label");
    let (_, csv, _) = run(node.site.command(&["usage", "--csv"]));
    assert!(csv.starts_with("name,allocations,seconds,client_in_bytes,"), "{csv}");
    assert_eq!(csv.lines().count(), 2, "{csv}");
    let (_, events, _) = run(node.site.command(&["usage", "--cloudevents"]));
    let event: serde_json::Value = serde_json::from_str(events.trim()).unwrap();
    let record: Record = serde_json::from_value(event["data"].clone()).unwrap();
    assert_eq!(
        (event["specversion"].as_str(), event["source"].as_str()),
        (Some("1.0"), Some("/turnpike/node-1"))
    );

    let (_, status, _) = run(node.site.command(&["status"]));
    assert!(status.starts_with("node-1: serving") && status.contains("1 live of at most"), "{status}");
    let (_, sessions, _) = run(node.site.command(&["sessions", "--sort", "rate"]));
    assert!(sessions.contains(&record.id) && sessions.contains("bit/s"), "{sessions}");
    let (code, ended, _) = run(node.site.command(&["sessions", "kill", &record.id]));
    assert_eq!((code, ended), (0, format!("{} has ended\n", record.id)));
    assert_eq!(run(node.site.command(&["sessions", "kill", &record.id])).0, 1);
    let (code, none, _) = run(node.site.command(&["sessions", "kill", "-an-id-with-a-hyphen"]));
    assert_eq!(code, 1);
    assert!(none.starts_with("no live allocation is -an-id-with-a-hyphen"), "{none}");
    let (_, sessions, _) = run(node.site.command(&["sessions"]));
    assert_eq!(sessions, "no live allocations\n");
}

#[test]
fn without_a_relay_the_commands_say_how_to_get_one() {
    let site = Site::new(Ipv4Addr::LOCALHOST, "");
    for command in [["usage"], ["status"], ["sessions"]] {
        let (code, text, told) = run(site.command(&command));
        assert_eq!((code, text.as_str()), (3, ""));
        assert!(told.contains("relay.sock") && told.contains("start it with `turnpike relay`"), "{told}");
    }
}

/// Exit code, output, complaints.
fn run(mut command: Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The relay with mounts that nobody else sees.
fn in_own_mounts(site: &Site, first: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &format!("{first} && exec \"$@\""), "sh"]);
    wrap(&mut command, site);
    command
}

/// Puts the relay's own command behind what there is.
fn wrap(command: &mut Command, site: &Site) {
    let relay = turnpike(&["relay"]);
    command.arg(relay.get_program()).args(relay.get_args()).arg("--config").arg(site.config());
    relay.get_envs().for_each(|(name, _)| {
        command.env_remove(name);
    });
    command.stdin(Stdio::null());
}

/// Runs a shell's line where the node's mounts are.
fn inside(node: &Node, line: &str) {
    let target = node.id().to_string();
    let status =
        Command::new("nsenter").args(["--mount", "--target", &target, "sh", "-c", line]).status().unwrap();
    assert!(status.success(), "{line}");
}

fn value(node: &Node, name: &str) -> f64 {
    let metrics = http::get(node.site.relay_metrics, "/metrics");
    let line = metrics.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.unwrap_or_else(|| panic!("no {name}")).rsplit(' ').next().unwrap().parse().unwrap()
}

fn until(node: &Node, name: &str, mut fits: impl FnMut(f64) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !fits(value(node, name)) {
        assert!(Instant::now() < deadline, "{name} is {}", value(node, name));
        thread::sleep(Duration::from_millis(50));
    }
}

/// The sum of a metric's samples that have all these labels.
fn sum(metrics: &str, name: &str, labels: &[String]) -> u64 {
    let own = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let samples = metrics.lines().filter(own);
    let chosen = samples.filter(|line| labels.iter().all(|label| line.contains(label.as_str())));
    let values: Vec<f64> = chosen.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert!(!values.is_empty(), "{name} {labels:?} is not in {metrics}");
    values.iter().sum::<f64>() as u64
}
