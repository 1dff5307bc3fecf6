//! Runs that do not go well: what is said, the exit status, and what is kept of the results.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::thread;

use serde_json::Value;

use crate::peer::Peer;
use crate::proxy::{Meddle, Proxy};
use crate::server;
use crate::tool::{Ended, Tool, run};

/// The run has failed with this text, also in the JSON.
fn failed(ended: &Ended, line: &str, text: &str) {
    assert_eq!(ended.status, 1, "{line}: {} {}", ended.out, ended.err);
    assert!(ended.err.contains(text), "{line}: {}", ended.err);
    assert_eq!(ended.err.lines().count(), 1, "{line}: {}", ended.err);
    let error = ended.json["error"].as_str().unwrap_or_else(|| panic!("{line}: no error in {}", ended.json));
    assert!(error.contains(text), "{line}: {error}");
    assert!(ended.json["published"].is_number() && ended.json["settings"].is_object(), "{line}");
}

#[test]
fn wrong_usage_is_told_before_anything_is_sent() {
    let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
    for (line, text) in [
        ("-a -A 10", "--autoack and --multi-ack-every"),
        ("-c 10 -m 10", "--confirm and --ptxsize"),
        ("--backlog 5 -y 0", "--backlog without consumers"),
        ("--nonsense", "invalid option '--nonsense'"),
        ("-x", "missing argument"),
        ("-mp priority=x", "priority=x: not possible"),
        ("-h amqps://h", "TLS is not supported"),
        ("--broker-pid 4294967295", "no such process"),
        ("-ms", "PerfTest's and not supported"),
    ] {
        let ended = run(nobody, line);
        assert_eq!((ended.status, &*ended.out), (2, ""), "{line}");
        assert!(ended.err.starts_with("leveret-perf: ") && ended.err.contains(text), "{line}: {}", ended.err);
        assert!(ended.err.ends_with("(see --help)\n") && ended.err.lines().count() == 1, "{line}: {}", ended.err);
        assert_eq!(ended.json, Value::Null, "{line}");
    }
    let help = run(nobody, "--help");
    assert_eq!((help.status, &*help.err), (0, ""));
    assert!(help.out.contains("--multi-ack-every") && help.out.contains("Exit status"));
    let version = run(nobody, "-v");
    assert_eq!(version.out, format!("leveret-perf {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_broker_that_does_not_let_us_in_is_told_apart() {
    let server = server(1);
    let address = server.local_addr();
    for (uri, text) in [
        (format!("amqp://guest:wrong@{address}"), "403 ACCESS_REFUSED"),
        (format!("amqp://nobody:x@{address}"), "403 ACCESS_REFUSED"),
        (format!("amqp://{address}/nowhere"), "530 NOT_ALLOWED"),
        ("amqp://127.0.0.1:1".into(), "cannot connect to 127.0.0.1:1: "),
        ("amqp://host.invalid".into(), "cannot connect to host.invalid:5672: "),
    ] {
        failed(&Tool::start_at(&uri, "-C 1").end(), &uri, text);
    }
    server.shutdown();
}

#[test]
fn something_else_than_a_broker_is_recognised() {
    for (says, text) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "not an AMQP 0-9-1 broker"),
        (b"AMQP\x00\x01\x00\x00", "does not speak AMQP 0-9-1"),
        (b"", "closed the connection"),
        (b"\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x1e\xce", "is not AMQP 0-9-1"),
        (b"\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x33\xce", "method 10.51 out of turn"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            // What the client says is read, so that the socket ends without a reset.
            std::io::Read::read_exact(&mut client, &mut [0; 8]).unwrap();
            client.write_all(says).unwrap();
        });
        failed(&run(address, "-C 1"), &format!("{says:?}"), text);
        thread.join().unwrap();
    }
}

#[test]
fn what_the_broker_refuses_is_told_with_code_and_text() {
    let server = server(1);
    let address = server.local_addr();
    let mut peer = Peer::open(address);
    peer.declare("durable");
    peer.declare_exchange("mine");
    for (line, text) in [
        ("-u durable", "queue 'durable': 406 PRECONDITION_FAILED"),
        ("-e mine -t topic", "exchange 'mine': 406 PRECONDITION_FAILED"),
        ("-p -u missing", "no queue 'missing'"),
        ("-p -u durable -e missing", "no exchange 'missing'"),
        ("-e amq.missing", "exchange 'amq.missing': 403 ACCESS_REFUSED"),
        ("-t nonsense", "nonsense"),
        ("-X 3000", "3000 channels are wanted"),
        // A made-up user in the messages closes the channel of the first that arrives.
        ("-u q -mp userId=somebody", "channel 1 of producer 0: 406 PRECONDITION_FAILED"),
    ] {
        failed(&run(address, &format!("{line} --quiet -C 10")), line, text);
        assert!(!peer.has_exchange("direct") && peer.messages("q").is_none(), "{line}: something is left");
    }
    server.shutdown();
}

