//! A broker with a data directory: what it finds again, who may have it, and copies of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use leveret::admin::{AdminError, AdminReply, AdminRequest, Scope};
use leveret::amqp::Table;
use leveret::amqp::frame::{write_body, write_content_header, write_method};
use leveret::amqp::method::*;
use leveret::config::store::Fsync;
use leveret::{Config, Server};

use crate::binary::Broker;
use crate::client::{Client, declare};

/// A directory that goes away with the test.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("leveret-embedded-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn config(directory: &Path, shards: usize) -> Config {
    let listen = vec!["127.0.0.1:0".parse().unwrap()];
    Config { listen, shards, data_dir: Some(directory.into()), ..Config::default() }
}

pub fn start(directory: &Path, shards: usize) -> Server {
    Server::start(config(directory, shards)).expect("the server starts")
}

/// A client that has confirms.
pub fn confirming(server: &Server) -> Client {
    let mut client = Client::open(server.local_addr());
    client.expect(1, ConfirmSelect { no_wait: false }, ConfirmSelectOk::ID);
    client
}

/// Declares a durable queue, and returns its number of messages.
fn declare_durable(client: &mut Client, queue: &str) -> u32 {
    let came = client.expect(1, QueueDeclare { durable: true, ..declare(queue, false) }, QueueDeclareOk::ID);
    match came.method() {
        Method::QueueDeclareOk(ok) => ok.message_count,
        other => panic!("{other:?}"),
    }
}

/// The frames of a persistent message; to a queue, or to `amq.fanout` when none is named.
fn persistent(queue: &str, body: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    let exchange = if queue.is_empty() { "amq.fanout" } else { "" };
    let method = BasicPublish { reserved_1: 0, exchange, routing_key: queue, mandatory: false, immediate: false };
    write_method(&mut out, 1, &method);
    write_content_header(&mut out, 1, body.len() as u64, &[0x10, 0, 2]);
    write_body(&mut out, 1, body, 131_072);
    out
}

/// Publishes persistent messages and returns when the last one is confirmed.
fn publish_confirmed(client: &mut Client, queue: &str, bodies: impl IntoIterator<Item = Vec<u8>>, last: u64) {
    let frames: Vec<u8> = bodies.into_iter().flat_map(|body| persistent(queue, &body)).collect();
    client.raw(&frames);
    let mut confirmed = 0;
    while confirmed < last {
        let came = client.take(BasicAck::ID);
        let Method::BasicAck(ack) = came.method() else { panic!("{came:?}") };
        assert!(ack.delivery_tag > confirmed);
        confirmed = ack.delivery_tag;
    }
}

fn body(number: u64) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    body.resize(8 + (number as usize % 5) * 700, number as u8);
    body
}

/// Takes everything out of a queue: exchanges and routing keys.
fn got(client: &mut Client, queue: &str) -> Vec<(String, String)> {
    let mut names = vec![];
    loop {
        client.send(1, BasicGet { reserved_1: 0, queue, no_ack: true });
        let came = client.receive().unwrap();
        let Method::BasicGetOk(ok) = came.method() else { break };
        names.push((ok.exchange.to_owned(), ok.routing_key.to_owned()));
        (0..2).for_each(|_| assert!(client.receive().is_ok(), "header and body"));
    }
    names
}

