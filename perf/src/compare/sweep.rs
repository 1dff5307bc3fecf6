//! Clears away what a row may have left on a broker that stays up.

use leveret::amqp::{Method, method};
use std::time::Duration;

use crate::churn::client::Client;
use crate::load::uri::Uri;
use crate::scenarios::row::Row;

/// A queue with ten million messages takes its time.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Deletes the queues and exchanges that the row names. Returns what was there: a line for each queue with messages.
///
/// # Errors
/// The broker's: then it is not known to be clean.
pub fn sweep(uri: &str, row: &Row) -> Result<Vec<String>, String> {
    let (mut queues, mut exchanges) = (vec![], vec![]);
    for names in row.steps.iter().map(|step| step.names()) {
        queues.extend(names.queues);
        exchanges.extend(names.exchange);
    }
    queues.sort();
    queues.dedup();
    exchanges.dedup();
    let mut client = Client::connect(&Uri::parse(uri)?, ANSWER_MAX)?;
    client.call(1, &method::ChannelOpen { reserved_1: "" }, method::ChannelOpenOk::ID)?;
    let mut left = vec![];
    for queue in &queues {
        // Of a queue that is not there, the answer is the same, with no messages.
        let delete = method::QueueDelete { reserved_1: 0, queue, if_unused: false, if_empty: false, no_wait: false };
        let ok = client.call(1, &delete, method::QueueDeleteOk::ID)?;
        if let Ok(Method::QueueDeleteOk(ok)) = Method::decode(method::QueueDeleteOk::ID, &ok)
            && ok.message_count > 0
        {
            left.push(format!("{} messages in {queue}", ok.message_count));
        }
    }
    for exchange in &exchanges {
        let delete = method::ExchangeDelete { reserved_1: 0, exchange, if_unused: false, no_wait: false };
        client.call(1, &delete, method::ExchangeDeleteOk::ID)?;
    }
    client.close()?;
    Ok(left)
}
