//! A broker of several shards in the seeded world, and the peers that are connected to it.

use crate::disk::SimDisk;
use crate::lane::{Lane, OpenedLane};
use crate::lane_temper::LaneTemper;
use crate::rng::Rng;
use crate::wire::{Assembler, Heard};
use crate::world::{Faults, Net};
use leveret::amqp::frame::{PROTOCOL_HEADER, write_body, write_content_header, write_method};
use leveret::amqp::method::*;
use leveret::amqp::{LongStr, TableWriter, Value};
use leveret::config::Settings;
use leveret::shard::admin::{AdminReply, AdminRequest};
use leveret::shard::alarm::Alarm;
use leveret::shard::{Peer as Address, Shard};
use std::collections::VecDeque;
use std::sync::Arc;

/// A peer by its place in [`Sim::peers`].
pub type PeerId = usize;

/// One connection as its client holds it.
#[derive(Debug)]
pub struct Peer {
    pub socket: usize,
    pub frame_max: u32,
    assembler: Assembler,
    /// Heard and not yet dealt with.
    pub heard: VecDeque<(u16, Heard)>,
    /// Most bytes read at once.
    pub read_max: usize,
    /// Does not read.
    pub stalled: bool,
    /// The socket is gone on the client's side.
    pub gone: bool,
}

/// Shards, world and peers.
#[derive(Debug)]
pub struct Sim {
    pub net: Net,
    pub shards: Vec<Shard>,
    pub peers: Vec<Peer>,
    settings: Arc<Settings>,
    disk: Option<SimDisk>,
    /// The broker was stopped in order and not started since.
    in_order: bool,
}

/// How often the lane does something, beside the shards' weights.
const LANE_WEIGHT: u32 = 4;
/// Turns after which a system that should come to rest is taken to be in a loop.
const TURNS_TO_REST_MAX: u64 = 200_000;

/// After so many milliseconds a channel's new limit holds for what waits.
pub const RAISED_WAIT_MS: u64 = 5;

impl Sim {
    pub fn new(seed: u64, shards: usize, settings: Settings, faults: Faults, trace: bool) -> Sim {
        let mut rng = Rng::new(seed);
        let broker_seed = rng.bytes32();
        let net = Net::new(shards, faults, rng, trace);
        let settings = Arc::new(settings);
        let shards = Shard::mesh(shards, settings.clone(), broker_seed, None);
        Sim { net, shards, peers: vec![], settings, disk: None, in_order: false }
    }

    /// The same with a data directory.
    pub fn with_store(seed: u64, shards: usize, settings: Settings, faults: Faults, trace: bool) -> Sim {
        let mut sim = Sim::new(seed, shards, settings, faults, trace);
        let disk = SimDisk::new(sim.net.rng.next());
        if trace {
            disk.trace();
        }
        sim.disk = Some(disk);
        sim.restart(shards);
        sim
    }

    pub fn disk(&self) -> &SimDisk {
        self.disk.as_ref().expect("a data directory")
    }

    /// Starts the broker on what the disk holds, whatever ran before; the machine may go down meanwhile. Returns
    /// whether it found that it was stopped in order: not if it went down meanwhile.
    pub fn restart(&mut self, shards: usize) -> bool {
        for peer in &mut self.peers {
            peer.gone = true;
            peer.heard.clear();
        }
        self.shards.clear();
        self.net.restart(shards);
        let temper = LaneTemper::draw(&mut self.net.rng);
        // A start that is interrupted is no stop in order.
        let mut crashes = if std::mem::take(&mut self.in_order) { 0 } else { self.net.rng.pick(&[0, 0, 0, 1]) };
        loop {
            let disk = self.disk().restart();
            self.disk = Some(disk.clone());
            if crashes > 0 {
                crashes -= 1;
                let at = disk.operations() + self.net.rng.range(1, 30) as u64;
                if self.net.rng.chance(50) { disk.kill_at(at) } else { disk.cut_power_at(at) }
            }
            let opened = Lane::open(&disk, &self.settings.limits, temper.clone(), self.net.now_ms, self.net.trace);
            if disk.is_down() {
                continue;
            }
            disk.carry_on();
            let OpenedLane { lane, contents, report } = opened.unwrap_or_else(|e| panic!("it does not open: {e:?}"));
            assert!(report.is_sound(), "damage where there was none: {report}, {:?}", disk.files());
            if self.net.trace {
                eprintln!("{:>6} started with {shards} shards: {contents:?}", self.net.turns);
            }
            let seed = self.net.rng.bytes32();
            self.shards = Shard::mesh(shards, self.settings.clone(), seed, Some(&contents));
            self.net.lane = Some(lane);
            return contents.clean;
        }
    }

    /// Whether the machine or the process is gone.
    pub fn is_down(&self) -> bool {
        self.disk.as_ref().is_some_and(SimDisk::is_down)
    }

