//! What is asked of a queue, by its arguments or by a policy, and which of both holds (reference section 8.3).

use std::sync::Arc;

use super::{Overflow, RetryType};
use crate::amqp::{Table, Value};

/// What arguments, or a policy, say of a queue; `None` where they say nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Asked {
    /// `x-message-ttl`, in milliseconds.
    pub message_ttl_ms: Option<u64>,
    /// `x-expires`, in milliseconds.
    pub expires_ms: Option<u64>,
    /// `x-max-length`.
    pub length_max: Option<u64>,
    /// `x-max-length-bytes`.
    pub length_bytes_max: Option<u64>,
    /// `x-overflow`.
    pub overflow: Option<Overflow>,
    /// `x-dead-letter-exchange`.
    pub dead_letter_exchange: Option<Arc<str>>,
    /// `x-dead-letter-routing-key`.
    pub dead_letter_routing_key: Option<Arc<str>>,
    /// `x-delivery-limit`; negative: none.
    pub delivery_limit: Option<i64>,
    /// `x-consumer-timeout`, in milliseconds.
    pub consumer_timeout_ms: Option<u64>,
    /// `x-delayed-retry-type`.
    pub retry_type: Option<RetryType>,
    /// `x-delayed-retry-min`, in milliseconds.
    pub retry_min_ms: Option<u64>,
    /// `x-delayed-retry-max`, in milliseconds.
    pub retry_max_ms: Option<u64>,
    /// `x-delayed-retry-multiplier`.
    pub retry_multiplier: Option<u64>,
}

/// The lower of two limits, where there are two.
fn least(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        _ => a.or(b),
    }
}

/// The same where a negative number is no limit.
fn least_or_none(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    match (a, b) {
        (Some(a), Some(b)) if a < 0 || b < 0 => Some(a.max(b)),
        (Some(a), Some(b)) => Some(a.min(b)),
        _ => a.or(b),
    }
}

impl Asked {
    /// What a queue's arguments ask for.
    pub fn of(arguments: Table<'_>) -> Asked {
        let number = |key| arguments.find(key).and_then(|value| value.as_integer());
        let count = |key| number(key).and_then(|number| u64::try_from(number).ok());
        let bytes = |key| arguments.find(key).and_then(|value| value.as_long_str());
        let text = |key| match arguments.find(key) {
            Some(Value::LongStr(text)) => Some(Arc::from(String::from_utf8_lossy(text))),
            _ => None,
        };
        let retry_name = bytes("x-delayed-retry-type");
        let retry_type = retry_name.and_then(RetryType::named);
        // A type that nobody knows asks for nothing.
        let retries = retry_name.is_some() == retry_type.is_some();
        Asked {
            message_ttl_ms: count("x-message-ttl"),
            expires_ms: count("x-expires"),
            length_max: count("x-max-length"),
            length_bytes_max: count("x-max-length-bytes"),
            overflow: bytes("x-overflow").and_then(Overflow::named),
            dead_letter_exchange: text("x-dead-letter-exchange"),
            dead_letter_routing_key: text("x-dead-letter-routing-key"),
            delivery_limit: number("x-delivery-limit"),
            consumer_timeout_ms: count("x-consumer-timeout"),
            retry_type,
            retry_min_ms: count("x-delayed-retry-min").filter(|_| retries),
            retry_max_ms: count("x-delayed-retry-max"),
            retry_multiplier: count("x-delayed-retry-multiplier"),
        }
    }

    /// A policy's definition beside that of an operator's policy: the lower limit holds, of all else the operator's.
    pub fn under(&self, operator: &Asked) -> Asked {
        let other = operator.clone();
        Asked {
            overflow: other.overflow.or(self.overflow),
            dead_letter_exchange: other.dead_letter_exchange.or(self.dead_letter_exchange.clone()),
            dead_letter_routing_key: other.dead_letter_routing_key.or(self.dead_letter_routing_key.clone()),
            retry_type: other.retry_type.or(self.retry_type),
            retry_min_ms: other.retry_min_ms.or(self.retry_min_ms),
            retry_max_ms: other.retry_max_ms.or(self.retry_max_ms),
            retry_multiplier: other.retry_multiplier.or(self.retry_multiplier),
            ..self.lowest(operator)
        }
    }

