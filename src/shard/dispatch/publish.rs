//! basic.publish: the hot path (rabbitmq-semantics.md sections 9 to 11).

use bytes::Bytes;
use smallvec::SmallVec;

use super::Done;
use crate::amqp::method::BasicPublish;
use crate::amqp::properties::{self, Properties, PropertyFlags};
use crate::amqp::{Content, Exception, MethodId, ReplyCode, content};
use crate::broker::delay;
use crate::broker::expiration;
use crate::broker::routing::{Route, sender_selected, without_bcc};
use crate::broker::topology::{ExchangeKey, VhostId};
use crate::connection::channel::Assembled;
use crate::connection::command::Publish;
use crate::shard::member::{ChannelState, TxPublish};
use crate::shard::mesh::Caller;
use crate::shard::{ConnectionId, Shard, reply_to};

/// Properties that the broker has to look at.
const LOOKED_AT: u16 =
    PropertyFlags::HEADERS | PropertyFlags::REPLY_TO | PropertyFlags::EXPIRATION | PropertyFlags::USER_ID;

/// Those of the others that exchanges may look at.
const HASHED: u16 = PropertyFlags::CORRELATION_ID | PropertyFlags::MESSAGE_ID | PropertyFlags::TIMESTAMP;

fn refused(code: ReplyCode, text: impl std::fmt::Display) -> Exception {
    Exception::new(code, BasicPublish::ID, text)
}

/// Whether a message with these properties is routed by its names alone and passed on as it is: nothing in them is to
/// be acted on or refused.
pub(super) fn asks_nothing(properties: &Properties<'_>) -> bool {
    properties.user_id.is_none()
        && properties.reply_to != Some(reply_to::NAME)
        && properties.expiration.is_none()
        && properties.headers.is_none_or(|headers| headers.iter().all(|(key, _)| key != b"CC" && key != b"BCC"))
}

/// Counts publishes for confirms; with a `ticket`, they are to be confirmed when that is done.
#[inline]
pub(super) fn count_publishes(
    channel: &mut ChannelState,
    slot: u32,
    due: &mut SmallVec<[u32; 4]>,
    count: u64,
    ticket: Option<u64>,
) {
    if let Some(confirms) = &mut channel.confirm {
        confirms.published += count;
        if let Some(ticket) = ticket {
            confirms.wait(count, ticket);
        }
        if !std::mem::replace(&mut confirms.due, true) {
            due.push(slot);
        }
    }
}

impl Shard {
    /// A publish that lies whole in the receive buffer.
    #[inline]
    pub(super) fn publish(&mut self, id: ConnectionId, slot: u32, publish: &Publish<'_>) -> Done {
        if publish.immediate {
            return Err(refused(ReplyCode::NotImplemented, "immediate=true"));
        }
        self.publish_content(id, slot, &publish.content, publish.mandatory, None)
    }

    /// A publish that came in pieces.
    pub(super) fn publish_assembled(&mut self, id: ConnectionId, slot: u32, assembled: Assembled) -> Done {
        let Assembled { mut record, mandatory, immediate, oversize } = assembled;
        content::stamp(&mut record, self.stamp);
        if immediate {
            return Err(refused(ReplyCode::NotImplemented, "immediate=true"));
        }
        if let Some(size) = oversize {
            let max = self.settings.limits.message_bytes_max;
            let kind = if max >= self.settings.limits.message_bytes_ceiling { "max" } else { "configured max" };
            let text = format!("message size {size} is larger than {kind} size {max}");
            return Err(refused(ReplyCode::PreconditionFailed, text));
        }
        if self.blocks.is_own(record.len()) {
            let record = Bytes::from(record);
            self.publish_content(id, slot, &Content::from_record(&record), mandatory, Some(&record))
        } else {
            self.publish_content(id, slot, &Content::from_record(&record), mandatory, None)
        }
    }

