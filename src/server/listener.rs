//! The listening sockets: binding them, and accepting from them without ever getting stuck.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Socket, Type};

use super::StartError;
use crate::shard::Peer;
use crate::time::Now;

/// Connections that may wait to be accepted; the system caps it at its own bound.
const BACKLOG: i32 = 4096;

/// Sockets accepted from one listener in one turn.
const ACCEPT_MAX: usize = 64;

/// Pause after an error that will not go away at once, in milliseconds.
const PAUSE_MS: u64 = 100;

/// Time between two warnings, in milliseconds.
const WARN_EVERY_MS: u64 = 1000;

/// Attempts to find one port that is free on all addresses that share it.
const PORT_ATTEMPTS: usize = 16;

/// Binds and listens, in order. See [`Config::listen`](crate::config::Config) for port 0 and missing IPv6.
pub fn listen(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, StartError> {
    for _ in 0..PORT_ATTEMPTS {
        match listen_once(addresses, Ports::Shared) {
            // A port that the system chose for one address can be taken on another.
            Err(StartError::Listen { address, ref error })
                if error.kind() == ErrorKind::AddrInUse && !addresses.contains(&address) => {}
            result => return result,
        }
    }
    listen_once(addresses, Ports::Own)
}

/// Which ports the system chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ports {
    /// One for all loopback and wildcard addresses, so that `localhost` is the same broker in both families.
    Shared,
    /// One for each address.
    Own,
}

fn listen_once(addresses: &[SocketAddr], ports: Ports) -> Result<Vec<TcpListener>, StartError> {
    let local = |address: &SocketAddr| address.ip().is_loopback() || address.ip().is_unspecified();
    let mut listeners = vec![];
    let mut port_shared = 0;
    for address in addresses {
        let mut wanted = *address;
        let shares = ports == Ports::Shared && address.port() == 0 && local(address);
        if shares {
            wanted.set_port(port_shared);
        }
        match listen_on(wanted) {
            Ok(listener) => {
                if shares && port_shared == 0 {
                    port_shared = listener.local_addr().map_or(0, |bound| bound.port());
                }
                listeners.push(listener);
            }
            Err(error) => {
                let twin = |other: &SocketAddr| other.is_ipv4() && other.port() == address.port();
                if !(is_family_missing(&error) && address.is_ipv6() && local(address) && addresses.iter().any(twin)) {
                    return Err(StartError::Listen { address: wanted, error });
                }
                log::warn!("not listening on {address}: IPv6 is not available");
            }
        }
    }
    Ok(listeners)
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A restart must not wait for the connections of its predecessor to be forgotten.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // IPv4 has listeners of its own; without this, [::] would take their ports or fail on them.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Whether the machine does not have the address family at all, or not on its loopback interface.
fn is_family_missing(error: &io::Error) -> bool {
    const EAFNOSUPPORT_LINUX: i32 = 97;
    const EAFNOSUPPORT_BSD: i32 = 47;
    error.kind() == ErrorKind::AddrNotAvailable
        || matches!(error.raw_os_error(), Some(EAFNOSUPPORT_LINUX | EAFNOSUPPORT_BSD))
}

/// Where sockets are accepted from.
pub trait Listen {
    /// What is accepted.
    type Stream;
    /// Accepts a socket, without waiting for one.
    fn accept(&self) -> io::Result<(Self::Stream, SocketAddr)>;
}

impl Listen for TcpListener {
    type Stream = TcpStream;

    fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        TcpListener::accept(self)
    }
}

/// What an error of accept means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// Nobody waits any more.
    Empty,
    /// This one is gone; the next may be well.
    Gone,
    /// The process or the system is out of descriptors.
    Descriptors,
    /// Something that time may heal.
    Other,
}

fn failure(error: &io::Error) -> Failure {
    // The same numbers on Linux, macOS and the BSDs; `ErrorKind` has no name for them.
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    match error.kind() {
        ErrorKind::WouldBlock => Failure::Empty,
        ErrorKind::Interrupted | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset => Failure::Gone,
        _ if matches!(error.raw_os_error(), Some(ENFILE | EMFILE)) => Failure::Descriptors,
        _ => Failure::Other,
    }
}

