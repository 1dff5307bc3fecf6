"""Cases for kombu (over py-amqp) and Celery: cases.py CASES_FILE [NAME_PART...]"""
import os, signal, socket, subprocess, sys, tempfile, threading, time, traceback
import amqp.exceptions
from kombu import Connection, Consumer, Exchange, Producer, Queue
from kombu.common import Broadcast
from kombu.mixins import ConsumerMixin
from kombu.pools import producers, reset

PORT = int(os.environ["AMQP_PORT"])
CASES, OPEN, NOW = [], [], {}


class Skip(Exception):
    pass


def case(limit=20):
    def add(function):
        CASES.append((function.__name__, limit, function))
        return function
    return add


def url(port=None, user="guest:guest", vhost="%2F"):
    return f"amqp://{user}@127.0.0.1:{port or PORT}/{vhost}"


def connect(port=None, **more):
    c = Connection(url(port), **more)
    OPEN.append(c)
    return c


def eq(got, want):
    assert got == want, f"got {got!r}, want {want!r}"


def name(suffix=""):
    NOW["n"] += 1
    return f"kombu-{NOW['case']}-{os.getpid()}-{NOW['n']}{suffix}"


def drain(connection, done, seconds=10):
    end = time.time() + seconds
    while not done():
        assert time.time() < end, "nothing came"
        try:
            connection.drain_events(timeout=0.2)
        except socket.timeout:
            pass


def raises(kind, code, text, ids, action):
    try:
        action()
    except kind as error:
        eq((error.reply_code, error.reply_text, tuple(error.method_sig)), (code, text, ids))
    else:
        raise AssertionError(f"no {kind.__name__}")


class Broker:
    """A second broker of our own, which may be stopped and started again on the same port."""

    def __init__(self):
        self.binary, self.process = os.environ.get("LEVERET_BIN"), None
        if not self.binary:
            raise Skip("LEVERET_BIN is unset")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.folder = tempfile.mkdtemp(prefix="second-", dir=os.environ.get("OUT"))

    def start(self):
        log = open(os.path.join(self.folder, "broker.log"), "ab")
        self.process = subprocess.Popen([self.binary, "--port", str(self.port), "--shards", os.environ.get("SHARDS", "1")], cwd=self.folder, stdout=log, stderr=log)
        for _ in range(400):
            try:
                return socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert self.process.poll() is None, "the broker ended"
                time.sleep(0.1)
        raise AssertionError("the broker does not listen")

    def stop(self):
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None


@case()
def declare_publish_and_consume():
    c, got = connect(), []
    x = Exchange(name("-x"), "direct", durable=True)
    q = Queue(name(), x, routing_key="k")
    with c.Producer(serializer="json") as producer:
        producer.publish({"hello": "world", "n": [1, 2]}, exchange=x, routing_key="k", declare=[q])
    with c.Consumer([q], accept=["json"], callbacks=[lambda body, m: (got.append((body, m.delivery_info["redelivered"])), m.ack())]):
        drain(c, lambda: got)
    eq(got, [({"hello": "world", "n": [1, 2]}, False)])
    eq(q(c.default_channel).queue_declare(passive=True).message_count, 0)
    q(c.default_channel).delete()
    x(c.default_channel).delete()


@case()
def publish_with_confirms():
    c = connect(transport_options={"confirm_publish": True})
    q = Queue(name(), durable=True)
    p = c.Producer()
    for i in range(200):
        p.publish(str(i), routing_key=q.name, declare=[q] if i == 0 else [], delivery_mode=2)
    eq(q(c.default_channel).queue_declare(passive=True).message_count, 200)
    q(c.default_channel).delete()


@case()
def confirm_of_a_rejecting_queue():
    c = connect(transport_options={"confirm_publish": True})
    q = Queue(name(), exclusive=True, max_length=1, queue_arguments={"x-overflow": "reject-publish"})
    p = c.Producer()
    p.publish("1", routing_key=q.name, declare=[q])
    try:
        p.publish("2", routing_key=q.name)
        raise AssertionError("no nack")
    except amqp.exceptions.MessageNacked:
        pass