    /// Stops the broker in order, once nobody is connected. False when the disk did not let it.
    pub fn stop_in_order(&mut self) -> bool {
        let now = self.net.now();
        for shard in 0..self.shards.len() {
            self.shards[shard].stop(now);
            self.net.wake(shard);
        }
        self.rest();
        for (at, shard) in self.shards.iter_mut().enumerate() {
            shard.stop(self.net.now());
            self.net.wake(at);
        }
        // What was held back in the hope of company is submitted now.
        self.rest();
        let mut lane = self.net.lane.take().expect("a store");
        let stopped = lane.stop(&mut self.net.rng, self.net.now_ms);
        if self.net.rng.chance(50) {
            self.disk().kill()
        } else {
            self.disk().cut_power()
        }
        self.in_order = stopped;
        stopped
    }

    pub fn rng(&mut self) -> &mut Rng {
        &mut self.net.rng
    }

    /// A new connection, nothing sent.
    pub fn connect(&mut self, shard: usize) -> PeerId {
        let port = 10_000 + self.peers.len() as u16;
        let address = Address { address: ([127, 0, 0, 1], port).into(), local: ([127, 0, 0, 1], 5672).into() };
        let id = self.shards[shard].connect(self.net.now(), address).expect("room for a connection");
        let socket = self.net.attach(shard, id);
        self.peers.push(Peer {
            socket,
            frame_max: 0,
            assembler: Assembler::default(),
            heard: VecDeque::new(),
            read_max: usize::MAX,
            stalled: false,
            gone: false,
        });
        self.peers.len() - 1
    }

    pub fn send_bytes(&mut self, peer: PeerId, bytes: &[u8]) {
        let peer = &self.peers[peer];
        if !peer.gone {
            self.net.send(peer.socket, bytes);
        }
    }

    pub fn send<M: Encode>(&mut self, peer: PeerId, channel: u16, method: &M) {
        let mut bytes = vec![];
        write_method(&mut bytes, channel, method);
        self.send_bytes(peer, &bytes);
    }

    pub fn publish(
        &mut self,
        peer: PeerId,
        channel: u16,
        exchange: &str,
        routing_key: &str,
        mandatory: bool,
        properties: &[u8],
        body: &[u8],
    ) {
        let mut bytes = vec![];
        let publish = BasicPublish { reserved_1: 0, exchange, routing_key, mandatory, immediate: false };
        write_method(&mut bytes, channel, &publish);
        write_content_header(&mut bytes, channel, body.len() as u64, properties);
        write_body(&mut bytes, channel, body, self.peers[peer].frame_max);
        self.send_bytes(peer, &bytes);
    }

    /// Sends the first bytes of a connection.
    pub fn send_header(&mut self, peer: PeerId) {
        self.send_bytes(peer, &PROTOCOL_HEADER);
    }

    pub fn send_start_ok(&mut self, peer: PeerId) {
        let mut capabilities = TableWriter::new();
        for name in [
            "basic.nack",
            "publisher_confirms",
            "consumer_cancel_notify",
            "authentication_failure_close",
            "connection.blocked",
        ] {
            capabilities.put(name, Value::Bool(true));
        }
        let mut properties = TableWriter::new();
        properties.put("capabilities", Value::Table(capabilities.table()));
        let start_ok = ConnectionStartOk {
            client_properties: properties.table(),
            mechanism: "PLAIN",
            response: LongStr(b"\0guest\0guest"),
            locale: "en_US",
        };
        self.send(peer, 0, &start_ok);
    }

    pub fn send_open(&mut self, peer: PeerId, frame_max: u32) {
        self.peers[peer].frame_max = frame_max;
        self.peers[peer].assembler.frame_max = frame_max;
        self.send(peer, 0, &ConnectionTuneOk { channel_max: 2047, frame_max, heartbeat: 0 });
        self.send(peer, 0, &ConnectionOpen { virtual_host: "/", reserved_1: "", reserved_2: false });
    }

    pub fn send_close(&mut self, peer: PeerId) {
        let close = ConnectionClose { reply_code: 200, reply_text: "bye", class_id: 0, method_id: 0 };
        self.send(peer, 0, &close);
    }

    /// The client closes its socket.
    pub fn hang_up(&mut self, peer: PeerId) {
        self.net.client_close(self.peers[peer].socket);
        self.peers[peer].gone = true;
    }

    /// The connection breaks.
    pub fn cut(&mut self, peer: PeerId) {
        self.net.client_cut(self.peers[peer].socket);
        self.peers[peer].gone = true;
        self.peers[peer].heard.clear();
    }

    /// A peer reads what is there.
    pub fn poll(&mut self, peer: PeerId) {
        let peer = &mut self.peers[peer];
        if peer.gone {
            return;
        }
        match self.net.client_read(peer.socket, peer.read_max) {
            Some(bytes) => {
                // The broker speaks only after a header, and then in frames.
                peer.assembler.feed(&bytes, &mut peer.heard);
            }
            None => {
                peer.gone = true;
                peer.heard.push_back((0, Heard::Eof));
            }
        }
    }