/// Whatever happens to slots, shards and the order of bindings between two starts.
#[test]
fn keys_have_the_same_queues_after_a_restart() {
    let scratch = Scratch::new();
    let directory = scratch.path("data");
    let (exchanges, queues) = (["x-consistent-hash", "x-modulus-hash"], ["a", "b", "c", "d"]);
    let mut first = None;
    for (round, shards) in [1, 3, 2].into_iter().enumerate() {
        let server = start(&directory, shards);
        let mut client = Client::open(server.local_addr());
        if round == 0 {
            declare_durable(&mut client, "decoy");
        }
        for exchange in exchanges {
            let (durable, arguments) = (true, Table::EMPTY);
            let declare = ExchangeDeclare {
                reserved_1: 0,
                exchange,
                kind: exchange,
                passive: round > 0,
                durable,
                auto_delete: false,
                internal: false,
                no_wait: false,
                arguments,
            };
            client.expect(1, declare, ExchangeDeclareOk::ID);
        }
        for (queue, routing_key) in queues.into_iter().zip(["3", "1", "1", "2"]) {
            declare_durable(&mut client, queue);
            for exchange in exchanges.into_iter().filter(|_| round == 0) {
                let (no_wait, arguments) = (false, Table::EMPTY);
                let bind = QueueBind { reserved_1: 0, queue, exchange, routing_key, no_wait, arguments };
                client.expect(1, bind, QueueBindOk::ID);
            }
        }
        for exchange in exchanges {
            for number in 0..50 {
                let (key, mut out) = (format!("key-{number}"), vec![]);
                let (mandatory, immediate) = (false, false);
                let publish = BasicPublish { reserved_1: 0, exchange, routing_key: &key, mandatory, immediate };
                write_method(&mut out, 1, &publish);
                write_content_header(&mut out, 1, 1, &[0, 0]);
                write_body(&mut out, 1, b"m", 131_072);
                client.raw(&out);
            }
        }
        let found = queues.map(|queue| got(&mut client, queue));
        assert_eq!(found.iter().map(Vec::len).sum::<usize>(), 100);
        assert!(found.iter().all(|names| !names.is_empty()));
        assert_eq!(first.get_or_insert_with(|| found.clone()), &found, "{shards} shards");
        if round == 0 {
            let delete =
                QueueDelete { reserved_1: 0, queue: "decoy", if_unused: false, if_empty: false, no_wait: false };
            client.expect(1, delete, QueueDeleteOk::ID);
        }
        server.shutdown();
    }
}

#[test]
fn a_server_finds_again_what_was_confirmed() {
    let scratch = Scratch::new();
    let directory = scratch.path("data");
    const EACH: u64 = 1_000;
    // The number of shards may change.
    for (round, shards) in [1, 3, 2].into_iter().enumerate() {
        let server = start(&directory, shards);
        let mut client = confirming(&server);
        let mut next = 1;
        for queue in ["a", "b"] {
            assert_eq!(declare_durable(&mut client, queue), round as u32 * EACH as u32, "{shards} shards");
            publish_confirmed(&mut client, queue, (0..EACH).map(body), next + EACH - 1);
            next += EACH;
        }
        // Neither durable nor persistent: gone with the server.
        client.declare("c", false);
        server.shutdown();
    }
    let server = start(&directory, 1);
    let mut client = Client::open(server.local_addr());
    for queue in ["a", "b"] {
        let mut reader = Client::open(server.local_addr());
        reader.consume(queue);
        for _ in 0..3 {
            for number in 0..EACH {
                assert!(reader.delivered() == body(number), "{queue} {number}");
            }
        }
    }
    client.expect(1, declare("c", true), ChannelClose::ID);
    server.shutdown();
    let server = start(&directory, 1);
    let mut client = Client::open(server.local_addr());
    assert_eq!(client.declare("a", true), 0, "they were taken");
}

#[test]
fn what_one_queue_sends_away_another_gets_all_the_same() {
    let scratch = Scratch::new();
    let mut config = config(&scratch.path("data"), 1);
    let limits = &mut config.settings.limits;
    (limits.block_bytes, limits.stored_messages_bytes_max) = (16 << 10, 64 << 10);
    let server = Server::start(config).unwrap();
    let mut client = confirming(&server);
    for queue in ["a", "b"] {
        declare_durable(&mut client, queue);
        let (exchange, arguments) = ("amq.fanout", Table::EMPTY);
        let bind = QueueBind { reserved_1: 0, queue, exchange, routing_key: "", no_wait: false, arguments };
        client.expect(1, bind, QueueBindOk::ID);
    }
    // Small ones, until most of both queues is on the disk, then large ones: memory is short in the middle of a batch.
    let bodies = |from: u64, to: u64, len: usize| {
        (from..to).map(move |number| [&number.to_be_bytes()[..], &vec![number as u8; len]].concat())
    };
    publish_confirmed(&mut client, "", bodies(0, 3_000, 8), 3_000);
    for round in 0..20 {
        let from = 3_000 + round * 64;
        publish_confirmed(&mut client, "", bodies(from, from + 64, 900), from + 64);
    }
    for queue in ["b", "a"] {
        let mut reader = Client::open(server.local_addr());
        reader.consume(queue);
        for body in bodies(0, 3_000, 8).chain(bodies(3_000, 3_000 + 20 * 64, 900)) {
            assert!(reader.delivered() == body, "{queue}: {:?} is not what came", &body[..8]);
        }
    }
}