@case()
def mandatory_return():
    c, got = connect(transport_options={"confirm_publish": True}), []
    p = c.Producer(on_return=lambda error, exchange, key, message: got.append((error.reply_code, error.reply_text, exchange, key, message.body)))
    p.publish("back", routing_key="nowhere", exchange="amq.direct", mandatory=True)
    eq(got, [(312, "NO_ROUTE", "amq.direct", "nowhere", "back")])


@case()
def ack_requeue_reject():
    c = connect()
    q = Queue(name())(c.default_channel)
    q.declare()
    p = c.Producer()
    for i in range(3):
        p.publish(str(i), routing_key=q.name)
    first = q.get()
    eq(first.payload, "0")
    first.requeue()
    again = q.get()
    eq((again.payload, again.delivery_info["redelivered"]), ("0", True))
    again.reject()
    second = q.get()
    eq((second.payload, second.delivery_info["redelivered"]), ("1", False))
    second.ack()
    third = q.get(no_ack=True)
    eq((third.payload, q.get()), ("2", None))
    q.delete()


@case()
def prefetch():
    c, got = connect(), []
    q = Queue(name(), exclusive=True)
    p = c.Producer()
    for i in range(6):
        p.publish(str(i), routing_key=q.name, declare=[q])
    with c.Consumer([q], prefetch_count=2, callbacks=[lambda b, m: got.append(m)]):
        drain(c, lambda: len(got) == 2)
        try:
            c.drain_events(timeout=0.3)
            raise AssertionError("more than the prefetch count")
        except socket.timeout:
            pass
        got[1].channel.basic_ack(got[1].delivery_tag, multiple=True)
        drain(c, lambda: len(got) == 4)
    eq([m.payload for m in got], ["0", "1", "2", "3"])


@case()
def simple_queue():
    c = connect()
    with c.SimpleQueue(name()) as s:
        for i in range(4):
            s.put({"i": i}, compression="zlib")
        end = time.time() + 5
        while s.qsize() < 4:
            assert time.time() < end
        m = s.get(timeout=5)
        eq(m.payload, {"i": 0})
        m.requeue()
        got = [s.get(timeout=5) for _ in range(4)]  # the others had been delivered already
        eq([(m.payload["i"], m.delivery_info["redelivered"]) for m in got], [(1, False), (2, False), (3, False), (0, True)])
        got[3].ack()
    c.release()
    other = connect().SimpleQueue(s.queue.name)
    eq([(lambda m: (m.ack(), m.payload["i"])[1])(other.get(timeout=5)) for _ in range(3)], [1, 2, 3])
    try:
        other.get(block=False)
        raise AssertionError("more messages")
    except other.Empty:
        pass
    other.close()
    connect().default_channel.queue_delete(s.queue.name)


@case()
def simple_buffer():
    with connect().SimpleBuffer(name()) as s:
        s.put("x")
        eq(s.get(timeout=5).payload, "x")


@case()
def serializers_and_big_body():
    c = connect()
    q = Queue(name(), exclusive=True)(c.default_channel)
    q.declare()
    p, blob = c.Producer(), os.urandom(5 << 20)
    for body, more in ((blob, {}), ("", {}), ({"a": [1, None, 2.5, "é"]}, {"serializer": "json", "compression": "bzip2"}), ([1], {"serializer": "pickle"})):
        p.publish(body, routing_key=q.name, **more)
        end, m = time.time() + 10, None
        while m is None and time.time() < end:
            m = q.get(no_ack=True, accept=["json", "pickle", "application/data", "text/plain"])
        assert m.payload == body, (repr(m.payload)[:80], repr(body)[:80])


