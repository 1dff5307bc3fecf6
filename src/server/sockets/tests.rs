use super::*;
use crate::server::inbox;
use mio::{Events, Poll};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream as Client};
use std::time::Duration;

struct Stage {
    poll: Poll,
    sockets: Sockets,
    listener: TcpListener,
}

impl Stage {
    fn new() -> Stage {
        let poll = Poll::new().unwrap();
        let (inlet, inbox) = inbox::open(poll.registry()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (passwords, _thread) = crate::server::passwords::start(Arc::new([])).unwrap();
        Stage { poll, sockets: Sockets::new(0, inbox, Arc::new([inlet]), None, passwords), listener }
    }

    fn connect(&mut self, slot: u32, generation: u32) -> (ConnectionId, Client) {
        let client = Client::connect(self.listener.local_addr().unwrap()).unwrap();
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let id = ConnectionId { slot, generation };
        self.sockets.add(self.poll.registry(), id, TcpStream::from_std(stream)).unwrap();
        (id, client)
    }

    /// Waits for an event of `id` that `wanted` accepts, and notes all that come meanwhile.
    fn wait(&mut self, id: ConnectionId, wanted: fn(&Event) -> bool) {
        let mut events = Events::with_capacity(8);
        loop {
            self.poll.poll(&mut events, Some(Duration::from_secs(30))).unwrap();
            assert!(!events.is_empty(), "nothing happened");
            let mut found = false;
            for event in &events {
                self.sockets.note(id, event);
                found |= wanted(event);
            }
            if found {
                return;
            }
        }
    }

    /// What a turn finds readable and reads, with a buffer of four bytes.
    fn turn(&mut self) -> Vec<ReadOutcome> {
        self.sockets.begin_turn(Now::default(), 0);
        let mut found = vec![];
        while let Some(id) = self.sockets.next_readable() {
            found.push(self.sockets.read(id, &mut [0; 4]));
        }
        found
    }
}

#[test]
fn a_socket_is_read_until_it_is_known_to_be_empty_once_per_turn() {
    let mut stage = Stage::new();
    let (id, mut client) = stage.connect(3, 1);
    assert!(stage.sockets.has_work());
    assert_eq!(stage.turn(), [ReadOutcome::Empty], "a new socket is looked at");
    assert_eq!(stage.turn(), []);
    client.write_all(b"123456").unwrap();
    stage.wait(id, Event::is_readable);
    assert_eq!(stage.turn(), [ReadOutcome::Bytes(4)]);
    assert_eq!(stage.turn(), [ReadOutcome::Bytes(2)]);
    assert_eq!(stage.turn(), [], "a short read has emptied it");
    client.write_all(b"1234").unwrap();
    stage.wait(id, Event::is_readable);
    assert_eq!(stage.turn(), [ReadOutcome::Bytes(4)]);
    assert_eq!(stage.turn(), [ReadOutcome::Empty]);
    assert!(!stage.sockets.has_work());
}

#[test]
fn an_end_that_was_announced_is_found_behind_a_short_read() {
    let mut stage = Stage::new();
    let (id, mut client) = stage.connect(0, 1);
    stage.turn();
    client.write_all(b"12").unwrap();
    drop(client);
    stage.wait(id, Event::is_read_closed);
    assert_eq!(stage.turn(), [ReadOutcome::Bytes(2)]);
    assert_eq!(stage.turn(), [ReadOutcome::Closed]);
    assert_eq!(stage.turn(), []);
}

#[test]
fn a_socket_that_the_shard_asked_for_is_not_read_again_in_its_turn() {
    let mut stage = Stage::new();
    let (id, mut client) = stage.connect(0, 1);
    client.write_all(b"12345678").unwrap();
    stage.wait(id, Event::is_readable);
    stage.sockets.begin_turn(Now::default(), 0);
    assert_eq!(stage.sockets.read(id, &mut [0; 4]), ReadOutcome::Bytes(4));
    assert_eq!(stage.sockets.next_readable(), None);
    assert_eq!(stage.turn(), [ReadOutcome::Bytes(4)]);
}

#[test]
fn what_concerned_a_closed_connection_does_not_reach_its_successor() {
    let mut stage = Stage::new();
    let (old, mut client) = stage.connect(0, 1);
    stage.turn();
    client.write_all(b"12").unwrap();
    stage.wait(old, Event::is_readable);
    stage.sockets.close(old, CloseKind::Flushed);
    assert_eq!(stage.turn(), [], "it was in the list");
    let (new, _client) = stage.connect(0, 2);
    assert_eq!(stage.sockets.read(old, &mut [0; 4]), ReadOutcome::Closed);
    stage.sockets.close(old, CloseKind::Flushed);
    assert_eq!(stage.turn(), [ReadOutcome::Empty], "the successor is still there");
    assert_eq!(new.slot, old.slot);
}

#[test]
fn a_full_socket_is_reported_once_when_it_takes_bytes_again() {
    let mut stage = Stage::new();
    let (id, mut client) = stage.connect(0, 1);
    let mut outbound = Outbound::default();
    let mut sent = 0;
    let mut outcome = WriteOutcome::Drained;
    while outcome == WriteOutcome::Drained {
        outbound.buffer().extend_from_slice(&[7; 1 << 20]);
        sent += 1 << 20;
        outcome = stage.sockets.write(id, &mut outbound);
    }
    assert_eq!(outcome, WriteOutcome::Full);
    let mut got = 0;
    let mut buffer = vec![0; 1 << 20];
    while stage.sockets.next_writable().is_none() {
        got += client.read(&mut buffer).unwrap();
        let mut events = Events::with_capacity(8);
        stage.poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        events.iter().for_each(|event| stage.sockets.note(id, event));
    }
    assert_eq!(stage.sockets.next_writable(), None);
    while got < sent {
        stage.sockets.write(id, &mut outbound);
        got += client.read(&mut buffer).unwrap();
    }
    assert!(outbound.is_empty());
}

#[test]
fn a_failed_write_has_the_socket_read() {
    let mut stage = Stage::new();
    let (id, client) = stage.connect(0, 1);
    stage.turn();
    drop(client);
    let mut outbound = Outbound::default();
    let mut outcome = WriteOutcome::Drained;
    while outcome == WriteOutcome::Drained {
        outbound.buffer().extend_from_slice(&[7; 1 << 10]);
        outcome = stage.sockets.write(id, &mut outbound);
    }
    assert_eq!(outcome, WriteOutcome::Failed);
    assert_eq!(stage.turn(), [ReadOutcome::Closed]);
}

#[test]
fn a_reset_reaches_the_client_as_one() {
    let mut stage = Stage::new();
    let (id, mut client) = stage.connect(0, 1);
    stage.sockets.close(id, CloseKind::Reset);
    assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    let (id, mut client) = stage.connect(0, 2);
    stage.sockets.close(id, CloseKind::Flushed);
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
}
