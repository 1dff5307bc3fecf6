//! Data directories of earlier versions, which every later version reads. They are kept as text: `data/v1.txt` is what
//! version 0.1 has written.
//!
//! ```text
//! file NAME BYTES
//! OFFSET HEX        bytes from there on; whatever is not mentioned is zero
//! ```
//!
//! `LEVERET_CRASH_REGENERATE=tests/crash/data/v1.txt cargo test --test crash -- --ignored write_a_directory_as_text`
//! writes it anew, which is right only before a version is released.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use leveret::Server;
use leveret::amqp::Table;
use leveret::amqp::method::*;
use leveret::amqp::table::{TableWriter, Value};

use crate::link::{Answer, Event, Link};
use crate::place::{self, Folder};
use crate::reports::Turn;
use crate::small;
use crate::written::{Plan, Written, empty};

/// What is in a directory of each version; these may not change, or the directories are not understood any more.
const PLAN: Plan = Plan { messages: 30, size_max: 64, window: 5, acked: 6, restart_at: Some(15) };
const DIRECTORIES: &[(&str, &str)] = &[("1", include_str!("data/v1.txt"))];

/// Bytes in a line.
const LINE_BYTES: usize = 32;

fn to_text(dir: &Path) -> String {
    let mut text = String::new();
    for name in place::names(dir, "") {
        let bytes = fs::read(dir.join(&name)).expect("a file");
        writeln!(text, "file {name} {}", bytes.len()).unwrap();
        for (number, line) in bytes.chunks(LINE_BYTES).enumerate() {
            let Some(last) = line.iter().rposition(|byte| *byte != 0) else {
                continue;
            };
            write!(text, "{:x} ", number * LINE_BYTES).unwrap();
            line[..=last].iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
            text.push('\n');
        }
    }
    text
}

fn from_text(text: &str, dir: &Path) {
    fs::create_dir_all(dir).expect("a directory");
    let mut file: Option<(&str, Vec<u8>)> = None;
    let store = |file: Option<(&str, Vec<u8>)>| {
        if let Some((name, bytes)) = file {
            fs::write(dir.join(name), bytes).expect("a file");
        }
    };
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match (&*words, &mut file) {
            (["file", name, len], file) => {
                let bytes = vec![0; len.parse().expect("a number of bytes")];
                store(file.replace((name, bytes)));
            }
            ([at, hex], Some((_, bytes))) => {
                let at = usize::from_str_radix(at, 16).expect("an offset");
                for place in 0..hex.len() / 2 {
                    let byte = &hex[2 * place..2 * place + 2];
                    bytes[at + place] = u8::from_str_radix(byte, 16).expect("hexadecimal digits");
                }
            }
            _ => panic!("{line:?}"),
        }
    }
    store(file);
}

/// Definitions of all kinds; each is declared again by later versions, which must find them the same.
fn define(link: &mut Link) -> Answer<()> {
    let mut arguments = TableWriter::new();
    arguments.put("x-max-priority", Value::I32(5)).put("x-dead-letter-exchange", Value::LongStr(b"letters"));
    let declare = QueueDeclare {
        reserved_1: 0,
        queue: "with-arguments",
        passive: false,
        durable: true,
        exclusive: false,
        auto_delete: false,
        no_wait: false,
        arguments: arguments.table(),
    };
    link.call(declare, QueueDeclareOk::ID)?;
    for kind in ["direct", "fanout", "topic", "headers"] {
        let mut arguments = TableWriter::new();
        arguments.put("alternate-exchange", Value::LongStr(b"letters"));
        let declare = ExchangeDeclare {
            reserved_1: 0,
            exchange: &format!("of-kind-{kind}"),
            kind,
            passive: false,
            durable: true,
            auto_delete: false,
            internal: kind == "topic",
            no_wait: false,
            arguments: arguments.table(),
        };
        link.call(declare, ExchangeDeclareOk::ID)?;
    }
    link.declare_exchange("letters", "fanout", false)?;
    let mut arguments = TableWriter::new();
    arguments.put("x-match", Value::LongStr(b"any")).put("colour", Value::LongStr(b"green"));
    for (exchange, queue, arguments) in
        [("of-kind-direct", "with-arguments", Table::EMPTY), ("of-kind-headers", "with-arguments", arguments.table())]
    {
        let bind = QueueBind { reserved_1: 0, queue, exchange, routing_key: "key", no_wait: false, arguments };
        link.call(bind, QueueBindOk::ID)?;
    }
    let (source, destination) = ("of-kind-direct", "of-kind-fanout");
    let arguments = Table::EMPTY;
    let bind = ExchangeBind { reserved_1: 0, destination, source, routing_key: "key", no_wait: false, arguments };
    link.call(bind, ExchangeBindOk::ID)?;
    link.bind("with-arguments", "of-kind-fanout", "")
}