    /// Something happens: a turn of a shard that has a reason, or a peer reads. False when nothing is left.
    pub fn step(&mut self) -> bool {
        let count = self.shards.len();
        let mut weights = [0; 66];
        for (shard, weight) in weights.iter_mut().enumerate().take(count) {
            if self.net.has_event(shard) {
                *weight = self.net.faults.shard_weights[shard];
            }
        }
        let readers: Vec<PeerId> = (0..self.peers.len())
            .filter(|p| {
                let peer = &self.peers[*p];
                !peer.gone && !peer.stalled && self.net.client_readable(peer.socket)
            })
            .collect();
        weights[count] = readers.len() as u32;
        let lane = self.net.lane.as_ref().is_some_and(|lane| lane.has_work(self.net.now_ms));
        weights[count + 1] = if lane { LANE_WEIGHT } else { 0 };
        if weights.iter().sum::<u32>() == 0 {
            return false;
        }
        let spurious = self.net.faults.spurious_turn;
        if spurious > 0 && self.net.rng.chance(spurious) {
            let shard = self.net.rng.below(count);
            self.net.turn(&mut self.shards, shard);
        }
        let choice = self.net.rng.weighted(&weights[..count + 2]);
        if choice == count + 1 {
            if let Some(mut lane) = self.net.lane.take() {
                lane.step(&mut self.net.rng, self.net.now_ms);
                lane.facts.clear();
                self.net.lane = Some(lane);
            }
        } else if choice == count {
            let peer = self.net.rng.pick(&readers);
            self.poll(peer);
        } else {
            self.net.turn(&mut self.shards, choice);
        }
        true
    }

    /// Raises or ends something that holds publishers, on one shard.
    pub fn toggle_alarm(&mut self) {
        let shard = self.net.rng.below(self.shards.len());
        let on = self.net.rng.chance(50);
        match self.net.rng.pick(&[None, Some(Alarm::Memory), Some(Alarm::Disk)]) {
            Some(alarm) => self.shards[shard].set_alarm(alarm, on),
            None => self.shards[shard].set_pressed(on),
        }
        self.net.wake(shard);
    }

    /// Asks for something that is not AMQP, and waits until it is done.
    pub fn administer(&mut self, request: AdminRequest) {
        self.net.request = Some(request);
        self.net.wake(0);
        let limit = self.net.turns + TURNS_TO_REST_MAX;
        while self.net.answer.is_none() {
            assert!(self.step() && self.net.turns < limit, "a request is not answered");
        }
        let answer = self.net.answer.take();
        assert!(matches!(answer, Some(Ok(AdminReply::Done))), "{answer:?}");
    }

    /// Ends everything that holds publishers.
    pub fn end_alarms(&mut self) {
        for (at, shard) in self.shards.iter_mut().enumerate() {
            shard.set_alarm(Alarm::Memory, false);
            shard.set_alarm(Alarm::Disk, false);
            shard.set_pressed(false);
            self.net.wake(at);
        }
    }

    /// Runs until nothing is left to do, without moving the clock.
    pub fn rest(&mut self) {
        let limit = self.net.turns + TURNS_TO_REST_MAX;
        while self.step() {
            assert!(self.net.turns < limit, "the system does not come to rest");
        }
    }

    /// Runs until `peer` hears something that `wanted` picks, and takes that out.
    pub fn wait<T>(&mut self, peer: PeerId, what: &str, mut wanted: impl FnMut(u16, &Heard) -> Option<T>) -> T {
        let limit = self.net.turns + TURNS_TO_REST_MAX;
        loop {
            let heard = &mut self.peers[peer].heard;
            let found = heard.iter().enumerate().find_map(|(at, (channel, h))| wanted(*channel, h).map(|t| (at, t)));
            if let Some((at, found)) = found {
                heard.remove(at);
                return found;
            }
            let moved = self.step() || {
                self.net.now_ms += RAISED_WAIT_MS;
                self.step()
            };
            assert!(moved, "at rest, and peer {peer} waits for {what}; heard: {:?}", self.peers[peer].heard);
            assert!(self.net.turns < limit, "peer {peer} waits for {what} in a loop");
        }
    }

    /// An open connection on `shard`.
    pub fn open(&mut self, shard: usize) -> PeerId {
        self.open_with(shard, 131_072)
    }

    pub fn open_with(&mut self, shard: usize, frame_max: u32) -> PeerId {
        let peer = self.connect(shard);
        self.send_header(peer);
        self.wait(peer, "start", |_, h| (*h == Heard::Start).then_some(()));
        self.send_start_ok(peer);
        self.wait(peer, "tune", |_, h| matches!(h, Heard::Tune { .. }).then_some(()));
        self.send_open(peer, frame_max);
        self.wait(peer, "open-ok", |_, h| (*h == Heard::OpenOk).then_some(()));
        peer
    }
}