@case()
def properties_and_headers():
    c = connect()
    q = Queue(name(), exclusive=True)(c.default_channel)
    q.declare()
    headers = {"s": "x", "i": 1, "n": -5, "big": 2 ** 40, "f": 1.5, "l": [1, "a", {"b": False}], "d": {"x": {"y": None}}, "t": True}
    want = dict(correlation_id="c", reply_to="r", message_id="m", app_id="a", type="t", user_id="guest", priority=3, expiration="60000", timestamp=1600000000)
    c.Producer().publish("x", routing_key=q.name, headers=headers, content_type="text/plain", content_encoding="utf-8",
                         **{**want, "expiration": 60})
    end, m = time.time() + 5, None
    while m is None and time.time() < end:
        m = q.get(no_ack=True)
    eq(m.headers, headers)
    eq({k: m.properties.get(k) for k in want}, want)
    eq((m.content_type, m.content_encoding, m.properties["delivery_mode"]), ("text/plain", "utf-8", 2))


@case()
def routing():
    c = connect()
    ch = c.default_channel
    for kind, bindings, sends in (
        ("topic", {"a": ["user.#"], "b": ["*.critical"], "c": ["#"]}, {"user": "ac", "user.critical": "abc", "kern.critical": "bc", "x": "c"}),
        ("direct", {"a": ["1", "2"], "b": ["2"], "c": []}, {"1": "a", "2": "ab", "3": ""}), ("fanout", {"a": ["z"], "b": [""], "c": ["y"]}, {"any": "abc"}),
    ):
        x = Exchange(name("-x"), kind, durable=False)(ch)
        x.declare()
        queues = {}
        for label, keys in bindings.items():
            queues[label] = Queue(name(), exclusive=True)(ch)
            queues[label].declare()
            for key in keys:
                queues[label].bind_to(x, key)
        p = connect(transport_options={"confirm_publish": True}).Producer()
        for key, want in sends.items():
            p.publish(key, exchange=x, routing_key=key)
            eq((kind, key, "".join(label for label, q in sorted(queues.items()) for _ in range(q.purge()))), (kind, key, want))
        x.delete()


@case()
def headers_exchange_and_exchange_to_exchange():
    c = connect(transport_options={"confirm_publish": True})
    ch = c.default_channel
    first, second = Exchange(name("-1"), "fanout")(ch), Exchange(name("-2"), "headers")(ch)
    first.declare()
    second.declare()
    second.bind_to(first)
    q = Queue(name(), exclusive=True)(ch)
    q.declare()
    q.bind_to(second, "", arguments={"x-match": "all", "a": 1, "b": "x"})
    p = c.Producer()
    p.publish("no", exchange=first, headers={"a": 1})
    p.publish("yes", exchange=first, headers={"a": 1, "b": "x", "c": 2})
    eq([q.get(no_ack=True).payload, q.get()], ["yes", None])
    first.delete()
    second.delete()


@case()
def broadcast():
    c, got = connect(), []
    x = name("-x")
    one, two = Broadcast(x, exchange=Exchange(x, "fanout")), Broadcast(x, exchange=Exchange(x, "fanout"))
    with c.Consumer([one], callbacks=[lambda b, m: got.append("one " + b)], no_ack=True), c.Consumer([two], callbacks=[lambda b, m: got.append("two " + b)], no_ack=True):
        c.Producer().publish("x", exchange=Exchange(x, "fanout"))
        drain(c, lambda: len(got) == 2)
    eq(sorted(got), ["one x", "two x"])


