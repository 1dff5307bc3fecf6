//! Messages that lead to no queue.

use crate::amqp::frame::{write_body, write_content_header, write_method};
use crate::amqp::method::BasicReturn;
use crate::amqp::{Content, ReplyCode};
use crate::shard::Shard;
use crate::shard::mesh::Caller;

impl Shard {
    /// Returns a message that leads to no queue, or drops it.
    #[cold]
    pub(super) fn lose(&mut self, caller: Caller, content: &Content<'_>, mandatory: bool) {
        if mandatory {
            self.counted.returned += 1;
            self.write_return(caller, content);
        } else {
            self.counted.dropped += 1;
        }
    }

    fn write_return(&mut self, caller: Caller, content: &Content<'_>) {
        let Some(member) = self.members.get(caller.connection) else {
            return;
        };
        let Some(number) = member.wire.channel(caller.channel).map(|channel| channel.number) else {
            return;
        };
        self.returned = true;
        let frame_max = member.wire.frame_max;
        if let Some(out) = self.members.sink(caller.connection) {
            let method = BasicReturn {
                reply_code: ReplyCode::NoRoute.number(),
                reply_text: ReplyCode::NoRoute.name(),
                exchange: content.exchange(),
                routing_key: content.routing_key(),
            };
            write_method(out, number, &method);
            write_content_header(out, number, content.body.len() as u64, content.properties);
            write_body(out, number, content.body, frame_max);
        }
    }
}
