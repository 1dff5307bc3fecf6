use super::*;
use std::io::Read;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory that goes away with the test.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("leveret-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn config(shards: usize) -> Config {
    let listen = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
    Config { listen, shards, ..Config::default() }
}

#[test]
fn servers_start_side_by_side_serve_and_stop() {
    for shards in [1, 2, 5] {
        let server = Server::start(config(shards)).unwrap();
        let other = Server::start(config(shards)).unwrap();
        assert_ne!(server.local_addr().port(), other.local_addr().port());
        let clients: Vec<_> = (0..7).map(|_| TcpStream::connect(server.local_addr()).unwrap()).collect();
        server.shutdown();
        for mut client in clients {
            // Some bytes or none, a close or a reset: an end in any case.
            let _ = client.read_to_end(&mut vec![]);
        }
        drop(other);
    }
}

#[test]
fn an_address_is_free_again_after_the_stop() {
    let server = Server::start(config(1)).unwrap();
    let addresses = server.local_addrs().to_vec();
    let _client = TcpStream::connect(addresses[0]).unwrap();
    let again = Config { listen: addresses.clone(), ..config(1) };
    let error = Server::start(again.clone()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot listen on {}: the address is in use by another program", addresses[0])
    );
    server.shutdown();
    assert_eq!(Server::start(again).unwrap().local_addrs(), addresses);
}

#[test]
fn what_cannot_start_says_why() {
    for (config, expected) in [
        (Config { listen: vec![], ..config(1) }, "there is no address to listen on"),
        (config(0), "0 shards are not possible: expected 1 to 64"),
        (config(65), "65 shards are not possible: expected 1 to 64"),
        (
            // TEST-NET-1 (RFC 5737): nobody has it.
            Config { listen: vec!["192.0.2.1:0".parse().unwrap()], ..config(1) },
            "cannot listen on 192.0.2.1:0: this machine does not have the address",
        ),
    ] {
        assert_eq!(Server::start(config).unwrap_err().to_string(), expected);
    }
}
