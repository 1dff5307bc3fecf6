//! A model client: one connection at a time, its channels, and what it makes of what it hears.

use crate::channel::{Channel, Listening, Mode, Pending, State, What};
use crate::message::ChannelNo;
use crate::oracle::{Oracle, QueueKind};
use crate::plan::QueueNo;
use crate::sim::{PeerId, Sim};
use crate::wire::Heard;
use leveret::amqp::MethodId;
use leveret::amqp::method::{ChannelCloseOk, ConnectionCloseOk, Encode};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Offline,
    Opening,
    Running,
    /// connection.close sent.
    Closing,
}

/// A model client.
#[derive(Debug)]
pub struct Client {
    pub number: usize,
    pub phase: Phase,
    pub peer: PeerId,
    /// Counts connections over all clients.
    pub connection: u32,
    pub frame_max: u32,
    pub channels: BTreeMap<u16, Channel>,
    /// Queues of this connection.
    pub own: Vec<QueueNo>,
    /// Names to reply to, seen in requests.
    pub replies_due: Vec<String>,
    pub stalled_until: u64,
    /// The broker has said that it takes no publishes.
    pub blocked: bool,
    pub names: u32,
}

impl Client {
    pub fn new(number: usize) -> Client {
        Client {
            number,
            phase: Phase::Offline,
            peer: 0,
            connection: 0,
            frame_max: 0,
            channels: BTreeMap::new(),
            own: vec![],
            replies_due: vec![],
            stalled_until: 0,
            blocked: false,
            names: 0,
        }
    }

    pub fn fresh_name(&mut self, prefix: &str) -> String {
        self.names += 1;
        format!("{prefix}-{}-{}", self.number, self.names)
    }

    pub fn say<M: Encode + std::fmt::Debug>(&self, sim: &mut Sim, channel: u16, method: &M) {
        if sim.net.trace {
            eprintln!("{:>6} c{} #{channel} → {method:?}", sim.net.turns, self.number);
        }
        sim.send(self.peer, channel, method);
    }

    /// Starts a connection.
    pub fn connect(&mut self, sim: &mut Sim, shard: usize, connection: u32, frame_max: u32) {
        assert_eq!(self.phase, Phase::Offline);
        self.peer = sim.connect(shard);
        self.connection = connection;
        self.frame_max = frame_max;
        self.phase = Phase::Opening;
        sim.send_header(self.peer);
        if sim.net.trace {
            eprintln!("{:>6} c{} connects to shard {shard}, connection {connection}", sim.net.turns, self.number);
        }
    }

    pub fn open_channel(&mut self, sim: &mut Sim, oracle: &mut Oracle, number: u16, mode: Mode) {
        use leveret::amqp::method::{ChannelOpen, ConfirmSelect, TxSelect};
        let mut channel = Channel::new(oracle.add_channel(), self.connection, mode);
        let mut ask = |what, method| {
            channel.push(oracle, Pending { method, what, answered: true, may_fail: &[] });
        };
        ask(What::Open, ChannelOpen::ID);
        self.say(sim, number, &ChannelOpen { reserved_1: "" });
        match mode {
            Mode::Plain => {}
            Mode::Confirm => {
                ask(What::Other, ConfirmSelect::ID);
                self.say(sim, number, &ConfirmSelect { no_wait: false });
            }
            Mode::Tx => {
                ask(What::Other, TxSelect::ID);
                self.say(sim, number, &TxSelect {});
            }
        }
        self.channels.insert(number, channel);
    }

    /// Closes the connection in order.
    pub fn close(&mut self, sim: &mut Sim, oracle: &mut Oracle) {
        for channel in self.channels.values_mut() {
            channel.release(oracle);
        }
        sim.send_close(self.peer);
        self.phase = Phase::Closing;
        if sim.net.trace {
            eprintln!("{:>6} c{} closes its connection", sim.net.turns, self.number);
        }
    }

    /// The connection breaks.
    pub fn cut(&mut self, sim: &mut Sim, oracle: &mut Oracle) {
        if sim.net.trace {
            eprintln!("{:>6} c{} is cut off", sim.net.turns, self.number);
        }
        sim.cut(self.peer);
        for channel in self.channels.values_mut() {
            channel.cut(oracle);
        }
        self.over();
    }

    /// The broker went down with all its connections, and with the queues that were theirs.
    pub fn lose_broker(&mut self, sim: &mut Sim, oracle: &mut Oracle) {
        if self.phase != Phase::Offline {
            let own: Vec<String> = self.own.iter().map(|queue| oracle.name(*queue).to_owned()).collect();
            oracle.gone.extend(own);
            self.cut(sim, oracle);
        }
    }

