//! What a queue does with its entries, and the store with their messages.

mod common;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use leveret::amqp::Content;
use leveret::broker::entries::Entries;
use leveret::broker::message::{Blocks, MessageRef};
use leveret::limits::Limits;

/// Messages of one iteration.
const MESSAGES: usize = 1000;
const TAKER: u32 = 1;

fn content(body: &[u8]) -> Content<'_> {
    Content { names: b"\x06direct\x08queue-00", properties: &[0, 0], body, frames: &[] }
}

fn blocks() -> Blocks {
    let limits = Limits::default();
    Blocks::new(limits.block_bytes, limits.body_own_block_bytes, limits.blocks_spare_max)
}

fn message() -> MessageRef {
    blocks().keep(&content(b"x"))
}

fn filled(message: MessageRef) -> Entries {
    let mut entries = Entries::default();
    (0..MESSAGES).for_each(|_| entries.push(message, false));
    entries
}

/// A queue all of whose entries are handed out, with their places.
fn handed_out(message: MessageRef) -> (Entries, Vec<u64>) {
    let mut entries = filled(message);
    let places = (0..MESSAGES).map(|_| entries.take(TAKER).expect("an entry").position).collect();
    (entries, places)
}

fn entries(c: &mut Criterion) {
    let mut group = c.benchmark_group("entries");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    let message = message();
    let mut warm = Entries::default();
    group.bench_function("push, pop", |b| {
        b.iter(|| {
            (0..MESSAGES).for_each(|_| warm.push(message, false));
            while let Some(taken) = warm.pop() {
                black_box(taken);
            }
        });
    });
    group.bench_function("push taken, settle", |b| {
        b.iter(|| {
            let first = warm.push_taken(message, TAKER, false);
            for _ in 1..MESSAGES {
                black_box(warm.push_taken(message, TAKER, false));
            }
            for place in first..first + MESSAGES as u64 {
                black_box(warm.settle(place, TAKER));
            }
        });
    });
    group.bench_function("take, settle", |b| {
        let settle = |mut entries: Entries| {
            while let Some(taken) = entries.take(TAKER) {
                black_box(entries.settle(taken.position, TAKER));
            }
            entries
        };
        b.iter_batched(|| filled(message), settle, BatchSize::SmallInput);
    });
    group.bench_function("settle backwards", |b| {
        let settle = |(mut entries, places): (Entries, Vec<u64>)| {
            for &place in places.iter().rev() {
                black_box(entries.settle(place, TAKER));
            }
            entries
        };
        b.iter_batched(|| handed_out(message), settle, BatchSize::SmallInput);
    });
    group.bench_function("requeue, take again", |b| {
        let requeue = |(mut entries, places): (Entries, Vec<u64>)| {
            places.iter().for_each(|&place| assert!(entries.requeue(place, TAKER).is_some()));
            while let Some(taken) = entries.take(TAKER) {
                black_box(taken);
            }
            entries
        };
        b.iter_batched(|| handed_out(message), requeue, BatchSize::SmallInput);
    });
    group.finish();
}

fn messages(c: &mut Criterion) {
    let mut group = c.benchmark_group("messages");
    // Never more at once than the cache holds: the memory is not what is measured.
    for (name, size, count) in [("16 B", 16, MESSAGES), ("1 KiB", 1024, 200), ("64 KiB", 65_536, 4)] {
        let (mut blocks, body) = (blocks(), vec![b'x'; size]);
        let mut kept = Vec::with_capacity(count);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("keep, read, release {name}"), |b| {
            b.iter(|| {
                kept.extend((0..count).map(|_| blocks.keep(&content(black_box(&body)))));
                for message in kept.drain(..) {
                    black_box(blocks.content(message));
                    blocks.release(message);
                }
            });
        });
    }
    group.finish();
}

criterion_group! { name = queue; config = common::criterion(); targets = entries, messages }
criterion_main!(queue);
