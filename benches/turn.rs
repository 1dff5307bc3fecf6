//! Whole shards: bytes in, bytes out. The loads are those that `benches/instructions` counts.

mod common;

use common::load::Load;
use common::plan::{PLANS, Plan, Take};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

/// Rounds of the loads that cannot go on for ever: something grows, or comes to an end.
const ROUNDS: usize = 200;

fn is_endless(plan: &Plan) -> bool {
    plan.take != Take::Not && !matches!(plan, Plan { has_backlog: true, take: Take::Ack(_), .. })
}

fn turn(c: &mut Criterion) {
    let mut group = c.benchmark_group("turn");
    for plan in PLANS {
        if is_endless(plan) {
            let mut load = None;
            group.throughput(Throughput::Elements(plan.messages() as u64));
            group.bench_function(plan.name, |b| {
                let load = load.get_or_insert_with(|| Load::new(*plan, 0));
                b.iter(|| load.round());
            });
        } else {
            group.throughput(Throughput::Elements((ROUNDS * plan.messages()) as u64));
            group.bench_function(plan.name, |b| {
                let rounds = |mut load: Load| {
                    (0..ROUNDS).for_each(|_| load.round());
                    load
                };
                b.iter_batched(|| Load::new(*plan, ROUNDS), rounds, BatchSize::PerIteration);
            });
        }
    }
    group.finish();
}

criterion_group! { name = turns; config = common::criterion(); targets = turn }
criterion_main!(turns);