    #[inline]
    fn publish_content(
        &mut self,
        id: ConnectionId,
        slot: u32,
        content: &Content<'_>,
        mandatory: bool,
        own: Option<&Bytes>,
    ) -> Done {
        if properties::flags(content.properties) & LOOKED_AT != 0 {
            return self.publish_inspected(id, slot, content, mandatory, own);
        }
        let Some(member) = self.members.get(id) else { return Ok(()) };
        let vhost = member.vhost;
        if member.restricted {
            self.check_publish(id, content)?;
        }
        // The route is taken out while it is used, so that it can be borrowed meanwhile.
        let mut at = u32::MAX;
        if let Some(cached) = self.routes.take(vhost, content.names, &mut at, &self.topology) {
            let done = self.publish_routed(id, slot, content, mandatory, own, &cached.route);
            self.routes.put_back(cached, at);
            return done;
        }
        let exchange = self.target(id, slot, content)?;
        // Of all these only what is hashed has a part in routing.
        let properties = match properties::flags(content.properties) & HASHED {
            0 => Properties::default(),
            _ => Properties::decode(content.properties).unwrap_or_default(),
        };
        let route = self.look_up(vhost, exchange, content, &properties)?;
        if self.topology.is_traced(vhost) {
            self.trace_publish(id, slot, content, &route);
        }
        self.publish_routed(id, slot, content, mandatory, own, &route)
    }

    /// The exchange that a message is published to, if clients may publish to it.
    fn target(&self, id: ConnectionId, slot: u32, content: &Content<'_>) -> Result<ExchangeKey, Exception> {
        if !content.names_are_utf8() {
            return Err(Exception::new(ReplyCode::FrameError, MethodId::NONE, "Malformed UTF-8 in shortstr"));
        }
        let vhost = self.members.get(id).map_or(0, |member| member.vhost);
        let name = content.exchange();
        let caller = self.caller(id, slot, 0);
        match self.topology.find_exchange(vhost, name) {
            None => Err(self.no_exchange(caller, name, BasicPublish::ID)),
            Some(exchange) if exchange.spec.internal => {
                let text = format!("cannot publish to internal {}", self.exchange_name(caller, name));
                Err(refused(ReplyCode::AccessRefused, text))
            }
            Some(exchange) => Ok(exchange.key),
        }
    }

    /// Finds the route of a message from the exchange that it is published to, and remembers it if it can.
    fn look_up(
        &mut self,
        vhost: VhostId,
        at: ExchangeKey,
        content: &Content<'_>,
        properties: &Properties<'_>,
    ) -> Result<Route, Exception> {
        let Some(exchange) = self.topology.exchange(at) else { return Ok(Route::default()) };
        let (name, key) = (content.exchange(), content.routing_key());
        if name.is_empty() && key.starts_with(reply_to::PREFIX) {
            return Ok(Route::default());
        }
        let mut keys: SmallVec<[&str; 4]> = SmallVec::from_slice(&[key]);
        sender_selected(properties.headers, &mut keys)
            .map_err(|error| refused(ReplyCode::PreconditionFailed, format!("invalid message: {error}")))?;
        let found_at = (!name.is_empty()).then_some((at, exchange.epoch));
        let route = self.topology.route(exchange, &keys, properties, self.id.0);
        self.routes.insert(vhost, content.names, found_at, &route);
        Ok(route)
    }

