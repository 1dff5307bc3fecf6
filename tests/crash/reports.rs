//! What servers in this process say to the log, and one of them at a time: else nobody knows who has said what.

use std::sync::{Mutex, MutexGuard, Once};

use log::{Level, LevelFilter, Log, Metadata, Record};

static SAID: Mutex<Vec<(Level, String)>> = Mutex::new(vec![]);
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

struct Keep;

impl Log for Keep {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        lock(&SAID).push((record.level(), record.args().to_string()));
    }

    fn flush(&self) {}
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The right to run servers in this process.
#[derive(Debug)]
pub struct Turn(#[allow(dead_code)] MutexGuard<'static, ()>);

impl Turn {
    /// Waits for it.
    pub fn take() -> Turn {
        static INSTALL: Once = Once::new();
        INSTALL.call_once(|| {
            log::set_logger(&Keep).expect("no other logger");
            log::set_max_level(LevelFilter::Info);
        });
        let turn = Turn(lock(&ONE_AT_A_TIME));
        turn.said();
        turn
    }

    /// What was said since the last call.
    pub fn said(&self) -> Said {
        Said(std::mem::take(&mut *lock(&SAID)))
    }
}

/// Lines of a log.
#[derive(Debug)]
pub struct Said(Vec<(Level, String)>);

impl Said {
    /// Whether somebody is to be troubled.
    pub fn is_trouble(&self) -> bool {
        self.0.iter().any(|(level, _)| *level <= Level::Warn)
    }

    /// Whether a line has this in it.
    pub fn has(&self, text: &str) -> bool {
        self.0.iter().any(|(_, line)| line.contains(text))
    }

    /// Whether it says that the last write was not finished: what nobody can tell from damage to it.
    pub fn ends_unfinished(&self) -> bool {
        self.has("was not finished")
    }
}
