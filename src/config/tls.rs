//! TLS: plain data for its listeners, and the keys that fill it. Nothing honours it yet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::value;

/// Whether a peer's certificate is looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Verify {
    /// `verify_none`
    #[default]
    None,
    /// `verify_peer`
    Peer,
}

/// A version of TLS that there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// `tlsv1.2`
    V12,
    /// `tlsv1.3`
    V13,
    /// `tlsv1.1`, `tlsv1`: what nobody should speak any more. To be left out, with a warning.
    Older,
}

/// Where the name of a user is in a client's certificate (`ssl_cert_login_from`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CertLogin {
    /// `distinguished_name`
    #[default]
    DistinguishedName,
    /// `common_name`
    CommonName,
    /// `subject_alternative_name`, `subject_alt_name`
    SubjectAlternativeName,
}

/// The options of one kind of TLS listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Certificates of those who are trusted (PEM).
    pub cacertfile: Option<PathBuf>,
    /// Our certificate, and those between it and the root (PEM).
    pub certfile: Option<PathBuf>,
    /// Our private key (PEM).
    pub keyfile: Option<PathBuf>,
    /// What the private key is encrypted with.
    pub password: Option<String>,
    /// Whether a peer's certificate is looked at.
    pub verify: Verify,
    /// Whether a peer must have a certificate.
    pub fail_if_no_peer_cert: bool,
    /// Certificates that may stand between a peer's and a trusted one; `None`: the library's default.
    pub depth: Option<u8>,
    /// Versions, by the places that the configuration gives them; none: all.
    pub versions: Vec<(String, TlsVersion)>,
    /// Cipher suites by OpenSSL's names, by their places; none: all.
    pub ciphers: Vec<(String, String)>,
    /// Whether our order of ciphers counts, not the peer's.
    pub honor_cipher_order: Option<bool>,
}

/// TLS for AMQP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// Addresses to listen on, by their names.
    pub listen: Vec<(String, Vec<SocketAddr>)>,
    /// How.
    pub options: TlsOptions,
    /// Milliseconds for the handshake.
    pub handshake_ms: u64,
    /// Where EXTERNAL looks for the user's name.
    pub cert_login: CertLogin,
}

impl Default for TlsConfig {
    fn default() -> TlsConfig {
        let (options, cert_login) = (TlsOptions::default(), CertLogin::default());
        TlsConfig { listen: vec![], options, handshake_ms: 5000, cert_login }
    }
}

impl TlsConfig {
    /// Takes a port for the addresses, or for all interfaces where none are named.
    pub fn take_port(&mut self, port: u16) {
        let named = self.listen.iter().flat_map(|(_, addresses)| addresses).map(|address| address.ip());
        let mut ips: Vec<IpAddr> = named.collect();
        if ips.is_empty() {
            ips = vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        }
        self.listen = vec![("default".into(), ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())];
    }
}

/// An option: its name below a prefix, what is expected, what it does with what stands in the place of its `*`.
pub type TlsOption = (&'static str, &'static str, fn(&mut TlsOptions, name: &str, value: &str) -> Option<()>);

const FILE: &str = "a file";

/// The options that all kinds of listeners share.
pub const OPTIONS: &[TlsOption] = &[
    ("cacertfile", FILE, |tls, _, value| file(&mut tls.cacertfile, value)),
    ("certfile", FILE, |tls, _, value| file(&mut tls.certfile, value)),
    ("keyfile", FILE, |tls, _, value| file(&mut tls.keyfile, value)),
    ("password", "a password", |tls, _, value| {
        tls.password = Some(value.into());
        Some(())
    }),
    ("verify", "verify_peer or verify_none", |tls, _, value| {
        tls.verify = match value {
            "verify_none" => Verify::None,
            "verify_peer" => Verify::Peer,
            _ => return None,
        };
        Some(())
    }),
    ("fail_if_no_peer_cert", "true or false", |tls, _, value| {
        tls.fail_if_no_peer_cert = value::boolean(value)?;
        Some(())
    }),
    ("depth", "a number, 0 to 255", |tls, _, value| {
        tls.depth = Some(value::integer(value, 0, 255)? as u8);
        Some(())
    }),
    ("versions.*", "tlsv1.3, tlsv1.2, tlsv1.1 or tlsv1", |tls, name, value| {
        let version = match value {
            "tlsv1.2" => TlsVersion::V12,
            "tlsv1.3" => TlsVersion::V13,
            "tlsv1.1" | "tlsv1" => TlsVersion::Older,
            _ => return None,
        };
        tls.versions.push((name.into(), version));
        Some(())
    }),
    ("ciphers.*", "a cipher suite", |tls, name, value| {
        tls.ciphers.push((name.into(), value.into()));
        (!value.is_empty()).then_some(())
    }),
    ("honor_cipher_order", "true or false", |tls, _, value| {
        tls.honor_cipher_order = Some(value::boolean(value)?);
        Some(())
    }),
];

fn file(place: &mut Option<PathBuf>, value: &str) -> Option<()> {
    *place = Some(value.into());
    (!value.is_empty()).then_some(())
}

/// Where the name of a user is.
pub fn cert_login(value: &str) -> Option<CertLogin> {
    match value {
        "distinguished_name" => Some(CertLogin::DistinguishedName),
        "common_name" => Some(CertLogin::CommonName),
        "subject_alternative_name" | "subject_alt_name" => Some(CertLogin::SubjectAlternativeName),
        _ => None,
    }
}
