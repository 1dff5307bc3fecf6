//! Cases for lapin: `lapin-own CASES_FILE [NAME_PART...]`
use futures_lite::StreamExt;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer, Error, ErrorKind, ExchangeKind, message::Delivery, options::*,
    types::{AMQPValue, DecimalValue, FieldArray, FieldTable},
};
use std::{
    collections::BTreeMap, env, fs, future::Future, io::Write, net::{TcpListener, TcpStream}, pin::Pin, process::{Child, Command, id},
    sync::atomic::{AtomicU32, Ordering}, time::{Duration, Instant},
};

type Fallible = Result<(), Error>;
type Props = BasicProperties;

fn port() -> String {
    env::var("AMQP_PORT").expect("AMQP_PORT")
}

fn name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("lapin-{}-{}", id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

async fn dial(port: &str, user: &str, vhost: &str) -> Result<Connection, Error> {
    Connection::connect(&format!("amqp://{user}@127.0.0.1:{port}/{vhost}"), ConnectionProperties::default()).await
}

async fn connect() -> Connection {
    dial(&port(), "guest:guest", "%2f").await.expect("connect")
}

/// A channel on a connection of its own, which is kept to the end of the program.
async fn channel() -> Channel {
    let c = Box::leak(Box::new(connect().await));
    c.create_channel().await.expect("channel")
}

fn table<const N: usize>(pairs: [(&str, AMQPValue); N]) -> FieldTable {
    let mut t = FieldTable::default();
    for (k, v) in pairs {
        t.insert(k.into(), v);
    }
    t
}

fn text(s: &str) -> AMQPValue {
    AMQPValue::LongString(s.into())
}

async fn declare(ch: &Channel, q: &str, options: QueueDeclareOptions, args: FieldTable) -> Result<String, Error> {
    Ok(ch.queue_declare(q.into(), options, args).await?.name().to_string())
}

async fn exclusive(ch: &Channel, args: FieldTable) -> String {
    declare(ch, "", QueueDeclareOptions { exclusive: true, ..Default::default() }, args).await.expect("declare")
}

async fn shared(ch: &Channel) -> String {
    declare(ch, &name(), QueueDeclareOptions::default(), FieldTable::default()).await.expect("declare")
}

async fn count(ch: &Channel, q: &str) -> Result<u32, Error> {
    Ok(ch.queue_declare(q.into(), QueueDeclareOptions { passive: true, ..Default::default() }, FieldTable::default()).await?.message_count())
}

async fn ready(ch: &Channel, q: &str, want: u32) {
    let end = Instant::now() + Duration::from_secs(10);
    while count(ch, q).await.expect("count") != want {
        assert!(Instant::now() < end, "not {want} messages in {q}");
        pause(10).await;
    }
}

async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

async fn put(ch: &Channel, exchange: &str, key: &str, body: &[u8], props: Props) -> Result<Confirmation, Error> {
    ch.basic_publish(exchange.into(), key.into(), BasicPublishOptions::default(), body, props).await?.await
}

async fn get(ch: &Channel, q: &str, no_ack: bool) -> Delivery {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(m) = ch.basic_get(q.into(), BasicGetOptions { no_ack }).await.expect("get") {
            return m.delivery;
        }
        assert!(Instant::now() < end, "no message in {q}");
        pause(10).await;
    }
}

async fn consume(ch: &Channel, q: &str, tag: &str, no_ack: bool, args: FieldTable) -> Result<Consumer, Error> {
    ch.basic_consume(q.into(), tag.into(), BasicConsumeOptions { no_ack, ..Default::default() }, args).await
}

async fn next(c: &mut Consumer) -> Delivery {
    tokio::time::timeout(Duration::from_secs(10), c.next()).await.expect("no delivery").expect("the consumer ended").expect("delivery")
}

async fn none(c: &mut Consumer) {
    assert!(tokio::time::timeout(Duration::from_millis(200), c.next()).await.is_err(), "a delivery too many");
}

fn body(d: &Delivery) -> &str {
    std::str::from_utf8(&d.data).expect("text")
}

fn said(e: &Error, code: u16, words: &str) {
    match e.kind() {
        ErrorKind::ProtocolError(e) => assert_eq!((e.get_id(), e.get_message().as_str()), (code, words)),
        other => panic!("{other:?}, want {words}"),
    }
}

/// What was done must have ended in exactly this error.
fn refused<T>(result: Result<T, Error>, code: u16, words: &str) {
    match result {
        Ok(_) => panic!("no error, want {words}"),
        Err(e) => said(&e, code, words),
    }
}

