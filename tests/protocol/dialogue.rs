//! Whole dialogues of a scripted peer: what it says and the answer it expects, in one call.

use leveret::amqp::frame::PROTOCOL_HEADER;
use leveret::amqp::method::*;
use leveret::amqp::{LongStr, Method, Table, TableWriter, Value};

use crate::peer::{Login, Message, Peer};
use crate::say::*;

impl Peer {
    /// Confirms of exactly these publishes, grouped as the broker likes.
    #[track_caller]
    pub fn confirmed(&self, seqnos: &[u64]) -> &Peer {
        let mut open: Vec<u64> = seqnos.to_vec();
        while !open.is_empty() {
            self.expect_id(BasicAck::ID, |method| {
                let Method::BasicAck(ack) = method else { unreachable!() };
                let tag = ack.delivery_tag;
                assert!(open.contains(&tag), "{tag} is confirmed, open are {open:?}");
                open.retain(|&seqno| if ack.multiple { seqno > tag } else { seqno != tag });
            });
        }
        self
    }

    /// Acknowledgements of exactly these publishes and refusals of those, grouped as the broker likes.
    #[track_caller]
    pub fn told(&self, acked: &[u64], refused: &[u64]) -> &Peer {
        let mut open: Vec<u64> = acked.iter().chain(refused).copied().collect();
        while !open.is_empty() {
            let came = self.take("a confirm");
            let id = came.method_id().unwrap_or_default();
            let (tag, multiple, expected) = match Method::decode(id, came.payload.get(4..).unwrap_or_default()) {
                Ok(Method::BasicAck(ack)) => (ack.delivery_tag, ack.multiple, acked),
                Ok(Method::BasicNack(nack)) => {
                    assert!(nack.requeue, "as RabbitMQ leaves it: {nack:?}");
                    (nack.delivery_tag, nack.multiple, refused)
                }
                _ => panic!("expected a confirm, got {}", came.describe()),
            };
            assert!(open.contains(&tag), "{tag} is told, open are {open:?}");
            let covered = |seqno: &u64| if multiple { *seqno <= tag } else { *seqno == tag };
            let wrong: Vec<u64> =
                open.iter().copied().filter(|seqno| covered(seqno) && !expected.contains(seqno)).collect();
            assert!(wrong.is_empty(), "{} names {wrong:?}", came.describe());
            open.retain(|seqno| !covered(seqno));
        }
        self
    }

    /// Confirms of these publishes, of which some were returned: each of those before any ack that covers it.
    #[track_caller]
    pub fn confirmed_with_returns(&self, seqnos: &[u64], returned: &[u64]) -> &Peer {
        let mut open: Vec<u64> = seqnos.to_vec();
        let mut returns = 0;
        while !open.is_empty() {
            let came = self.take("an ack or a return");
            match Method::decode(came.method_id().unwrap_or_default(), came.payload.get(4..).unwrap_or_default()) {
                Ok(Method::BasicReturn(_)) => {
                    self.content(Message::default());
                    returns += 1;
                }
                Ok(Method::BasicAck(ack)) => {
                    let covered = |seqno: u64| {
                        if ack.multiple { seqno <= ack.delivery_tag } else { seqno == ack.delivery_tag }
                    };
                    assert!(open.contains(&ack.delivery_tag), "{ack:?}, open are {open:?}");
                    let early = returned.iter().skip(returns).any(|&seqno| covered(seqno));
                    assert!(!early, "{ack:?} before its return");
                    open.retain(|&seqno| !covered(seqno));
                }
                _ => panic!("expected an ack or a return, got {}", came.describe()),
            }
        }
        assert_eq!(returns, returned.len());
        self
    }

    /// Confirms of these publishes; returned or not is the broker's choice.
    #[track_caller]
    pub fn confirmed_or_returned(&self, seqnos: &[u64]) {
        let mut open: Vec<u64> = seqnos.to_vec();
        while !open.is_empty() {
            if self.next_id() == Some(BasicReturn::ID) {
                self.expect_id(BasicReturn::ID, |_| ());
                self.content(Message::default());
                continue;
            }
            self.expect_id(BasicAck::ID, |method| {
                let Method::BasicAck(ack) = method else { unreachable!() };
                open.retain(|&seqno| if ack.multiple { seqno > ack.delivery_tag } else { seqno != ack.delivery_tag });
            });
        }
    }

