//! The service: bound first, then serving until it is told to drain or to stop.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener as StdListener},
    path::PathBuf,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use axum::Router;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use socketioxide::SocketIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpListener,
    time::timeout,
};
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFutureOwned},
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};
use tower::{ServiceBuilder, util::MapRequestLayer};
use turnpike_config::Config;

use crate::{
    clock::Clock,
    error::StartError,
    http::{self, Connection, Context},
    hub::{Hub, Stores},
    ice::{IceSource, RelayUp},
    internal_socket::{self, InternalSocket},
    metrics::Metrics,
    moderation::{self, Rule},
    random, relay_health,
    relay_revoke::{self, Waiting},
    socket,
    state_file::StateFile,
    store::Place,
};

/// A client that has not sent its whole request head by then is closed.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
const BACKLOG: i32 = 1024;
/// Accepting failed (no file descriptor is left): some must close first.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);
/// Answers that are under way get this long in the end.
const FINISH_WITHIN: Duration = Duration::from_millis(500);

/// What signaling listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// The page, REST and Socket.IO.
    pub http: Vec<SocketAddr>,
    /// The same, for the relay to hand over what comes by its TLS listener.
    pub internal: Option<PathBuf>,
    /// `/metrics`, `/healthz` and `/readyz`.
    pub metrics: Option<SocketAddr>,
}

/// Signaling, bound.
pub struct Signaling {
    listening: Listening,
    public: Vec<TcpListener>,
    internal: Option<InternalSocket>,
    metrics: Option<TcpListener>,
    pub(crate) context: Arc<Context>,
    router: Router,
    sockets: SocketIo,
    /// Ended pairs that this node's own relay is to be told of.
    ended_pairs: Option<Waiting>,
    admin_socket: PathBuf,
    state_file: StateFile,
    /// The way to the store that nodes share.
    stores: Option<Stores>,
    drain_timeout: Duration,
}

impl Signaling {
    /// Binds every listener; nothing is served before [`Self::serve`].
    ///
    /// # Errors
    /// What cannot be bound, and what to do.
    pub async fn bind(config: &Config) -> Result<Self, StartError> {
        let public: Vec<TcpListener> = config
            .signaling
            .listen
            .iter()
            .map(|address| listen("signaling", "signaling.listen", *address))
            .collect::<Result<_, _>>()?;
        let internal = config.signaling.internal_socket.as_deref().map(InternalSocket::bind).transpose()?;
        let metrics = config.metrics.signaling_listen;
        let metrics = metrics
            .map(|address| listen("signaling's metrics", "metrics.signaling_listen", address))
            .transpose()?;
        let listening = Listening {
            http: public.iter().filter_map(|listener| listener.local_addr().ok()).collect(),
            internal: internal.as_ref().map(|internal| internal.path().to_owned()),
            metrics: metrics.as_ref().and_then(|listener| listener.local_addr().ok()),
        };

        let clock = Clock::start();
        let relay = RelayUp::new(true);
        let counted = Arc::new(Metrics::new());
        let ice = Arc::new(IceSource::new(config, relay.clone(), clock));
        let (to_be_ended, ended_pairs) = config.ice.own_relay.then(|| relay_revoke::queue(&counted)).unzip();
        let rule = Rule { reports: config.signaling.ban_after_reports, lasts: config.signaling.ban_for };
        let (moderation, clerk) = moderation::open(&config.node.state_dir, rule, clock, &counted);
        let (minter, judge) = (Arc::clone(&ice), Arc::clone(&moderation));
        let hub = Arc::new(Hub::new(config, minter, Arc::clone(&counted), to_be_ended, judge, clock));
        hub.keep_apart(clerk.blocks());
        let bailiff = Arc::downgrade(&hub);
        clerk.start(&moderation, move |ban| {
            if let Some(hub) = bailiff.upgrade() {
                hub.enforce(ban);
            }
        });
        let state_file = StateFile::new(&config.node.state_dir, config.signaling.resume_for);
        state_file.take_back(&hub, clock);
        let place = config.redis.as_ref().map(|redis| Place::new(redis.url(), &redis.prefix)).transpose()?;
        let stores = place.map(|place| hub.share(random::id(), place));
        let (layer, sockets) = socket::layer(config, Arc::clone(&hub), Arc::clone(&counted));
        let context = Arc::new(Context::new(config, hub, ice, counted, relay, moderation, clock));
        Ok(Self {
            listening,
            public,
            internal,
            metrics,
            router: http::public(Arc::clone(&context), layer),
            context,
            sockets,
            ended_pairs,
            admin_socket: config.relay.admin_socket.clone(),
            state_file,
            stores,
            drain_timeout: config.relay.drain_timeout,
        })
    }

    /// What is bound.
    pub fn listening(&self) -> &Listening {
        &self.listening
    }

