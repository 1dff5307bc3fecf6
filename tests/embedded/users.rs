//! Users, over real connections and restarts.

use leveret::Server;
use leveret::access::Algorithm;
use leveret::admin::{AdminReply, AdminRequest, UserRow};
use leveret::amqp::method::*;
use leveret::amqp::{LongStr, TableWriter, Value};

use crate::client::{Client, start_ok};
use crate::durable::{Scratch, start};

fn put(server: &Server, name: &str, algorithm: Algorithm, password: &str) {
    let password = Some(Server::hash_password(algorithm, password).unwrap());
    let put = AdminRequest::PutUser { name: name.into(), password, tags: Some(vec!["management".into()]) };
    assert_eq!(server.administer(put), Ok(AdminReply::Done));
    let [configure, write, read] = ["", ".*", "^q"].map(String::from);
    let (vhost, user) = ("/".into(), name.into());
    let allow = AdminRequest::SetPermissions { vhost, user, configure, write, read };
    assert_eq!(server.administer(allow), Ok(AdminReply::Done));
}

fn users(server: &Server) -> Vec<UserRow> {
    match server.administer(AdminRequest::Users) {
        Ok(AdminReply::Users(rows)) => rows,
        other => panic!("{other:?}"),
    }
}

/// Whether the log-in succeeds.
fn may_enter(server: &Server, user: &str, password: &str) -> bool {
    let mut client = Client::connect(server.local_addr());
    let response = format!("\0{user}\0{password}").into_bytes();
    // Else the server would say nothing for a while.
    let (mut properties, mut capabilities) = (TableWriter::new(), TableWriter::new());
    capabilities.put("authentication_failure_close", Value::Bool(true));
    properties.put("capabilities", Value::Table(capabilities.table()));
    let client_properties = properties.table();
    let said = ConnectionStartOk { client_properties, response: LongStr(&response), ..start_ok() };
    client.raw(b"AMQP\x00\x00\x09\x01");
    client.take(ConnectionStart::ID);
    client.send(0, said);
    let came = client.receive().unwrap();
    assert!([ConnectionTune::ID, ConnectionClose::ID].map(Some).contains(&came.method_id()));
    came.method_id() == Some(ConnectionTune::ID)
}

#[test]
fn users_survive_a_restart_with_their_passwords() {
    let scratch = Scratch::new();
    let directory = scratch.path("data");
    let server = start(&directory, 2);
    for (name, algorithm) in [("cheap", Algorithm::Sha512), ("dear", Algorithm::Argon2id)] {
        put(&server, name, algorithm, "s3cret");
        for _ in 0..2 {
            assert!(may_enter(&server, name, "s3cret"), "{name}");
            assert!(!may_enter(&server, name, "secret"), "{name}");
        }
    }
    assert!(!may_enter(&server, "nobody", "s3cret"));
    assert_eq!(server.administer(AdminRequest::DeleteUser { name: "guest".into() }), Ok(AdminReply::Done));
    let before = users(&server);
    assert_eq!(before.iter().map(|row| &*row.name).collect::<Vec<_>>(), ["cheap", "dear"]);
    server.shutdown();

    let server = start(&directory, 1);
    assert_eq!(users(&server), before, "guest does not come back");
    for (name, password, expected) in
        [("cheap", "s3cret", true), ("dear", "s3cret", true), ("dear", "S3cret", false), ("guest", "guest", false)]
    {
        assert_eq!(may_enter(&server, name, password), expected, "{name} {password}");
    }
}
