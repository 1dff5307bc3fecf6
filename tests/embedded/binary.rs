//! The binary as a process: what only a process has, its signals and its limits.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use leveret::amqp::frame::PROTOCOL_HEADER;

use crate::client::{Client, End};

/// A broker that is killed when the test is over.
pub struct Broker {
    process: Child,
    pub address: SocketAddr,
}

impl Broker {
    /// Starts a broker from a shell, behind `limits`.
    fn start(limits: &str, shards: usize) -> Broker {
        Broker::start_with(limits, shards, "--in-memory")
    }

    /// The same with further options.
    pub fn start_with(limits: &str, shards: usize, options: &str) -> Broker {
        let script = format!("{limits} exec \"$0\" --listen 127.0.0.1:0 --shards {shards} --log-level error {options}");
        let mut process = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_leveret")])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        let output = process.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let address = line.split_whitespace().find_map(|word| word.parse().ok());
        let address = address.unwrap_or_else(|| panic!("no address in {line:?}"));
        Broker { process, address }
    }

    fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        let status = Command::new("kill").args([name, &pid]).status().expect("kill");
        assert!(status.success());
    }

    /// Whether it ends well within `time`.
    fn ends_within(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while Instant::now() < until {
            if let Some(status) = self.process.try_wait().expect("it is our child") {
                assert!(status.success(), "{status}");
                return true;
            }
            thread::sleep(Duration::from_millis(5));
        }
        false
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn without_descriptors_others_go_on_and_the_listener_recovers() {
    for shards in [1, 2] {
        let broker = Broker::start("ulimit -n 64;", shards);
        let mut early = Client::open(broker.address);
        let mut served = vec![];
        let mut refused = 0;
        for _ in 0..100 {
            let mut client = Client::connect(broker.address);
            client.stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            let _ = client.stream.write_all(&PROTOCOL_HEADER);
            match client.receive() {
                Ok(_) => served.push(client),
                Err(end) => {
                    assert_ne!(end, End::Timeout, "{shards} shards: neither served nor refused");
                    refused += 1;
                }
            }
        }
        assert!(served.len() > 30 && refused > 30, "{} served, {refused} refused", served.len());
        assert!(early.is_served(), "{shards} shards");
        drop(served);
        let recovered = (0..100).any(|_| {
            thread::sleep(Duration::from_millis(20));
            let mut client = Client::connect(broker.address);
            let _ = client.stream.write_all(&PROTOCOL_HEADER);
            client.receive().is_ok()
        });
        assert!(recovered, "{shards} shards");
        assert!(early.is_served() && Client::open(broker.address).is_served());
    }
}

#[test]
fn sigterm_and_sigint_stop_it_with_clients_attached() {
    for (signal, shards) in [("-TERM", 1), ("-TERM", 4), ("-INT", 2)] {
        let mut broker = Broker::start("", shards);
        let mut clients: Vec<Client> = (0..50).map(|_| Client::open(broker.address)).collect();
        broker.signal(signal);
        // The limit is a second; a busy machine may need longer to tell us.
        assert!(broker.ends_within(Duration::from_secs(2)), "{signal}, {shards} shards");
        for client in &mut clients {
            let (came, end) = client.rest();
            assert_ne!(end, End::Timeout);
            assert_eq!(came.len(), 1, "{came:?}");
        }
    }
}

#[test]
fn a_port_in_use_ends_it_with_one_line() {
    let broker = Broker::start("", 1);
    let output = Command::new(env!("CARGO_BIN_EXE_leveret"))
        .args(["--in-memory", "--listen", &broker.address.to_string()])
        .output()
        .expect("the binary");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        format!("leveret: cannot listen on {}: the address is in use by another program\n", broker.address)
    );
}
