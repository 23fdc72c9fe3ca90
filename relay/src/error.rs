//! Why a relay does not start, told to its operator.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use turnpike_proto::Transport;

/// A listener of clients, as an operator knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// What its clients speak.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
}

impl Listener {
    /// The key that it comes from.
    pub fn key(&self) -> &'static str {
        match self.transport {
            Transport::Udp => "relay.listen_udp",
            Transport::Tcp => "relay.listen_tcp",
            Transport::Tls => "tls.listen",
        }
    }

    /// The command that shows who else is there.
    fn who(&self) -> &'static str {
        if self.transport.is_stream() { "ss -tlpn" } else { "ss -ulpn" }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = if self.transport.is_stream() { "TCP" } else { "UDP" };
        write!(f, "{protocol} {}", self.address)
    }
}

/// Why a relay does not start: one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state folder cannot be made, read or written.
    #[error(
        "cannot use the state folder {path}: {source}; set node.state_dir to a folder that this user may write",
        path = path.display()
    )]
    StateDir {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another relay has locked the state folder.
    #[error(
        "another relay{process} is running on the state folder {path}: stop it, or give this one a node.state_dir of \
         its own",
        path = path.display(),
        process = process.map(|id| format!(" (process {id})")).unwrap_or_default()
    )]
    AlreadyRunning {
        /// The folder.
        path: PathBuf,
        /// The id of the other process.
        process: Option<u32>,
    },
    /// Another program listens on the port.
    #[error(
        "{listener} is already in use: stop the program that holds it (`{who}` shows which) or change {key}",
        who = listener.who(),
        key = listener.key()
    )]
    PortInUse {
        /// The listener.
        listener: Listener,
    },
    /// A listener cannot be opened.
    #[error(
        "cannot listen on {listener}: {source}; change {key} to addresses of this host",
        key = listener.key()
    )]
    Listen {
        /// The listener.
        listener: Listener,
        /// What the system says.
        source: io::Error,
    },
    /// Relay sockets cannot be bound.
    #[error(
        "cannot bind relay sockets on {address}: {source}; set {key} to an address of this host",
        key = if address.is_ipv4() { "relay.relay_ipv4" } else { "relay.relay_ipv6" }
    )]
    RelayAddress {
        /// The address.
        address: IpAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A process answers on the admin socket.
    #[error(
        "another process answers on the admin socket {path}: stop it or set relay.admin_socket to another path",
        path = path.display()
    )]
    AdminInUse {
        /// The socket.
        path: PathBuf,
    },
    /// The admin socket cannot be made.
    #[error(
        "cannot make the admin socket {path}: {source}; set relay.admin_socket to a path that this user may write",
        path = path.display()
    )]
    Admin {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The metrics listener cannot be opened.
    #[error(
        "cannot serve metrics on TCP {address}: {source}; change metrics.relay_listen, or set it to \"\" for none"
    )]
    Metrics {
        /// The listener.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The port of an authority's question cannot be had.
    #[error(
        "cannot listen on TCP {address}, where the certificate authority asks: {source}; stop what `ss -tlpn` shows there, \
         or change tls.acme_http_listen and send port 80 on to it"
    )]
    Acme {
        /// The listener.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The TLS certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] crate::CertificateError),
    /// The system refuses something that every process needs.
    #[error("cannot start: {what}: {source}; `ulimit -n` and the kernel's log tell why")]
    System {
        /// What was refused.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
}
