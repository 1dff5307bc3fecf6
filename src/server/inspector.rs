//! Looks at the whole broker: asks every shard that knows something, page by page, and puts the answers together.

use std::sync::mpsc;

use super::inbox::Input;
use super::{Administrator, Server};
use crate::shard::admin::AdminError;
use crate::shard::inspect::{
    BindingRow, ChannelRow, ConnectionRow, ConsumerRow, ExchangeRow, InspectReply, InspectRequest, Page, QueueRow,
    Totals,
};

/// What a look gives; an error when the server has stopped.
pub type Looked<T> = Result<T, AdminError>;

fn stopped<T>() -> Looked<T> {
    Err(AdminError::Unavailable("the broker has stopped".into()))
}

impl Server {
    /// What was counted since the start, and what there is. Queues, connections and all else that there is can be seen
    /// through the [`administrator`](Self::administrator).
    ///
    /// ```
    /// # let mut config = leveret::Config::default();
    /// # config.listen = vec!["127.0.0.1:0".parse()?];
    /// let server = leveret::Server::start(config)?;
    /// assert_eq!(server.totals()?.queues, 0);
    /// let exchanges = server.administrator().exchanges()?;
    /// assert!(exchanges.iter().any(|exchange| exchange.name == "amq.topic"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the server has stopped.
    pub fn totals(&self) -> Looked<Totals> {
        self.administrator().totals()
    }
}

/// All rows of a kind that these shards have, a page at a time.
macro_rules! rows {
    ($self:ident, $shards:expr, $kind:ident) => {{
        let mut rows = vec![];
        for shard in $shards {
            let mut from = Some(0);
            while let Some(at) = from {
                let InspectReply::$kind(Page { rows: some, next }) =
                    $self.look(shard, InspectRequest::$kind { from: at })?
                else {
                    return stopped();
                };
                rows.extend(some);
                from = next;
            }
        }
        rows
    }};
}

impl Administrator {
    fn look(&self, shard: usize, request: InspectRequest) -> Looked<InspectReply> {
        let (sender, receiver) = mpsc::channel();
        self.inlets[shard].put(Input::Inspect(request, sender));
        receiver.recv().or_else(|_| stopped())
    }

    /// What was counted since the start, and what there is, of all shards together.
    ///
    /// # Errors
    /// When the server has stopped.
    pub fn totals(&self) -> Looked<Totals> {
        let mut all = Totals::default();
        for shard in 0..self.inlets.len() {
            let InspectReply::Totals(totals) = self.look(shard, InspectRequest::Totals)? else { return stopped() };
            all = all.and(&totals);
        }
        Ok(all)
    }

    /// All queues, by virtual host and name.
    ///
    /// # Errors
    /// When the server has stopped.
    pub fn queues(&self) -> Looked<Vec<QueueRow>> {
        let mut rows = rows!(self, 0..self.inlets.len(), Queues);
        rows.sort_by(|a, b| (&a.vhost, &a.name).cmp(&(&b.vhost, &b.name)));
        Ok(rows)
    }

    /// All open connections, by name.
    ///
    /// # Errors
    /// When the server has stopped.
    pub fn connections(&self) -> Looked<Vec<ConnectionRow>> {
        let mut rows = rows!(self, 0..self.inlets.len(), Connections);
        rows.sort_by(|a, b| (&a.name, a.key).cmp(&(&b.name, b.key)));
        Ok(rows)
    }

    /// All channels, by connection and number.
    ///
    /// # Errors
    /// When the server has stopped.
    pub fn channels(&self) -> Looked<Vec<ChannelRow>> {
        let mut rows = rows!(self, 0..self.inlets.len(), Channels);
        rows.sort_by(|a, b| {
            (&a.connection_name, a.connection, a.number).cmp(&(&b.connection_name, b.connection, b.number))
        });
        Ok(rows)
    }

    /// All consumers, by virtual host, queue, channel and tag. The names of their connections are those of
    /// [`connections`](Self::connections) with the same key.
    ///
    /// # Errors
    /// When the server has stopped.
    pub fn consumers(&self) -> Looked<Vec<ConsumerRow>> {
        let mut rows = rows!(self, 0..self.inlets.len(), Consumers);
        let place = |row: &ConsumerRow| (row.vhost.clone(), row.queue.clone(), row.connection, row.channel);
        rows.sort_by_cached_key(|row| (place(row), row.consumer_tag.clone()));
        Ok(rows)
    }

    /// All exchanges, by virtual host and name.
    ///
    /// # Errors
    /// When the server has stopped.
    pub fn exchanges(&self) -> Looked<Vec<ExchangeRow>> {
        let mut rows = rows!(self, 0..1, Exchanges);
        rows.sort_by(|a, b| (&a.vhost, &a.name).cmp(&(&b.vhost, &b.name)));
        Ok(rows)
    }

    /// All bindings, by virtual host, source, destination and key, those of the default exchange among them.
    ///
    /// # Errors
    /// When the server has stopped.
    pub fn bindings(&self) -> Looked<Vec<BindingRow>> {
        let mut rows = rows!(self, 0..1, Bindings);
        let place =
            |row: &BindingRow| (row.vhost.clone(), row.source.clone(), row.destination_type, row.destination.clone());
        rows.sort_by_cached_key(|row| (place(row), row.properties_key.clone()));
        Ok(rows)
    }
}