    /// Arguments beside the effective definition of the policies: the lower limit holds, of all else what the arguments
    /// say; but a quorum queue's overflow is the policies'.
    pub fn with_policy(&self, policy: &Asked, quorum: bool) -> Asked {
        let (first, second) = if quorum { (policy, self) } else { (self, policy) };
        Asked { overflow: first.overflow.or(second.overflow), ..policy.under(self) }
    }

    /// The lower limits of both, and nothing else.
    fn lowest(&self, other: &Asked) -> Asked {
        Asked {
            message_ttl_ms: least(self.message_ttl_ms, other.message_ttl_ms),
            expires_ms: least(self.expires_ms, other.expires_ms),
            length_max: least(self.length_max, other.length_max),
            length_bytes_max: least(self.length_bytes_max, other.length_bytes_max),
            delivery_limit: least_or_none(self.delivery_limit, other.delivery_limit),
            consumer_timeout_ms: least(self.consumer_timeout_ms, other.consumer_timeout_ms),
            ..Asked::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_limit_holds_and_negative_is_none() {
        for (a, b, expected) in [
            (Some(20), Some(5), Some(5)),
            (Some(5), Some(20), Some(5)),
            (Some(-1), Some(20), Some(20)),
            (Some(20), Some(-1), Some(20)),
            (Some(-1), Some(-7), Some(-1)),
            (None, Some(7), Some(7)),
            (Some(-1), None, Some(-1)),
            (None, None, None),
        ] {
            let asked = |delivery_limit| Asked { delivery_limit, ..Asked::default() };
            assert_eq!(asked(a).under(&asked(b)), asked(expected), "{a:?} {b:?}");
            assert_eq!(asked(a).with_policy(&asked(b), true), asked(expected), "{a:?} {b:?}");
        }
        let all = |n: u64| Asked {
            message_ttl_ms: Some(n),
            expires_ms: Some(10 - n),
            length_max: Some(n),
            length_bytes_max: Some(10 - n),
            consumer_timeout_ms: Some(n),
            ..Asked::default()
        };
        let lower = Asked { expires_ms: Some(3), length_bytes_max: Some(3), ..all(2) };
        assert_eq!(all(2).under(&all(7)), lower);
        assert_eq!(all(2).with_policy(&all(7), false), lower);
        assert_eq!(all(2).under(&Asked::default()), all(2));
        assert_eq!(Asked::default().with_policy(&all(2), false), all(2));
    }

    #[test]
    fn of_texts_the_arguments_hold_and_of_policies_the_operators() {
        let asked = |name: &str, overflow| Asked {
            dead_letter_exchange: Some(name.into()),
            dead_letter_routing_key: Some(name.into()),
            overflow: Some(overflow),
            retry_type: Some(RetryType::All),
            retry_min_ms: Some(name.len() as u64),
            ..Asked::default()
        };
        let arguments = asked("a", Overflow::RejectPublish);
        let policy = asked("policy", Overflow::DropHead);
        assert_eq!(arguments.with_policy(&policy, false), arguments);
        let overflow = Some(Overflow::DropHead);
        assert_eq!(arguments.with_policy(&policy, true), Asked { overflow, ..arguments.clone() });
        assert_eq!(arguments.with_policy(&Asked::default(), true), arguments);
        assert_eq!(policy.under(&arguments), arguments);
        let key = Asked { dead_letter_routing_key: Some("k".into()), ..Asked::default() };
        let both = key.with_policy(&policy, false);
        assert_eq!(
            (both.dead_letter_exchange.as_deref(), both.dead_letter_routing_key.as_deref()),
            (Some("policy"), Some("k"))
        );
    }
}
