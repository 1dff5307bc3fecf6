//! Class tx: publishes and acknowledgements that take effect together (rabbitmq-semantics.md section 11.3).

use super::Done;
use super::publish::is_reply;
use crate::amqp::content::Content;
use crate::amqp::method::{TxCommit, TxCommitOk, TxRollback, TxRollbackOk, TxSelect, TxSelectOk};
use crate::amqp::{Exception, MethodId, ReplyCode};
use crate::shard::Shard;
use crate::shard::member::Tx;
use crate::shard::mesh::{Caller, Verdict};

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
        for publish in &tx.publishes {
            let content = Content::from_record(&publish.record);
            if publish.route.is_empty() && publish.mandatory && !is_reply(&content) {
                self.write_return(caller, &content);
            }
            self.send_on(caller, &publish.route, &content, None);
        }
        for (unacked, requeue) in &tx.settled {
            let verdict = if *requeue { Verdict::Requeue } else { Verdict::Settle };
            self.settle_delivery(unacked, verdict);
            if self.ledger.on && unacked.owner != self.id.0 {
                let ticket = self.ledger.ask(unacked.owner);
                self.mesh.ask(unacked.owner, ticket);
            }
        }
        // One submission: on the disk as a whole, or not at all.
        if self.ledger.ticket().is_some() || self.ledger.has_output() {
            self.gate(caller.connection);
        }
        self.write(caller, &TxCommitOk {});
        self.grant(caller);
        Ok(())
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
