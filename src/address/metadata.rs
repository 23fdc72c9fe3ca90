//! The metadata services of clouds. All answer on one link-local address, each in its own way; nothing is asked there
//! unless `init` or `node.detect` says so.

use std::{
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::Duration,
};

use http_body_util::Full;
use hyper::{Method, Request, header};
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};
use turnpike_config::{Learned, PublicAddress};

use crate::http::{self, Answer};

const SERVICE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80);
/// A service is on the same host or next to it; where there is none, connecting may take for ever.
const WITHIN: Duration = Duration::from_secs(2);

/// One question to a service.
struct Question {
    method: Method,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
}

const fn get(path: &'static str, headers: &'static [(&'static str, &'static str)]) -> Question {
    Question { method: Method::GET, path, headers }
}

/// How a cloud tells the address.
struct Cloud {
    name: &'static str,
    /// Asked first; its answer goes into this header of what follows.
    token: Option<(Question, &'static str)>,
    /// The first that gives an address counts.
    questions: &'static [Question],
}

/// Those with a token or a header of their own come first: no other cloud answers them.
static CLOUDS: [Cloud; 6] = [
    Cloud {
        name: "AWS",
        // IMDSv2: without a token, nothing is told.
        token: Some((
            Question {
                method: Method::PUT,
                path: "/latest/api/token",
                headers: &[("x-aws-ec2-metadata-token-ttl-seconds", "60")],
            },
            "x-aws-ec2-metadata-token",
        )),
        questions: &[get("/latest/meta-data/public-ipv4", &[])],
    },
    Cloud {
        name: "Google Cloud",
        token: None,
        questions: &[get(
            "/computeMetadata/v1/instance/network-interfaces/0/access-configs/0/external-ip",
            &[("metadata-flavor", "Google")],
        )],
    },
    Cloud {
        name: "Azure",
        token: None,
        questions: &[
            get(
                "/metadata/instance/network/interface/0/ipv4/ipAddress/0/publicIpAddress?api-version=2021-02-01&format=text",
                &[("metadata", "true")],
            ),
            // Addresses of the standard kind are told here alone.
            get("/metadata/loadbalancer?api-version=2020-10-01", &[("metadata", "true")]),
        ],
    },
    Cloud { name: "Hetzner", token: None, questions: &[get("/hetzner/v1/metadata/public-ipv4", &[])] },
    Cloud {
        name: "DigitalOcean",
        token: None,
        questions: &[
            // An address that was assigned to the machine later, and may move to another.
            get("/metadata/v1/reserved_ip/ipv4/ip_address", &[]),
            get("/metadata/v1/interfaces/public/0/ipv4/address", &[]),
        ],
    },
    Cloud { name: "Vultr", token: None, questions: &[get("/v1/interfaces/0/ipv4/address", &[])] },
];

/// Asks in the way of each cloud at once, and gives the address with the cloud that told it.
pub(super) fn ask() -> Option<(Ipv4Addr, &'static str)> {
    // A thread of its own: the caller may be within a runtime.
    thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        runtime.block_on(async {
            let mut asked = JoinSet::new();
            for (place, cloud) in CLOUDS.iter().enumerate() {
                asked.spawn(async move { (place, timeout(WITHIN, cloud.ask()).await.ok().flatten()) });
            }
            let mut told = asked.join_all().await;
            told.sort_unstable();
            told.into_iter().find_map(|(place, address)| address.map(|address| (address, CLOUDS[place].name)))
        })
    })
    .join()
    .ok()
    .flatten()
}

impl Cloud {
    async fn ask(&self) -> Option<Ipv4Addr> {
        let token = match &self.token {
            Some((question, header)) => Some((*header, question.ask(None).await?.body)),
            None => None,
        };
        let token = token.as_ref().map(|(header, token)| (*header, token.trim()));
        for question in self.questions {
            if let Some(answer) = question.ask(token).await
                && let Some(address) = address_in(&answer.body)
            {
                return Some(address);
            }
        }
        None
    }
}

impl Question {
    async fn ask(&self, token: Option<(&'static str, &str)>) -> Option<Answer> {
        let mut request = Request::builder()
            .method(&self.method)
            .uri(self.path)
            .header(header::HOST, SERVICE.ip().to_string());
        for (name, value) in self.headers.iter().copied().chain(token) {
            request = request.header(name, value);
        }
        let request = request.body(Full::default()).ok()?;
        let stream = TcpStream::connect(SERVICE).await.ok()?;
        http::send(stream, request).await.ok().filter(|answer| answer.status.is_success())
    }
}

/// The address that the text is, or that Azure's description of a load balancer has; one that strangers can reach.
fn address_in(body: &str) -> Option<Ipv4Addr> {
    let balanced = || {
        let told: Value = serde_json::from_str(body).ok()?;
        told["loadbalancer"]["publicIpAddresses"][0]["frontendIpAddress"].as_str()?.parse().ok()
    };
    let address: Ipv4Addr = body.trim().parse().ok().or_else(balanced)?;
    let public = PublicAddress { address: address.into(), learned: Learned::Configured };
    (!public.is_private() && !address.is_multicast() && !address.is_broadcast()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_that_strangers_can_reach_is_taken() {
        let cases = [
            ("198.18.0.1\n", Some([198, 18, 0, 1])),
            ("", None),
            ("10.0.0.5", None),
            ("0.0.0.0", None),
            ("255.255.255.255", None),
            ("<html>198.18.0.1</html>", None),
            (
                r#"{"loadbalancer":{"publicIpAddresses":[{"frontendIpAddress":"198.18.0.2","privateIpAddress":"10.0.0.5"}]}}"#,
                Some([198, 18, 0, 2]),
            ),
            (r#"{"loadbalancer":{"publicIpAddresses":[]}}"#, None),
        ];
        for (body, expected) in cases {
            assert_eq!(address_in(body), expected.map(Ipv4Addr::from), "{body}");
        }
    }
}