/// Accepts from all listeners of a server.
///
/// Readiness is reported once, so a listener stays marked until it was found empty. Without descriptors it could never
/// be: waiting clients would neither be served nor refused, and asking again would spin. So one descriptor is held in
/// reserve, given up to accept such a client and drop it, and taken back. Where that fails too there is a pause.
#[derive(Debug)]
pub struct Acceptor<L = TcpListener> {
    listeners: Vec<(L, bool)>,
    reserve: Option<Socket>,
    pause_until: Option<Now>,
    warned_at: Option<Now>,
    dropped: u64,
}

impl<L: Listen> Acceptor<L> {
    /// An acceptor for `listeners`, which may have somebody waiting.
    pub fn new(listeners: Vec<L>) -> Acceptor<L> {
        let listeners = listeners.into_iter().map(|listener| (listener, true)).collect();
        Acceptor { listeners, reserve: reserve(), pause_until: None, warned_at: None, dropped: 0 }
    }

    /// Somebody waits at the listener with this number.
    pub fn note(&mut self, place: u16) {
        if let Some((_, ready)) = self.listeners.get_mut(usize::from(place)) {
            *ready = true;
        }
    }

    /// When there is something to accept: at this time, which may be past, or not before an event.
    pub fn due(&self, now: Now) -> Option<Now> {
        self.listeners.iter().any(|(_, ready)| *ready).then(|| self.pause_until.unwrap_or(now))
    }

    /// Accepts from each listener that has somebody waiting, up to a bound.
    pub fn accept(&mut self, now: Now, mut arrive: impl FnMut(L::Stream, SocketAddr)) {
        if self.due(now).is_none_or(|due| due > now) {
            return;
        }
        self.pause_until = None;
        for place in 0..self.listeners.len() {
            for _ in 0..ACCEPT_MAX {
                let (listener, ready) = &mut self.listeners[place];
                if !*ready || self.pause_until.is_some() {
                    break;
                }
                match listener.accept() {
                    Ok((stream, address)) => arrive(stream, address),
                    Err(error) => match failure(&error) {
                        Failure::Empty => *ready = false,
                        Failure::Gone => {}
                        Failure::Descriptors => self.refuse(place, now, &error),
                        Failure::Other => self.pause(now, &error),
                    },
                }
            }
        }
    }

    /// Accepts a client that cannot be served, and lets it go.
    fn refuse(&mut self, place: usize, now: Now, error: &io::Error) {
        let (listener, ready) = &mut self.listeners[place];
        // Given up before the accept, taken back after the client is dropped.
        let had = self.reserve.take().is_some();
        let accepted = listener.accept().map(drop);
        self.reserve = reserve();
        match accepted {
            Ok(()) => {
                self.dropped += 1;
                self.warn(now, |dropped| {
                    format!(
                        "out of file descriptors, new connections are refused: \
                         {dropped} since the last warning ({error})"
                    )
                });
            }
            Err(again) => match failure(&again) {
                Failure::Empty => *ready = false,
                Failure::Gone => {}
                // Another thread was faster than we, or the whole system is out of them.
                Failure::Descriptors | Failure::Other => self.pause(now, &again),
            },
        }
        if !had && self.reserve.is_none() {
            self.pause(now, error);
        }
    }

    fn pause(&mut self, now: Now, error: &io::Error) {
        self.pause_until = Some(now.after_ms(PAUSE_MS));
        self.warn(now, |_| format!("cannot accept connections for the moment: {error}"));
    }

    fn warn(&mut self, now: Now, text: impl FnOnce(u64) -> String) {
        if self.warned_at.is_none_or(|last| last.after_ms(WARN_EVERY_MS) <= now) {
            self.warned_at = Some(now);
            log::warn!(target: "connection", "{}", text(self.dropped));
            self.dropped = 0;
        }
    }
}

/// The cheapest descriptor there is: a socket that is bound to nothing.
fn reserve() -> Option<Socket> {
    Socket::new(Domain::IPV4, Type::DGRAM, None).ok()
}

/// Prepares an accepted socket; nothing when it is already gone.
pub fn prepare(stream: &TcpStream, address: SocketAddr) -> Option<Peer> {
    // All writes of a turn go out as one: holding small ones back would only delay them.
    stream.set_nodelay(true).ok()?;
    Some(Peer { address, local: stream.local_addr().ok()? })
}