    fn over(&mut self) {
        self.channels.clear();
        self.own.clear();
        self.phase = Phase::Offline;
        self.stalled_until = 0;
        self.blocked = false;
    }

    /// Deals with all that was heard.
    pub fn listen(&mut self, sim: &mut Sim, oracle: &mut Oracle) {
        while self.phase != Phase::Offline {
            let Some((channel, heard)) = sim.peers[self.peer].heard.pop_front() else { break };
            if sim.net.trace {
                eprintln!("{:>6} c{} #{channel} ← {}", sim.net.turns, self.number, brief(&heard));
            }
            if channel == 0 { self.hear(sim, oracle, heard) } else { self.hear_on(sim, oracle, channel, heard) }
        }
    }

    fn hear(&mut self, sim: &mut Sim, oracle: &mut Oracle, heard: Heard) {
        match (self.phase, heard) {
            (Phase::Opening, Heard::Start) => sim.send_start_ok(self.peer),
            (Phase::Opening, Heard::Tune { .. }) => sim.send_open(self.peer, self.frame_max),
            (Phase::Opening, Heard::OpenOk) => self.phase = Phase::Running,
            (Phase::Running | Phase::Closing, told @ (Heard::Blocked | Heard::Unblocked)) => {
                let before = std::mem::replace(&mut self.blocked, told == Heard::Blocked);
                assert!(before != self.blocked, "client {}: {told:?} twice", self.number);
            }
            (Phase::Closing, Heard::ConnectionCloseOk) => {
                for channel in self.channels.values_mut() {
                    // Answers that were due when the connection closed do not come any more.
                    channel.closed_with_connection(oracle);
                }
                for queue in &self.own {
                    oracle.gone.push(oracle.name(*queue).to_owned());
                }
                sim.hang_up(self.peer);
                self.over();
            }
            (_, Heard::ConnectionClose { code, text, method }) => {
                self.say(sim, 0, &ConnectionCloseOk {});
                panic!("client {}: the connection was closed with {code} ({text}) by {method:?}", self.number)
            }
            (phase, heard) => panic!("client {}: {heard:?} while {phase:?}", self.number),
        }
    }

    fn hear_on(&mut self, sim: &mut Sim, oracle: &mut Oracle, number: u16, heard: Heard) {
        let client = self.number;
        let Some(channel) = self.channels.get_mut(&number) else {
            panic!("client {client}: {heard:?} on channel {number}, which is closed")
        };
        match heard {
            Heard::ChannelClose { code, ref text, method } => {
                channel.refused(oracle, code, text, method);
                if channel.state == State::Closing {
                    // Both closed it: the broker answers our close as well.
                    let close =
                        Pending { method: MethodId::new(20, 40), what: What::Close, answered: true, may_fail: &[] };
                    channel.push(oracle, close);
                } else {
                    self.channels.remove(&number);
                }
                self.say(sim, number, &ChannelCloseOk {});
            }
            Heard::Deliver { tag, delivery } => {
                channel.take(oracle, Some(&tag), None, &delivery);
                self.note_reply(&delivery.content.properties);
            }
            Heard::Return { code, text, content } => {
                assert_eq!((code, text.as_str()), (312, "NO_ROUTE"));
                let number = oracle.returned(channel.number, &content);
                if channel.mode == Mode::Confirm {
                    assert!(
                        channel.unconfirmed.values().any(|m| *m == number),
                        "message {number} returned after its ack"
                    );
                }
            }
            Heard::Ack { seqno, multiple } => confirmed(channel, oracle, seqno, multiple),
            Heard::Nack { .. } => panic!("client {client}: {heard:?}, and no queue refuses"),
            Heard::Cancel { tag } => {
                if let Some(consumer) = channel.consumers.get(&tag) {
                    let kind = oracle.kind(consumer.queue);
                    assert_eq!(kind, QueueKind::Volatile, "{tag} was cancelled, its queue stands");
                    assert!(consumer.listening != Listening::Asked, "{tag} was cancelled before its consume-ok");
                    if consumer.no_ack {
                        oracle.lossy(consumer.queue);
                    }
                    channel.consumers.remove(&tag);
                } else {
                    panic!("client {client}: {tag} was cancelled, and is no consumer");
                }
            }
            answer => self.answered(oracle, number, answer),
        }
    }