@case()
def queue_arguments():
    c = connect(transport_options={"confirm_publish": True})
    ch = c.default_channel
    dead = Queue(name("-dead"), exclusive=True)(ch)
    dead.declare()
    q = Queue(name(), exclusive=True, max_length=2, message_ttl=0.3, expires=60, queue_arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead.name})(ch)
    q.declare()
    p = c.Producer()
    for i in range(3):
        p.publish(str(i), routing_key=q.name)
    got, end = [], time.time() + 5
    while len(got) < 3 and time.time() < end:
        m = dead.get(no_ack=True)
        if m:
            got.append((m.payload, m.headers["x-death"][0]["reason"], m.headers["x-first-death-queue"]))
    eq(got, [("0", "maxlen", q.name), ("1", "expired", q.name), ("2", "expired", q.name)])
    high = Queue(name("-p"), exclusive=True, max_priority=10)(ch)
    high.declare()
    for priority in (1, 5, 3):
        p.publish(str(priority), routing_key=high.name, priority=priority)
    eq([high.get(no_ack=True).payload for _ in range(3)], ["5", "3", "1"])


@case()
def consumer_priority_and_cancel_notice():
    c, got, cancelled = connect(), [], []
    q = Queue(name(), auto_delete=False)
    q(c.default_channel).declare()
    low = Consumer(c.channel(), [Queue(q.name, no_declare=True, consumer_arguments={"x-priority": 0})], callbacks=[lambda b, m: got.append("low")], no_ack=True)
    high = Consumer(c.channel(), [Queue(q.name, no_declare=True, consumer_arguments={"x-priority": 9})], callbacks=[lambda b, m: got.append("high")], no_ack=True)
    low.consume()
    high.consume()
    for _ in range(3):
        c.Producer().publish("x", routing_key=q.name)
    drain(c, lambda: len(got) == 3)
    eq(got, ["high"] * 3)
    ch = c.channel()
    ch.basic_consume(q.name, on_cancel=cancelled.append, consumer_tag="mine")
    connect().default_channel.queue_delete(q.name)
    for _ in range(3):  # the consumers without a callback make kombu raise
        try:
            drain(c, lambda: False, 1)
        except amqp.exceptions.ConsumerCancelled:
            pass
        except AssertionError:
            break
    eq(cancelled, ["mine"])


@case()
def transaction():
    c = connect()
    ch, look = c.channel(), c.channel()
    q = look.queue_declare(exclusive=True).queue
    ch.tx_select()
    ch.basic_publish(amqp.Message("1"), routing_key=q)
    ch.tx_rollback()
    ch.basic_publish(amqp.Message("2"), routing_key=q)
    eq(look.queue_declare(q, passive=True).message_count, 0)
    ch.tx_commit()
    eq(look.basic_get(q).body, "2")


@case()
def request_and_reply():
    server, client, answers = connect(), connect(), []
    q = Queue(name(), auto_delete=True)

    def serve(body, m):
        server.Producer().publish(body + 1, routing_key=m.properties["reply_to"], correlation_id=m.properties["correlation_id"], serializer="json")

    for reply in (Queue(name("-r"), exclusive=True), Queue("amq.rabbitmq.reply-to", no_declare=True)):
        answers.clear()
        with server.Consumer([q], callbacks=[serve], no_ack=True), client.Consumer([reply], callbacks=[lambda b, m: answers.append((m.properties["correlation_id"], b))], no_ack=True) as r:
            Producer(r.channel).publish(41, routing_key=q.name, reply_to=reply.name, correlation_id="7", serializer="json")
            end = time.time() + 5
            while not answers and time.time() < end:
                for c in (server, client):
                    try:
                        c.drain_events(timeout=0.05)
                    except socket.timeout:
                        pass
            eq(answers, [("7", 42)])
        server.default_channel.queue_delete(q.name)


