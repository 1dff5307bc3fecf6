//! The method table against the published definitions of AMQP 0-9-1 and RabbitMQ's extensions of it.

use leveret::amqp::Method;

/// One method per line: class id, method id, name, and its arguments in wire order under the published names, each
/// with its domain resolved to an elementary type: o octet, s short, l long, ll longlong, b bit, ss shortstr,
/// ls longstr, t table.
const PUBLISHED: &str = "
10 10 connection.start         version-major:o version-minor:o server-properties:t mechanisms:ls locales:ls
10 11 connection.start-ok      client-properties:t mechanism:ss response:ls locale:ss
10 20 connection.secure        challenge:ls
10 21 connection.secure-ok     response:ls
10 30 connection.tune          channel-max:s frame-max:l heartbeat:s
10 31 connection.tune-ok       channel-max:s frame-max:l heartbeat:s
10 40 connection.open          virtual-host:ss reserved-1:ss reserved-2:b
10 41 connection.open-ok       reserved-1:ss
10 50 connection.close         reply-code:s reply-text:ss class-id:s method-id:s
10 51 connection.close-ok
10 60 connection.blocked       reason:ss
10 61 connection.unblocked
10 70 connection.update-secret new-secret:ls reason:ss
10 71 connection.update-secret-ok
20 10 channel.open             reserved-1:ss
20 11 channel.open-ok          reserved-1:ls
20 20 channel.flow             active:b
20 21 channel.flow-ok          active:b
20 40 channel.close            reply-code:s reply-text:ss class-id:s method-id:s
20 41 channel.close-ok
30 10 access.request           realm:ss exclusive:b passive:b active:b write:b read:b
30 11 access.request-ok        reserved-1:s
40 10 exchange.declare         reserved-1:s exchange:ss type:ss passive:b durable:b auto-delete:b internal:b no-wait:b arguments:t
40 11 exchange.declare-ok
40 20 exchange.delete          reserved-1:s exchange:ss if-unused:b no-wait:b
40 21 exchange.delete-ok
40 30 exchange.bind            reserved-1:s destination:ss source:ss routing-key:ss no-wait:b arguments:t
40 31 exchange.bind-ok
40 40 exchange.unbind          reserved-1:s destination:ss source:ss routing-key:ss no-wait:b arguments:t
40 51 exchange.unbind-ok
50 10 queue.declare            reserved-1:s queue:ss passive:b durable:b exclusive:b auto-delete:b no-wait:b arguments:t
50 11 queue.declare-ok         queue:ss message-count:l consumer-count:l
50 20 queue.bind               reserved-1:s queue:ss exchange:ss routing-key:ss no-wait:b arguments:t
50 21 queue.bind-ok
50 30 queue.purge              reserved-1:s queue:ss no-wait:b
50 31 queue.purge-ok           message-count:l
50 40 queue.delete             reserved-1:s queue:ss if-unused:b if-empty:b no-wait:b
50 41 queue.delete-ok          message-count:l
50 50 queue.unbind             reserved-1:s queue:ss exchange:ss routing-key:ss arguments:t
50 51 queue.unbind-ok
60 10 basic.qos                prefetch-size:l prefetch-count:s global:b
60 11 basic.qos-ok
60 20 basic.consume            reserved-1:s queue:ss consumer-tag:ss no-local:b no-ack:b exclusive:b no-wait:b arguments:t
60 21 basic.consume-ok         consumer-tag:ss
60 30 basic.cancel             consumer-tag:ss no-wait:b
60 31 basic.cancel-ok          consumer-tag:ss
60 40 basic.publish            reserved-1:s exchange:ss routing-key:ss mandatory:b immediate:b
60 50 basic.return             reply-code:s reply-text:ss exchange:ss routing-key:ss
60 60 basic.deliver            consumer-tag:ss delivery-tag:ll redelivered:b exchange:ss routing-key:ss
60 70 basic.get                reserved-1:s queue:ss no-ack:b
60 71 basic.get-ok             delivery-tag:ll redelivered:b exchange:ss routing-key:ss message-count:l
60 72 basic.get-empty          reserved-1:ss
60 80 basic.ack                delivery-tag:ll multiple:b
60 90 basic.reject             delivery-tag:ll requeue:b
60 100 basic.recover-async     requeue:b
60 110 basic.recover           requeue:b
60 111 basic.recover-ok
60 120 basic.nack              delivery-tag:ll multiple:b requeue:b
85 10 confirm.select           no-wait:b
85 11 confirm.select-ok
90 10 tx.select
90 11 tx.select-ok
90 20 tx.commit
90 21 tx.commit-ok
90 30 tx.rollback
90 31 tx.rollback-ok
";

fn kind(short: &str) -> &'static str {
    match short {
        "o" => "octet",
        "s" => "short",
        "l" => "long",
        "ll" => "longlong",
        "b" => "bit",
        "ss" => "shortstr",
        "ls" => "longstr",
        "t" => "table",
        _ => panic!("{short}"),
    }
}

/// `queue.declare-ok` as this crate names it: `QueueDeclareOk`.
fn camel(name: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    name.split(['.', '-']).map(capital).collect()
}

/// An argument as this crate names it; `type` is a word of the language.
fn argument(name: &str) -> String {
    if name == "type" { "kind".into() } else { name.replace('-', "_") }
}

/// A method in one line, in this crate's names.
fn line(class: u16, method: u16, name: &str, fields: impl Iterator<Item = (String, String)>) -> String {
    let fields: Vec<String> = fields.map(|(name, kind)| format!("{name}: {kind}")).collect();
    format!("{class} {method} {name} {{{}}}", fields.join(", "))
}

#[test]
fn the_method_table_is_the_published_one() {
    let published: Vec<String> = PUBLISHED
        .lines()
        .filter(|row| !row.is_empty())
        .map(|row| {
            let mut words = row.split_whitespace();
            let mut next = || words.next().expect("class, method, name");
            let (class, method, name) = (next().parse().unwrap(), next().parse().unwrap(), next());
            let fields = words.map(|word| {
                let (name, short) = word.split_once(':').expect("name:type");
                (argument(name), kind(short).to_owned())
            });
            line(class, method, &camel(name), fields)
        })
        .collect();
    let ours = Method::TABLE.iter().map(|row| {
        let fields = row.fields.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned()));
        line(row.id.class, row.id.method, row.name, fields)
    });
    for (ours, published) in ours.zip(&published) {
        assert_eq!(&ours, published);
    }
    assert_eq!(Method::TABLE.len(), published.len());
}