    /// A confirm and a delivery, in either order.
    #[track_caller]
    pub fn confirmed_and_delivered(&self, seqno: u64, body: &str) {
        if self.next_id() == Some(BasicAck::ID) {
            self.confirmed(&[seqno]);
            assert_eq!(self.delivery().text(), body);
        } else {
            assert_eq!(self.delivery().text(), body);
            self.confirmed(&[seqno]);
        }
    }

    /// Sends the protocol header and takes connection.start.
    #[track_caller]
    pub fn start(&self) -> &Peer {
        self.raw(&PROTOCOL_HEADER);
        self.expect_id(ConnectionStart::ID, |_| ());
        self
    }

    /// Sends start-ok with these capabilities.
    pub fn start_ok(&self, capabilities: &[&str], mechanism: &str, response: &[u8]) -> &Peer {
        let mut writer = TableWriter::new();
        for capability in capabilities {
            writer.put(capability, Value::Bool(true));
        }
        let properties = table(&[("product", s("script")), ("capabilities", Value::Table(writer.table()))]);
        self.send(ConnectionStartOk {
            client_properties: properties,
            mechanism,
            response: LongStr(response),
            locale: "en_US",
        })
    }

    /// Sends start-ok by PLAIN.
    pub fn plain(&self, login: Login<'_>) -> &Peer {
        let response = format!("\0{}\0{}", login.user, login.password);
        self.start_ok(login.capabilities, "PLAIN", response.as_bytes())
    }

    /// Takes tune.
    #[track_caller]
    pub fn tune(&self) -> &Peer {
        self.expect_id(ConnectionTune::ID, |_| ());
        self
    }

    /// Sends tune-ok.
    pub fn tune_ok(&self, login: Login<'_>) -> &Peer {
        let Login { channel_max, frame_max, heartbeat, .. } = login;
        self.net.link(self.index, |link| link.frame_max = frame_max as usize);
        self.send(ConnectionTuneOk { channel_max, frame_max, heartbeat })
    }

    /// Sends connection.open.
    pub fn open_vhost(&self, virtual_host: &str) -> &Peer {
        self.send(ConnectionOpen { virtual_host, reserved_1: "", reserved_2: false })
    }

    /// The handshake up to open-ok; the connection, not a channel of it.
    #[track_caller]
    pub fn handshake(&self, login: Login<'_>) -> &Peer {
        self.start().plain(login).tune().tune_ok(login);
        self.open_vhost(login.vhost).expect(ConnectionOpenOk { reserved_1: "" })
    }

    /// The handshake, and channel 1.
    #[track_caller]
    pub fn log_in(&self, login: Login<'_>) -> Peer {
        self.handshake(login).open(1)
    }

    /// Declares a new queue.
    #[track_caller]
    pub fn queue(&self, method: QueueDeclare<'_>) -> &Peer {
        self.send(method).expect(declare_ok(method.queue, 0, 0))
    }

    /// Declares a queue under a generated name.
    #[track_caller]
    pub fn queue_unnamed(&self, method: QueueDeclare<'_>) -> String {
        self.send(method).expect_id(QueueDeclareOk::ID, |method| {
            let Method::QueueDeclareOk(ok) = method else { unreachable!() };
            ok.queue.to_owned()
        })
    }

    /// Declares an exchange.
    #[track_caller]
    pub fn exchange(&self, name: &str, kind: &str) -> &Peer {
        self.send(exchange(name, kind)).expect(ExchangeDeclareOk {})
    }

    /// Binds a queue.
    #[track_caller]
    pub fn bind(&self, queue: &str, exchange: &str, routing_key: &str) -> &Peer {
        self.send(bind(queue, exchange, routing_key)).expect(QueueBindOk {})
    }

    /// Binds a queue with arguments.
    #[track_caller]
    pub fn bind_with(&self, queue: &str, exchange: &str, routing_key: &str, arguments: Table<'_>) -> &Peer {
        self.send(QueueBind { arguments, ..bind(queue, exchange, routing_key) }).expect(QueueBindOk {})
    }