/// A consumer of nothing: it is told what closes its channel, whenever that comes.
async fn watch(ch: &Channel) -> Consumer {
    let q = exclusive(ch, FieldTable::default()).await;
    consume(ch, &q, "", true, FieldTable::default()).await.expect("consume")
}

/// An asynchronous method (publish, ack) must make the broker close the watched channel.
async fn closed(mut watch: Consumer, code: u16, words: &str) {
    let end = tokio::time::timeout(Duration::from_secs(10), watch.next()).await.expect("nothing came");
    refused(end.expect("the consumer ended without an error"), code, words);
}

struct Broker {
    port: u16,
    folder: std::path::PathBuf,
    child: Option<Child>,
}

impl Broker {
    fn new() -> Option<Self> {
        env::var("LEVERET_BIN").ok()?;
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = env::var("OUT").map(Into::into).unwrap_or_else(|_| env::temp_dir()).join(format!("second-{}-{port}", id()));
        fs::create_dir_all(&folder).unwrap();
        Some(Self { port, folder, child: None })
    }

    async fn start(&mut self) {
        let log = fs::File::options().append(true).create(true).open(self.folder.join("broker.log")).unwrap();
        let shards = env::var("SHARDS").unwrap_or_else(|_| "1".into());
        let mut command = Command::new(env::var("LEVERET_BIN").unwrap());
        command.args(["--port", &self.port.to_string(), "--shards", &shards]).current_dir(&self.folder).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        for _ in 0..400 {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            pause(100).await;
        }
        panic!("the broker does not listen");
    }

