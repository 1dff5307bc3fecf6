//! A schedule: what is due when, at a fixed rate.

/// Things that are due one after the other, from a start on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pacer {
    start: u64,
    /// Nanoseconds from one to the next.
    period: f64,
}

impl Pacer {
    /// `rate` things per second, the first at `start` (nanoseconds).
    pub fn new(start: u64, rate: f64) -> Pacer {
        Pacer { start, period: 1e9 / rate }
    }

    /// How many come in a hundredth of a second; at least one.
    pub fn per_hundredth(&self) -> u64 {
        ((1e7 / self.period) as u64).max(1)
    }

    /// When number `number`, from 0, is due.
    #[inline]
    pub fn due(&self, number: u64) -> u64 {
        self.start.saturating_add((number as f64 * self.period) as u64)
    }

    /// How many are due by `now`.
    #[inline]
    pub fn count(&self, now: u64) -> u64 {
        if now < self.start {
            return 0;
        }
        let mut count = ((now - self.start) as f64 / self.period) as u64 + 1;
        // Rounded twice: `due` has the last word.
        while count > 0 && self.due(count - 1) > now {
            count -= 1;
        }
        while self.due(count) <= now {
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_has_been_counted() {
        for rate in [0.1, 1.0, 3.0, 7.7, 1000.0, 333_333.3, 2e7] {
            let pacer = Pacer::new(1_000, rate);
            assert_eq!((pacer.count(999), pacer.count(1_000), pacer.due(0)), (0, 1, 1_000));
            for number in (0..100_000).step_by(97).chain([1 << 30]) {
                let due = pacer.due(number);
                assert_eq!(pacer.count(due), number + 1, "{rate} {number}");
                assert!(pacer.count(due - 1) <= number + u64::from(number == 0), "{rate} {number}");
            }
        }
    }

    #[test]
    fn a_hundredth_of_a_second_has_at_least_one() {
        for (rate, expected) in [(0.1, 1), (100.0, 1), (1000.0, 10), (1e6, 10_000)] {
            assert_eq!(Pacer::new(0, rate).per_hundredth(), expected, "{rate}");
        }
    }

    #[test]
    fn the_rate_is_kept_over_long_times() {
        let pacer = Pacer::new(0, 3.0);
        assert_eq!(pacer.due(3 * 86_400), 86_400 * 1_000_000_000);
    }
}
