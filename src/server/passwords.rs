//! The thread for passwords that are too dear to check for an event loop.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

use super::inbox::{Inlet, Input};
use crate::shard::access::PasswordCheck;

/// Where shards bring passwords. The thread ends when all of these are gone.
#[derive(Debug, Clone)]
pub struct PasswordInlet {
    sender: Sender<(usize, PasswordCheck)>,
}

impl PasswordInlet {
    /// Has a password of a log-in of `shard` checked; the shard is told.
    pub fn put(&self, shard: usize, check: PasswordCheck) {
        if self.sender.send((shard, check)).is_err() {
            log::error!("the thread that checks passwords is gone");
        }
    }
}

/// Starts the thread.
///
/// # Errors
/// As the system says when it has no thread.
pub fn start(inlets: Arc<[Inlet]>) -> io::Result<(PasswordInlet, JoinHandle<()>)> {
    let (sender, receiver) = mpsc::channel::<(usize, PasswordCheck)>();
    let run = move || {
        for (shard, check) in receiver {
            let is_right = check.run();
            inlets[shard].put(Input::Checked(Box::new(check), is_right));
        }
    };
    let thread = std::thread::Builder::new().name("leveret-passwords".into()).spawn(run)?;
    Ok((PasswordInlet { sender }, thread))
}
