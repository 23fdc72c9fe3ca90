//! A real node: the binary with a configuration of its own in a folder of its own.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant, SystemTime},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use turnpike_turn_client::{
    AllocateOptions, Allocation, Connection, Credentials, Endpoint, Error, TlsClient, Transport,
};

use crate::{
    authority::{Authority, DOMAIN},
    http,
    lines::Lines,
    ports::Ports,
};

pub(crate) const SECRET: &str = "a secret that the tests share, of 32 bytes and more";

/// A configuration file and the addresses in it.
pub(crate) struct Site {
    pub(crate) folder: TempDir,
    pub(crate) ports: Ports,
    pub(crate) turn: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) relay_metrics: SocketAddr,
    pub(crate) signaling_metrics: SocketAddr,
    /// Where TLS is served, if it is.
    pub(crate) tls: Option<SocketAddr>,
    authority: Option<Authority>,
}

impl Site {
    /// A node that listens on 127.0.0.1 and relays from `relayed`; `keys` are further ones of [relay].
    pub(crate) fn new(relayed: Ipv4Addr, keys: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut ports = Ports::take();
        let mut local = || SocketAddr::from((Ipv4Addr::LOCALHOST, ports.listener()));
        let (turn, http, relay_metrics, signaling_metrics) = (local(), local(), local(), local());
        let (first, last) = ports.relay_range().into_inner();
        let config = format!(
            "[node]\nname = \"node-1\"\npublic_ipv4 = \"{relayed}\"\nallow_private_address = true\n\
             state_dir = \"state\"\n\n\
             [auth]\nsecret_file = \"secret\"\n\n\
             [relay]\nlisten_udp = [\"{turn}\"]\nlisten_tcp = [\"{turn}\"]\nrelay_ipv4 = \"{relayed}\"\nport_range = [{first}, {last}]\n\
             shards = 2\nadmin_socket = \"relay.sock\"\n{keys}\n\n\
             [signaling]\nlisten = [\"{http}\"]\ninternal_socket = \"signaling.sock\"\n\n\
             [metrics]\nrelay_listen = \"{relay_metrics}\"\nsignaling_listen = \"{signaling_metrics}\"\nselftest = \"0s\"\n\n\
             [log]\nformat = \"json\"\n"
        );
        fs::write(folder.path().join("turnpike.toml"), config).unwrap();
        fs::write(folder.path().join("secret"), SECRET).unwrap();
        Self { folder, ports, turn, http, relay_metrics, signaling_metrics, tls: None, authority: None }
    }

    /// The same with TLS, by a certificate of an authority of its own.
    pub(crate) fn with_tls(mut self) -> Self {
        let tls = SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.listener()));
        self.authority = Some(Authority::new());
        self.renew_certificate();
        let config = fs::read_to_string(self.config()).unwrap();
        let config = config.replace("[node]\n", &format!("[node]\ndomain = \"{DOMAIN}\"\n"));
        let keys = format!(
            "mode = \"files\"\nlisten = [\"{tls}\"]\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\""
        );
        fs::write(self.config(), format!("{config}\n[tls]\n{keys}\n")).unwrap();
        self.tls = Some(tls);
        self
    }

    /// Writes a new certificate of the site's authority, whose own one lies beside it for those who trust it.
    pub(crate) fn renew_certificate(&self) {
        let authority = self.authority.as_ref().expect("the site has TLS");
        authority.sign(self.folder.path(), &[DOMAIN]);
        fs::write(self.authority_file(), authority.pem()).unwrap();
    }

    pub(crate) fn authority_file(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// The same with a UDP listener on IPv6 loopback, on the port of IPv4, and relayed addresses of both families.
    pub(crate) fn with_ipv6(self) -> Self {
        let config = fs::read_to_string(self.config()).unwrap();
        let config = config.replace("[node]\n", "[node]\npublic_ipv6 = \"::1\"\n");
        let ipv4 = format!("listen_udp = [\"{}\"", self.turn);
        let both = format!("{ipv4}, \"[::1]:{}\"", self.turn.port());
        assert!(config.contains(&ipv4));
        fs::write(self.config(), config.replace(&ipv4, &both)).unwrap();
        self
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("turnpike.toml")
    }

    /// The binary with a command, its configuration, and an environment without a configuration of its own.
    pub(crate) fn command(&self, command: &[&str]) -> Command {
        let mut binary = turnpike(command);
        binary.arg("--config").arg(self.config());
        binary
    }

    /// Starts a service and waits until it is ready.
    pub(crate) fn start(self, service: &str) -> Node {
        let command = self.command(&[service]);
        self.start_by(command)
    }

    /// The same by a command of the test's own.
    pub(crate) fn start_by(self, command: Command) -> Node {
        let (process, log, ready) = spawn(command);
        Node { process, site: self, log, ready }
    }

    /// Starts one service of several.
    pub(crate) fn start_beside(&self, service: &str) -> Service {
        self.start_beside_by(self.command(&[service]))
    }

    /// The same by a command of the test's own.
    pub(crate) fn start_beside_by(&self, command: Command) -> Service {
        let (process, log, _) = spawn(command);
        Service { process, log }
    }

    /// The JSON that the admin socket gives at this path.
    pub(crate) fn admin<T: serde::de::DeserializeOwned>(&self, path: &str) -> T {
        serde_json::from_str(&http::get_unix(&self.folder.path().join("relay.sock"), path)).unwrap()
    }

    fn connect_over(&self, transport: Transport) -> Connection {
        let server = match transport {
            Transport::Udp | Transport::Tcp => self.turn,
            Transport::Tls => self.tls.expect("the site has TLS"),
        };
        let tls = Some(TlsClient::unverified(DOMAIN).unwrap());
        let bind = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        Connection::open(&Endpoint { server, transport, tls, bind }).unwrap()
    }

    pub(crate) fn allocate_as(&self, credentials: Credentials) -> Result<Allocation, Error> {
        let connection = self.connect_over(Transport::Udp);
        Allocation::open(connection, credentials, None, &AllocateOptions::default())
    }
}