    async fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        for _ in 0..200 {
            if child.try_wait().unwrap().is_some() {
                return;
            }
            pause(100).await;
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

async fn declare_active_passive_server_named() -> Fallible {
    let (ch, q) = (channel().await, name());
    for _ in 0..2 {
        let ok = ch.queue_declare(q.as_str().into(), QueueDeclareOptions::durable(), FieldTable::default()).await?;
        assert_eq!((ok.name().as_str(), ok.message_count(), ok.consumer_count()), (q.as_str(), 0, 0));
    }
    put(&ch, "", &q, b"1", Props::default()).await?;
    ready(&ch, &q, 1).await;
    ch.queue_delete(q.into(), QueueDeleteOptions::default()).await?;
    let named = exclusive(&ch, FieldTable::default()).await;
    assert!(named.starts_with("amq.gen-") && named.len() == 30, "{named}");
    Ok(())
}

async fn declare_exclusive_and_auto_delete() -> Fallible {
    let (c, look) = (connect().await, connect().await);
    let ch = c.create_channel().await?;
    let q = exclusive(&ch, FieldTable::default()).await;
    let auto = declare(&ch, &name(), QueueDeclareOptions { auto_delete: true, ..Default::default() }, FieldTable::default()).await?;
    let _held = consume(&ch, &auto, "t", true, FieldTable::default()).await?;
    ch.basic_cancel("t".into(), BasicCancelOptions::default()).await?;
    refused(count(&look.create_channel().await?, &auto).await, 404, &format!("NOT_FOUND - no queue '{auto}' in vhost '/'"));
    c.close(200, "bye".into()).await?;
    refused(count(&look.create_channel().await?, &q).await, 404, &format!("NOT_FOUND - no queue '{q}' in vhost '/'"));
    Ok(())
}

async fn delete_and_purge() -> Fallible {
    let ch = channel().await;
    assert_eq!(ch.queue_delete(name().into(), QueueDeleteOptions::default()).await?, 0);
    ch.exchange_delete(name().into(), ExchangeDeleteOptions::default()).await?;
    let q = exclusive(&ch, FieldTable::default()).await;
    put(&ch, "", &q, b"1", Props::default()).await?;
    ready(&ch, &q, 1).await;
    assert_eq!(ch.queue_purge(q.into(), QueuePurgeOptions::default()).await?, 1);
    Ok(())
}

async fn confirm_one_and_many() -> Fallible {
    let (ch, q) = (channel().await, name());
    declare(&ch, &q, QueueDeclareOptions::durable(), FieldTable::default()).await?;
    ch.confirm_select(ConfirmSelectOptions::default()).await?;
    assert_eq!(put(&ch, "", &q, b"1", Props::default().with_delivery_mode(2)).await?, Confirmation::Ack(None));
    assert_eq!(count(&ch, &q).await?, 1);
    let mut all = vec![];
    for i in 0..3000u32 {
        let props = Props::default().with_delivery_mode(1 + (i % 2) as u8);
        all.push(ch.basic_publish("".into(), q.as_str().into(), BasicPublishOptions::default(), i.to_string().as_bytes(), props).await?);
    }
    for c in all {
        assert_eq!(c.await?, Confirmation::Ack(None));
    }
    assert_eq!(ch.queue_delete(q.into(), QueueDeleteOptions::default()).await?, 3001);
    Ok(())
}

async fn confirm_nack() -> Fallible {
    let ch = channel().await;
    let q = exclusive(&ch, table([("x-max-length", AMQPValue::LongInt(1)), ("x-overflow", text("reject-publish"))])).await;
    ch.confirm_select(ConfirmSelectOptions::default()).await?;
    assert!(put(&ch, "", &q, b"1", Props::default()).await?.is_ack());
    assert!(put(&ch, "", &q, b"2", Props::default()).await?.is_nack());
    Ok(())
}

async fn return_before_the_confirm() -> Fallible {
    let ch = channel().await;
    ch.confirm_select(ConfirmSelectOptions::default()).await?;
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    for i in 0..20 {
        let got = ch.basic_publish("amq.direct".into(), "nowhere".into(), options, format!("{i}").as_bytes(), Props::default().with_message_id("7".into())).await?.await?;
        let Confirmation::Ack(Some(back)) = got else { panic!("{got:?}") };
        assert_eq!((back.reply_code, back.reply_text.as_str(), back.delivery.exchange.as_str(), back.delivery.routing_key.as_str()), (312, "NO_ROUTE", "amq.direct", "nowhere"));
        assert_eq!((body(&back.delivery), back.delivery.properties.message_id().as_ref().map(|m| m.as_str())), (i.to_string().as_str(), Some("7")));
    }
    Ok(())
}

async fn consume_ack_and_prefetch() -> Fallible {
    let ch = channel().await;
    let q = shared(&ch).await;
    for i in 0..10 {
        put(&ch, "", &q, i.to_string().as_bytes(), Props::default()).await?;
    }
    ch.basic_qos(3, BasicQosOptions::default()).await?;
    let mut c = consume(&ch, &q, "tag", false, FieldTable::default()).await?;
    for i in 0..3u64 {
        let d = next(&mut c).await;
        assert_eq!((body(&d), d.delivery_tag, d.redelivered, d.routing_key.as_str()), (i.to_string().as_str(), i + 1, false, q.as_str()));
    }
    none(&mut c).await;
    ch.basic_ack(2, BasicAckOptions { multiple: true }).await?;
    assert_eq!((body(&next(&mut c).await), body(&next(&mut c).await)), ("3", "4"));
    none(&mut c).await;
    ch.basic_ack(0, BasicAckOptions { multiple: true }).await?;
    for i in 5..8 {
        assert_eq!(body(&next(&mut c).await), i.to_string());
    }
    ch.close(200, "bye".into()).await?;
    let ch = channel().await;
    ready(&ch, &q, 5).await;
    ch.queue_delete(q.into(), QueueDeleteOptions::default()).await?;
    Ok(())
}

async fn get_and_empty() -> Fallible {
    let ch = channel().await;
    let q = exclusive(&ch, FieldTable::default()).await;
    assert!(ch.basic_get(q.as_str().into(), BasicGetOptions::default()).await?.is_none());
    put(&ch, "", &q, b"a", Props::default()).await?;
    put(&ch, "", &q, b"b", Props::default()).await?;
    ready(&ch, &q, 2).await;
    let m = ch.basic_get(q.as_str().into(), BasicGetOptions::default()).await?.expect("a message");
    assert_eq!((m.message_count, m.delivery.delivery_tag, m.delivery.redelivered, body(&m.delivery)), (1, 1, false, "a"));
    Ok(())
}

async fn routed(ch: &Channel, queues: &BTreeMap<String, String>) -> String {
    let mut got = vec![];
    for (label, q) in queues {
        for _ in 0..ch.queue_purge(q.as_str().into(), QueuePurgeOptions::default()).await.expect("purge") {
            got.push(label.as_str());
        }
    }
    got.join(" ")
}

async fn routing_topic() -> Fallible {
    let (ch, x) = (channel().await, name());
    ch.exchange_declare(x.as_str().into(), ExchangeKind::Topic, ExchangeDeclareOptions::default(), FieldTable::default()).await?;
    ch.confirm_select(ConfirmSelectOptions::default()).await?;
    let mut queues = BTreeMap::new();
    for key in ["#", "*", "user.#", "*.critical", "a.#.z"] {
        let q = exclusive(&ch, FieldTable::default()).await;
        ch.queue_bind(q.as_str().into(), x.as_str().into(), key.into(), QueueBindOptions::default(), FieldTable::default()).await?;
        queues.insert(key.to_string(), q);
    }
    for (key, want) in [("user", "# * user.#"), ("user.critical", "# *.critical user.#"), ("a.z", "# a.#.z"), ("a.b.c.z", "# a.#.z"), ("", "#"), ("critical", "# *")] {
        put(&ch, &x, key, b"", Props::default()).await?;
        assert_eq!((key, routed(&ch, &queues).await.as_str()), (key, want));
    }
    ch.exchange_delete(x.into(), ExchangeDeleteOptions::default()).await
}

async fn routing_headers() -> Fallible {
    let (ch, x) = (channel().await, name());
    ch.exchange_declare(x.as_str().into(), ExchangeKind::Headers, ExchangeDeclareOptions::default(), FieldTable::default()).await?;
    ch.confirm_select(ConfirmSelectOptions::default()).await?;
    let (int, long) = (AMQPValue::LongInt, AMQPValue::LongLongInt);
    let mut queues = BTreeMap::new();
    for (label, args) in [
        ("all", table([("x-match", text("all")), ("a", int(1)), ("b", text("x"))])), ("any", table([("x-match", text("any")), ("a", int(1)), ("b", text("x"))])),
        ("void", table([("a", AMQPValue::Void)])),
    ] {
        let q = exclusive(&ch, FieldTable::default()).await;
        ch.queue_bind(q.as_str().into(), x.as_str().into(), "".into(), QueueBindOptions::default(), args).await?;
        queues.insert(label.to_string(), q);
    }
    for (headers, want) in [
        (table([("a", long(1)), ("b", text("x"))]), "all any void"), (table([("b", text("x"))]), "any"), (table([("a", text("1"))]), "void"), (table([("c", int(1))]), ""),
    ] {
        put(&ch, &x, "", b"", Props::default().with_headers(headers)).await?;
        assert_eq!(routed(&ch, &queues).await, want);
    }
    ch.exchange_delete(x.into(), ExchangeDeleteOptions::default()).await
}

async fn exchange_to_exchange() -> Fallible {
    let (ch, a, b) = (channel().await, name(), name());
    for (x, kind) in [(&a, ExchangeKind::Direct), (&b, ExchangeKind::Fanout)] {
        ch.exchange_declare(x.as_str().into(), kind, ExchangeDeclareOptions { auto_delete: true, ..Default::default() }, FieldTable::default()).await?;
    }
    let q = exclusive(&ch, FieldTable::default()).await;
    ch.exchange_bind(b.as_str().into(), a.as_str().into(), "k".into(), ExchangeBindOptions::default(), FieldTable::default()).await?;
    ch.queue_bind(q.as_str().into(), b.as_str().into(), "".into(), QueueBindOptions::default(), FieldTable::default()).await?;
    put(&ch, &a, "z", b"no", Props::default()).await?;
    put(&ch, &a, "k", b"yes", Props::default()).await?;
    let d = get(&ch, &q, true).await;
    assert_eq!((body(&d), d.exchange.as_str()), ("yes", a.as_str()));
    Ok(())
}

async fn request_and_reply() -> Fallible {
    let server = channel().await;
    let requests = declare(&server, &name(), QueueDeclareOptions { auto_delete: true, ..Default::default() }, FieldTable::default()).await?;
    let mut asked = consume(&server, &requests, "", true, FieldTable::default()).await?;
    tokio::spawn(async move {
        while let Some(Ok(d)) = asked.next().await {
            let to = d.properties.reply_to().clone().expect("reply_to");
            let props = Props::default().with_correlation_id(d.properties.correlation_id().clone().expect("correlation_id"));
            put(&server, "", to.as_str(), d.data.to_ascii_uppercase().as_slice(), props).await.expect("reply");
        }
    });
    for direct in [false, true] {
        let ch = channel().await;
        let reply = if direct { "amq.rabbitmq.reply-to".to_string() } else { exclusive(&ch, FieldTable::default()).await };
        let mut answers = consume(&ch, &reply, "", true, FieldTable::default()).await?;
        for i in 0..20 {
            put(&ch, "", &requests, format!("ask{i}").as_bytes(), Props::default().with_reply_to(reply.as_str().into()).with_correlation_id(i.to_string().into())).await?;
        }
        for i in 0..20 {
            let d = next(&mut answers).await;
            assert_eq!((body(&d), d.properties.correlation_id().as_ref().unwrap().as_str()), (format!("ASK{i}").as_str(), i.to_string().as_str()));
            assert!(d.routing_key.as_str().starts_with(&reply));
        }
    }
    Ok(())
}

async fn tx_commit_and_rollback() -> Fallible {
    let c = connect().await;
    let (ch, look) = (c.create_channel().await?, c.create_channel().await?);
    let q = exclusive(&look, FieldTable::default()).await;
    ch.tx_select().await?;
    put(&ch, "", &q, b"1", Props::default()).await?;
    ch.tx_rollback().await?;
    put(&ch, "", &q, b"2", Props::default()).await?;
    count(&ch, &q).await?;
    assert_eq!(count(&look, &q).await?, 0);
    ch.tx_commit().await?;
    assert_eq!(body(&get(&look, &q, true).await), "2");
    refused(c.create_channel().await?.tx_commit().await, 406, "PRECONDITION_FAILED - channel is not transactional");
    refused(ch.confirm_select(ConfirmSelectOptions::default()).await, 406, "PRECONDITION_FAILED - cannot switch from tx to confirm mode");
    Ok(())
}

async fn big_and_empty_bodies() -> Fallible {
    let ch = channel().await;
    let q = exclusive(&ch, FieldTable::default()).await;
    let mut c = consume(&ch, &q, "", true, FieldTable::default()).await?;
    let big: Vec<u8> = (0..5u32 << 20).map(|i| (i.wrapping_mul(2654435761) >> 24) as u8).collect();
    for body in [vec![], big, vec![206; 131064], vec![206; 131065], vec![]] {
        put(&ch, "", &q, &body, Props::default()).await?;
        let d = next(&mut c).await;
        assert!(d.data == body, "{} bytes came for {}", d.data.len(), body.len());
    }
    Ok(())
}

async fn properties_round_trip() -> Fallible {
    let ch = channel().await;
    let q = exclusive(&ch, FieldTable::default()).await;
    let headers = table([
        ("bool", AMQPValue::Boolean(true)), ("i8", AMQPValue::ShortShortInt(-7)), ("u8", AMQPValue::ShortShortUInt(200)), ("i16", AMQPValue::ShortInt(-300)),
        ("u16", AMQPValue::ShortUInt(60000)), ("i32", AMQPValue::LongInt(-70000)), ("u32", AMQPValue::LongUInt(4_000_000_000)), ("i64", AMQPValue::LongLongInt(i64::MIN)),
        ("f32", AMQPValue::Float(0.5)), ("f64", AMQPValue::Double(2.5)), ("dec", AMQPValue::DecimalValue(DecimalValue { scale: 2, value: 125 })), ("str", text("žluťoučký")),
        ("bytes", AMQPValue::ByteArray(vec![0, 255].into())), ("time", AMQPValue::Timestamp(1_600_000_000)), ("void", AMQPValue::Void),
        ("list", AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::LongInt(1), text("two"), AMQPValue::FieldTable(table([("x", AMQPValue::Void)]))]))),
        ("table", AMQPValue::FieldTable(table([("a", AMQPValue::FieldTable(table([("b", text("c"))])))]))),
    ]);
    let want = Props::default()
        .with_content_type("text/plain".into()).with_content_encoding("utf-8".into()).with_headers(headers).with_delivery_mode(2).with_priority(9)
        .with_correlation_id("c".into()).with_reply_to("r".into()).with_expiration("60000".into()).with_message_id("m".into()).with_timestamp(1_600_000_000)
        .with_type("t".into()).with_user_id("guest".into()).with_app_id("a".into()).with_cluster_id("cl".into());
    put(&ch, "", &q, b"x", want.clone()).await?;
    assert_eq!(get(&ch, &q, true).await.properties, want);
    put(&ch, "", &q, b"x", Props::default()).await?;
    assert_eq!(get(&ch, &q, true).await.properties, Props::default());
    Ok(())
}

