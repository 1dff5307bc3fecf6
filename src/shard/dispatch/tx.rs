//! Class tx: publishes and acknowledgements that take effect together (rabbitmq-semantics.md section 11.3).

use super::Done;
use super::publish::is_reply;
use crate::amqp::content::Content;
use crate::amqp::method::{TxCommit, TxCommitOk, TxRollback, TxRollbackOk, TxSelect, TxSelectOk};
use crate::amqp::{Exception, MethodId, ReplyCode};
use crate::shard::Shard;
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
        self.publish_all(caller, &tx.publishes);
        for (unacked, requeue) in &tx.settled {
            self.settle_delivery(unacked, if *requeue { Verdict::Requeue } else { Verdict::Settle });
        }
        // One submission: on the disk as a whole, or not at all.
        if self.ledger.ticket().is_some() || self.ledger.has_output() {
            self.gate(caller.connection);
        }
        self.write(caller, &TxCommitOk {});
        self.grant(caller);
        Ok(())
    }

    fn publish_all(&mut self, caller: Caller, publishes: &[TxPublish]) {
        for publish in publishes {
            let content = Content::from_record(&publish.record);
            if publish.route.is_empty() && publish.mandatory && !is_reply(&content) {
                self.write_return(caller, &content);
            }
            self.send_on(caller, &publish.route, &content, None);
        }
    }

    /// Other shards, by bit, that have something for the journal, or have had it: the messages that are acknowledged
    /// here must be in it before that.
    fn other_parts(&self, tx: &Tx) -> u64 {
        if !self.ledger.on {
            return 0;
        }
        let publishes = tx.publishes.iter().filter(|publish| publish.route.remote_durable != 0);
        let publishes = publishes
            .filter(|publish| self.ledger.must_have(true, &Content::from_record(&publish.record)))
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
        for (unacked, requeue) in tx.settled {
            self.settle_delivery(&unacked, if requeue { Verdict::Requeue } else { Verdict::Hold });
            if !requeue {
                settled.push(unacked);
            }
        }
        self.ledger.end_part();
        self.ledger.ticket();
        owners().for_each(|owner| self.mesh.send(owner, Record::TxEnd(number)));
        self.wait(caller, After::ok(TxCommitOk::ID, false), "", &TxCommit {});
        self.grant(caller);
        self.committing.insert(number, Committing { caller, left: others, settled });
    }

    /// Another shard has submitted its part of a transaction. Behind the last one it is committed, by one submission:
    /// with that, all of it is on the disk.
    pub(in crate::shard) fn tx_submitted(&mut self, number: u64, shard: u8) {
        let Some(tx) = self.committing.get_mut(&number) else { return };
        tx.left &= !(1 << shard);
        if tx.left != 0 {
            return;
        }
        let Some(Committing { caller, settled, .. }) = self.committing.remove(&number) else { return };
        for unacked in &settled {
            // What the journal has never had, it ignores.
            if let Some(queue) = self.topology.queue(unacked.key) {
                self.ledger.settled(queue.spec.id, unacked.position, unacked.position + 1);
            }
            self.settle_delivery(unacked, Verdict::Committed);
        }
        self.ledger.records().committed(number);
        self.gate(caller.connection);
        self.answered(caller, Reply::Done);
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
