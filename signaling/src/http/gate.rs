//! What every request passes first: whose it is, and for sockets whether they may open.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{
    Context,
    problem::{Code, Problem},
};
use crate::client_address::client_address;

/// The address of the other end of the connection.
pub(crate) type PeerAddress = ConnectInfo<SocketAddr>;

const RETRY_AFTER: Duration = Duration::from_secs(10);

pub(super) async fn guard(State(context): State<Arc<Context>>, mut request: Request, next: Next) -> Response {
    let Some(ConnectInfo(connection)) = request.extensions().get::<PeerAddress>().copied() else {
        return Problem::new(Code::Internal, "the connection has no address").into_response();
    };
    let client = client_address(connection, request.headers(), &context.trusted_proxies);
    request.extensions_mut().insert(client);
    if is_socket(&context, request.uri())
        && let Err(problem) = admit(&context, &mut request, client.0)
    {
        return problem.into_response();
    }
    next.run(request).await
}

fn is_socket(context: &Context, uri: &Uri) -> bool {
    uri.path().trim_end_matches('/') == context.socket_path.trim_end_matches('/')
}

/// CORS does not cover WebSockets: the origin is checked here, for polling as well.
fn admit(context: &Context, request: &mut Request, client: std::net::IpAddr) -> Result<(), Problem> {
    let headers = request.headers();
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        if !is_same_host(origin, headers) && !context.origins.iter().any(|allowed| allowed == origin) {
            let detail =
                format!("pages of {origin} may not connect; add it to signaling.origins if they should");
            return Err(Problem::new(Code::OriginNotAllowed, detail));
        }
    }
    let begins = !request.uri().query().unwrap_or_default().split('&').any(|pair| pair.starts_with("sid="));
    if !begins {
        return Ok(());
    }
    if context.hub.is_draining() {
        return Err(Problem::new(Code::Draining, "this node is shutting down").retry_after(RETRY_AFTER));
    }
    let connection = context.connections.enter(client).ok_or_else(|| {
        let detail = "too many sockets are open from this address or on this node; close some and try again";
        Problem::new(Code::TooManySockets, detail).retry_after(RETRY_AFTER)
    })?;
    // The library keeps a socket's first request as long as the socket.
    request.extensions_mut().insert(Arc::new(connection));
    Ok(())
}

/// A page of this very host, whatever the scheme in front of a proxy.
fn is_same_host(origin: &str, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    host.is_some() && authority == host
}
