//! Looking at a server from the program that it runs in.

use leveret::amqp::method::*;

use crate::client::{Client, publish};
use crate::default_server;

#[test]
fn a_program_sees_all_of_its_server() {
    const QUEUES: usize = 1_200;
    for shards in [1, 4] {
        let server = default_server(shards);
        let admin = server.administrator();
        let mut clients: Vec<Client> = (0..shards).map(|_| Client::open(server.local_addr())).collect();
        for number in 0..QUEUES {
            clients[number % shards].declare(&format!("q{number:04}"), false);
        }
        clients[0].consume("q0007");
        for _ in 0..1000 {
            clients[0].raw(&publish("q0003", b"x"));
        }
        // An answer that comes behind them.
        clients[0].declare("q0003", true);
        let queues = admin.queues().unwrap();
        let names: Vec<String> = (0..QUEUES).map(|number| format!("q{number:04}")).collect();
        assert!(queues.iter().map(|row| &row.name).eq(&names));
        assert_eq!(queues[3].messages_ready, 1000);
        let owners: std::collections::BTreeSet<u8> = queues.iter().map(|row| row.shard).collect();
        assert_eq!(owners.len(), shards);
        let connections = admin.connections().unwrap();
        assert_eq!(connections.len(), shards);
        let client = clients[0].stream.local_addr().unwrap();
        let first = connections.iter().find(|row| row.peer_port == client.port()).unwrap();
        assert_eq!(first.name, format!("{client} -> {}", server.local_addr()));
        assert!(first.connected_at_ms > 1_700_000_000_000, "{first:?}");
        assert_eq!(admin.channels().unwrap().len(), shards);
        let consumers = admin.consumers().unwrap();
        assert_eq!(consumers.len(), 1);
        assert_eq!((&*consumers[0].queue, consumers[0].connection), ("q0007", first.key));
        assert_eq!(admin.exchanges().unwrap().len(), 7);
        assert_eq!(admin.bindings().unwrap().len(), QUEUES);
        let totals = server.totals().unwrap();
        assert_eq!((totals.queues, totals.connections, totals.counted.published), (1200, shards as u64, 1000));
        clients[0].expect(
            1,
            QueueDelete { reserved_1: 0, queue: "q0007", if_unused: false, if_empty: false, no_wait: false },
            QueueDeleteOk::ID,
        );
        assert_eq!(admin.queues().unwrap().len(), QUEUES - 1);
        server.shutdown();
        assert!(admin.queues().is_err());
    }
}