    /// Binds an exchange to an exchange.
    #[track_caller]
    pub fn e_bind(&self, destination: &str, source: &str, routing_key: &str) -> &Peer {
        self.send(e_bind(destination, source, routing_key)).expect(ExchangeBindOk {})
    }

    /// Consumes with acknowledgements.
    #[track_caller]
    pub fn consume(&self, queue: &str, consumer_tag: &str) -> &Peer {
        self.send(consume(queue, consumer_tag)).expect(BasicConsumeOk { consumer_tag })
    }

    /// Consumes without acknowledgements.
    #[track_caller]
    pub fn consume_no_ack(&self, queue: &str, consumer_tag: &str) -> &Peer {
        self.send(consume_no_ack(queue, consumer_tag)).expect(BasicConsumeOk { consumer_tag })
    }

    /// Cancels a consumer.
    #[track_caller]
    pub fn cancel(&self, consumer_tag: &str) -> &Peer {
        self.send(cancel(consumer_tag)).expect(BasicCancelOk { consumer_tag })
    }

    /// Sets the prefetch count.
    #[track_caller]
    pub fn qos(&self, prefetch_count: u16) -> &Peer {
        self.send(qos(prefetch_count)).expect(BasicQosOk {})
    }

    /// Switches confirms on.
    #[track_caller]
    pub fn confirm_select(&self) -> &Peer {
        self.send(confirm_select()).expect(ConfirmSelectOk {})
    }

    /// Switches transactions on.
    #[track_caller]
    pub fn tx_select(&self) -> &Peer {
        self.send(TxSelect {}).expect(TxSelectOk {})
    }

    /// Commits.
    #[track_caller]
    pub fn commit(&self) -> &Peer {
        self.send(TxCommit {}).expect(TxCommitOk {})
    }

    /// Rolls back.
    #[track_caller]
    pub fn rollback(&self) -> &Peer {
        self.send(TxRollback {}).expect(TxRollbackOk {})
    }

    /// Closes the channel in good order.
    #[track_caller]
    pub fn close(&self) -> &Peer {
        self.send(channel_close()).expect(ChannelCloseOk {})
    }

    /// Closes the connection in good order.
    #[track_caller]
    pub fn quit(&self) {
        self.on(0).send(connection_close()).expect(ConnectionCloseOk {}).hang_up();
    }

    /// Gets a message that must be there, to be acknowledged.
    #[track_caller]
    pub fn get(&self, queue: &str) -> Message {
        self.send(get(queue)).got().expect("a message waits")
    }

    /// Finds nothing to get.
    #[track_caller]
    pub fn empty(&self, queue: &str) -> &Peer {
        self.send(get(queue)).expect(get_empty())
    }

    /// Takes all messages out of a queue: exactly these bodies, in order.
    #[track_caller]
    pub fn holds(&self, queue: &str, bodies: &[&str]) -> &Peer {
        let mut came = vec![];
        while let Some(message) = self.send(BasicGet { no_ack: true, ..get(queue) }).got() {
            came.push(message.text().to_owned());
        }
        assert_eq!(came, bodies, "in queue {queue}");
        self
    }

    /// The queue exists with this many messages ready and consumers.
    #[track_caller]
    pub fn counts(&self, queue: &str, ready: u32, consumers: u32) -> &Peer {
        self.send(passive(queue)).expect(declare_ok(queue, ready, consumers))
    }

    /// The queue does not exist; costs the channel, which is opened again.
    #[track_caller]
    pub fn no_queue(&self, queue: &str) -> &Peer {
        let text = format!("no queue '{queue}' in vhost '/'");
        self.send(passive(queue)).closed(404, &text, QueueDeclare::ID).reopen()
    }

    /// The exchange does not exist; costs the channel, which is opened again.
    #[track_caller]
    pub fn no_exchange(&self, name: &str) -> &Peer {
        let text = format!("no exchange '{name}' in vhost '/'");
        self.send(exchange_passive(name)).closed(404, &text, ExchangeDeclare::ID).reopen()
    }

    /// The exchange exists.
    #[track_caller]
    pub fn has_exchange(&self, name: &str) -> &Peer {
        self.send(exchange_passive(name)).expect(ExchangeDeclareOk {})
    }
}
