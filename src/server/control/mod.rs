//! The door for the program's other commands: a Unix socket in the data directory, for its owner only.
//!
//! ```text
//! one line there   snapshot PATH\n          an absolute path, bytes without a line feed
//! one line back    ok TEXT\n  or  error TEXT\n
//! ```
//!
//! One thread, one connection at a time, each for one command.

pub mod request;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::net::UnixListener;
use mio::{Events, Interest, Poll, Token, Waker};

/// The name of the socket.
const CONTROL_NAME: &str = "control";

/// The longest line, with its end.
const LINE_BYTES_MAX: usize = 8 << 10;

/// The most of a path that the system takes for a socket, with some room.
const SOCKET_PATH_MAX: usize = 100;

/// How often a thread that waits for somebody looks whether the server stops.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// So many looks at a client that does not say what it wants.
const LOOKS_MAX: usize = 100;

const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);

/// What a command comes to: a text for the user either way.
pub type Outcome = Result<String, String>;

/// Begins a copy to a directory; the outcome comes when it is done.
pub type Snapshot = Box<dyn Fn(PathBuf) -> Receiver<Outcome> + Send>;

/// The socket and its thread, until this is dropped.
#[derive(Debug)]
pub struct Control {
    stop: Arc<AtomicBool>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
    path: PathBuf,
}

/// A path to the socket in `directory` that the system takes, however long the directory's is. It holds as long as
/// the file does.
fn socket_path(directory: &Path) -> io::Result<(PathBuf, Option<File>)> {
    let path = directory.join(CONTROL_NAME);
    if path.as_os_str().len() <= SOCKET_PATH_MAX {
        return Ok((path, None));
    }
    let file = File::open(directory)?;
    Ok((format!("/proc/self/fd/{}/{CONTROL_NAME}", file.as_raw_fd()).into(), Some(file)))
}

impl Control {
    /// Opens the socket in `directory`, in place of any that was left there: the directory must be ours.
    ///
    /// # Errors
    /// As the system says when the socket or the thread cannot be made.
    pub fn open(directory: &Path, snapshot: Snapshot) -> io::Result<Control> {
        let path = directory.join(CONTROL_NAME);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (short, _directory) = socket_path(directory)?;
        let mut listener = UnixListener::bind(short)?;
        fs::set_permissions(&path, Permissions::from_mode(super::disk::FILE_MODE))?;
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let stop = Arc::new(AtomicBool::new(false));
        let door = Door { listener, poll, stop: stop.clone(), snapshot };
        let thread = std::thread::Builder::new().name("leveret-control".into()).spawn(move || door.run())?;
        Ok(Control { stop, waker, thread: Some(thread), path })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Err(error) = self.waker.wake() {
            log::error!("cannot wake the thread of the control socket: {error}");
            return;
        }
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread of the control socket has panicked");
        }
        if let Err(error) = fs::remove_file(&self.path) {
            log::warn!("cannot remove the control socket: {error}");
        }
    }
}

/// The thread's end.
struct Door {
    listener: UnixListener,
    poll: Poll,
    stop: Arc<AtomicBool>,
    snapshot: Snapshot,
}

impl Door {
    fn run(mut self) {
        let mut events = Events::with_capacity(4);
        while !self.stop.load(Ordering::SeqCst) {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    log::error!("the control socket is closed: {error}");
                    return;
                }
                _ => {}
            }
            loop {
                match self.listener.accept() {
                    // Whoever does not listen for the answer does not get it.
                    Ok((stream, _)) => drop(self.serve(stream.into())),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => {
                        log::warn!("cannot take a connection of the control socket: {error}");
                        std::thread::sleep(LOOK_EVERY);
                        break;
                    }
                }
            }
        }
    }

    fn serve(&self, mut stream: UnixStream) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(LOOK_EVERY))?;
        stream.set_write_timeout(Some(LOOK_EVERY))?;
        let line = self.line(&mut stream)?;
        let (verdict, text) = match self.run_command(&line) {
            Ok(text) => ("ok", text),
            Err(text) => ("error", text),
        };
        let answer = format!("{verdict} {}\n", text.replace('\n', " "));
        stream.write_all(answer.as_bytes())
    }

    /// The line that the client says, without its end.
    fn line(&self, stream: &mut UnixStream) -> io::Result<Vec<u8>> {
        let mut line = vec![];
        let mut looks = 0;
        while line.len() < LINE_BYTES_MAX && looks < LOOKS_MAX && !self.stop.load(Ordering::SeqCst) {
            let mut part = [0; 1024];
            match stream.read(&mut part) {
                Ok(0) => break,
                Ok(count) => line.extend_from_slice(&part[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => looks += 1,
                Err(error) => return Err(error),
            }
            if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
                line.truncate(end);
                return Ok(line);
            }
        }
        Err(ErrorKind::UnexpectedEof.into())
    }

    fn run_command(&self, line: &[u8]) -> Outcome {
        let Some(target) = line.strip_prefix(b"snapshot ") else {
            return Err(format!("unknown command `{}`", String::from_utf8_lossy(line)));
        };
        let target = Path::new(OsStr::from_bytes(target));
        if !target.is_absolute() {
            return Err(format!("{} is no absolute path", target.display()));
        }
        let outcome = (self.snapshot)(target.into());
        while !self.stop.load(Ordering::SeqCst) {
            match outcome.recv_timeout(LOOK_EVERY) {
                Ok(outcome) => return outcome,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Err(format!("the broker stops: the copy in {} is not complete", target.display()))
    }
}
