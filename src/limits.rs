//! Every bound in the program, in one struct.
//!
//! A buffer or a queue between two rooms has a limit here and a policy where it is used: stop reading, withhold
//! credit, refuse. The simulator runs the same code with small numbers.

/// The bounds; [`Limits::default`] is what the server runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections per shard; further ones are closed at once.
    pub connections_max: usize,
    /// Bytes read from one connection in one turn (performance.md: 256 KiB or more).
    pub read_bytes_max: usize,
    /// Bytes read from all connections in one turn, and bytes delivered from backlogs in it: whoever waits for the
    /// shard waits for its turn, and what a turn encodes takes memory until its end.
    pub turn_bytes_max: usize,
    /// Largest frame accepted before tuning: client properties and credentials.
    pub initial_frame_max: u32,
    /// Outbound bytes of a connection above which no consumer of it gets a delivery.
    pub outbound_high_bytes: usize,
    /// Outbound bytes of a connection above which its commands are not read any more (it does not read the answers).
    pub outbound_park_bytes: usize,
    /// Bytes read and not parsed, of all connections of a shard, above which less is read at once.
    pub inbound_bytes_max: usize,
    /// Outbound bytes of all connections of a shard above which each may have a fraction of what it may have else.
    pub outbound_bytes_max: usize,
    /// Bytes delivered to one queue's consumers in one go before other queues have theirs.
    pub deliver_slice_bytes: usize,
    /// Size of a shared message block.
    pub block_bytes: usize,
    /// Content from here on that is handed on at once gets memory of its own, and crosses shards and sockets without a
    /// further copy.
    pub body_own_block_bytes: usize,
    /// Bytes of messages in memory, of all shards, above which those that the journal has anyway are kept on the disk
    /// only.
    pub stored_messages_bytes_max: usize,
    /// Bytes of messages in memory, of all shards, above which further ones that wait go to the disk whatever they are
    /// (`store.memory_limit`). Without a data directory it means nothing.
    pub messages_bytes_max: usize,
    /// Bytes of records, of all shards, that wait for the disk, above which publishers are held.
    pub journal_waiting_bytes_max: usize,
    /// Bytes of messages brought back from the disk at once.
    pub fetch_bytes_max: usize,
    /// Empty blocks kept for reuse.
    pub blocks_spare_max: usize,
    /// The largest body (`max_message_size`).
    pub message_bytes_max: u64,
    /// The largest body that any configuration may allow (RabbitMQ: 512 MiB).
    pub message_bytes_ceiling: u64,
    /// Bytes of publishes in an open transaction.
    pub tx_bytes_max: usize,
    /// Publishes in an open transaction.
    pub tx_entries_max: usize,
    /// The largest frame other than a body's: those are gathered before they are looked at.
    pub gathered_frame_max: u32,
    /// Memory reserved at once for a body that was only announced.
    pub body_reserve_max: usize,
    /// Bytes of deliveries under way from one shard to a connection of another. Less with many shards: what all of them
    /// send must not keep the connection's commands from being read.
    pub link_window_bytes: i64,
    /// Bytes of deliveries under way from one shard to all connections of others, above which each may have a fraction
    /// of its window.
    pub links_bytes_max: i64,
    /// Bytes of publishes under way from one shard to another: about as much as it reads in a turn.
    pub publish_credit_bytes: i64,
    /// Bytes of publishes under way between all shards together.
    pub mesh_bytes_max: i64,
    /// Routes that a shard remembers, by exchange and routing key.
    pub route_cache_max: usize,
    /// Messages that an exchange of type x-recent-history remembers, whatever its arguments say.
    pub history_messages_max: u64,
    /// Bytes of their bodies.
    pub history_bytes_max: u64,
    /// Rows in one answer to those who look at the broker; they ask again for more.
    pub inspect_rows_max: usize,
    /// Time for a connection to get from the first byte to connection.open-ok.
    pub handshake_ms: u64,
    /// Silence before the socket of a refused log-in is closed; slows guessing down.
    pub refusal_delay_ms: u64,
    /// Longest wait for close-ok, and for the client to close its socket after ours.
    pub close_wait_ms: u64,
    /// Bytes that are written to the journal at once, but for a single submission that is larger.
    pub batch_bytes_max: usize,
    /// Bytes that are written and that the keeper of the store has not looked at, above which the journal waits for it.
    pub keeper_backlog_bytes_max: usize,
    /// Connections that have not logged in yet, per shard; the oldest gives way to a new one.
    pub handshakes_max: usize,
    /// The size of a segment of the journal, in bytes: a 32nd of the disk, if that is less, but at least
    /// `segment_bytes_min`.
    pub segment_bytes: u64,
    /// No segment is smaller.
    pub segment_bytes_min: u64,
    /// Segments kept for settlements, for when the disk is full.
    pub segments_reserve: usize,
    /// Free segments that are kept to be used again.
    pub segments_spare_max: usize,
    /// While no segment is begun, one of them less is kept each time so many milliseconds have passed.
    pub segments_spare_ms: u64,
    /// The newest segments, the one that is written among them, of which nothing is written again: most messages do not
    /// stay longer.
    pub segments_nursery: usize,
    /// A checkpoint is cut after so many bytes of journal, or four segments if that is less.
    pub checkpoint_bytes: u64,
    /// A checkpoint is cut so long after the one before, if anything was written.
    pub checkpoint_ms: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 1 << 20,
            read_bytes_max: 256 << 10,
            turn_bytes_max: 4 << 20,
            initial_frame_max: 32 << 10,
            outbound_high_bytes: 1 << 20,
            outbound_park_bytes: 4 << 20,
            inbound_bytes_max: 64 << 20,
            outbound_bytes_max: 256 << 20,
            deliver_slice_bytes: 1 << 20,
            block_bytes: 256 << 10,
            body_own_block_bytes: 16 << 10,
            stored_messages_bytes_max: 128 << 20,
            messages_bytes_max: 1 << 30,
            journal_waiting_bytes_max: 64 << 20,
            fetch_bytes_max: 512 << 10,
            blocks_spare_max: 32,
            message_bytes_max: 16 << 20,
            message_bytes_ceiling: 512 << 20,
            tx_bytes_max: 512 << 20,
            tx_entries_max: 1 << 20,
            gathered_frame_max: 4 << 20,
            body_reserve_max: 256 << 10,
            link_window_bytes: 2 << 20,
            links_bytes_max: 256 << 20,
            publish_credit_bytes: 4 << 20,
            mesh_bytes_max: 1 << 30,
            route_cache_max: 16 << 10,
            history_messages_max: 16 << 10,
            history_bytes_max: 16 << 20,
            inspect_rows_max: 512,
            handshake_ms: 10_000,
            refusal_delay_ms: 3_000,
            close_wait_ms: 30_000,
            batch_bytes_max: 4 << 20,
            keeper_backlog_bytes_max: 64 << 20,
            handshakes_max: 16 << 10,
            segment_bytes: 64 << 20,
            segment_bytes_min: 1 << 20,
            segments_reserve: 1,
            segments_spare_max: 4,
            segments_spare_ms: 2_000,
            segments_nursery: 4,
            checkpoint_bytes: 256 << 20,
            checkpoint_ms: 10_000,
        }
    }
}
