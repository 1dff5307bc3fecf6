//! Whether the machine is quiet enough to measure, and whether a run was disturbed. Pure functions over samples.

/// How the CPU time of the machine was spent up to a moment. In clock ticks, over all cores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Seconds, from any start.
    pub at: f64,
    /// Ticks that any process spent: user, nice and system time. Interrupts are not among them.
    pub busy: u64,
    /// Ticks that those spent who are measured, and the kernel's own threads, which work for them.
    pub own: u64,
}

/// Others may use so many cores, where nothing else is said.
pub const OTHERS_MAX: f64 = 0.1;
/// Seconds that the machine must be quiet before a run.
pub const QUIET_SECONDS: f64 = 0.5;

/// Cores that others used between two samples.
pub fn others_cores(before: Sample, after: Sample, ticks_per_second: f64) -> f64 {
    let seconds = after.at - before.at;
    if seconds <= 0.0 {
        return 0.0;
    }
    let busy = after.busy.saturating_sub(before.busy);
    let own = after.own.saturating_sub(before.own);
    // The two are not read at the same instant: a little less than nothing is nothing.
    busy.saturating_sub(own) as f64 / ticks_per_second / seconds
}

/// Whether the others used little enough: at most `max` cores.
pub fn is_quiet(others_cores: f64, max: f64) -> bool {
    others_cores <= max
}

/// What to do after a look at the machine before a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// It is quiet: begin.
    Begin,
    /// Look again.
    Longer,
    /// It does not become quiet: begin all the same, and say so.
    GiveUp,
}

/// Decides after `waited` seconds, of at most `limit`.
pub fn wait(others_cores: f64, max: f64, waited: f64, limit: f64) -> Wait {
    if is_quiet(others_cores, max) {
        Wait::Begin
    } else if waited >= limit {
        Wait::GiveUp
    } else {
        Wait::Longer
    }
}

/// Whether to run again: the last attempt was disturbed, did not fail, and there were not too many.
pub fn again(disturbed: bool, failed: bool, attempt: u32, retries: u32) -> bool {
    disturbed && !failed && attempt <= retries
}

/// Which of several attempts counts: one that did not fail, of those the least disturbed one, of those the last.
pub fn best(attempts: &[(bool, f64)]) -> Option<usize> {
    let indexed = attempts.iter().enumerate().rev();
    let best = indexed.min_by(|(_, a), (_, b)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    best.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: f64, busy: u64, own: u64) -> Sample {
        Sample { at, busy, own }
    }

    #[test]
    fn others_are_what_is_not_ours() {
        let others = |a, b| others_cores(a, b, 100.0);
        assert_eq!(others(sample(0.0, 0, 0), sample(2.0, 400, 380)), 0.1);
        assert_eq!(others(sample(5.0, 1000, 500), sample(6.0, 1100, 500)), 1.0);
        assert_eq!(others(sample(5.0, 1000, 500), sample(6.0, 1100, 602)), 0.0);
        assert_eq!(others(sample(5.0, 1000, 500), sample(5.0, 1100, 500)), 0.0);
    }

    #[test]
    fn a_run_begins_when_it_is_quiet_or_the_wait_is_over() {
        assert_eq!(wait(0.05, OTHERS_MAX, 0.5, 60.0), Wait::Begin);
        assert_eq!(wait(0.1, OTHERS_MAX, 0.5, 60.0), Wait::Begin);
        assert_eq!(wait(0.2, OTHERS_MAX, 59.9, 60.0), Wait::Longer);
        assert_eq!(wait(0.2, 0.3, 59.9, 60.0), Wait::Begin);
        assert_eq!(wait(0.2, OTHERS_MAX, 60.0, 60.0), Wait::GiveUp);
        assert_eq!(wait(0.0, OTHERS_MAX, 90.0, 60.0), Wait::Begin);
    }

    #[test]
    fn disturbed_runs_are_repeated_within_bounds() {
        assert!(again(true, false, 1, 2));
        assert!(again(true, false, 2, 2));
        assert!(!again(true, false, 3, 2));
        assert!(!again(true, false, 1, 0));
        assert!(!again(false, false, 1, 2));
        assert!(!again(true, true, 1, 2));
    }

    #[test]
    fn the_least_disturbed_attempt_counts() {
        assert_eq!(best(&[]), None);
        assert_eq!(best(&[(false, 0.5), (false, 0.2), (false, 0.3)]), Some(1));
        assert_eq!(best(&[(false, 0.5), (true, 0.0)]), Some(0));
        assert_eq!(best(&[(true, 0.5), (true, 0.5)]), Some(1));
    }
}