    /// Serves until `stop`, or after `drain` until no pair is left or the drain's time is over. What lives then is left to
    /// the next start.
    pub async fn serve(self, drain: CancellationToken, stop: CancellationToken) {
        let ended = stop.child_token();
        let hub = Arc::clone(&self.context.hub);
        let runner = Arc::clone(&hub);
        let running = ended.clone();
        tokio::spawn(async move { runner.run(running).await });
        let mut serving = Vec::new();
        // Longer than all else: what is left to other nodes goes that way.
        let apart = CancellationToken::new();
        if let Some(stores) = self.stores {
            let (hub, until) = (Arc::clone(&hub), apart.clone());
            serving.push(tokio::spawn(async move { stores.run(hub, until).await }));
        }
        if let Some(pairs) = self.ended_pairs {
            let (socket, up, until) = (self.admin_socket.clone(), self.context.relay.clone(), ended.clone());
            tokio::spawn(async move { relay_health::watch(&socket, up, until).await });
            let (socket, clock, until) = (self.admin_socket, self.context.clock, ended.clone());
            serving.push(tokio::spawn(async move { relay_revoke::tell(&socket, pairs, clock, until).await }));
        }
        for listener in self.public {
            serving.push(tokio::spawn(accept(listener, self.router.clone(), ended.clone())));
        }
        if let Some(socket) = self.internal {
            let (context, router) = (Arc::clone(&self.context), self.router.clone());
            serving.push(tokio::spawn(accept_internal(socket, context, router, ended.clone())));
        }
        if let Some(listener) = self.metrics {
            let router = http::metrics(Arc::clone(&self.context));
            serving.push(tokio::spawn(accept(listener, router, ended.clone())));
        }
        tokio::select! {
            () = drain.cancelled() => {
                hub.drain();
                let drained = timeout(self.drain_timeout, hub.until_no_pairs());
                // However it ends, what is left ends now.
                let _ = stop.run_until_cancelled(drained).await;
            }
            () = stop.cancelled() => {}
        }
        if !hub.leave_to_others().await {
            match self.state_file.begin() {
                Some(file) => file.leave(&hub.hand_over()),
                None => hub.end_all(),
            }
        }
        apart.cancel();
        self.context.moderation.finish().await;
        self.sockets.close().await;
        ended.cancel();
        for task in serving {
            let _ = task.await;
        }
    }
}

/// Binds a TCP listener. `[::]` serves IPv4 as well; where there is no IPv6, `0.0.0.0` takes its place.
fn listen(what: &'static str, key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    let bound = bind(address).or_else(|error| {
        let no_ipv6 = matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
            || error.raw_os_error() == Some(EAFNOSUPPORT);
        match address.is_ipv6() && address.ip().is_unspecified() && no_ipv6 {
            true => {
                let instead = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
                tracing::info!(%address, %instead, "this host has no IPv6: listening on IPv4 alone");
                bind(instead)
            }
            false => Err(error),
        }
    });
    bound.map_err(|source| StartError::listening(what, address, key, source))
}

/// Linux's EAFNOSUPPORT.
const EAFNOSUPPORT: i32 = 97;

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(StdListener::from(socket))
}

async fn accept(listener: TcpListener, router: Router, stop: CancellationToken) {
    let open = TaskTracker::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, peer)) => {
                // Signals are small and must not wait for each other.
                let _ = stream.set_nodelay(true);
                let from = Connection { peer, is_secure: false, hangup: CancellationToken::new() };
                let stream = Tracked::new(stream, &from, open.token());
                open.spawn(serve_connection(stream, from, router.clone(), stop.clone()));
            }
            Err(error) => tell_and_rest(&error).await,
        }
    }
    drop(listener);
    until_closed(&open).await;
}

async fn accept_internal(
    socket: InternalSocket,
    context: Arc<Context>,
    router: Router,
    stop: CancellationToken,
) {
    let open = TaskTracker::new();
    while let Some(accepted) = stop.run_until_cancelled(socket.listener.accept()).await {
        match accepted {
            Ok((mut stream, _)) => {
                let (context, router, stop) = (Arc::clone(&context), router.clone(), stop.clone());
                let token = open.token();
                open.spawn(async move {
                    if let Some(ends) = internal_socket::whose(&mut stream, &context.metrics).await {
                        let hangup = CancellationToken::new();
                        let from = Connection { peer: ends.client, is_secure: true, hangup };
                        let stream = Tracked::new(stream, &from, token);
                        serve_connection(stream, from, router, stop).await;
                    }
                });
            }
            Err(error) => tell_and_rest(&error).await,
        }
    }
    drop(socket);
    until_closed(&open).await;
}

/// Waits until every stream is closed, those included that became WebSockets: their last words are sent by tasks of the
/// library, which end with the process.
async fn until_closed(open: &TaskTracker) {
    open.close();
    let _ = timeout(FINISH_WITHIN, open.wait()).await;
}

async fn tell_and_rest(error: &io::Error) {
    tracing::warn!(code = "accept_failed", %error, "a connection could not be accepted");
    tokio::time::sleep(ACCEPT_AGAIN).await;
}

async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    from: Connection,
    router: Router,
    stop: CancellationToken,
) {
    let peer = from.peer;
    let service = ServiceBuilder::new()
        .layer(MapRequestLayer::new(move |mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(from.clone());
            request
        }))
        .service(router);
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = match stop.run_until_cancelled(connection.as_mut()).await {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            // One that does not end by then ends with the process.
            timeout(FINISH_WITHIN, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "connection ended");
    }
}

/// A stream that counts as open until it is dropped, whoever owns it by then, and that ends when it is hung up: the
/// library closes a client's namespace, but never the WebSocket below it.
struct Tracked<S> {
    stream: S,
    hangup: CancellationToken,
    hung_up: Pin<Box<WaitForCancellationFutureOwned>>,
    _token: TaskTrackerToken,
}

impl<S> Tracked<S> {
    fn new(stream: S, from: &Connection, token: TaskTrackerToken) -> Self {
        let hung_up = Box::pin(from.hangup.clone().cancelled_owned());
        Self { stream, hangup: from.hangup.clone(), hung_up, _token: token }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tracked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.hung_up.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tracked<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.hangup.is_cancelled() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
