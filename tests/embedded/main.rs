//! The broker in a program: servers on real sockets, in this process ([`leveret::Server`]) and as the binary.

// Real sockets, processes and time are what these tests are about.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod binary;
mod client;
mod config;
mod durable;
mod inspect;
mod memory;
mod once;
mod rules;
mod users;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use leveret::amqp::frame::{PROTOCOL_HEADER, write_method};
use leveret::amqp::method::*;
use leveret::config::Settings;
use leveret::{Config, Server};

use client::{Client, End, publish, start_ok, tune_ok};

/// A server with this many shards on a port that the system chooses.
fn server(shards: usize, change: impl FnOnce(&mut Settings)) -> Server {
    let mut config = Config { listen: vec!["127.0.0.1:0".parse().unwrap()], shards, ..Config::default() };
    change(&mut config.settings);
    Server::start(config).expect("the server starts")
}

fn default_server(shards: usize) -> Server {
    server(shards, |_| ())
}

#[test]
fn two_servers_in_one_process_have_nothing_in_common() {
    let servers = [default_server(1), default_server(3)];
    assert_ne!(servers[0].local_addr(), servers[1].local_addr());
    let mut clients: Vec<Client> = servers.iter().map(|server| Client::open(server.local_addr())).collect();
    for (place, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.declare("q", false), 0);
        for number in 0..=place {
            client.publish("q", format!("{place} {number}").as_bytes());
        }
    }
    for (place, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.declare("q", true), place as u32 + 1);
        client.consume("q");
        for number in 0..=place {
            assert_eq!(client.delivered(), format!("{place} {number}").as_bytes());
        }
    }
    let [first, second] = servers;
    first.shutdown();
    let second_client = &mut clients[1];
    second_client.publish("q", b"still here");
    assert_eq!(second_client.delivered(), b"still here");
    second.shutdown();
}

#[test]
fn bodies_of_all_sizes_pass_between_connections_of_all_shards() {
    let server = default_server(4);
    let mut clients: Vec<Client> = (0..4).map(|_| Client::open(server.local_addr())).collect();
    let sizes = [0, 1, 100, 16 << 10, (64 << 10) + 1, 131_064, 131_065, 300_000, 5 << 20];
    let body = |size: usize| -> Vec<u8> { (0..size).map(|at| (at ^ (at >> 8)) as u8).collect() };
    for from in 0..clients.len() {
        let to = (from + 1) % clients.len();
        let queue = format!("q{from}");
        clients[to].declare(&queue, false);
        for size in sizes {
            clients[from].publish(&queue, &body(size));
        }
        let mut reader = Client::open(server.local_addr());
        reader.consume(&queue);
        for size in sizes {
            assert!(reader.delivered() == body(size), "{size} bytes have changed on the way");
        }
    }
    server.shutdown();
}

#[test]
fn a_port_in_use_is_named() {
    let first = default_server(1);
    let config = Config { listen: vec![first.local_addr()], ..Config::default() };
    let error = Server::start(config).expect_err("the port is taken").to_string();
    let address = first.local_addr();
    assert_eq!(error, format!("cannot listen on {address}: the address is in use by another program"));
    assert!(Client::open(address).is_served(), "the first one is not hurt");
}

#[test]
fn slow_handshakes_are_closed_and_nobody_else_notices() {
    const HANDSHAKE_MS: u64 = 400;
    let server = server(2, |settings| settings.limits.handshake_ms = HANDSHAKE_MS);
    let address = server.local_addr();
    let mut idle = Client::open(address);
    let started = Instant::now();
    let mut slow: Vec<(&str, Client)> = vec![];
    let mut add = |name, bytes: &[u8]| {
        let mut client = Client::connect(address);
        client.raw(bytes);
        slow.push((name, client));
    };
    let mut bytes = vec![];
    add("says nothing", &bytes);
    add("half a protocol header", &PROTOCOL_HEADER[..4]);
    bytes.extend_from_slice(&PROTOCOL_HEADER);
    add("protocol header", &bytes);
    write_method(&mut bytes, 0, &start_ok());
    add("half of start-ok", &bytes[..bytes.len() - 5]);
    add("start-ok", &bytes);
    write_method(&mut bytes, 0, &tune_ok());
    add("tune-ok", &bytes);

    // One that says a byte now and then; it cannot stretch its time.
    let mut dripping = Client::connect(address);
    let mut dripped = 0;
    while started.elapsed() < Duration::from_millis(HANDSHAKE_MS * 3) && dripped < bytes.len() {
        if dripping.stream.write_all(&bytes[dripped..=dripped]).is_err() {
            break;
        }
        dripped += 1;
        assert!(idle.is_served() && Client::open(address).is_served());
        thread::sleep(Duration::from_millis(20));
    }
    assert!(started.elapsed() >= Duration::from_millis(HANDSHAKE_MS * 3 / 4));
    slow.push(("one byte now and then", dripping));

    let patience = Duration::from_secs(5);
    for (name, client) in &mut slow {
        assert!(client.ends_within(patience), "{name}");
    }
    assert!(started.elapsed() < patience, "{:?}", started.elapsed());
    assert!(idle.is_served(), "one that is open may be silent for longer than that");
}

