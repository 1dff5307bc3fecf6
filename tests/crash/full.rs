//! A small file system that is filled and drained, over and over.

use leveret::amqp::method::BasicAck;

use crate::broker::{Broker, Options};
use crate::link::{Answer, Declare, Event, Link, Trouble};
use crate::message::Id;
use crate::place::{Folder, Mount};
use crate::{rounds, skip};

const MIB: u32 = 64;
const QUEUE: &str = "filled";
const WINDOW: u64 = 64;

/// A publisher that is told to wait.
struct Publisher {
    link: Link,
    published: u64,
    confirmed: u64,
    blocked: bool,
}

impl Publisher {
    fn take(&mut self, event: Event) -> Answer<()> {
        match event {
            Event::Confirm { tag, taken: true, multiple } => {
                // One channel, one queue: confirms come in order.
                let first = self.confirmed + 1;
                if tag < first || !multiple && tag != first {
                    return Err(Trouble::Strange(format!("a confirm for {tag} instead of {first}")));
                }
                self.confirmed = tag;
            }
            Event::Blocked(blocked) => self.blocked = blocked,
            event => return Err(Trouble::Strange(format!("{event:?}"))),
        }
        Ok(())
    }

    /// Publishes until it is told to wait.
    fn fill(&mut self) -> Answer<()> {
        while !self.blocked {
            while self.published - self.confirmed < WINDOW {
                let id = Id { source: 1, number: self.published as u32 };
                let size = id.size(16, 50_000);
                self.link.push_publish("", QUEUE, false, &id.properties(true), &id.body(size));
                self.published += 1;
            }
            let event = self.link.event()?;
            self.take(event)?;
        }
        Ok(())
    }

    /// Waits until it may go on, and for all confirms.
    fn recover(&mut self) -> Answer<()> {
        while self.blocked || self.confirmed < self.published {
            let event = self.link.event()?;
            self.take(event)?;
        }
        Ok(())
    }
}

/// Takes messages, in order, until `end` were taken in all.
fn drain(link: &mut Link, taken: &mut u64, end: u64) -> Answer<()> {
    while *taken < end {
        let delivery = match link.event()? {
            Event::Delivery(delivery) => delivery,
            event => return Err(Trouble::Strange(format!("{event:?}"))),
        };
        let id = Id::read(&delivery.properties, &delivery.body).map_err(Trouble::Strange)?;
        if u64::from(id.number) != *taken || delivery.redelivered {
            let flag = delivery.redelivered;
            return Err(Trouble::Strange(format!("{id:?} instead of {taken}, redelivered: {flag}")));
        }
        *taken += 1;
        link.push(1, BasicAck { delivery_tag: delivery.tag, multiple: false });
    }
    link.flush()
}

fn filled_and_drained(test: &str, settings: &str, count: usize) {
    let folder = Folder::new(test);
    let mount = match Mount::tmpfs(&folder, MIB) {
        Ok(mount) => mount,
        Err(reason) => return skip(test, &reason),
    };
    let mut options = Options::new(&mount.path().join("data"));
    options.beside = folder.join("broker");
    options.settings = settings.into();
    let broker = Broker::must_start(&options);
    let mut link = Link::open(broker.address).expect("the broker answers");
    link.declare_queue(QUEUE, Declare::Durable).expect("a queue");
    link.select_confirms().expect("confirms");
    let mut publisher = Publisher { link, published: 0, confirmed: 0, blocked: false };
    let mut taken = 0;
    for round in 0..count {
        publisher.fill().unwrap_or_else(|trouble| panic!("{test}: round {round}: {trouble:?}"));
        let mut consumer = Link::open(broker.address).expect("the broker answers while publishers wait");
        consumer.consume(QUEUE, 200).expect("a consumer while publishers wait");
        // What was confirmed by now is there to be taken, and what is taken makes room.
        let confirmed = publisher.confirmed;
        drain(&mut consumer, &mut taken, confirmed).unwrap_or_else(|trouble| panic!("{test}: {round}: {trouble:?}"));
        publisher.recover().unwrap_or_else(|trouble| panic!("{test}: round {round}, recovering: {trouble:?}"));
        let published = publisher.published;
        drain(&mut consumer, &mut taken, published).unwrap_or_else(|trouble| panic!("{test}: {round}: {trouble:?}"));
        consumer.close().expect("the broker answers");
    }
    let published = publisher.published;
    publisher.link.close().expect("the broker answers");
    broker.stop();
    let broker = Broker::must_start(&options);
    let mut link = Link::open(broker.address).expect("the broker answers");
    assert_eq!(link.declare_queue(QUEUE, Declare::Passive), Ok(0), "{test}: all were taken");
    link.close().expect("the broker answers");
    broker.stop();
    eprintln!("{test}: {count} rounds, {published} messages");
}

#[test]
fn a_disk_that_is_nearly_full() {
    filled_and_drained("a_disk_that_is_nearly_full", "disk_free_limit.absolute = 16MB\n", rounds(2, 100));
}

#[test]
fn a_disk_that_is_full_to_the_last_byte() {
    filled_and_drained("a_disk_that_is_full_to_the_last_byte", "disk_free_limit.absolute = 0\n", rounds(2, 100));
}
