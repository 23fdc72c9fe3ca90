//! Where the relay hands over what came by its TLS listener: a Unix socket on which every connection begins with a
//! PROXY header, and is one over HTTPS.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::UnixStream as StdStream,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::{
    io::AsyncReadExt as _,
    net::{UnixListener, UnixStream},
    time::timeout,
};
use turnpike_relay_api::proxy::{Ends, Malformed, PREFIX_LEN, rest_len};

use crate::{StartError, metrics::Metrics};

const BACKLOG: i32 = 1024;
/// The relay writes its header at once.
const HEADER_WITHIN: Duration = Duration::from_secs(3);

/// A bound internal socket, whose path is removed when dropped.
#[derive(Debug)]
pub(crate) struct InternalSocket {
    pub(crate) listener: UnixListener,
    path: PathBuf,
}

impl Drop for InternalSocket {
    fn drop(&mut self) {
        // It may have been removed by hand.
        let _ = fs::remove_file(&self.path);
    }
}

/// Why a connection was closed before its first request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoHeader {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("no whole PROXY header within {} s", HEADER_WITHIN.as_secs())]
    Late,
    #[error("the connection ended before its PROXY header: {0}")]
    Ended(#[from] io::Error),
}

impl NoHeader {
    pub(crate) const REASONS: [&str; 3] = ["malformed", "late", "ended"];

    fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Late => "late",
            Self::Ended(_) => "ended",
        }
    }
}

impl InternalSocket {
    /// Makes the socket, for this user and its group; a stale one that nobody answers on is replaced.
    ///
    /// # Errors
    /// [`StartError::InternalInUse`] when a process answers on it, else [`StartError::Internal`].
    pub(crate) fn bind(path: &Path) -> Result<Self, StartError> {
        let unusable = |source| StartError::Internal { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(unusable)?;
        }
        match StdStream::connect(path) {
            Ok(_) => return Err(StartError::InternalInUse { path: path.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && is_socket(path) => {
                fs::remove_file(path).map_err(unusable)?;
            }
            Err(error) => return Err(unusable(error)),
        }
        let listener = listen(path).map_err(unusable)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Reads the header of a new connection; `None`, counted, when there is none.
pub(crate) async fn whose(stream: &mut UnixStream, metrics: &Metrics) -> Option<Ends> {
    let read = timeout(HEADER_WITHIN, read_header(stream)).await.unwrap_or(Err(NoHeader::Late));
    read.inspect_err(|error| {
        tracing::debug!(%error, "closed a connection to the internal socket, which is for the relay alone");
        metrics.internal_refused.with_label_values(&[error.reason()]).inc();
    })
    .ok()
}

/// Not a byte behind it.
async fn read_header(stream: &mut UnixStream) -> Result<Ends, NoHeader> {
    let mut prefix = [0; PREFIX_LEN];
    stream.read_exact(&mut prefix).await?;
    let mut header = prefix.to_vec();
    header.resize(PREFIX_LEN + rest_len(&prefix)?, 0);
    stream.read_exact(&mut header[PREFIX_LEN..]).await?;
    Ok(Ends::decode(&header)?)
}

/// Nobody can connect before the mode is set: that takes a `listen`.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, Permissions::from_mode(0o660))?;
    socket.listen(BACKLOG)?;
    UnixListener::from_std(socket.into())
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/signaling.sock");
        let first = InternalSocket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(matches!(InternalSocket::bind(&path), Err(StartError::InternalInUse { .. })));
        drop(first);
        assert!(!path.exists());

        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "left behind as by a killed process");
        drop(InternalSocket::bind(&path).unwrap());

        fs::write(&path, "precious").unwrap();
        assert!(matches!(InternalSocket::bind(&path), Err(StartError::Internal { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_is_taken_in_any_pieces_and_not_a_byte_behind_it() {
        let ends =
            Ends { client: "[2001:db8::1]:5".parse().unwrap(), server: "[2001:db8::2]:443".parse().unwrap() };
        let metrics = Metrics::new();
        let bytes = [&ends.encode()[..], b"GET"].concat();
        for cut in 0..bytes.len() {
            let (mut relay, mut stream) = UnixStream::pair().unwrap();
            let (first, second) = bytes.split_at(cut);
            relay.write_all(first).await.unwrap();
            let write = async {
                tokio::task::yield_now().await;
                relay.write_all(second).await.unwrap();
            };
            let (read, ()) = tokio::join!(whose(&mut stream, &metrics), write);
            assert_eq!(read, Some(ends), "cut at {cut}");
            let mut behind = [0; 3];
            stream.read_exact(&mut behind).await.unwrap();
            assert_eq!(&behind, b"GET");
        }
        assert!(NoHeader::REASONS.iter().all(|reason| refused(&metrics, reason) == 0));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_brings_no_header_is_counted_by_what_is_wrong() {
        let metrics = Metrics::new();
        for (nth, (bytes, stays, reason)) in [
            (&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], true, "malformed"),
            (b"", true, "late"),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11", true, "late"),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\x00", true, "late"),
            (b"\r\n\r\n\0\r\nQUIT\n", false, "ended"),
        ]
        .into_iter()
        .enumerate()
        {
            let (mut other, mut stream) = UnixStream::pair().unwrap();
            other.write_all(bytes).await.unwrap();
            let _other = stays.then_some(other);
            let before = refused(&metrics, reason);
            assert_eq!(whose(&mut stream, &metrics).await, None, "{nth}");
            assert_eq!(refused(&metrics, reason), before + 1, "{nth}");
        }
    }

    fn refused(metrics: &Metrics, reason: &str) -> u64 {
        metrics.internal_refused.with_label_values(&[reason]).get()
    }
}
