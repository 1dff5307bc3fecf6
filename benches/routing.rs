//! From an exchange and a routing key to queues.

mod common;

use std::hint::black_box;
use std::sync::Arc;

use ahash::RandomState;
use common::load::Load;
use common::plan::{Exchange, Plan, find, headers, topic_key, topic_pattern};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use leveret::amqp::{Properties, Table};
use leveret::broker::exchange::{Asked, Destination, ExchangeKind, Lots, Routes, RoutingTable, Target};
use leveret::broker::topology::{BindingSpec, Change, ExchangeSpec, QueueKey, QueueSpec, Topology};

/// Keys that are asked for in turn.
const KEYS: usize = 1000;

fn hash() -> RandomState {
    RandomState::with_seeds(1, 2, 3, 4)
}

/// Asks an exchange's table for one key after the other.
fn table(c: &mut Criterion) {
    use ExchangeKind::{ConsistentHash, Direct, Fanout, Headers, ModulusHash, Random, Topic};
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
        (ConsistentHash, 10),
        (ConsistentHash, 100),
        (ConsistentHash, 10_000),
        (ModulusHash, 10_000),
        (Random, 10_000),
    ] {
        let mut table = RoutingTable::new(kind, Table::EMPTY, hash());
        for n in 0..count {
            let key = match kind {
                Topic => topic_pattern(n),
                ConsistentHash => (n % 4 + 1).to_string(),
                _ => format!("queue-{n}"),
            };
            let arguments = if kind == Headers { headers(n, true) } else { vec![] };
            let arguments = Table::check(&arguments).expect("a table");
            let queue = Target::new(Destination::Queue(n as u32), &format!("queue-{n}"), 0);
            assert!(table.bind(queue, &key, arguments));
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
        let (mut next, mut routes, lots) = (0, Routes::new(), Lots::default());
        group.bench_function(BenchmarkId::new(kind.name(), count), |b| {
            b.iter(|| {
                let (key, headers) = &asked[next];
                next = (next + 1) % KEYS;
                routes.clear();
                let headers = (kind == Headers).then(|| Table::check(headers).expect("a table"));
                let properties = Properties { headers, ..Properties::default() };
                table.route(
                    &Asked { keys: &[black_box(key)], properties: &properties, shard: 0, lots: &lots },
                    &mut routes,
                );
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
            topology.apply(&Change::QueueDeclared(Arc::new(queue(name))));
        }
        let mut next = 0;
        group.bench_function(BenchmarkId::new("default exchange", count), |b| {
            b.iter(|| {
                let exchange = topology.find_exchange(vhost, "").expect("the default exchange");
                let route = topology.route(exchange, &[black_box(&names[next])], &Properties::default(), 0);
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
        for (name, keys) in [("cached", 1000), ("not cached", 100_000)] {
            let plan = Plan { exchange: Exchange::Topic { bindings, keys }, ..find("topic-100") };
            let mut load = Load::new(plan, 0);
            group.throughput(Throughput::Elements(plan.messages() as u64));
            group.bench_function(BenchmarkId::new(name, bindings), |b| b.iter(|| load.round()));
        }
    }
    group.finish();
    // What headers decide is not cached.
    let mut group = c.benchmark_group("headers through a shard");
    for bindings in [100, 10_000] {
        let plan = Plan { exchange: Exchange::Headers { bindings }, ..find("headers-100") };
        let mut load = Load::new(plan, 0);
        group.throughput(Throughput::Elements(plan.messages() as u64));
        group.bench_function(BenchmarkId::new("not cached", bindings), |b| b.iter(|| load.round()));
    }
    group.finish();
}

/// A queue that is deleted with its 10,000 bindings: for so long its shard does nothing else.
fn queue_deleted(c: &mut Criterion) {
    use ExchangeKind::{ConsistentHash, Direct, Fanout, Headers, ModulusHash, Topic};
    const BINDINGS: usize = 10_000;
    let mut group = c.benchmark_group("queue deleted");
    group.sample_size(20);
    for (name, kind, exchanges) in [
        ("direct", Direct, 1),
        ("fanout", Fanout, 1),
        ("topic", Topic, 1),
        ("headers", Headers, 1),
        ("x-modulus-hash", ModulusHash, 1),
        ("10,000 direct exchanges", Direct, BINDINGS),
        ("10,000 topic exchanges", Topic, BINDINGS),
        ("10,000 x-consistent-hash exchanges", ConsistentHash, BINDINGS),
    ] {
        group.bench_function(name, |b| {
            b.iter_batched_ref(
                || bound(kind, exchanges, BINDINGS),
                |(topology, queue)| topology.apply(&Change::QueueDeleted(*queue)),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// A queue with so many bindings to so many exchanges. Another one is bound to each of them too.
fn bound(kind: ExchangeKind, exchanges: usize, bindings: usize) -> (Topology, QueueKey) {
    let mut topology = Topology::new(&["/".to_owned()], hash());
    let queues = ["queue", "other"].map(|name| {
        topology.apply(&Change::QueueDeclared(Arc::new(queue(name))));
        topology.find_queue(0, name).expect("the queue").key
    });
    for n in 0..exchanges {
        let name = format!("exchange-{n}");
        topology.apply(&Change::ExchangeDeclared(Arc::new(ExchangeSpec {
            id: 0,
            vhost: 0,
            name: name.as_str().into(),
            kind,
            delayed: false,
            durable: false,
            auto_delete: false,
            internal: false,
            arguments: Box::default(),
            alternate: None,
            unique: false,
        })));
        let source = topology.find_exchange(0, &name).expect("the exchange").key;
        for queue in queues {
            for n in 0..bindings / exchanges {
                let key = match kind {
                    ExchangeKind::Topic => topic_pattern(n),
                    ExchangeKind::ConsistentHash => "1".to_owned(),
                    _ => format!("key-{n}"),
                };
                let arguments = if kind == ExchangeKind::Headers { headers(n, true) } else { vec![] };
                topology.apply(&Change::Bound(BindingSpec {
                    source,
                    destination: Destination::Queue(queue.slot),
                    destination_generation: queue.generation,
                    key: key.into(),
                    arguments: arguments.into(),
                }));
            }
        }
    }
    (topology, queues[0])
}

fn queue(name: &str) -> QueueSpec {
    QueueSpec {
        id: 0,
        vhost: 0,
        name: name.into(),
        durable: false,
        auto_delete: false,
        exclusive: None,
        arguments: Box::default(),
        owner: 0,
    }
}

criterion_group! {
    name = routing;
    config = common::criterion();
    targets = table, default_exchange, cache, queue_deleted
}
criterion_main!(routing);
