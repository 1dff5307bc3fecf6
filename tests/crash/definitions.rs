//! Queues, exchanges and bindings that come and go: what was answered before a crash is so after it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use leveret::amqp::method::*;

use crate::link::{Answer, Declare, Event, Link, Trouble};
use crate::truth::Truth;

/// 404.
const NOT_FOUND: u16 = 404;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Queue(String),
    Exchange(String),
    /// Exchange, queue, routing key.
    Binding(String, String, String),
}

/// Whether each is there; `None` when the broker has not answered.
#[derive(Debug, Default)]
pub struct Definitions {
    known: Mutex<BTreeMap<Name, Option<bool>>>,
    next: AtomicU32,
}

impl Definitions {
    fn set(&self, name: Name, there: Option<bool>) {
        self.known.lock().unwrap().insert(name, there);
    }

    fn snapshot(&self) -> Vec<(Name, Option<bool>)> {
        self.known.lock().unwrap().iter().map(|(name, there)| (name.clone(), *there)).collect()
    }

    pub fn copy(&self) -> Definitions {
        let known = self.known.lock().unwrap().clone();
        Definitions { known: Mutex::new(known), next: AtomicU32::new(self.next.load(Ordering::SeqCst)) }
    }

    /// What holds of a moment between this copy and now.
    pub fn and_later(&self, later: &Definitions) -> Definitions {
        let (before, later) = (self.copy(), later.copy());
        {
            let before = before.known.lock().unwrap();
            let mut known = later.known.lock().unwrap();
            known
                .iter_mut()
                .filter(|(name, there)| before.get(*name) != Some(*there))
                .for_each(|(_, there)| *there = None);
        }
        later
    }

    /// Declares, binds, unbinds and deletes, one set of names with each call.
    pub fn change(&self, link: &mut Link) -> Answer<()> {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let exchange = format!("x-{}", number / 4);
        let queue = format!("d-{number}");
        let key = format!("key.{number}");
        self.set(Name::Exchange(exchange.clone()), None);
        link.declare_exchange(&exchange, "topic", false)?;
        self.set(Name::Exchange(exchange.clone()), Some(true));
        self.set(Name::Queue(queue.clone()), None);
        link.declare_queue(&queue, Declare::Durable)?;
        self.set(Name::Queue(queue.clone()), Some(true));
        let binding = Name::Binding(exchange.clone(), queue.clone(), key.clone());
        self.set(binding.clone(), None);
        link.bind(&queue, &exchange, &key)?;
        self.set(binding.clone(), Some(true));
        match number % 4 {
            1 => {
                self.set(binding.clone(), None);
                let arguments = leveret::amqp::Table::EMPTY;
                let (queue, exchange, routing_key) = (&*queue, &*exchange, &*key);
                let unbind = QueueUnbind { reserved_1: 0, queue, exchange, routing_key, arguments };
                link.call(unbind, QueueUnbindOk::ID)?;
                self.set(binding, Some(false));
            }
            2 => {
                self.set(binding.clone(), None);
                self.set(Name::Queue(queue.clone()), None);
                let delete =
                    QueueDelete { reserved_1: 0, queue: &queue, if_unused: false, if_empty: false, no_wait: false };
                link.call(delete, QueueDeleteOk::ID)?;
                self.set(Name::Queue(queue), Some(false));
                self.set(binding, Some(false));
            }
            3 if number % 8 == 7 => {
                // Its bindings go with it.
                let of_it = |name: &Name| matches!(name, Name::Binding(of, ..) if *of == exchange);
                let bindings = self.snapshot().into_iter().filter(|(name, _)| of_it(name));
                let bindings: Vec<Name> = bindings.map(|(name, _)| name).collect();
                bindings.iter().for_each(|name| self.set(name.clone(), None));
                self.set(Name::Exchange(exchange.clone()), None);
                let delete = ExchangeDelete { reserved_1: 0, exchange: &exchange, if_unused: false, no_wait: false };
                link.call(delete, ExchangeDeleteOk::ID)?;
                self.set(Name::Exchange(exchange), Some(false));
                bindings.into_iter().for_each(|name| self.set(name, Some(false)));
            }
            _ => {}
        }
        Ok(())
    }

    /// Compares what the broker has with what it has said; what was open is settled by this.
    pub fn check(&self, address: SocketAddr, truth: &Truth) -> Answer<()> {
        let mut link = Link::open(address)?;
        link.select_confirms()?;
        // Queues and exchanges come before bindings in the order of names, and are known when these are looked at.
        for (name, expected) in self.snapshot() {
            let there = self.is_there(&mut link, &name)?;
            if expected.is_some_and(|expected| expected != there) {
                truth.fault(format!("{name:?} {} there", if there { "should not be" } else { "should be" }));
            }
            self.set(name, Some(there));
        }
        link.close()
    }

    fn is_there(&self, link: &mut Link, name: &Name) -> Answer<bool> {
        let passive = match name {
            Name::Queue(queue) => link.declare_queue(queue, Declare::Passive).map(drop),
            Name::Exchange(exchange) => link.declare_exchange(exchange, "topic", true),
            Name::Binding(exchange, queue, key) => {
                let ends = [Name::Exchange(exchange.clone()), Name::Queue(queue.clone())];
                if ends.iter().any(|end| self.known.lock().unwrap().get(end) == Some(&Some(false))) {
                    return Ok(false);
                }
                return routes(link, exchange, key);
            }
        };
        match passive {
            Ok(()) => Ok(true),
            Err(Trouble::Closed { code: NOT_FOUND, .. }) => {
                link.open_channel(1)?;
                link.select_confirms()?;
                Ok(false)
            }
            Err(trouble) => Err(trouble),
        }
    }
}

/// Whether a message with this key reaches a queue.
fn routes(link: &mut Link, exchange: &str, key: &str) -> Answer<bool> {
    link.push_publish(exchange, key, true, &[0, 0], b"");
    let mut returned = false;
    loop {
        match link.event()? {
            Event::Returned => returned = true,
            Event::Confirm { .. } => return Ok(!returned),
            other => return Err(Trouble::Strange(format!("{other:?} instead of a confirm"))),
        }
    }
}
