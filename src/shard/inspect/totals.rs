//! Counts: additions where things happen, one for each run of messages.

/// What was counted since the start, and what there is: of one shard, or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Connections that are open.
    pub connections: u64,
    /// Channels that are open.
    pub channels: u64,
    /// Queues.
    pub queues: u64,
    /// Exchanges.
    pub exchanges: u64,
    /// What was counted.
    pub counted: Counted,
}

/// What was counted since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// Publishes, those of transactions when they are committed.
    pub published: u64,
    /// Those of channels in confirm mode.
    pub published_confirm: u64,
    /// Those that were confirmed.
    pub confirmed: u64,
    /// Those that led to no queue, and were returned.
    pub returned: u64,
    /// Those that led to no queue, and were dropped.
    pub dropped: u64,
    /// Deliveries to consumers that acknowledge.
    pub delivered: u64,
    /// Deliveries to consumers that do not.
    pub delivered_no_ack: u64,
    /// Answers to basic.get that are to be acknowledged.
    pub got: u64,
    /// Answers to basic.get that are not.
    pub got_no_ack: u64,
    /// Answers to basic.get without a message.
    pub got_empty: u64,
    /// Those of the deliveries and answers whose message was delivered before.
    pub redelivered: u64,
    /// Acknowledged deliveries.
    pub acknowledged: u64,
    /// Connections opened: from connection.open-ok on.
    pub connections_opened: u64,
    /// Those of them that are gone.
    pub connections_closed: u64,
    /// Channels opened.
    pub channels_opened: u64,
    /// Those of them that are gone.
    pub channels_closed: u64,
    /// Queues that have come, those that were found at the start among them.
    pub queues_created: u64,
    /// Queues that have gone.
    pub queues_deleted: u64,
}

impl Totals {
    /// With those of another shard, of which this one has the exchanges too.
    pub fn and(self, other: &Totals) -> Totals {
        Totals {
            connections: self.connections + other.connections,
            channels: self.channels + other.channels,
            queues: self.queues + other.queues,
            exchanges: self.exchanges.max(other.exchanges),
            counted: self.counted.and(&other.counted),
        }
    }
}

impl Counted {
    /// With those of another shard.
    fn and(self, other: &Counted) -> Counted {
        Counted {
            published: self.published + other.published,
            published_confirm: self.published_confirm + other.published_confirm,
            confirmed: self.confirmed + other.confirmed,
            returned: self.returned + other.returned,
            dropped: self.dropped + other.dropped,
            delivered: self.delivered + other.delivered,
            delivered_no_ack: self.delivered_no_ack + other.delivered_no_ack,
            got: self.got + other.got,
            got_no_ack: self.got_no_ack + other.got_no_ack,
            got_empty: self.got_empty + other.got_empty,
            redelivered: self.redelivered + other.redelivered,
            acknowledged: self.acknowledged + other.acknowledged,
            connections_opened: self.connections_opened + other.connections_opened,
            connections_closed: self.connections_closed + other.connections_closed,
            channels_opened: self.channels_opened + other.channels_opened,
            channels_closed: self.channels_closed + other.channels_closed,
            queues_created: self.queues_created + other.queues_created,
            queues_deleted: self.queues_deleted + other.queues_deleted,
        }
    }
}
