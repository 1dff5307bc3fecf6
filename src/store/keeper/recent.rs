//! What was done not long ago.

/// What was done last so long ago is not done any more.
const QUIET_MS: u64 = 2_000;

/// Whether something was done not long ago.
#[derive(Debug, Default)]
pub struct Recent {
    /// Since the last look.
    is_noted: bool,
    /// When it is long enough ago.
    quiet_ms: Option<u64>,
}

impl Recent {
    /// It is done.
    pub fn note(&mut self) {
        self.is_noted = true;
    }

    /// Whether it was done in the last seconds.
    pub fn is_recent(&mut self, now_ms: u64) -> bool {
        if std::mem::take(&mut self.is_noted) {
            self.quiet_ms = Some(now_ms + QUIET_MS);
        }
        self.quiet_ms.is_some_and(|at| at > now_ms)
    }

    /// When it will be long enough ago, if that is still to come.
    pub fn until_ms(&self, now_ms: u64) -> Option<u64> {
        self.quiet_ms.filter(|at| *at > now_ms)
    }
}