    /// A publish whose properties the broker has to look at: headers that route, and what must be refused.
    fn publish_inspected(
        &mut self,
        id: ConnectionId,
        slot: u32,
        content: &Content<'_>,
        mandatory: bool,
        own: Option<&Bytes>,
    ) -> Done {
        let Some(member) = self.members.get_mut(id) else {
            return Ok(());
        };
        let (login, vhost) = (member.login.clone(), member.vhost);
        if member.restricted {
            self.check_publish(id, content)?;
        }
        // Checked when the header frame came.
        let decoded = Properties::decode(content.properties).unwrap_or_default();
        let headers = decoded.headers;
        let selects = headers.is_some_and(|table| table.iter().any(|(key, _)| key == b"CC" || key == b"BCC"));
        // A route is cached by names alone only if headers have no part in it.
        let known = if selects { None } else { self.routes.find(vhost, content.names, &self.topology) };
        let known = match known {
            Some(route) => Ok(route.clone()),
            None => Err(self.target(id, slot, content)?),
        };
        let mut changed = None;
        if decoded.reply_to == Some(reply_to::NAME) {
            let consumer = self
                .members
                .get_mut(id)
                .and_then(|member| member.channel_mut(slot))
                .and_then(|channel| channel.reply_consumer.as_ref());
            match consumer {
                Some(consumer) => changed = Some(Shard::with_reply_to(&decoded, consumer)),
                None => {
                    return Err(refused(ReplyCode::PreconditionFailed, "fast reply consumer does not exist"));
                }
            }
        }
        if let Some(expiration) = decoded.expiration
            && let Some(error) = expiration::error(expiration)
        {
            return Err(refused(ReplyCode::PreconditionFailed, format!("invalid expiration '{expiration}': {error}")));
        }
        if let Err(exchange) = &known
            && self.topology.exchange(*exchange).is_some_and(|exchange| exchange.delays.is_some())
            && let Err(error) = delay::asked_ms(headers)
        {
            return Err(refused(ReplyCode::PreconditionFailed, format!("invalid x-delay header: {error}")));
        }
        let route = match known {
            Ok(route) => route,
            Err(exchange) => self.look_up(vhost, exchange, content, &decoded)?,
        };
        if let Some(user) = decoded.user_id
            && *user != *login.user
            && !login.impersonator
        {
            let text = format!("user_id property set to '{user}' but authenticated user was '{}'", login.user);
            return Err(refused(ReplyCode::PreconditionFailed, text));
        }
        if selects && headers.is_some_and(|table| table.find("BCC").is_some()) {
            let raw = changed.take().unwrap_or_else(|| content.properties.to_vec());
            changed = Some(without_bcc(&Properties::decode(&raw).unwrap_or_default()));
        }
        let (content, own) = match &changed {
            Some(properties) => (Content { properties, frames: &[], ..*content }, None),
            None => (*content, own),
        };
        if self.topology.is_traced(vhost) {
            self.trace_publish(id, slot, &content, &route);
        }
        self.publish_routed(id, slot, &content, mandatory, own, &route)
    }

    /// Sends a message on its route, now or with the channel's transaction, and counts it for confirms.
    #[inline]
    fn publish_routed(
        &mut self,
        id: ConnectionId,
        slot: u32,
        content: &Content<'_>,
        mandatory: bool,
        own: Option<&Bytes>,
        route: &Route,
    ) -> Done {
        let Some(member) = self.members.get_mut(id) else { return Ok(()) };
        let Some(channel) = member.channels.get_mut(slot as usize).and_then(Option::as_deref_mut) else {
            return Ok(());
        };
        let generation = channel.generation;
        if let Some(tx) = &mut channel.tx {
            let limits = &self.settings.limits;
            tx.bytes += content.record_bytes();
            if tx.bytes > limits.tx_bytes_max || tx.publishes.len() >= limits.tx_entries_max {
                let text = format!(
                    "transaction is larger than {} publishes or {} bytes",
                    limits.tx_entries_max, limits.tx_bytes_max
                );
                return Err(refused(ReplyCode::PreconditionFailed, text));
            }
            let mut record = Vec::new();
            content.write_record(&mut record, self.stamp);
            tx.publishes.push(TxPublish { record, route: route.clone(), mandatory });
            return Ok(());
        }
        let caller = Caller { shard: self.id.0, connection: id, channel: slot, generation };
        if route.is_unroutable() && !is_reply(content) {
            self.lose(caller, content, mandatory);
        }
        if route.may_reject {
            self.send_asking(caller, route, content, own);
        } else {
            self.send_on(caller, route, content, own);
        }
        self.count_publish(id, slot, 1);
        Ok(())
    }

