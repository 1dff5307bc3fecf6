//! The shell around the shards, and the only room with an operating system: sockets, threads, a clock, signals.
//!
//! One thread per shard runs an [event loop](event_loop). Shard 0's loop owns the listeners and deals the accepted
//! sockets out in turn. Threads share nothing but each other's [inboxes](inbox). A durable broker has two threads more,
//! for its [store](lane), and one for [other commands](control). One more looks at the memory.

// The room with the operating system: what .clippy.toml forbids is what it is for.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod clock;
pub mod control;
pub mod disk;
mod durable;
pub mod event_loop;
pub mod inbox;
mod inspector;
pub mod lane;
pub mod listener;
pub mod logger;
mod memory;
mod passwords;
pub mod pid_file;
pub mod signals;
mod socket;
mod sockets;
pub mod store_command;
#[cfg(test)]
mod tests;
pub mod token;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;
use std::thread::JoinHandle;

use mio::Poll;

use crate::broker::access::{Algorithm, Credential};
use crate::config::memory::Watermark;
use crate::config::{Config, SHARDS_MAX};
use crate::shard::Shard;
use crate::shard::admin::{AdminAnswer, AdminError, AdminRequest, NewPassword};
use crate::store::open::OpenError;
use clock::Clock;
use disk::directory::{DataDirectory, DirectoryError};
use durable::Durable;
use event_loop::{Common, EventLoop};
use inbox::{Inlet, Input};

/// Raises the process's limit of open files as far as it may: a connection is a file. For the binary; an embedding
/// program decides for itself.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        log::warn!("cannot raise the limit of open files: {error}");
    }
}

/// A running broker.
///
/// ```no_run
/// use leveret::{Config, Server};
///
/// let mut config = Config::default();
/// config.listen = vec!["127.0.0.1:0".parse()?];
/// let server = Server::start(config)?;
/// println!("amqp://{}", server.local_addr());
/// server.shutdown();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It listens from the return of [`start`](Server::start) until it is shut down or dropped. It writes to the `log`
/// facade only, and takes no signals.
#[derive(Debug)]
pub struct Server {
    addresses: Vec<SocketAddr>,
    inlets: Arc<[Inlet]>,
    threads: Vec<JoinHandle<()>>,
    /// The thread that checks passwords; it ends when the others have.
    passwords: Option<JoinHandle<()>>,
    memory: memory::Watch,
    durable: Option<Durable>,
}

impl Server {
    /// Starts a broker, and returns when it listens. With a data directory, it has found again by then what is there.
    pub fn start(mut config: Config) -> Result<Server, StartError> {
        if !(1..=SHARDS_MAX).contains(&config.shards) {
            return Err(StartError::Shards { count: config.shards });
        }
        if config.listen.is_empty() {
            return Err(StartError::NothingToListenOn);
        }
        let directory = config.data_dir.as_deref().map(DataDirectory::take).transpose();
        let directory = directory.map_err(StartError::Directory)?;
        let listeners = listener::listen(&config.listen)?;
        let system = |what| move |error| StartError::System { what, error };
        let addresses = listeners.iter().map(|listener| listener.local_addr());
        let addresses = addresses.collect::<io::Result<Vec<_>>>().map_err(system("look at a listener"))?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| system("get entropy")(error.into()))?;

        if directory.is_some() {
            memory::fit(&mut config.settings.limits, memory::watermark_bytes(&config.memory));
        }

        let mut ends = vec![];
        let mut inlets = vec![];
        for _ in 0..config.shards {
            let poll = Poll::new().map_err(system("open an event queue"))?;
            let (inlet, inbox) = inbox::open(poll.registry()).map_err(system("open a wake-up"))?;
            inlets.push(inlet);
            ends.push((poll, inbox));
        }
        let inlets: Arc<[Inlet]> = inlets.into();
        let busy = Arc::new(AtomicUsize::new(config.shards));
        let clock = Clock::start();
        let found = directory.map(|directory| durable::find(directory, &config.settings.limits)).transpose()?;
        let clock = clock.no_earlier(found.as_ref().map_or(0, |found| found.contents().time_ms));
        let settings = Arc::new(config.settings);
        let contents = found.as_ref().map(|found| found.contents());
        let shards = Shard::mesh(config.shards, settings.clone(), seed, contents);
        let durable = found.map(|found| found.run(&config.store, &settings.limits, inlets.clone(), clock)).transpose();
        let durable = durable.map_err(system("start a thread"))?;
        let lane = durable.as_ref().map(|durable| durable.lane().inlet());
        let (passwords, passwords_thread) = passwords::start(inlets.clone()).map_err(system("start a thread"))?;
        let common = Common { inlets: inlets.clone(), busy, clock, passwords, lane };
        let memory = memory::Watch::start(&config.memory, inlets.clone()).map_err(system("start a thread"))?;
        // From here on an early return drops `server`, which stops the threads that run already.
        let mut server = Server { addresses, inlets, threads: vec![], passwords: None, memory, durable };
        let mut loops: Vec<_> = shards
            .into_iter()
            .zip(ends)
            .map(|(shard, (poll, inbox))| EventLoop::new(shard, poll, inbox, common.clone()))
            .collect();
        loops[0].accept_from(listeners).map_err(system("watch a listener"))?;

