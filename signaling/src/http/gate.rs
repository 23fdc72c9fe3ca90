//! What every request passes first: whose it is, and for sockets whether they may open.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio_util::sync::CancellationToken;

use super::{
    Context,
    problem::{Code, Problem},
};
use crate::client_address::client_address;

/// The connection that a request came by.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    /// The address of its other end.
    pub(crate) peer: SocketAddr,
    /// It is one over HTTPS, whatever a request says.
    pub(crate) is_secure: bool,
    /// Cancelled to close it.
    pub(crate) hangup: CancellationToken,
}

const RETRY_AFTER: Duration = Duration::from_secs(10);

pub(super) async fn guard(State(context): State<Arc<Context>>, mut request: Request, next: Next) -> Response {
    let Some(connection) = request.extensions().get::<Connection>().cloned() else {
        return Problem::new(Code::Internal, "the connection has no address").into_response();
    };
    let client = client_address(connection.peer, request.headers(), &context.trusted_proxies);
    request.extensions_mut().insert(client);
    if is_socket(&context, request.uri())
        && let Err(problem) = admit(&context, &mut request, &connection, client.0)
    {
        return problem.into_response();
    }
    next.run(request).await
}

fn is_socket(context: &Context, uri: &Uri) -> bool {
    uri.path().trim_end_matches('/') == context.socket_path.trim_end_matches('/')
}

/// CORS does not cover WebSockets: the origin is checked here, for polling as well.
fn admit(
    context: &Context,
    request: &mut Request,
    connection: &Connection,
    client: std::net::IpAddr,
) -> Result<(), Problem> {
    let headers = request.headers();
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        if !is_own_page(origin, headers, connection.is_secure)
            && !context.origins.iter().any(|allowed| allowed == origin)
        {
            let detail =
                format!("pages of {origin} may not connect; add it to signaling.origins if they should");
            return Err(Problem::new(Code::OriginNotAllowed, detail));
        }
    }
    let begins = !request.uri().query().unwrap_or_default().split('&').any(|pair| pair.starts_with("sid="));
    if !begins {
        return Ok(());
    }
    let place = context.connections.enter(client).ok_or_else(|| {
        let detail = "too many sockets are open from this address or on this node; close some and try again";
        Problem::new(Code::TooManySockets, detail).retry_after(RETRY_AFTER)
    })?;
    // The library keeps a socket's first request as long as the socket.
    request.extensions_mut().insert(Arc::new(place));
    Ok(())
}

/// A page of this very host. Over HTTPS it was loaded over HTTPS too: anyone on the way could have written another.
/// Without, a proxy may stand in front, so that its scheme is open.
fn is_own_page(origin: &str, headers: &HeaderMap, is_secure: bool) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    host == Some(authority) && (scheme == "https" || !is_secure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_this_host_is_its_own_and_over_https_only_a_secure_one() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "turn.example.org".parse().unwrap());
        for (origin, is_secure, is_own) in [
            ("https://turn.example.org", true, true),
            ("http://turn.example.org", true, false),
            ("http://turn.example.org", false, true),
            ("https://turn.example.org", false, true),
            ("https://turn.example.org:8443", true, false),
            ("https://evil.example", true, false),
            ("null", true, false),
        ] {
            assert_eq!(is_own_page(origin, &headers, is_secure), is_own, "{origin} {is_secure}");
        }
        assert!(!is_own_page("https://turn.example.org", &HeaderMap::new(), true));
    }
}
