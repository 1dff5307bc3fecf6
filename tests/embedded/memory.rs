//! The memory alarm: publishers wait while the process has more memory than it may, consumers go on.

use std::io::Write;
use std::net::{Shutdown, SocketAddr};
use std::thread;
use std::time::Duration;

use leveret::amqp::method::*;
use leveret::amqp::{TableWriter, Value};
use leveret::config::MemoryConfig;
use leveret::config::memory::Watermark;
use leveret::{Config, Server};

use crate::binary::Broker;
use crate::client::{Client, End, publish, start_ok};
use crate::durable::Scratch;

const NOTHING: Watermark = Watermark::Share { thousandths: 0 };
const MOST: Watermark = Watermark::Share { thousandths: 600 };

/// A client that wants to be told when it has to wait.
fn open(address: SocketAddr) -> Client {
    let mut capabilities = TableWriter::new();
    capabilities.put("connection.blocked", Value::Bool(true));
    let mut properties = TableWriter::new();
    properties.put("capabilities", Value::Table(capabilities.table()));
    let mut client = Client::connect(address);
    client.log_in_as(ConnectionStartOk { client_properties: properties.table(), ..start_ok() });
    client.expect(1, ChannelOpen { reserved_1: "" }, ChannelOpenOk::ID);
    client
}

fn is_blocked(client: &mut Client) {
    let came = client.take(ConnectionBlocked::ID);
    assert!(matches!(came.method(), Method::ConnectionBlocked(blocked) if blocked.reason == "low on memory"));
}

fn hears_nothing(client: &mut Client) {
    client.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert_eq!(client.receive(), Err(End::Timeout));
    client.stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
}

fn server(shards: usize, watermark: Watermark) -> Server {
    let memory = MemoryConfig { watermark, ..MemoryConfig::default() };
    let listen = vec!["127.0.0.1:0".parse().unwrap()];
    Server::start(Config { listen, shards, memory, ..Config::default() }).unwrap()
}

#[test]
fn a_watermark_of_nothing_blocks_the_publishers_of_all_shards_until_another_is_set() {
    for shards in [1, 4] {
        let server = server(shards, MOST);
        let mut publishers: Vec<Client> = (0..2 * shards).map(|_| open(server.local_addr())).collect();
        let (mut idle, mut consumer) = (open(server.local_addr()), open(server.local_addr()));
        idle.declare("q", false);
        publishers.iter_mut().for_each(|one| one.publish("q", b"before"));
        for _ in 0..3 {
            server.set_memory_watermark(NOTHING);
            for publisher in &mut publishers {
                // The very next publish: the call returns when all shards know.
                publisher.publish("q", b"the last");
                is_blocked(publisher);
                publisher.publish("q", b"held");
                hears_nothing(publisher);
            }
            assert!(idle.is_served() && consumer.is_served(), "whoever does not publish is not told");
            server.administrator().set_memory_watermark(MOST);
            publishers.iter_mut().for_each(|publisher| {
                publisher.take(ConnectionUnblocked::ID);
                assert!(publisher.is_served(), "what it has said meanwhile is done");
            });
        }
        server.set_memory_watermark(NOTHING);
        consumer.consume("q");
        let mut counts = [0; 3];
        for _ in 0..publishers.len() * 7 {
            counts[match &consumer.delivered()[..] {
                b"before" => 0,
                b"the last" => 1,
                b"held" => 2,
                other => panic!("{other:?}"),
            }] += 1;
        }
        assert_eq!(counts, [1, 3, 3].map(|count| count * publishers.len()), "consumers drain on");
    }
}

#[test]
fn a_server_may_begin_with_an_alarm_and_stop_with_one() {
    let server = server(2, NOTHING);
    let administrator = server.administrator();
    let mut client = open(server.local_addr());
    client.declare("q", false);
    client.publish("q", b"1");
    is_blocked(&mut client);
    server.set_memory_watermark(Watermark::Bytes(u64::MAX));
    client.take(ConnectionUnblocked::ID);
    administrator.set_memory_watermark(NOTHING);
    client.publish("q", b"2");
    is_blocked(&mut client);
    server.shutdown();
    administrator.set_memory_watermark(MOST);
}

#[test]
fn a_backlog_in_memory_raises_the_alarm_and_its_end_ends_it() {
    let scratch = Scratch::new();
    let file = scratch.path("leveret.conf");
    std::fs::write(&file, "vm_memory_high_watermark.absolute = 100MiB\nmemory_monitor_interval = 100").unwrap();
    let options = format!("--in-memory --config {}", file.display());
    for (shards, body_bytes) in [(1, 100), (1, 8 << 10), (3, 200_000)] {
        let broker = Broker::start_with("", shards, &options);
        let (mut publisher, mut other) = (open(broker.address), open(broker.address));
        publisher.declare("q", false);
        let mut stream = publisher.stream.try_clone().unwrap();
        let batch = publish("q", &vec![7; body_bytes]).repeat((128 << 10) / body_bytes + 1);
        let endless = thread::spawn(move || while stream.write_all(&batch).is_ok() {});
        for _ in 0..3 {
            is_blocked(&mut publisher);
            let messages = u64::from(other.declare("q", true));
            assert!(messages * (body_bytes as u64 + 24) > 50 << 20, "{messages} messages are no 100 MiB");
            let purge = QueuePurge { reserved_1: 0, queue: "q", no_wait: false };
            other.expect(1, purge, QueuePurgeOk::ID);
            publisher.take(ConnectionUnblocked::ID);
        }
        publisher.stream.shutdown(Shutdown::Both).unwrap();
        endless.join().unwrap();
    }
}