    /// Sends a message on a route with queues that may refuse it; its confirm waits for what those of other shards say.
    #[cold]
    fn send_asking(&mut self, caller: Caller, route: &Route, content: &Content<'_>, own: Option<&Bytes>) {
        let number =
            self.channel_of(caller).and_then(|channel| channel.confirm.as_ref()).map(|confirms| confirms.published + 1);
        let Some(number) = number else {
            self.send_on(caller, route, content, own);
            self.refused = false;
            return;
        };
        self.refused = false;
        self.enqueue_asking(caller, number, route, content, own);
        if std::mem::take(&mut self.refused)
            && let Some(confirms) = self.channel_of(caller).and_then(|channel| channel.confirm.as_mut())
        {
            confirms.refuse(number);
        }
    }

    /// Hands a message to the queues of its route, and has other shards say if one of theirs refuses it: before they
    /// answer what is asked here or, of a transaction over several shards, before they have submitted their parts.
    pub(super) fn enqueue_asking(
        &mut self,
        caller: Caller,
        number: u64,
        route: &Route,
        content: &Content<'_>,
        own: Option<&Bytes>,
    ) {
        self.enqueue(route.local.iter().copied(), content, own);
        for (owner, keys) in &route.remote {
            self.touch(caller, *owner);
            if !self.ledger.is_in_part() {
                let ticket = self.ledger.ask(*owner);
                self.mesh.ask(*owner, ticket);
            }
            if !self.mesh.publish_asking(*owner, keys, content, self.stamp, own, (caller, number)) {
                self.exhausted |= 1 << *owner;
            }
        }
    }

    /// Counts publishes that were just sent on.
    #[inline]
    pub(super) fn count_publish(&mut self, id: ConnectionId, slot: u32, count: u64) {
        let ticket = self.ledger.ticket();
        self.counted.published += count;
        if let Some(member) = self.members.get_mut(id)
            && let Some(channel) = member.channels.get_mut(slot as usize).and_then(Option::as_deref_mut)
        {
            channel.published += count;
            if channel.confirm.is_some() {
                self.counted.published_confirm += count;
            }
            count_publishes(channel, slot, &mut member.confirms_due, count, ticket);
        }
    }

    /// Hands a message to the queues of its route.
    #[inline]
    pub(super) fn send_on(&mut self, caller: Caller, route: &Route, content: &Content<'_>, own: Option<&Bytes>) {
        self.enqueue(route.local.iter().copied(), content, own);
        // Those of a transaction over several shards are durable when its commit is.
        let must_have = self.ledger.must_have_on(route, content);
        let asks = route.remote_durable != 0 && must_have && !self.ledger.is_in_part();
        for (owner, keys) in &route.remote {
            self.touch(caller, *owner);
            if asks {
                self.ask_owner_to_keep(*owner, route);
            }
            if !self.mesh.publish(*owner, keys, content, self.stamp, own) {
                self.exhausted |= 1 << *owner;
            }
        }
        if route.is_empty() && is_reply(content) {
            let address = content.routing_key().strip_prefix(reply_to::PREFIX).unwrap_or("");
            self.publish_reply(address, content);
        }
    }

    /// Has another shard answer when what is sent to it in this turn is durable, if it has durable queues on the route.
    pub(super) fn ask_owner_to_keep(&mut self, owner: u8, route: &Route) {
        if route.remote_durable & (1 << owner) != 0 {
            let ticket = self.ledger.ask(owner);
            self.mesh.ask(owner, ticket);
        }
    }
}

/// Whether a message goes to a generated direct reply-to name.
#[inline]
pub(super) fn is_reply(content: &Content<'_>) -> bool {
    content.names.first() == Some(&0) && content.routing_key().starts_with(reply_to::PREFIX)
}