async fn requeue_order_and_redelivered() -> Fallible {
    let ch = channel().await;
    let q = exclusive(&ch, FieldTable::default()).await;
    for i in 0..6 {
        put(&ch, "", &q, i.to_string().as_bytes(), Props::default()).await?;
    }
    ready(&ch, &q, 6).await;
    for _ in 0..4 {
        get(&ch, &q, false).await;
    }
    ch.basic_reject(3, BasicRejectOptions { requeue: true }).await?;
    ch.basic_nack(2, BasicNackOptions { multiple: true, requeue: true }).await?;
    ch.basic_nack(4, BasicNackOptions { multiple: false, requeue: true }).await?;
    for i in 0..6 {
        let d = get(&ch, &q, true).await;
        assert_eq!((body(&d), d.redelivered), (i.to_string().as_str(), i < 4));
    }
    Ok(())
}

async fn consumer_cancel_notice() -> Fallible {
    let ch = channel().await;
    let q = shared(&ch).await;
    let mut c = consume(&ch, &q, "gone", false, FieldTable::default()).await?;
    channel().await.queue_delete(q.into(), QueueDeleteOptions::default()).await?;
    let end = tokio::time::timeout(Duration::from_secs(10), c.next()).await.expect("no cancel");
    assert!(end.is_none(), "{end:?}");
    exclusive(&ch, FieldTable::default()).await;
    Ok(())
}