        for (number, event_loop) in loops.into_iter().enumerate() {
            let thread = std::thread::Builder::new().name(format!("leveret-{number}"));
            let thread = thread.spawn(move || event_loop.run()).map_err(system("start a thread"))?;
            server.threads.push(thread);
        }
        server.passwords = Some(passwords_thread);
        Ok(server)
    }

    /// The first address it listens on, with the port that was chosen for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// All addresses it listens on.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Asks for something that is not AMQP: policies, virtual hosts, limits, runtime parameters. Returns when it is
    /// done, and durable where the broker has a data directory.
    ///
    /// ```
    /// use leveret::admin::{AdminRequest, Scope};
    ///
    /// # let mut config = leveret::Config::default();
    /// # config.listen = vec!["127.0.0.1:0".parse()?];
    /// let server = leveret::Server::start(config)?;
    /// server.administer(AdminRequest::SetPolicy {
    ///     scope: Scope::User,
    ///     vhost: "/".into(),
    ///     name: "short".into(),
    ///     document: r#"{"pattern": "^cache", "definition": {"max-length": 1000}, "apply-to": "queues"}"#.into(),
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the request makes no sense, is about something that is not there, or a limit is reached; in RabbitMQ's
    /// words, where it has some.
    pub fn administer(&self, request: AdminRequest) -> AdminAnswer {
        self.administrator().ask(request)
    }

    /// The same for other threads, also while the server is stopped: then every request fails.
    pub fn administrator(&self) -> Administrator {
        Administrator { inlets: self.inlets.clone(), memory: self.memory.monitor().clone() }
    }

    /// The process may take so much memory from now on (`set_vm_memory_high_watermark` of RabbitMQ's tools). When it
    /// takes more, publishers have to wait; with a share of 0 they always do. Returns when this holds on all shards. A
    /// restart forgets it.
    pub fn set_memory_watermark(&self, watermark: Watermark) {
        self.memory.monitor().set(watermark);
    }

    /// Hashes a password for [`AdminRequest::PutUser`], with a salt of its own. Takes as long as the algorithm is dear.
    ///
    /// # Errors
    /// When the system has no entropy.
    pub fn hash_password(algorithm: Algorithm, password: &str) -> io::Result<NewPassword> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt)?;
        let credential = Credential::new(algorithm, password.as_bytes(), salt);
        Ok(NewPassword::Hash { hash: credential.text().to_owned(), algorithm: algorithm.name().to_owned() })
    }

    /// Stops: tells all clients (320 CONNECTION_FORCED), closes, and returns when all is gone, in less than a second.
    pub fn shutdown(self) {
        drop(self);
    }
}

/// A way to ask a broker for what is not AMQP, for any thread.
#[derive(Debug, Clone)]
pub struct Administrator {
    inlets: Arc<[Inlet]>,
    memory: Arc<memory::Monitor>,
}

impl Administrator {
    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// As [`Server::administer`], and when the server has stopped.
    pub fn ask(&self, request: AdminRequest) -> AdminAnswer {
        let (sender, receiver) = mpsc::channel();
        self.inlets[0].put(Input::Admin(Box::new(request), sender));
        receiver.recv().unwrap_or_else(|_| Err(AdminError::Unavailable("the broker has stopped".into())))
    }

    /// As [`Server::set_memory_watermark`]. Does nothing when the server has stopped.
    pub fn set_memory_watermark(&self, watermark: Watermark) {
        self.memory.set(watermark);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(durable) = &mut self.durable {
            durable.close_door();
        }
        self.inlets.iter().for_each(|inlet| inlet.put(Input::Stop));
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!("a shard's thread has panicked");
            }
        }
        if self.passwords.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread that checks passwords has panicked");
        }
        // Now nothing is submitted any more.
        self.durable = None;
    }
}

/// Why a broker did not start: one line for the operator.
#[derive(Debug)]
pub enum StartError {
    /// The configuration has no address to listen on.
    NothingToListenOn,
    /// The number of shards is out of range.
    Shards {
        /// The number asked for.
        count: usize,
    },
    /// An address cannot be listened on.
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The data directory cannot be had.
    Directory(DirectoryError),
    /// What is in the data directory cannot be used.
    Store {
        /// The data directory.
        path: PathBuf,
        /// Why.
        error: OpenError,
    },
    /// The system has refused something else.
    System {
        /// What was asked of it.
        what: &'static str,
        /// Why.
        error: io::Error,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::NothingToListenOn => write!(f, "there is no address to listen on"),
            StartError::Shards { count } => write!(f, "{count} shards are not possible: expected 1 to {SHARDS_MAX}"),
            StartError::Listen { address, error } => match error.kind() {
                io::ErrorKind::AddrInUse => {
                    write!(f, "cannot listen on {address}: the address is in use by another program")
                }
                io::ErrorKind::AddrNotAvailable => {
                    write!(f, "cannot listen on {address}: this machine does not have the address")
                }
                io::ErrorKind::PermissionDenied => write!(f, "cannot listen on {address}: permission denied"),
                _ => write!(f, "cannot listen on {address}: {error}"),
            },
            StartError::Directory(error) => write!(f, "{error}"),
            StartError::Store { path, error: OpenError::Disk(error) } => {
                write!(f, "cannot use the data directory {}: {error}", path.display())
            }
            StartError::Store { path, error } => write!(f, "cannot use the data directory {}: {error}", path.display()),
            StartError::System { what, error } => write!(f, "cannot {what}: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::NothingToListenOn
            | StartError::Shards { .. }
            | StartError::Store { error: OpenError::Later { .. }, .. } => None,
            StartError::Directory(error) => Some(error),
            StartError::Listen { error, .. }
            | StartError::Store { error: OpenError::Disk(error), .. }
            | StartError::System { error, .. } => Some(error),
        }
    }
}