/// Whether a message finds its way; it is taken away again.
fn arrives(link: &mut Link, exchange: &str, properties: &[u8]) -> Answer<usize> {
    link.push_publish(exchange, "key", true, properties, b"");
    let mut returned = false;
    loop {
        match link.event()? {
            Event::Returned => returned = true,
            Event::Confirm { .. } if returned => return Ok(0),
            Event::Confirm { .. } => break,
            event => panic!("{event:?}"),
        }
    }
    let purge = QueuePurge { reserved_1: 0, queue: "with-arguments", no_wait: false };
    match link.call(purge, QueuePurgeOk::ID)?.method() {
        Method::QueuePurgeOk(ok) => Ok(ok.message_count as usize),
        other => panic!("{other:?}"),
    }
}

/// A directory with definitions and messages, as this version writes it.
fn write(folder: &Folder) -> Written {
    let before = |server: &Server| {
        let mut link = Link::open(server.local_addr()).expect("the server answers");
        define(&mut link).expect("the definitions");
        link.close().expect("the server answers");
    };
    Written::with(folder, PLAN, before)
}

/// Starts a server on a directory and compares.
fn check(version: &str, dir: &Path) {
    let turn = Turn::take();
    let expected = Written::planned(dir.to_owned(), PLAN);
    for shards in [2, 1] {
        let server = Server::start(small::config(dir, shards)).unwrap_or_else(|error| panic!("{version}: {error}"));
        let mut link = Link::open(server.local_addr()).expect("the server answers");
        define(&mut link).unwrap_or_else(|trouble| panic!("{version}: not the same: {trouble:?}"));
        link.select_confirms().expect("confirms");
        let none = [0, 0];
        // Flags: headers. A table with one long string.
        let mut headers = TableWriter::new();
        headers.put("colour", Value::LongStr(b"green"));
        let green = headers.into_bytes();
        let green = [&[0x20, 0][..], &(green.len() as u32).to_be_bytes(), &green].concat();
        assert_eq!(arrives(&mut link, "of-kind-direct", &none), Ok(1), "{version}: bindings of queues and exchanges");
        assert_eq!(arrives(&mut link, "of-kind-headers", &none), Ok(0), "{version}: arguments of bindings");
        assert_eq!(arrives(&mut link, "of-kind-headers", &green), Ok(1), "{version}: arguments of bindings");
        link.close().expect("the server answers");
        if shards == 1 {
            let came = empty(server.local_addr()).expect("the server gives everything back");
            assert_eq!((expected.wrong(&came), expected.lost(&came)), (None, vec![]), "{version}");
            assert!(came.altered.is_empty(), "{version}: {:?}", came.altered);
        }
        server.shutdown();
    }
    let said = turn.said();
    assert!(!said.is_trouble(), "{version}: there is nothing to complain about: {said:?}");
}

#[test]
fn directories_of_earlier_versions_are_read() {
    for (version, text) in DIRECTORIES {
        let folder = Folder::in_memory("upgrade");
        let dir = folder.join("data");
        from_text(text, &dir);
        assert_eq!(&to_text(&dir), text);
        check(version, &dir);
    }
}

#[test]
fn a_directory_of_this_version_is_read_the_same_way() {
    let folder = Folder::in_memory("this-version");
    let written = {
        let _turn = Turn::take();
        write(&folder)
    };
    let dir = folder.join("from-text");
    from_text(&to_text(&written.dir), &dir);
    check("this one", &dir);
}

#[test]
#[ignore = "writes the file that the upgrade test reads, before a release"]
fn write_a_directory_as_text() {
    let Some(path) = std::env::var_os("LEVERET_CRASH_REGENERATE") else {
        return;
    };
    let _turn = Turn::take();
    let folder = Folder::in_memory("regenerate");
    let written = write(&folder);
    fs::write(path, to_text(&written.dir)).expect("a file");
}
