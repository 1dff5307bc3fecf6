//! The direct exchange: the destinations bound with exactly the message's key (reference section 10).

use super::{Keys, Routes};

/// One look-up; a key with one destination, the usual one, holds it in place.
pub(super) fn route(keys: &Keys, key: &str, out: &mut Routes) {
    if let Some(slot) = keys.find(key) {
        keys.leaf(slot).members.append_to(out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{bind, routed, table, to};
    use super::super::{Destination::Queue, ExchangeKind};
    use crate::amqp::{Table, TableWriter, Value};

    #[test]
    fn keys_match_exactly() {
        let mut exchange = table(ExchangeKind::Direct);
        for (queue, key) in [(2, "a"), (1, "a"), (1, "b"), (3, ""), (4, "a.*"), (5, "#")] {
            assert!(bind(&mut exchange, queue, key));
        }
        assert_eq!(routed(&exchange, "a"), [Queue(1), Queue(2)]);
        assert_eq!(routed(&exchange, "b"), [Queue(1)]);
        assert_eq!(routed(&exchange, ""), [Queue(3)]);
        assert_eq!(routed(&exchange, "A"), []);
        assert_eq!(routed(&exchange, "a.b"), []);
    }

    #[test]
    fn a_destination_bound_twice_by_arguments_comes_once() {
        let mut exchange = table(ExchangeKind::Direct);
        let mut writer = TableWriter::new();
        writer.put("x", Value::I32(1));
        assert!(exchange.bind(to(Queue(1)), "a", writer.table()));
        assert!(exchange.bind(to(Queue(1)), "a", Table::EMPTY));
        assert_eq!(routed(&exchange, "a"), [Queue(1)]);
        assert!(exchange.unbind(Queue(1), "a", Table::EMPTY));
        assert_eq!(routed(&exchange, "a"), [Queue(1)]);
        assert!(exchange.unbind(Queue(1), "a", writer.table()));
        assert_eq!(routed(&exchange, "a"), []);
    }
}