#[test]
fn every_sync_policy_survives_a_stop() {
    for fsync in [Fsync::Always, Fsync::Interval, Fsync::Never] {
        let scratch = Scratch::new();
        let mut config = config(&scratch.path("data"), 1);
        config.store.fsync = fsync;
        let server = Server::start(config.clone()).unwrap();
        let mut client = confirming(&server);
        declare_durable(&mut client, "q");
        publish_confirmed(&mut client, "q", (0..100).map(body), 100);
        server.shutdown();
        let server = Server::start(config).unwrap();
        assert_eq!(Client::open(server.local_addr()).declare("q", true), 100, "{fsync:?}");
    }
}

#[test]
fn one_broker_has_a_directory() {
    let scratch = Scratch::new();
    let directory = scratch.path("data");
    let server = start(&directory, 1);
    let error = Server::start(config(&directory, 1)).unwrap_err().to_string();
    let text = format!("the data directory {} is in use by another Leveret", directory.display());
    assert_eq!(error, format!("{text} (process {})", std::process::id()));
    assert!(Client::open(server.local_addr()).is_served(), "the first one is not hurt");
    // A process, with an exit code.
    let output = leveret(&["--listen", "127.0.0.1:0", "--data-dir", &directory.to_string_lossy()]);
    assert_eq!(output, (1, String::new(), format!("leveret: {text} (process {})\n", std::process::id())));
    server.shutdown();
    start(&directory, 1).shutdown();
}

/// Runs the binary to its end: exit code, output, and errors without the log.
fn leveret(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_leveret")).args(arguments).output().expect("the binary");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_directory_that_cannot_be_used_ends_it_with_one_line() {
    let scratch = Scratch::new();
    fs::write(scratch.path("file"), "").unwrap();
    for (name, expected) in
        [("file", "the data directory * is not a directory"), ("file/below", "cannot create the data directory *: ")]
    {
        let path = scratch.path(name).to_string_lossy().into_owned();
        let (code, output, errors) = leveret(&["--listen", "127.0.0.1:0", "--data-dir", &path]);
        let expected = format!("leveret: {}", expected.replace('*', &path));
        assert!(errors.starts_with(&expected) && errors.lines().count() == 1, "{errors}");
        assert_eq!((code, &*output), (1, ""));
    }
}

#[test]
fn what_was_confirmed_survives_the_end_of_the_process() {
    let scratch = Scratch::new();
    let directory = scratch.path("data");
    let options = format!("--data-dir '{}'", directory.display());
    const COUNT: u64 = 500;
    for shards in [1, 2] {
        let broker = Broker::start_with("", shards, &options);
        let mut client = Client::open(broker.address);
        client.expect(1, ConfirmSelect { no_wait: false }, ConfirmSelectOk::ID);
        let before = declare_durable(&mut client, "q");
        assert_eq!(before % COUNT as u32, 0);
        publish_confirmed(&mut client, "q", (0..COUNT).map(body), COUNT);
        // Killed without a word: that is what its end is.
        drop(broker);
        let server = start(&directory, 1);
        let mut client = Client::open(server.local_addr());
        assert_eq!(client.declare("q", true), before + COUNT as u32, "{shards} shards");
    }
}

#[test]
fn a_stop_with_a_backlog_is_quick_and_in_order() {
    let scratch = Scratch::new();
    let directory = scratch.path("data");
    let server = start(&directory, 2);
    let mut client = confirming(&server);
    declare_durable(&mut client, "q");
    publish_confirmed(&mut client, "q", (0..20_000).map(body), 20_000);
    let asked = Instant::now();
    server.shutdown();
    // The limit is a second; a busy machine may need longer.
    assert!(asked.elapsed() < Duration::from_millis(2_500), "{:?}", asked.elapsed());
    let server = start(&directory, 1);
    assert_eq!(Client::open(server.local_addr()).declare("q", true), 20_000);
}