#[test]
fn what_is_no_amqp_is_answered_with_a_header_and_closed() {
    let server = default_server(2);
    let mut other = Client::open(server.local_addr());
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"AMQP\0\x01\0\0", b"AMQP\x01\x01\x08\0", &[0; 4096]] {
        let mut client = Client::connect(server.local_addr());
        client.raw(bytes);
        let mut answer = [0; 8];
        client.stream.read_exact(&mut answer).expect("a header");
        assert_eq!(&answer, b"AMQP\x03\x01\0\0");
        assert!(client.ends_within(Duration::from_secs(5)));
    }
    assert!(other.is_served());
}

#[test]
fn bytes_that_make_no_sense_hurt_their_sender_only() {
    let server = default_server(2);
    let mut other = Client::open(server.local_addr());
    let mut state = 1u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    for _ in 0..200 {
        let mut client = Client::open(server.local_addr());
        let bytes: Vec<u8> = (0..1 + random() % 3_000)
            .map(|at| match at % 7 {
                0 => random() as u8,
                // Frames that may well be followed.
                place => [1, 0, 1, 0, 0, 0, 4][place],
            })
            .collect();
        client.raw(&bytes);
    }
    assert!(other.is_served());
    assert!(Client::open(server.local_addr()).is_served());
}

#[test]
fn connections_come_and_go() {
    let server = default_server(2);
    for round in 0..500 {
        let mut client = match round % 4 {
            0 => Client::connect(server.local_addr()),
            _ => Client::open(server.local_addr()),
        };
        if round % 4 == 2 {
            let close = ConnectionClose { reply_code: 200, reply_text: "bye", class_id: 0, method_id: 0 };
            client.expect(0, close, ConnectionCloseOk::ID);
        }
    }
    let mut many: Vec<Client> = (0..200).map(|_| Client::open(server.local_addr())).collect();
    assert!(many.iter_mut().all(Client::is_served));
    server.shutdown();
}

/// Clients that publish and consume as fast as they can until the server ends, and tell what they were told.
fn under_load(address: SocketAddr, count: usize) -> Vec<thread::JoinHandle<Option<u16>>> {
    let started = Arc::new(AtomicBool::new(false));
    let threads = (0..count)
        .map(|number| {
            let started = started.clone();
            let work = move || {
                let mut client = Client::open(address);
                let queue = format!("q{}", number % 8);
                client.declare(&queue, false);
                client.consume(&queue);
                let message = publish(&queue, &[7; 500]).repeat(20);
                started.store(true, Ordering::SeqCst);
                loop {
                    let sent = client.stream.write_all(&message);
                    for _ in 0..20 {
                        match client.receive() {
                            Ok(came) if came.method_id() == Some(ConnectionClose::ID) => {
                                let Method::ConnectionClose(close) = came.method() else {
                                    return None;
                                };
                                let code = close.reply_code;
                                client.send(0, ConnectionCloseOk {});
                                return Some(code);
                            }
                            Ok(_) => {}
                            Err(_) => return None,
                        }
                    }
                    if sent.is_err() {
                        return None;
                    }
                }
            };
            thread::spawn(work)
        })
        .collect();
    while !started.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(5));
    }
    threads
}

#[test]
fn a_shutdown_ends_in_time_with_clients_under_load() {
    for shards in [1, 4] {
        let server = default_server(shards);
        let address = server.local_addr();
        // These never read what they are told.
        let mut deaf: Vec<Client> = (0..4).map(|_| Client::open(address)).collect();
        let _silent: Vec<Client> = (0..4).map(|_| Client::connect(address)).collect();
        let threads = under_load(address, 12);
        thread::sleep(Duration::from_millis(200));
        let asked = Instant::now();
        server.shutdown();
        let took = asked.elapsed();
        assert!(took < Duration::from_millis(1_500), "{shards} shards: {took:?}");
        let told: Vec<Option<u16>> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(told.iter().flatten().all(|code| *code == 320), "{told:?}");
        for client in &mut deaf {
            let (came, end) = client.rest();
            assert_ne!(end, End::Timeout);
            assert_eq!(came.len(), 1, "{came:?}");
            let Method::ConnectionClose(close) = came[0].method() else {
                panic!("{came:?}");
            };
            let text = "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'";
            assert_eq!((close.reply_code, close.reply_text), (320, text));
        }
    }
}

#[test]
fn a_shutdown_does_not_wait_when_all_clients_answer() {
    let server = default_server(2);
    let clients: Vec<_> = (0..20).map(|_| Client::open(server.local_addr())).collect();
    let threads: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            thread::spawn(move || {
                client.take(ConnectionClose::ID);
                client.send(0, ConnectionCloseOk {});
                client.rest().1
            })
        })
        .collect();
    let asked = Instant::now();
    server.shutdown();
    let took = asked.elapsed();
    assert!(took < Duration::from_millis(400), "{took:?}");
    for thread in threads {
        assert_eq!(thread.join().unwrap(), End::Closed);
    }
}
