//! Class tx: publishes and acknowledgements that take effect together (rabbitmq-semantics.md section 11.3).

use super::Done;
use super::publish::is_reply;
use crate::amqp::method::{TxCommit, TxCommitOk, TxRollback, TxRollbackOk, TxSelect, TxSelectOk};
use crate::amqp::{Content, Exception, MethodId, ReplyCode};
use crate::broker::queue::ruled::stored_as;
use crate::shard::Shard;
use crate::shard::ledger::Waiter;
use crate::shard::member::{After, Committing, Tx, TxPublish};
use crate::shard::mesh::{Caller, Record, Reply, Verdict};

fn not_transactional(method: MethodId) -> Exception {
    Exception::new(ReplyCode::PreconditionFailed, method, "channel is not transactional")
}

impl Shard {
    pub(super) fn tx_select(&mut self, caller: Caller) -> Done {
        let Some(channel) = self.channel_of(caller) else {
            return Ok(());
        };
        if channel.confirm.is_some() {
            return Err(Exception::new(
                ReplyCode::PreconditionFailed,
                TxSelect::ID,
                "cannot switch from confirm to tx mode",
            ));
        }
        channel.tx.get_or_insert_with(Box::default);
        self.write(caller, &TxSelectOk {});
        Ok(())
    }

    fn take_tx(&mut self, caller: Caller, method: MethodId) -> Result<Tx, Exception> {
        match self.channel_of(caller).and_then(|channel| channel.tx.as_deref_mut()) {
            Some(tx) => Ok(std::mem::take(tx)),
            None => Err(not_transactional(method)),
        }
    }

    pub(super) fn tx_commit(&mut self, caller: Caller) -> Done {
        let tx = self.take_tx(caller, TxCommit::ID)?;
        let others = self.other_parts(&tx);
        if others != 0 {
            self.commit_with_others(caller, tx, others);
            return Ok(());
        }
        let asks = self.publish_all(caller, &tx.publishes);
        for (unacked, verdict) in &tx.settled {
            self.settle_delivery(unacked, *verdict);
        }
        if asks {
            self.ledger.ticket();
            self.wait(caller, After::ok(TxCommitOk::ID, false), "", &TxCommit {});
            self.ledger.wait(Waiter::Commit(caller));
            self.grant(caller);
            return Ok(());
        }
        // One submission: on the disk as a whole, or not at all.
        if self.ledger.ticket().is_some() || self.ledger.has_output() {
            self.gate(caller.connection);
        }
        self.grant(caller);
        self.commit_whole(caller)?;
        self.write(caller, &TxCommitOk {});
        Ok(())
    }

    /// Whether no queue has refused anything of the transaction that a channel has just committed.
    ///
    /// # Errors
    ///
    /// One has.
    pub(super) fn commit_whole(&mut self, caller: Caller) -> Done {
        let tx = self.channel_of(caller).and_then(|channel| channel.tx.as_mut());
        match tx.is_some_and(|tx| std::mem::take(&mut tx.refused)) {
            true => Err(Exception::new(ReplyCode::PreconditionFailed, TxCommit::ID, "partial tx completion")),
            false => Ok(()),
        }
    }

    /// Sends on what a transaction has published. Returns whether other shards are to say what their queues refuse.
    fn publish_all(&mut self, caller: Caller, publishes: &[TxPublish]) -> bool {
        self.refused = false;
        let mut asks = false;
        self.counted.published += publishes.len() as u64;
        for publish in publishes {
            // Their time begins now.
            let content = Content::from_record(&publish.record);
            if publish.route.is_unroutable() && !is_reply(&content) {
                self.lose(caller, &content, publish.mandatory);
            }
            if publish.route.may_reject && !publish.route.remote.is_empty() {
                asks = true;
                self.enqueue_asking(caller, 0, &publish.route, &content, None);
            } else {
                self.send_on(caller, &publish.route, &content, None);
            }
        }
        if std::mem::take(&mut self.refused)
            && let Some(tx) = self.channel_of(caller).and_then(|channel| channel.tx.as_mut())
        {
            tx.refused = true;
        }
        asks
    }

    /// Other shards, by bit, that have something for the journal, or have had it: the messages that are acknowledged
    /// here must be in it before that.
    fn other_parts(&self, tx: &Tx) -> u64 {
        if !self.ledger.on {
            return 0;
        }
        let publishes = tx.publishes.iter().filter(|publish| publish.route.remote_durable != 0);
        let publishes = publishes
            .filter(|publish| self.ledger.must_have_on(&publish.route, &Content::from_record(&publish.record)))
            .fold(0, |others, publish| others | publish.route.remote_durable);
        let settled = tx.settled.iter().fold(0, |others, (unacked, _)| others | 1 << unacked.owner);
        (publishes | settled) & !(1 << self.id.0)
    }

