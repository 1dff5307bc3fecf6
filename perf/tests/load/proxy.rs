//! What a broker may do to a client and ours does not do on demand: a proxy that meddles with what the broker says.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use leveret::amqp::MethodId;
use leveret::amqp::frame::{Frame, write_method};
use leveret::amqp::method::{BasicAck, BasicNack, ConnectionBlocked, ConnectionUnblocked};

/// Between the tool and a broker.
#[derive(Debug)]
pub struct Proxy {
    pub address: SocketAddr,
    /// The sockets towards the tool.
    clients: Arc<Mutex<Vec<TcpStream>>>,
    /// Nobody is let in any more.
    gone: Arc<AtomicBool>,
}

/// What it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meddle {
    /// Nothing, until it is told to cut all connections.
    Not,
    /// It makes every basic.ack a basic.nack.
    Refuse,
    /// With the first confirm of a connection it says connection.blocked; it can be told to say unblocked.
    Block,
}

fn id(payload: &[u8]) -> Option<MethodId> {
    let id = payload.first_chunk::<4>()?;
    Some(MethodId::new(u16::from_be_bytes([id[0], id[1]]), u16::from_be_bytes([id[2], id[3]])))
}

impl Proxy {
    /// Starts it. It ends with the process.
    pub fn start(broker: SocketAddr, meddle: Meddle) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let clients: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let gone: Arc<AtomicBool> = Arc::default();
        let (all, over) = (clients.clone(), gone.clone());
        thread::spawn(move || {
            for client in listener.incoming().take_while(|_| !over.load(Ordering::Relaxed)) {
                let (client, broker) = (client.unwrap(), TcpStream::connect(broker).unwrap());
                client.set_nodelay(true).unwrap();
                broker.set_nodelay(true).unwrap();
                all.lock().unwrap().push(client.try_clone().unwrap());
                let (from, to) = (client.try_clone().unwrap(), broker.try_clone().unwrap());
                thread::spawn(move || pump(from, to));
                thread::spawn(move || meddling(broker, client, meddle));
            }
        });
        Proxy { address, clients, gone }
    }

    /// Cuts all connections, and lets nobody in any more.
    pub fn cut(&self) {
        self.gone.store(true, Ordering::Relaxed);
        for client in &*self.clients.lock().unwrap() {
            let _ = client.shutdown(Shutdown::Both);
        }
    }

    /// Says connection.unblocked on all connections. They must be silent otherwise.
    pub fn unblock(&self) {
        let mut out = vec![];
        write_method(&mut out, 0, &ConnectionUnblocked {});
        for mut client in &*self.clients.lock().unwrap() {
            let _ = client.write_all(&out);
        }
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    let mut part = [0; 16 << 10];
    while let Ok(bytes) = from.read(&mut part)
        && bytes > 0
        && to.write_all(&part[..bytes]).is_ok()
    {}
    let _ = to.shutdown(Shutdown::Both);
}

fn meddling(mut from: TcpStream, mut to: TcpStream, meddle: Meddle) {
    let (mut input, mut part, mut blocked) = (vec![], [0; 16 << 10], false);
    while let Ok(bytes) = from.read(&mut part)
        && bytes > 0
    {
        input.extend_from_slice(&part[..bytes]);
        let (mut out, mut at) = (vec![], 0);
        while let Some(frame) = Frame::read(&input[at..]) {
            let start = out.len();
            out.extend_from_slice(&input[at..at + frame.wire_bytes()]);
            at += frame.wire_bytes();
            if id(frame.payload) == Some(BasicAck::ID) {
                match meddle {
                    // The arguments are the same, but for a bit that does not matter.
                    Meddle::Refuse => out[start + 9..start + 11].copy_from_slice(&BasicNack::ID.method.to_be_bytes()),
                    Meddle::Block if !blocked => {
                        blocked = true;
                        write_method(&mut out, 0, &ConnectionBlocked { reason: "low on something" });
                    }
                    _ => {}
                }
            }
        }
        input.drain(..at);
        if to.write_all(&out).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
