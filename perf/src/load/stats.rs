//! What is counted and measured during a run.

use hdrhistogram::Histogram;

/// Longer latencies count as this: ten hours, in nanoseconds.
const LATENCY_MAX: u64 = 36_000_000_000_000;

/// Things counted since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages published.
    pub published: u64,
    /// Messages that the broker has confirmed, or committed.
    pub confirmed: u64,
    /// Messages that the broker has refused.
    pub nacked: u64,
    /// Messages that came back, being mandatory and without a queue.
    pub returned: u64,
    /// Messages consumed; with --rpc, replies.
    pub consumed: u64,
    /// Deliveries under way: those that the messages published so far will lead to, without those that came.
    pub in_flight: i64,
}

impl Counters {
    /// What was counted since `earlier`; what is under way stays what it is now.
    pub fn since(&self, earlier: &Counters) -> Counters {
        Counters {
            published: self.published - earlier.published,
            confirmed: self.confirmed - earlier.confirmed,
            nacked: self.nacked - earlier.nacked,
            returned: self.returned - earlier.returned,
            consumed: self.consumed - earlier.consumed,
            in_flight: self.in_flight,
        }
    }
}

fn histogram() -> Histogram<u64> {
    // Three digits from nanoseconds to hours. The bounds are constants that are known to be possible.
    Histogram::new_with_bounds(1, LATENCY_MAX, 3).unwrap_or_else(|error| unreachable!("{error}"))
}

/// Latencies of the interval under way and of the whole span, in nanoseconds.
#[derive(Debug)]
pub struct Latency {
    interval: Histogram<u64>,
    total: Histogram<u64>,
}

impl Latency {
    /// Nothing measured yet.
    pub fn new() -> Latency {
        Latency { interval: histogram(), total: histogram() }
    }

    /// Records a latency that `count` messages had.
    #[inline]
    pub fn record(&mut self, nanoseconds: u64, count: u64) {
        self.interval.saturating_record_n(nanoseconds.max(1), count);
    }

    /// Ends an interval: `look` sees what came in it, before it becomes part of the whole.
    pub fn roll<T>(&mut self, look: impl FnOnce(&Histogram<u64>) -> T) -> T {
        let seen = look(&self.interval);
        if !self.interval.is_empty() {
            // Equal bounds: adding cannot fail.
            let _ = self.total.add(&self.interval);
            self.interval.reset();
        }
        seen
    }

    /// Forgets everything: the warm-up is over.
    pub fn reset(&mut self) {
        self.interval.reset();
        self.total.reset();
    }

    /// The whole span, up to the last [`roll`](Latency::roll).
    pub fn total(&self) -> &Histogram<u64> {
        &self.total
    }
}

/// One line of progress.
#[derive(Debug, Clone, PartialEq)]
pub struct Interval {
    /// Seconds since the start of the measured time, at the interval's end.
    pub at: f64,
    /// Messages per second.
    pub publish_rate: f64,
    /// Messages per second.
    pub confirm_rate: f64,
    /// Messages per second.
    pub nack_rate: f64,
    /// Messages per second.
    pub return_rate: f64,
    /// Messages per second.
    pub consume_rate: f64,
    /// Deliveries under way.
    pub in_flight: i64,
    /// Minimum, median, 75th, 95th and 99th percentile in nanoseconds, if anything was measured.
    pub consume: Option<[u64; 5]>,
    /// The same of publisher confirms.
    pub confirm: Option<[u64; 5]>,
}

/// Minimum, median, 75th, 95th and 99th percentile; `None` when nothing was recorded.
pub fn five(histogram: &Histogram<u64>) -> Option<[u64; 5]> {
    let at = |quantile| histogram.value_at_quantile(quantile);
    (!histogram.is_empty()).then(|| [histogram.min(), at(0.5), at(0.75), at(0.95), at(0.99)])
}

/// Everything measured.
#[derive(Debug)]
pub struct Stats {
    /// Since the start of the run.
    pub now: Counters,
    /// When the warm-up was over.
    pub base: Counters,
    /// When the last interval ended.
    last: Counters,
    last_at: u64,
    /// From the publish to the delivery.
    pub consume: Latency,
    /// From the publish to the confirm.
    pub confirm: Latency,
    /// All intervals of the measured span.
    pub intervals: Vec<Interval>,
    /// Requests answered, with --rpc.
    pub served: u64,
    /// Messages of other tools or runs.
    pub foreign: u64,
}

impl Stats {
    /// Nothing counted yet; `now` in nanoseconds.
    pub fn new(now: u64) -> Stats {
        let (consume, confirm) = (Latency::new(), Latency::new());
        let zero = Counters::default();
        Stats {
            now: zero,
            base: zero,
            last: zero,
            last_at: now,
            consume,
            confirm,
            intervals: vec![],
            served: 0,
            foreign: 0,
        }
    }

    /// The measured span starts here.
    pub fn begin(&mut self, now: u64) {
        (self.base, self.last, self.last_at) = (self.now, self.now, now);
        self.consume.reset();
        self.confirm.reset();
        self.intervals.clear();
    }

    /// Ends an interval of a span that started at `start`; `None` when no time has passed.
    pub fn roll(&mut self, start: u64, now: u64) -> Option<Interval> {
        if now <= self.last_at {
            return None;
        }
        let seconds = (now - self.last_at) as f64 / 1e9;
        let part = self.now.since(&self.last);
        let rate = |count: u64| count as f64 / seconds;
        let interval = Interval {
            at: now.saturating_sub(start) as f64 / 1e9,
            publish_rate: rate(part.published),
            confirm_rate: rate(part.confirmed),
            nack_rate: rate(part.nacked),
            return_rate: rate(part.returned),
            consume_rate: rate(part.consumed),
            in_flight: self.now.in_flight,
            consume: self.consume.roll(five),
            confirm: self.confirm.roll(five),
        };
        (self.last, self.last_at) = (self.now, now);
        self.intervals.push(interval.clone());
        Some(interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_add_up_and_the_warm_up_does_not_count() {
        let mut stats = Stats::new(0);
        stats.now.published = 1000;
        stats.consume.record(5, 1000);
        stats.begin(1_000_000_000);
        stats.now.published = 1100;
        stats.consume.record(2_000, 60);
        stats.consume.record(4_000, 40);
        let interval = stats.roll(1_000_000_000, 1_500_000_000).unwrap();
        assert_eq!((interval.at, interval.publish_rate), (0.5, 200.0));
        let consume = interval.consume.unwrap();
        assert_eq!((consume[0], consume[1], consume[4]), (2_000, 2_000, 4_001));
        assert_eq!(interval.confirm, None);
        assert_eq!(stats.roll(1_000_000_000, 1_500_000_000), None);
        stats.consume.record(u64::MAX, 1);
        assert_eq!(stats.roll(1_000_000_000, 2_500_000_000).unwrap().publish_rate, 0.0);
        assert_eq!(stats.consume.total().len(), 101);
        assert_eq!(stats.now.since(&stats.base).published, 100);
    }
}