    fn answered(&mut self, oracle: &mut Oracle, number: u16, heard: Heard) {
        let Some(channel) = self.channels.get_mut(&number) else { return };
        match (channel.answered(oracle, &heard), heard) {
            (What::Close, _) => {
                channel.closed_in_order(oracle);
                self.channels.remove(&number);
            }
            (What::Recover, _) => channel.recovered(oracle),
            (What::Commit { publishes, settles }, _) => {
                channel.committed(oracle, &publishes, &settles);
                publishes.iter().for_each(|number| oracle.messages[*number as usize].confirmed = true);
            }
            (What::Consume { tag, mut consumer }, Heard::ConsumeOk { tag: got }) => {
                consumer.listening = Listening::Active;
                match tag {
                    Some(tag) => {
                        if let Some(consumer) = channel.consumers.get_mut(&tag)
                            && consumer.listening == Listening::Asked
                        {
                            consumer.listening = Listening::Active;
                        }
                    }
                    None => {
                        let before = channel.consumers.insert(got, consumer);
                        assert!(before.is_none(), "a consumer tag was given out twice");
                    }
                }
            }
            (What::Cancel { tag }, _) => {
                channel.consumers.remove(&tag);
                channel.free_tags.push(tag);
            }
            (What::Get { queue, no_ack }, Heard::GetOk { delivery, .. }) => {
                channel.take(oracle, None, Some((queue, no_ack)), &delivery);
                self.note_reply(&delivery.content.properties);
            }
            (What::DeclareOwn, Heard::DeclareOk { queue, messages, consumers }) => {
                assert!(queue.starts_with("amq.gen-"), "{queue} is no generated name");
                assert_eq!((messages, consumers), (0, 0));
                let queue = oracle.add_queue(&queue, QueueKind::Own);
                self.own.push(queue);
            }
            _ => {}
        }
    }

    fn note_reply(&mut self, properties: &[u8]) {
        let properties = leveret::amqp::Properties::decode(properties).expect("properties");
        if let Some(name) = properties.reply_to {
            self.replies_due.push(name.to_owned());
        }
    }

    /// Commands in flight on all channels.
    pub fn in_flight(&self) -> usize {
        self.channels.values().map(|c| c.pending.iter().filter(|p| p.answered).count()).sum()
    }

    /// Nothing may be open when the system rests.
    pub fn check_rest(&self, oracle: &Oracle) {
        assert!(
            matches!(self.phase, Phase::Offline | Phase::Running),
            "client {} at rest: {:?}",
            self.number,
            self.phase
        );
        assert!(!self.blocked, "client {} is still blocked at rest", self.number);
        for (number, channel) in &self.channels {
            let who = format!("client {} channel {number}", self.number);
            let open: Vec<&Pending> = channel.pending.iter().filter(|p| p.answered).collect();
            assert!(open.is_empty(), "{who} at rest waits for {open:?}");
            assert!(channel.unconfirmed.is_empty(), "{who} at rest waits for confirms of {:?}", channel.unconfirmed);
            assert!(
                !oracle.channels[channel.number as usize].must_end,
                "{who}: what was seen means that it had closed"
            );
        }
    }
}

fn confirmed(channel: &mut Channel, oracle: &mut Oracle, seqno: u64, multiple: bool) {
    let at: ChannelNo = channel.number;
    assert_eq!(channel.mode, Mode::Confirm, "a confirm on channel {at}");
    assert!(seqno <= channel.published, "channel {at}: a confirm of {seqno}, published are {}", channel.published);
    let settled: Vec<u64> = if multiple {
        channel.unconfirmed.range(..=seqno).map(|(seqno, _)| *seqno).collect()
    } else {
        channel.unconfirmed.get(&seqno).map(|_| seqno).into_iter().collect()
    };
    assert_eq!(settled.last(), Some(&seqno), "channel {at}: {seqno} was confirmed before");
    for seqno in settled {
        if let Some(number) = channel.unconfirmed.remove(&seqno) {
            oracle.settle_publish(number, crate::message::Fate::Sure);
            oracle.messages[number as usize].confirmed = true;
        }
    }
}

fn brief(heard: &Heard) -> String {
    match heard {
        Heard::Deliver { tag, delivery: d } => {
            format!("Deliver {tag} {} {}{}", d.tag, name(&d.content), flag(d.redelivered))
        }
        Heard::GetOk { remaining, delivery: d } => {
            format!("GetOk {} {}{} remaining {remaining}", d.tag, name(&d.content), flag(d.redelivered))
        }
        Heard::Return { content, .. } => format!("Return {}", name(content)),
        other => format!("{other:?}"),
    }
}

fn flag(redelivered: bool) -> &'static str {
    if redelivered { " redelivered" } else { "" }
}

fn name(content: &crate::wire::Content) -> String {
    let number = crate::message::number_of(&content.properties, &content.body);
    format!("m{number} ({:?} {:?}, {} bytes)", content.exchange, content.routing_key, content.body.len())
}
