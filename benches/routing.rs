//! From an exchange and a routing key to queues.

mod common;

use std::hint::black_box;
use std::sync::Arc;

use ahash::RandomState;
use common::load::Load;
use common::plan::{Exchange, Plan, find, headers, topic_key, topic_pattern};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use leveret::amqp::Table;
use leveret::broker::exchange::{Destination, ExchangeKind, Routes, RoutingTable};
use leveret::broker::topology::{Change, QueueSpec, Topology};

/// Keys that are asked for in turn.
const KEYS: usize = 1000;

fn hash() -> RandomState {
    RandomState::with_seeds(1, 2, 3, 4)
}

/// Asks an exchange's table for one key after the other.
fn table(c: &mut Criterion) {
    use ExchangeKind::{Direct, Fanout, Headers, Topic};
    let mut group = c.benchmark_group("routing table");
    group.throughput(Throughput::Elements(1));
    for (kind, count) in [
        (Direct, 1),
        (Direct, 100),
        (Direct, 10_000),
        (Fanout, 1),
        (Fanout, 10),
        (Fanout, 1000),
        (Topic, 100),
        (Topic, 10_000),
        (Topic, 100_000),
        (Headers, 100),
        (Headers, 10_000),
    ] {
        let mut table = RoutingTable::new(kind, hash());
        for n in 0..count {
            let key = if kind == Topic { topic_pattern(n) } else { format!("queue-{n}") };
            let arguments = if kind == Headers { headers(n, true) } else { vec![] };
            let arguments = Table::check(&arguments).expect("a table");
            assert!(table.bind(Destination::Queue(n as u32), &key, arguments));
        }
        let asked: Vec<(String, Vec<u8>)> = (0..KEYS)
            .map(|n| {
                // Spread over all bindings.
                let n = n * count.div_ceil(KEYS) % count;
                let key = if kind == Topic { topic_key(n, count) } else { format!("queue-{n}") };
                (key, if kind == Headers { headers(n, false) } else { vec![] })
            })
            .collect();
        let expected = if kind == Fanout { count } else { 1 };
        let (mut next, mut routes) = (0, Routes::new());
        group.bench_function(BenchmarkId::new(kind.name(), count), |b| {
            b.iter(|| {
                let (key, headers) = &asked[next];
                next = (next + 1) % KEYS;
                routes.clear();
                let headers = (kind == Headers).then(|| Table::check(headers).expect("a table"));
                table.route(black_box(key), headers, &mut routes);
                assert_eq!(routes.len(), expected);
            });
        });
    }
    group.finish();
}

/// The default exchange asks the names of the queues.
fn default_exchange(c: &mut Criterion) {
    let mut group = c.benchmark_group("topology");
    group.throughput(Throughput::Elements(1));
    for count in [1, 10_000] {
        let mut topology = Topology::new(&["/".to_owned()], hash());
        let vhost = topology.find_vhost("/").expect("the vhost");
        let names: Vec<String> = (0..count).map(|n| format!("queue-{n}")).collect();
        for name in &names {
            topology.apply(&Change::QueueDeclared(Arc::new(QueueSpec {
                id: 0,
                vhost,
                name: name.as_str().into(),
                durable: false,
                auto_delete: false,
                exclusive: None,
                arguments: Box::default(),
                owner: 0,
            })));
        }
        let mut next = 0;
        group.bench_function(BenchmarkId::new("default exchange", count), |b| {
            b.iter(|| {
                let exchange = topology.find_exchange(vhost, "").expect("the default exchange");
                let route = topology.route(exchange, &[black_box(&names[next])], None, 0);
                next = (next + 1) % count;
                assert_eq!(route.len(), 1);
            });
        });
    }
    group.finish();
}

/// Whole shards: the same bindings with fewer and with more keys than the routing cache holds.
fn cache(c: &mut Criterion) {
    let mut group = c.benchmark_group("topic through a shard");
    for bindings in [100, 10_000, 100_000] {
        for (name, keys) in [("cached", 1000), ("not cached", 10_000)] {
            let plan = Plan { exchange: Exchange::Topic { bindings, keys }, ..find("topic-100") };
            let mut load = Load::new(plan, 0);
            group.throughput(Throughput::Elements(plan.messages() as u64));
            group.bench_function(BenchmarkId::new(name, bindings), |b| b.iter(|| load.round()));
        }
    }
    group.finish();
}

criterion_group! { name = routing; config = common::criterion(); targets = table, default_exchange, cache }
criterion_main!(routing);