@case()
def channel_errors():
    c, no = connect(), name()
    mine, x = name("-mine"), name("-x")
    c.default_channel.queue_declare(mine, exclusive=True, auto_delete=False)
    other = connect()
    e = amqp.exceptions
    locked = (f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{mine}' in vhost '/'. It could be originally declared on another "
              "connection or the exclusive property value does not match that of the original declaration.")
    c.default_channel.exchange_declare(x, "direct", durable=True, auto_delete=False)
    raises(e.NotFound, 404, f"NOT_FOUND - no queue '{no}' in vhost '/'", (50, 10), lambda: c.channel().queue_declare(no, passive=True))
    raises(e.NotFound, 404, f"NOT_FOUND - no exchange '{no}' in vhost '/'", (50, 20), lambda: c.channel().queue_bind(mine, no, "k"))
    raises(e.PreconditionFailed, 406, f"PRECONDITION_FAILED - inequivalent arg 'type' for exchange '{x}' in vhost '/': received 'topic' but current is 'direct'",
           (40, 10), lambda: c.channel().exchange_declare(x, "topic", durable=True, auto_delete=False))
    raises(e.ResourceLocked, 405, locked, (50, 10), lambda: other.channel().queue_declare(mine, exclusive=True))
    raises(e.AccessRefused, 403, "ACCESS_REFUSED - queue name 'amq.foo' contains reserved prefix 'amq.*'", (50, 10), lambda: c.channel().queue_declare("amq.foo"))
    ch = c.channel()
    ch.basic_ack(5)
    raises(e.PreconditionFailed, 406, "PRECONDITION_FAILED - unknown delivery tag 5", (60, 80), lambda: drain(c, lambda: False, 2))
    c.default_channel.exchange_delete(x)


@case()
def connection_errors():
    e = amqp.exceptions
    c = connect()
    q = c.default_channel.queue_declare(exclusive=True).queue
    c.default_channel.basic_consume(q, consumer_tag="t")
    raises(e.NotAllowed, 530, "NOT_ALLOWED - attempt to reuse consumer tag 't'", (60, 20), lambda: c.default_channel.basic_consume(q, consumer_tag="t"))
    ch = connect().channel()
    raises(e.AMQPNotImplementedError, 540, "NOT_IMPLEMENTED - prefetch_size!=0 (9)", (60, 10), lambda: ch.basic_qos(9, 0, False))
    raises(e.NotAllowed, 530, "NOT_ALLOWED - vhost nowhere not found", (10, 40), lambda: Connection(url(vhost="nowhere")).connect())
    raises(e.AccessRefused, 403, "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile.", (0, 0),
           lambda: Connection(url(user="guest:no"), login_method="PLAIN").connect())
    raises(e.AccessRefused, 403, "ACCESS_REFUSED - Login was refused using authentication mechanism AMQPLAIN. For details see the broker logfile.", (0, 0),
           lambda: Connection(url(user="guest:no"), login_method="AMQPLAIN").connect())
    assert Connection(url(), login_method="AMQPLAIN").connect()


@case()
def pool_of_producers():
    c = connect()
    q = Queue(name(), durable=False, auto_delete=True)
    q(c.default_channel).declare()

    def work(n):
        for i in range(25):
            with producers[c].acquire(block=True) as p:
                p.publish([n, i], serializer="json", routing_key=q.name, retry=True)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    got = []
    with c.Consumer([q], callbacks=[lambda b, m: got.append(tuple(b))], no_ack=True):
        drain(c, lambda: len(got) == 100)
    for n in range(4):  # each thread's own order is not promised over a pool of connections, but all must be there
        eq(sorted(b for b in got if b[0] == n), [(n, i) for i in range(25)])
    reset()


@case()
def heartbeat():
    c = connect(heartbeat=2)
    c.connect()
    end = time.time() + 6
    while time.time() < end:
        c.heartbeat_check()
        try:
            c.drain_events(timeout=0.5)
        except socket.timeout:
            pass
    assert c.default_channel.queue_declare(exclusive=True)