/// Starts a process, and waits until it is ready.
fn spawn(mut command: Command) -> (Child, Lines, Value) {
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let log = Lines::of(process.stderr.take().unwrap());
    let ready = log.wait_for("ready");
    (process, log, ready)
}

/// The binary, whatever the tests' own environment says about it.
pub(crate) fn turnpike(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnpike"));
    let own = std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("TURNPIKE_"));
    own.for_each(|name| {
        command.env_remove(name);
    });
    command.env_remove("JOURNAL_STREAM").args(arguments).stdin(Stdio::null());
    command
}

/// A running node, killed when dropped.
pub(crate) struct Node {
    process: Child,
    pub(crate) site: Site,
    pub(crate) log: Lines,
    pub(crate) ready: Value,
}

impl Node {
    /// A relay that relays to loopback, for clients and peers on this machine.
    pub(crate) fn relay(keys: &str) -> Self {
        let keys = format!("allow_peers = [\"127.0.0.1/32\"]\n{keys}");
        Site::new(Ipv4Addr::LOCALHOST, &keys).start("relay")
    }

    pub(crate) fn terminate(&self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
    }

    /// Waits for the end of the process.
    pub(crate) fn exit(&mut self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "still running after {within:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Another one on the same site, after this one has ended.
    pub(crate) fn restart_by(mut self, command: impl FnOnce(&Site) -> Command) -> Self {
        let (process, log, ready) = spawn(command(&self.site));
        (self.process, self.log, self.ready) = (process, log, ready);
        self
    }

    pub(crate) fn stdout(&mut self) -> Lines {
        Lines::of(self.process.stdout.take().unwrap())
    }

    /// The JSON that the admin socket gives at this path.
    pub(crate) fn admin<T: serde::de::DeserializeOwned>(&self, path: &str) -> T {
        self.site.admin(path)
    }

    /// The id of its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn connect(&self) -> Connection {
        self.connect_over(Transport::Udp)
    }

    pub(crate) fn connect_over(&self, transport: Transport) -> Connection {
        self.site.connect_over(transport)
    }

    pub(crate) fn allocate_as(&self, credentials: Credentials) -> Result<Allocation, Error> {
        self.site.allocate_as(credentials)
    }

    pub(crate) fn allocate(&self, subject: &str) -> Allocation {
        self.allocate_as(Credentials::mint(SECRET.as_bytes(), in_an_hour(), subject)).unwrap()
    }
}

/// One running service of a site, killed when dropped.
pub(crate) struct Service {
    process: Child,
    pub(crate) log: Lines,
}

impl Service {
    /// Asks it to end and waits until it has.
    pub(crate) fn end(&mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        self.process.wait().unwrap()
    }

    /// Ends it by SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Node {
    #[expect(clippy::print_stderr, reason = "a failed test tells all it knows")]
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the node's log: {:#?}", self.log);
        }
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Unix time in seconds.
pub(crate) fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

pub(crate) fn in_an_hour() -> u64 {
    now() + 3600
}
