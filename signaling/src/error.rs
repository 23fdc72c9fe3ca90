//! Why signaling does not start.

use std::{io, net::SocketAddr, path::PathBuf};

/// Why signaling does not start; says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another program has the port.
    #[error(
        "{what} cannot listen on {address}: the port is in use by another program; stop it (`ss -ltnp` shows it) or \
         change {key}"
    )]
    PortInUse {
        /// Which service.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// The key of the configuration that names the address.
        key: &'static str,
    },
    /// Ports under 1024 need a privilege.
    #[error(
        "{what} may not listen on {address}: ports under 1024 need root or CAP_NET_BIND_SERVICE; use another port in \
         {key}"
    )]
    Forbidden {
        /// Which service.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// The key of the configuration that names the address.
        key: &'static str,
    },
    /// Anything else the system says.
    #[error("{what} cannot listen on {address}: {source}; check {key}")]
    Listen {
        /// Which service.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// The key of the configuration that names the address.
        key: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// A process answers on the internal socket.
    #[error(
        "another process answers on signaling's internal socket {path}: stop it or set signaling.internal_socket to \
         another path",
        path = path.display()
    )]
    InternalInUse {
        /// The socket.
        path: PathBuf,
    },
    /// Redis has no such address.
    #[error(transparent)]
    Redis(#[from] crate::store::PlaceError),
    /// The internal socket cannot be made.
    #[error(
        "cannot make signaling's internal socket {path}: {source}; set signaling.internal_socket to a path that this \
         user may write",
        path = path.display()
    )]
    Internal {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl StartError {
    pub(crate) fn listening(
        what: &'static str,
        address: SocketAddr,
        key: &'static str,
        source: io::Error,
    ) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::PortInUse { what, address, key },
            io::ErrorKind::PermissionDenied => Self::Forbidden { what, address, key },
            _ => Self::Listen { what, address, key, source },
        }
    }
}