@case(90)
def retry_and_reconnect_after_a_restart():
    b = Broker()
    b.start()
    try:
        got, ready = [], threading.Event()

        class Worker(ConsumerMixin):
            def __init__(self, connection):
                self.connection, self.reconnected = connection, 0

            def get_consumers(self, consumer, channel):
                return [consumer([Queue("again")], callbacks=[lambda body, m: (got.append(body), m.ack())])]

            def on_consume_ready(self, connection, channel, consumers, **kwargs):
                self.reconnected += 1
                ready.set()

        worker = Worker(connect(b.port))
        thread = threading.Thread(target=worker.run, daemon=True)
        thread.start()
        assert ready.wait(10)
        producer = connect(b.port).Producer()
        producer.publish("before", routing_key="again", declare=[Queue("again")])
        end = time.time() + 10
        while got != ["before"]:
            assert time.time() < end, got
            time.sleep(0.05)
        b.stop()
        ready.clear()
        threading.Timer(1, b.start).start()
        producer.publish("after", routing_key="again", declare=[Queue("again")], retry=True,
                         retry_policy={"interval_start": 0.2, "interval_step": 0, "interval_max": 0.5, "max_retries": 100})
        end = time.time() + 30
        while "after" not in got:
            assert time.time() < end, got
            time.sleep(0.05)
        worker.should_stop = True
        thread.join(5)
        eq((got, worker.reconnected >= 2), (["before", "after"], True))
    finally:
        b.stop()


# ---- Celery ------------------------------------------------------------------------------------------------------------

def celery(port=None):
    os.environ["CELERY_URL"] = url(port)
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import tasks
    return tasks


def worker():
    log = open(os.path.join(os.environ.get("OUT", tempfile.gettempdir()), "celery-worker.log"), "ab")
    return subprocess.Popen([sys.executable, "-m", "celery", "-A", "tasks", "worker", "-P", "solo", "-l", "INFO", "-n", f"own{os.getpid()}@localhost"],
                            cwd=os.path.dirname(os.path.abspath(__file__)), stdout=log, stderr=log, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})


@case(60)
def celery_tasks_and_results():
    tasks = celery()
    process = worker()
    try:
        eq(tasks.add.delay(2, 3).get(timeout=30), 5)
        eq(tasks.group(tasks.add.s(i, i) for i in range(20))().get(timeout=30), [2 * i for i in range(20)])
        eq((tasks.add.s(1, 1) | tasks.add.s(10)).apply_async().get(timeout=30), 12)
        eq(tasks.flaky.delay().get(timeout=30), 2)
        try:
            tasks.broken.delay().get(timeout=30)
            raise AssertionError("no error")
        except ValueError as error:
            eq(str(error), "as told")
        eq(tasks.add.apply_async((1, 1), countdown=1).get(timeout=30), 2)
        replies = tasks.app.control.ping(timeout=3)
        assert len(replies) == 1, replies
    finally:
        process.terminate()
        process.wait(20)


@case(60)
def celery_tasks_wait_for_a_worker():
    tasks = celery()
    results = [tasks.add.delay(i, 1) for i in range(10)]  # nobody works yet
    process = worker()
    try:
        eq([r.get(timeout=30) for r in results], list(range(1, 11)))
    finally:
        process.kill()
        process.wait()
    late = tasks.add.delay(20, 1)
    process = worker()
    try:
        eq(late.get(timeout=30), 21)
    finally:
        process.terminate()
        process.wait(20)


def alarm(*_):
    raise TimeoutError("the case's time is up")


def main():
    signal.signal(signal.SIGALRM, alarm)
    with open(sys.argv[1], "w") as out:
        for title, limit, function in CASES:
            if len(sys.argv) > 2 and not any(part in title for part in sys.argv[2:]):
                continue
            NOW.update(case=title, n=0)
            start, verdict, why = time.time(), "PASS", ""
            signal.alarm(limit)
            try:
                function()
            except Skip as reason:
                verdict, why = "SKIP", str(reason)
            except BaseException:
                verdict, why = "FAIL", "\n" + traceback.format_exc()
            signal.alarm(5)
            for connection in OPEN:
                try:
                    connection.release()
                except BaseException:
                    pass
            signal.alarm(0)
            OPEN.clear()
            out.write(f"{verdict} {title}\n")
            out.flush()
            print(f"{verdict} {title} {time.time() - start:.2f}s {why}", flush=True)


main()