#[test]
fn a_snapshot_of_a_running_broker_starts_as_a_copy() {
    let scratch = Scratch::new();
    let (directory, target) = (scratch.path("data"), scratch.path("copy"));
    let names: Vec<String> = [&directory, &target].map(|path| path.to_string_lossy().into_owned()).into();
    let snapshot = || leveret(&["snapshot", &names[1], "--data-dir", &names[0]]);
    let text = |text: &str| text.replace('*', &names[0]);
    assert_eq!(snapshot(), (1, "".into(), text("leveret: no broker runs with the data directory *\n")));
    let server = start(&directory, 2);
    let mut client = confirming(&server);
    declare_durable(&mut client, "q");
    publish_confirmed(&mut client, "q", (0..100).map(body), 100);
    let (code, output, errors) = snapshot();
    assert_eq!((code, &*errors), (0, ""), "{output}");
    assert_eq!(output, format!("copied to {}: messages: 100, definitions: 4\n", names[1]));
    let (code, output, errors) = snapshot();
    let expected = format!("leveret: the directory {} is not empty\n", names[1]);
    assert_eq!((code, &*output, errors), (1, "", expected));
    // It goes on, and the copy does not follow.
    publish_confirmed(&mut client, "q", (0..50).map(body), 150);
    let copy = start(&target, 1);
    let mut reader = Client::open(copy.local_addr());
    assert_eq!(reader.declare("q", true), 100);
    reader.consume("q");
    for number in 0..100 {
        assert!(reader.delivered() == body(number));
    }
    copy.shutdown();
    assert_eq!(client.declare("q", true), 150);
    server.shutdown();
    assert!(!directory.join("control").exists());
}

#[test]
fn what_was_administered_is_there_after_a_start_on_any_number_of_shards() {
    let scratch = Scratch::new();
    let directory = scratch.path("data");
    let policies = |server: &Server| match server.administer(AdminRequest::Policies { scope: Scope::User, vhost: None })
    {
        Ok(AdminReply::Policies(rows)) => rows.into_iter().map(|row| row.name).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let set = |name: &str, document: &str| AdminRequest::SetPolicy {
        scope: Scope::User,
        vhost: "/".into(),
        name: name.into(),
        document: document.into(),
    };
    let vhost = |name: &str| AdminRequest::AddVhost {
        name: name.into(),
        description: None,
        tags: None,
        default_queue_type: Some("quorum".into()),
    };
    for (round, shards) in [1, 3, 2].into_iter().enumerate() {
        let server = start(&directory, shards);
        let expected: Vec<String> = (0..round).map(|n| format!("p{n}")).collect();
        assert_eq!(policies(&server), expected);
        let document = r#"{"pattern": "^q", "definition": {"max-length": 2}}"#;
        assert_eq!(server.administer(set(&format!("p{round}"), document)), Ok(AdminReply::Done));
        let text = "Validation failed\n\nno policy provided\n";
        let refused = server.administer(set("p0", r#"{"pattern": "^q", "definition": {}}"#));
        assert_eq!(refused, Err(AdminError::BadRequest(text.into())));
        assert_eq!(server.administer(vhost(&format!("v{round}"))), Ok(AdminReply::Done));
        if round > 0 {
            let gone = AdminRequest::DeleteVhost { name: format!("v{}", round - 1) };
            assert_eq!(server.administer(gone), Ok(AdminReply::Done));
        }
        let Ok(AdminReply::Vhosts(rows)) = server.administer(AdminRequest::Vhosts) else { panic!("no list") };
        let names: Vec<String> = rows.into_iter().map(|row| row.name).collect();
        assert_eq!(names, ["/".to_string(), format!("v{round}")]);

        let mut client = confirming(&server);
        declare_durable(&mut client, "q");
        publish_confirmed(&mut client, "q", (0..5).map(|n| vec![n]), 5);
        assert_eq!(declare_durable(&mut client, "q"), 2);
        drop(client);
        let administrator = server.administrator();
        server.shutdown();
        let stopped = AdminError::Unavailable("the broker has stopped".into());
        assert_eq!(administrator.ask(AdminRequest::Vhosts), Err(stopped));
    }
}
