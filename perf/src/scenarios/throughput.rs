//! Throughput by size of the messages and by how they are acknowledged.

use super::row::{Row, Scenario};

/// Sizes in bytes, and how they are called.
pub const SIZES: [(&str, usize); 5] =
    [("16 B", 16), ("1 KiB", 1024), ("16 KiB", 16 * 1024), ("64 KiB", 64 * 1024), ("1 MiB", 1024 * 1024)];

/// At most so many bytes wait, whatever their size: it is not memory that is to be measured.
pub const WAITING_BYTES: usize = 32 * 1024 * 1024;

/// The scenario.
pub fn scenario() -> Scenario {
    let mut rows = vec![];
    for (name, size) in SIZES {
        rows.push(Row::new(format!("{name}, auto-ack"), format!("-x 1 -y 1 -a {}", common(size))));
    }
    for (name, size) in SIZES {
        let flags = format!("-x 1 -y 1 {} {}", acknowledged(size), common(size));
        rows.push(Row::new(format!("{name}, ack + confirm"), flags));
    }
    for (name, size) in SIZES {
        let flags = format!("-x 1 -y 1 {} {}", single(size), common(size));
        rows.push(Row::new(format!("{name}, single acks + confirm"), flags));
    }
    Scenario::new(
        "throughput",
        "One publisher, one consumer, one queue. The backlog is bounded, so the rate is what the broker sustains. \
         'ack + confirm': one acknowledgement for 100 messages, prefetch 1,000, publisher confirms with 1,000 \
         outstanding (fewer from 64 KiB on). 'single acks': one for each message.",
        rows,
    )
}

/// Size, bound and time.
pub fn common(size: usize) -> String {
    format!("-s {size} -u leveret-perf --backlog {} {{span}}", (WAITING_BYTES / size).clamp(32, 20_000))
}

/// Acknowledgements for many, and confirms.
pub fn acknowledged(size: usize) -> String {
    let window = window(size);
    format!("-c {window} -q {window} -A {}", window / 10)
}

/// Acknowledgements one by one, and confirms.
pub fn single(size: usize) -> String {
    let window = window(size);
    format!("-c {window} -q {window} -A 1")
}

fn window(size: usize) -> usize {
    (WAITING_BYTES / size).clamp(32, 1_000)
}