    /// Has every shard submit its part of a transaction. It is committed when all have: see
    /// [`Shard::tx_submitted`].
    fn commit_with_others(&mut self, caller: Caller, tx: Tx, others: u64) {
        self.txs += 1;
        let number = self.txs;
        let count = self.count;
        let owners = || (0..count).filter(|owner| others & (1 << owner) != 0);
        owners().for_each(|owner| self.mesh.send(owner, Record::TxBegin(number)));
        self.ledger.begin_part(number);
        self.publish_all(caller, &tx.publishes);
        let mut settled = Vec::new();
        for (unacked, verdict) in tx.settled {
            if verdict == Verdict::Settle {
                self.settle_delivery(&unacked, Verdict::Hold);
                settled.push(unacked);
            } else {
                self.settle_delivery(&unacked, verdict);
            }
        }
        self.ledger.end_part();
        self.ledger.ticket();
        owners().for_each(|owner| self.mesh.send(owner, Record::TxEnd(number)));
        self.wait(caller, After::ok(TxCommitOk::ID, false), "", &TxCommit {});
        self.grant(caller);
        self.await_parts(number, Committing { settled, ..Committing::of(Some(caller), others) });
    }

    /// A transaction is to be committed when all have submitted their parts, and those that are open here are
    /// committed: it may take away what they have brought.
    pub(in crate::shard) fn await_parts(&mut self, number: u64, mut tx: Committing) {
        tx.behind = self.parts.clone();
        let is_ready = tx.is_ready();
        self.parts.insert(number);
        self.committing.insert(number, tx);
        if is_ready {
            self.commit(number);
        }
    }

    /// Another shard has submitted its part of a transaction.
    pub(in crate::shard) fn tx_submitted(&mut self, number: u64, shard: u8) {
        let Some(tx) = self.committing.get_mut(&number) else { return };
        tx.left &= !(1 << shard);
        if tx.is_ready() {
            self.commit(number);
        }
    }

    /// A transaction of another shard that has brought something here is committed.
    pub(in crate::shard) fn part_committed(&mut self, number: u64) {
        self.end_part(number).into_iter().for_each(|number| self.commit(number));
    }

    /// Nothing has to wait for this transaction any more. Returns those that can be committed now.
    fn end_part(&mut self, number: u64) -> Vec<u64> {
        self.parts.remove(&number);
        let waited = |tx: &mut Committing| tx.behind.remove(&number) && tx.is_ready();
        self.committing.iter_mut().filter_map(|(other, tx)| waited(tx).then_some(*other)).collect()
    }

    /// Commits a transaction, and those that had to wait for that.
    fn commit(&mut self, number: u64) {
        let mut ready = vec![number];
        while let Some(number) = ready.pop() {
            self.commit_one(number);
            ready.extend(self.end_part(number));
        }
    }

    /// By one submission: with that, all of it is on the disk.
    fn commit_one(&mut self, number: u64) {
        let Some(Committing { caller, settled, moved, owners, .. }) = self.committing.remove(&number) else { return };
        for (queue, position) in moved {
            self.ledger.settled(queue, position, position + 1);
        }
        for unacked in &settled {
            // What the journal has never had, it ignores.
            if let Some(queue) = self.topology.queue(unacked.key) {
                let store_id = stored_as(queue.spec.id, unacked.position);
                self.ledger.settled(store_id, unacked.position, unacked.position + 1);
            }
            self.settle_delivery(unacked, Verdict::Committed);
        }
        self.ledger.records().committed(number);
        // What is behind it is submitted behind it: this goes out with the batch that follows the submission.
        self.ledger.submit_soon();
        (0..self.count).filter(|owner| owners & (1 << owner) != 0).for_each(|owner| {
            self.mesh.send(owner, Record::TxCommitted(number));
        });
        if let Some(caller) = caller {
            self.counted.acknowledged += settled.len() as u64;
            self.gate(caller.connection);
            self.answered(caller, Reply::Done);
        }
    }

    pub(super) fn tx_rollback(&mut self, caller: Caller) -> Done {
        let tx = self.take_tx(caller, TxRollback::ID)?;
        if let Some(channel) = self.channel_of(caller) {
            // Un-happened: they are unacknowledged again, and not delivered again.
            channel.unacked.restore(tx.settled.into_iter().map(|(unacked, _)| unacked).collect());
        }
        self.write(caller, &TxRollbackOk {});
        Ok(())
    }
}
