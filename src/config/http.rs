//! Listeners that speak HTTP: plain data, and the keys that fill it. Nothing honours it yet.

use std::net::{IpAddr, SocketAddr};

use super::tls::TlsOptions;
use super::value;

/// One listener: where RabbitMQ's keys say nothing it is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpListener {
    /// Whether anything was said about it.
    pub is_named: bool,
    /// The address; `None`: all.
    pub ip: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

/// The HTTP listeners of one part of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// Without TLS.
    pub tcp: HttpListener,
    /// With TLS.
    pub ssl: HttpListener,
    /// How TLS is spoken.
    pub tls: TlsOptions,
    /// What all paths begin with, or the one path there is: begins with a slash.
    pub path: String,
}

impl HttpConfig {
    /// Nothing said, with these defaults.
    pub fn new(port: u16, tls_port: u16, path: &str) -> HttpConfig {
        let listener = |port| HttpListener { is_named: false, ip: None, port };
        let (tcp, ssl) = (listener(port), listener(tls_port));
        HttpConfig { tcp, ssl, tls: TlsOptions::default(), path: path.into() }
    }
}

impl HttpListener {
    /// Takes a port.
    pub fn set_port(&mut self, value: &str) -> Option<()> {
        self.is_named = true;
        self.port = value::integer(value, 0, 65_535)? as u16;
        Some(())
    }

    /// Takes an address.
    pub fn set_ip(&mut self, value: &str) -> Option<()> {
        self.is_named = true;
        self.ip = Some(value::address(value).filter(|(_, port)| port.is_none())?.0);
        Some(())
    }

    /// Takes an address and a port, as `prometheus.tcp.listener` has them.
    pub fn set_both(&mut self, value: &str) -> Option<()> {
        let address: SocketAddr = *value::listener(value)?.first()?;
        self.is_named = true;
        self.ip = (!address.ip().is_unspecified()).then_some(address.ip());
        self.port = address.port();
        Some(())
    }
}
