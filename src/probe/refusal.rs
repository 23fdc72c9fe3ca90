//! What a refusal means, and what to do.

use turnpike_turn_client::{Error, Transport};

use super::Way;

/// An error in words for an operator, while something was asked that only a logged-in client may.
pub(super) fn explain(error: &Error, login_cure: &str) -> String {
    let Error::Refused { code } = error else { return error.to_string() };
    let means = match code {
        300 => "it sends clients to another server: it drains, or is full",
        400 => "it finds the request malformed",
        401 => login_cure,
        403 => "it refuses this peer: its policy (allow_peers, deny_peers; coturn: denied-peer-ip)",
        437 => "it has an allocation of this address and port already; try again",
        438 => {
            "its nonces go stale at once; is there a balancer that spreads one client over several servers?"
        }
        440 | 443 => "it relays nothing of that address family",
        442 => "it does not relay UDP",
        486 => "this user has as many allocations as it may: the quota, or calls that have not ended",
        508 => "it has no port or no room left, or it drains: see its status and its port range",
        _ => "see its log",
    };
    format!("refused with {code}: {means}")
}

/// Why nothing comes back, and what to open.
pub(super) fn unreachable(way: &Way, error: &Error) -> String {
    let port = way.server.port();
    let wire = if way.transport == Transport::Udp { "udp" } else { "tcp" };
    let open = format!(
        "is the service running there, and is {port}/{wire} open in the firewall of the host and of its provider?"
    );
    match error {
        Error::Unanswered => format!("nothing comes back: {open}"),
        Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            format!("nobody listens on {port}/{wire}: {open}")
        }
        Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            format!("no connection within 5 s: {open}")
        }
        Error::Io(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NetworkUnreachable | std::io::ErrorKind::HostUnreachable
            ) =>
        {
            format!("no way leads there from here ({error}): does this machine have {}?", way.family())
        }
        Error::Closed => format!("the server closes the connection: {port}/tcp may be another service"),
        Error::Malformed(why) => format!("what answers is no TURN server: it sent something {why}"),
        error => error.to_string(),
    }
}
