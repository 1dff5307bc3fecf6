//! What servers in this process say to the log, and one of them at a time: else nobody knows who has said what.

use std::sync::{Mutex, MutexGuard, Once};

use log::{LevelFilter, Log, Metadata, Record};

static WARNINGS: Mutex<Vec<String>> = Mutex::new(vec![]);
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

struct Keep;

impl Log for Keep {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        lock(&WARNINGS).push(format!("{} {}", record.level(), record.args()));
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
            log::set_max_level(LevelFilter::Warn);
        });
        let turn = Turn(lock(&ONE_AT_A_TIME));
        turn.warnings();
        turn
    }

    /// Warnings and errors since the last call.
    pub fn warnings(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&WARNINGS))
    }
}