// Linux only for its error numbers.
#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::cell::RefCell;

    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    const ENOBUFS: i32 = 105;
    const EAGAIN: i32 = 11;
    const ECONNABORTED: i32 = 103;

    /// A listener that answers with these: 0 for a client, or an error. Then nobody waits.
    struct Script(RefCell<Vec<i32>>);

    impl Script {
        fn new(answers: &[i32]) -> Script {
            Script(RefCell::new(answers.iter().rev().copied().collect()))
        }
    }

    impl Listen for Script {
        type Stream = ();

        fn accept(&self) -> io::Result<((), SocketAddr)> {
            match self.0.borrow_mut().pop().unwrap_or(EAGAIN) {
                0 => Ok(((), "127.0.0.1:1".parse().unwrap())),
                error => Err(io::Error::from_raw_os_error(error)),
            }
        }
    }

    #[test]
    fn errors_neither_wedge_nor_spin() {
        let ready = Some(Now { ms: 5 });
        let paused = Some(Now { ms: 5 + PAUSE_MS });
        for (answers, arrived, due) in [
            (&[][..], 0, None),
            (&[0, 0], 2, None),
            (&[ECONNABORTED, 0], 1, None),
            (&[0; ACCEPT_MAX], ACCEPT_MAX, ready),
            (&[ECONNABORTED; ACCEPT_MAX], 0, ready),
            // The reserve is given up for a client that is dropped; then one is served again.
            (&[EMFILE, 0, 0], 1, None),
            (&[EMFILE, 0, EMFILE, 0], 0, None),
            (&[ENFILE, 0], 0, None),
            (&[EMFILE, EAGAIN], 0, None),
            (&[EMFILE, ECONNABORTED, 0], 1, None),
            // Still none, reserve or not: later.
            (&[EMFILE, EMFILE, 0], 0, paused),
            (&[0, ENOBUFS, 0], 1, paused),
        ] {
            let mut acceptor = Acceptor::new(vec![Script::new(answers)]);
            let mut count = 0;
            acceptor.accept(Now { ms: 5 }, |(), _| count += 1);
            assert_eq!(count, arrived, "{answers:?}");
            assert_eq!(acceptor.due(Now { ms: 5 }), due, "{answers:?}");
            assert!(acceptor.reserve.is_some());
        }
    }

    #[test]
    fn after_a_pause_it_goes_on_without_an_event() {
        let mut acceptor = Acceptor::new(vec![Script::new(&[ENOBUFS, 0])]);
        let mut count = 0;
        for (ms, expected) in [(0, 0), (PAUSE_MS - 1, 0), (PAUSE_MS, 1), (PAUSE_MS, 1)] {
            acceptor.accept(Now { ms }, |(), _| count += 1);
            assert_eq!(count, expected, "{ms}");
        }
        assert_eq!(acceptor.due(Now { ms: PAUSE_MS }), None);
        acceptor.note(0);
        assert_eq!(acceptor.due(Now { ms: 200 }), Some(Now { ms: 200 }));
    }

    #[test]
    fn refusals_are_counted_and_told_once_per_second() {
        let mut acceptor = Acceptor::new(vec![Script::new(&[EMFILE, 0, EMFILE, 0, EMFILE, 0])]);
        acceptor.accept(Now { ms: 0 }, |(), _| ());
        assert_eq!((acceptor.warned_at, acceptor.dropped), (Some(Now { ms: 0 }), 2));
        acceptor.listeners[0] = (Script::new(&[EMFILE, 0]), true);
        acceptor.accept(Now { ms: WARN_EVERY_MS }, |(), _| ());
        assert_eq!((acceptor.warned_at, acceptor.dropped), (Some(Now { ms: WARN_EVERY_MS }), 0));
    }

    #[test]
    fn loopback_addresses_with_port_0_share_a_port_and_a_taken_port_is_named() {
        let any: Vec<SocketAddr> = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
        let listeners = listen(&any).unwrap();
        let bound: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        assert!(bound.iter().all(|address| address.port() == bound[0].port() && address.port() != 0));
        let two = listen(&[any[0], any[0]]).unwrap();
        assert_ne!(two[0].local_addr().unwrap(), two[1].local_addr().unwrap(), "not one port where that cannot be");
        let error = listen(&bound[..1]).unwrap_err().to_string();
        assert_eq!(error, format!("cannot listen on {}: the address is in use by another program", bound[0]));
    }

    #[test]
    fn a_missing_family_is_told_from_other_failures() {
        for (error, expected) in [(97, true), (99, true), (98, false), (13, false)] {
            assert_eq!(is_family_missing(&io::Error::from_raw_os_error(error)), expected, "{error}");
        }
    }
}
