//! SIGTERM and SIGINT, for the binary. An embedding program keeps its own.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

/// The exit code of a program that was told to stop a second time.
const EXIT_CODE_AGAIN: i32 = 1;

/// Waits for the signals that stop the program.
#[derive(Debug)]
pub struct Signals {
    receiver: UnixStream,
}

impl Signals {
    /// Takes SIGTERM and SIGINT over. A second one ends the process at once.
    pub fn install() -> io::Result<Signals> {
        let (sender, receiver) = UnixStream::pair()?;
        let told = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            // In this order: the first signal passes by this one, because the flag is set after it.
            flag::register_conditional_shutdown(signal, EXIT_CODE_AGAIN, told.clone())?;
            flag::register(signal, told.clone())?;
            low_level::pipe::register(signal, sender.try_clone()?)?;
        }
        Ok(Signals { receiver })
    }

    /// Returns when the process was told to stop.
    pub fn wait(mut self) {
        while let Err(error) = self.receiver.read_exact(&mut [0]) {
            if error.kind() != io::ErrorKind::Interrupted {
                return;
            }
        }
    }
}