async fn consumer_priority() -> Fallible {
    let ch = channel().await;
    let q = exclusive(&ch, FieldTable::default()).await;
    ch.basic_qos(2, BasicQosOptions::default()).await?;
    let mut low = consume(&ch, &q, "low", false, table([("x-priority", AMQPValue::LongInt(-5))])).await?;
    let mut high = consume(&ch, &q, "high", false, table([("x-priority", AMQPValue::LongInt(5))])).await?;
    for i in 0..4 {
        put(&ch, "", &q, i.to_string().as_bytes(), Props::default()).await?;
    }
    let got = [next(&mut high).await, next(&mut high).await, next(&mut low).await, next(&mut low).await];
    assert_eq!(got.each_ref().map(body), ["0", "1", "2", "3"]);
    Ok(())
}

async fn dead_letter() -> Fallible {
    let ch = channel().await;
    let dead = exclusive(&ch, FieldTable::default()).await;
    let q = exclusive(&ch, table([("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text(&dead))])).await;
    put(&ch, "", &q, b"x", Props::default().with_expiration("20".into())).await?;
    let d = get(&ch, &dead, true).await;
    assert!(d.properties.expiration().is_none());
    let headers = d.properties.headers().as_ref().expect("headers").inner();
    let AMQPValue::FieldArray(deaths) = &headers["x-death"] else { panic!("{headers:?}") };
    let [AMQPValue::FieldTable(death)] = deaths.as_slice() else { panic!("{deaths:?}") };
    let death = death.inner();
    assert!(matches!(death["time"], AMQPValue::Timestamp(_)) && matches!(death["routing-keys"], AMQPValue::FieldArray(_)), "{death:?}");
    assert_eq!((&death["count"], &death["reason"], &death["queue"], &death["original-expiration"]), (&AMQPValue::LongLongInt(1), &text("expired"), &text(&q), &text("20")));
    assert_eq!((&headers["x-first-death-queue"], &headers["x-first-death-reason"]), (&text(&q), &text("expired")));
    Ok(())
}

async fn error_404() -> Fallible {
    let (c, no) = (connect().await, name());
    let (q, x) = (format!("NOT_FOUND - no queue '{no}' in vhost '/'"), format!("NOT_FOUND - no exchange '{no}' in vhost '/'"));
    refused(count(&c.create_channel().await?, &no).await, 404, &q);
    refused(consume(&c.create_channel().await?, &no, "", true, FieldTable::default()).await, 404, &q);
    refused(c.create_channel().await?.basic_get(no.as_str().into(), BasicGetOptions::default()).await, 404, &q);
    refused(c.create_channel().await?.queue_bind(no.as_str().into(), "amq.direct".into(), "k".into(), QueueBindOptions::default(), FieldTable::default()).await, 404, &q);
    let ch = c.create_channel().await?;
    let watch = watch(&ch).await;
    let _ = put(&ch, &no, "k", b"x", Props::default()).await;
    closed(watch, 404, &x).await;
    Ok(())
}

async fn error_406() -> Fallible {
    let (c, q) = (connect().await, name());
    let ch = c.create_channel().await?;
    let ttl = |n| table([("x-message-ttl", AMQPValue::LongInt(n))]);
    declare(&ch, &q, QueueDeclareOptions::durable(), ttl(10)).await?;
    let text = |arg, rest| format!("PRECONDITION_FAILED - inequivalent arg '{arg}' for queue '{q}' in vhost '/': received {rest}");
    refused(declare(&c.create_channel().await?, &q, QueueDeclareOptions::default(), ttl(10)).await, 406, &text("durable", "'false' but current is 'true'"));
    refused(declare(&c.create_channel().await?, &q, QueueDeclareOptions::durable(), ttl(20)).await, 406, &text("x-message-ttl", "'20' but current is '10'"));
    refused(
        declare(&c.create_channel().await?, &q, QueueDeclareOptions::durable(), FieldTable::default()).await, 406,
        &text("x-message-ttl", "none but current is the value '10' of type 'signedint'"),
    );
    let tag = c.create_channel().await?;
    let watch = watch(&tag).await;
    tag.basic_ack(9, BasicAckOptions::default()).await?;
    closed(watch, 406, "PRECONDITION_FAILED - unknown delivery tag 9").await;
    ch.queue_delete(q.into(), QueueDeleteOptions::default()).await?;
    Ok(())
}

async fn error_405_and_403() -> Fallible {
    let (owner, c) = (channel().await, connect().await);
    let q = exclusive(&owner, FieldTable::default()).await;
    let locked = format!("RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{q}' in vhost '/'. It could be originally declared on another connection or the exclusive property value does not match that of the original declaration.");
    refused(count(&c.create_channel().await?, &q).await, 405, &locked);
    refused(consume(&c.create_channel().await?, &q, "", true, FieldTable::default()).await, 405, &locked);
    refused(c.create_channel().await?.queue_delete(q.as_str().into(), QueueDeleteOptions::default()).await, 405, &locked);
    refused(
        declare(&c.create_channel().await?, "amq.foo", QueueDeclareOptions::default(), FieldTable::default()).await, 403,
        "ACCESS_REFUSED - queue name 'amq.foo' contains reserved prefix 'amq.*'",
    );
    let ch = c.create_channel().await?;
    let mine = exclusive(&ch, FieldTable::default()).await;
    refused(
        ch.queue_bind(mine.into(), "".into(), "k".into(), QueueBindOptions::default(), FieldTable::default()).await, 403,
        "ACCESS_REFUSED - operation not permitted on the default exchange",
    );
    let first = channel().await;
    let busy = shared(&first).await;
    let _held = first.basic_consume(busy.as_str().into(), "".into(), BasicConsumeOptions { exclusive: true, ..Default::default() }, FieldTable::default()).await?;
    refused(
        consume(&c.create_channel().await?, &busy, "", true, FieldTable::default()).await, 403,
        &format!("ACCESS_REFUSED - queue '{busy}' in vhost '/' in exclusive use"),
    );
    first.queue_delete(busy.into(), QueueDeleteOptions::default()).await?;
    Ok(())
}

async fn error_530_duplicate_consumer_tag() -> Fallible {
    let ch = channel().await;
    let q = exclusive(&ch, FieldTable::default()).await;
    let _held = consume(&ch, &q, "t", true, FieldTable::default()).await?; // lapin cancels a consumer that is dropped
    refused(consume(&ch, &q, "t", true, FieldTable::default()).await, 530, "NOT_ALLOWED - attempt to reuse consumer tag 't'");
    Ok(())
}

async fn error_540() -> Fallible {
    let ch = channel().await;
    let watch = watch(&ch).await;
    let _ = ch.basic_publish("".into(), "x".into(), BasicPublishOptions { immediate: true, ..Default::default() }, b"x", Props::default()).await;
    closed(watch, 540, "NOT_IMPLEMENTED - immediate=true").await;
    let flow = channel().await.channel_flow(ChannelFlowOptions { active: false }).await;
    refused(flow, 540, "NOT_IMPLEMENTED - active=false");
    Ok(())
}

async fn refused_vhost_and_login() -> Fallible {
    refused(dial(&port(), "guest:guest", "nowhere").await, 530, "NOT_ALLOWED - vhost nowhere not found");
    refused(
        dial(&port(), "guest:wrong", "%2f").await, 403,
        "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile.",
    );
    Ok(())
}

async fn many_channels_and_heartbeat() -> Fallible {
    let c = dial(&port(), "guest:guest", "%2f?heartbeat=1").await?;
    let ch = c.create_channel().await?;
    let q = exclusive(&ch, FieldTable::default()).await;
    let mut channels = vec![];
    for _ in 0..200 {
        let each = c.create_channel().await?;
        put(&each, "", &q, b"x", Props::default()).await?;
        channels.push(each);
    }
    ready(&ch, &q, 200).await;
    pause(4000).await;
    ready(&ch, &q, 200).await;
    Ok(())
}

async fn recovery_after_a_restart() -> Fallible {
    let mut b = Broker::new().expect("skipped without it");
    for run in 0..2 {
        b.start().await;
        let c = dial(&b.port.to_string(), "guest:guest", "%2f").await?;
        let ch = c.create_channel().await?;
        declare(&ch, "again", QueueDeclareOptions::durable(), FieldTable::default()).await?;
        ch.confirm_select(ConfirmSelectOptions::default()).await?;
        assert!(put(&ch, "", "again", run.to_string().as_bytes(), Props::default()).await?.is_ack());
        assert_eq!(body(&get(&ch, "again", true).await), run.to_string());
        b.stop().await;
        let end = Instant::now() + Duration::from_secs(10);
        while count(&ch, "again").await.is_ok() {
            assert!(Instant::now() < end, "the end of the broker was not seen");
        }
    }
    Ok(())
}

async fn recovery_of_itself_after_a_restart() -> Fallible {
    let mut b = Broker::new().expect("skipped without it");
    b.start().await;
    let properties = ConnectionProperties::default().enable_auto_recover().configure_backoff(|b| b.with_max_times(100).with_max_delay(Duration::from_millis(500)));
    let c = Connection::connect(&format!("amqp://guest:guest@127.0.0.1:{}/%2f", b.port), properties).await?;
    let ch = c.create_channel().await?;
    declare(&ch, "itself", QueueDeclareOptions::durable(), FieldTable::default()).await?;
    let mut consumer = consume(&ch, "itself", "c", true, FieldTable::default()).await?;
    put(&ch, "", "itself", b"before", Props::default()).await?;
    assert_eq!(body(&next(&mut consumer).await), "before");
    b.stop().await;
    pause(500).await;
    b.start().await;
    let end = Instant::now() + Duration::from_secs(40);
    while let Err(e) = put(&ch, "", "itself", b"after", Props::default()).await {
        assert!(Instant::now() < end, "not recovered: {e:?}");
        let _ = tokio::time::timeout(Duration::from_secs(5), ch.wait_for_recovery(e)).await;
        pause(200).await;
    }
    loop {
        match tokio::time::timeout(Duration::from_secs(10), consumer.next()).await.expect("no delivery") {
            Some(Ok(d)) => break assert_eq!(body(&d), "after"),
            Some(Err(_)) => continue,
            None => panic!("the consumer ended"),
        }
    }
    b.stop().await;
    Ok(())
}

type Case = (&'static str, fn() -> Pin<Box<dyn Future<Output = Fallible> + Send>>);

macro_rules! cases {
    ($($case:ident),* $(,)?) => { [$((stringify!($case), || Box::pin($case()))),*] };
}

#[tokio::main]
async fn main() {
    let cases: Vec<Case> = Vec::from(cases![
        declare_active_passive_server_named, declare_exclusive_and_auto_delete, delete_and_purge, confirm_one_and_many, confirm_nack, return_before_the_confirm,
        consume_ack_and_prefetch, get_and_empty, routing_topic, routing_headers, exchange_to_exchange, request_and_reply, tx_commit_and_rollback, big_and_empty_bodies,
        properties_round_trip, requeue_order_and_redelivered, consumer_cancel_notice, consumer_priority, dead_letter, error_404, error_406, error_405_and_403,
        error_530_duplicate_consumer_tag, error_540, refused_vhost_and_login, many_channels_and_heartbeat, recovery_after_a_restart, recovery_of_itself_after_a_restart,
    ] as [Case; 28]);
    let arguments: Vec<String> = env::args().collect();
    let mut out = fs::File::create(&arguments[1]).unwrap();
    for (title, case) in cases {
        if arguments.len() > 2 && !arguments[2..].iter().any(|part| title.contains(part)) {
            continue;
        }
        let (began, recovery) = (Instant::now(), title.starts_with("recovery"));
        let verdict = if recovery && env::var("LEVERET_BIN").is_err() {
            "SKIP"
        } else {
            let limit = Duration::from_secs(if recovery { 90 } else { 20 });
            match tokio::time::timeout(limit, tokio::spawn(case())).await {
                Ok(Ok(Ok(()))) => "PASS",
                other => {
                    println!("    {title}: {other:?}");
                    "FAIL"
                }
            }
        };
        writeln!(out, "{verdict} {title}").unwrap();
        println!("{verdict} {title} {:.2?}", began.elapsed());
    }
    std::process::exit(0);
}