#[test]
fn a_broker_that_stops_leaves_the_results() {
    for shards in [1, 2] {
        let server = server(shards);
        let mut tool = Tool::start(server.local_addr(), "-i 0.02 -c 100");
        tool.until("received: ");
        server.shutdown();
        let ended = tool.end();
        failed(&ended, "shutdown", "320 CONNECTION_FORCED");
        assert!(ended.number("published") > 0 && ended.number("consumed") > 0);
        assert!(ended.out.contains("test stopped (The run has failed)"));
    }
}

#[test]
fn a_broker_that_is_gone_leaves_the_results() {
    let server = server(1);
    let proxy = Proxy::start(server.local_addr(), Meddle::Not);
    let mut tool = Tool::start(proxy.address, "-i 0.02 -x 3 -y 3 -u q");
    tool.until("received: ");
    proxy.cut();
    let ended = tool.end();
    failed(&ended, "cut", " is lost: ");
    assert!(ended.out.contains("what was declared could not be deleted: "), "{}", ended.out);
    assert!(ended.number("published") > 0 && ended.number("consumed") > 0);
    server.shutdown();
}

#[test]
fn a_queue_that_is_deleted_under_a_consumer_ends_the_run() {
    let server = server(1);
    let mut tool = Tool::start(server.local_addr(), "-i 0.02 -u q -r 100");
    tool.until("received: ");
    Peer::open(server.local_addr()).delete("q");
    failed(&tool.end(), "delete", "cancelled consumer 0 of queue 'q'");
    server.shutdown();
}

#[test]
fn a_drain_that_is_too_short_is_told_from_a_loss() {
    let server = server(1);
    let ended = run(server.local_addr(), "-C 1000 -R 10 -q 10 --check --drain 0.01 --quiet");
    failed(&ended, "drain", "the drain was over before all had come");
    assert!(ended.json["checks"]["lost"].as_u64().is_some_and(|lost| lost > 0));
    server.shutdown();
}

#[test]
fn refused_messages_are_counted_and_not_lost() {
    let server = server(1);
    let proxy = Proxy::start(server.local_addr(), Meddle::Refuse);
    let line = "-C 100 -c 10 -y 0 --quiet";
    let ended = run(proxy.address, line).good(line);
    assert_eq!((ended.number("nacked"), ended.number("confirmed")), (100, 0));
    assert_eq!(ended.json["confirm_latency_us"], Value::Null);
    assert!(ended.out.contains("nacked: 100, returned: 0"), "{}", ended.out);
    let line = "-C 100 -c 10 -y 0 -f mandatory -k nowhere --quiet";
    let ended = run(server.local_addr(), line).good(line);
    assert_eq!((ended.number("returned"), ended.number("confirmed")), (100, 100));
    server.shutdown();
}

#[test]
fn blocked_publishers_pause_and_go_on() {
    let server = server(1);
    let proxy = Proxy::start(server.local_addr(), Meddle::Block);
    let mut tool = Tool::start(proxy.address, "-C 50 -c 1 -y 0 --quiet");
    tool.until("the broker has blocked producer 0: low on something");
    proxy.unblock();
    tool.until("the broker has unblocked producer 0");
    assert_eq!(tool.end().good("blocked").number("confirmed"), 50);
    server.shutdown();
}

#[test]
fn a_file_that_cannot_be_written_is_told() {
    let server = server(1);
    let ended = run(server.local_addr(), "-C 1 --csv /nowhere/x.csv");
    failed(&ended, "csv", "cannot write /nowhere/x.csv");
    // The last one counts, as with every option.
    let ended = run(server.local_addr(), "-C 1 --json /nowhere/x.json");
    assert_eq!((ended.status, ended.err.contains("cannot write /nowhere/x.json")), (1, true), "{}", ended.err);
    server.shutdown();
}
