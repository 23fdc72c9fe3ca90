//! What a started service serves, for the one log line that says so.

use std::{
    fmt::Display,
    net::{IpAddr, SocketAddr},
};

use turnpike_config::Config;

/// Addresses that are bound; absent is what this process does not serve.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    udp: Option<String>,
    tcp: Option<String>,
    tls: Option<String>,
    http: Option<String>,
    /// The socket by which HTTPS comes to signaling.
    internal: Option<String>,
    /// Where a browser finds the page.
    pub(crate) page: Option<String>,
    /// Where one on this machine finds it as well.
    pub(crate) local_page: Option<String>,
    admin: Option<String>,
    /// Where the relay's metrics are.
    pub(crate) metrics_relay: Option<String>,
    /// Where signaling's metrics are.
    pub(crate) metrics_signaling: Option<String>,
}

impl Ready {
    pub(crate) fn of(
        config: &Config,
        relay: Option<&turnpike_relay::Listening>,
        signaling: Option<&turnpike_signaling::Listening>,
    ) -> Self {
        let http = signaling.and_then(|signaling| signaling.http.first()).copied();
        Self {
            udp: relay.map(|relay| joined(&relay.udp)),
            tcp: relay.filter(|relay| !relay.tcp.is_empty()).map(|relay| joined(&relay.tcp)),
            tls: relay.filter(|relay| !relay.tls.is_empty()).map(|relay| joined(&relay.tls)),
            http: signaling.map(|signaling| joined(&signaling.http)),
            internal: signaling
                .and_then(|signaling| signaling.internal.as_ref())
                .map(|path| path.display().to_string()),
            page: http.map(|http| secure_page(config).unwrap_or_else(|| page(config, http))),
            local_page: http
                .filter(|http| http.ip().is_unspecified() || config.tls.is_some() && http.ip().is_loopback())
                .map(|http| url("localhost", http.port())),
            admin: relay.map(|relay| relay.admin_socket.display().to_string()),
            metrics_relay: relay.and_then(|relay| relay.metrics).map(|address| address.to_string()),
            metrics_signaling: signaling
                .and_then(|signaling| signaling.metrics)
                .map(|address| address.to_string()),
        }
    }

    /// Writes the line that tests and people wait for.
    pub(crate) fn log(&self) {
        tracing::info!(
            udp = self.udp,
            tcp = self.tcp,
            tls = self.tls,
            http = self.http,
            internal = self.internal,
            page = self.page,
            admin = self.admin,
            metrics_relay = self.metrics_relay,
            metrics_signaling = self.metrics_signaling,
            "ready"
        );
    }
}

fn joined<T: Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

/// The page's URL over HTTPS, where that is on: by name where there is one.
fn secure_page(config: &Config) -> Option<String> {
    let tls = config.tls.as_ref()?;
    let local_only = tls.listen.iter().all(|listener| listener.ip().is_loopback());
    let host = match &config.node.domain {
        Some(domain) => domain.clone(),
        None if local_only => "localhost".to_owned(),
        None => host(config.node.public_addresses().next()?.address),
    };
    Some(match tls.port() {
        443 => format!("https://{host}/"),
        port => format!("https://{host}:{port}/"),
    })
}

/// The page's URL: by name where there is one, by `localhost` where only this machine can reach it.
fn page(config: &Config, http: SocketAddr) -> String {
    let host = match (http.ip(), &config.node.domain) {
        (ip, _) if ip.is_loopback() => "localhost".to_owned(),
        (_, Some(domain)) => domain.clone(),
        (ip, None) if ip.is_unspecified() => config
            .node
            .public_addresses()
            .next()
            .map_or("localhost".to_owned(), |public| host(public.address)),
        (ip, None) => host(ip),
    };
    url(&host, http.port())
}

/// An address as URLs carry it.
fn host(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

fn url(host: &str, port: u16) -> String {
    match port {
        80 => format!("http://{host}"),
        _ => format!("http://{host}:{port}"),
    }
}
