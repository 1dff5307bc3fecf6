"""Cases for pika: BlockingConnection and SelectConnection against a running broker.

    cases.py CASES_FILE [NAME_PART...]    writes PASS/FAIL/SKIP lines; the log goes to stdout
"""
import datetime, decimal, os, signal, socket, subprocess, sys, tempfile, threading, time, traceback
import pika
from pika import spec
from pika.exceptions import AMQPConnectionError, NackError, UnroutableError

HOST, PORT = os.environ.get("AMQP_HOST", "127.0.0.1"), int(os.environ["AMQP_PORT"])
CASES, SEEN = [], {}
Props = pika.BasicProperties


class Skip(Exception):
    pass


def case(limit=20):
    def add(function):
        CASES.append((function.__name__, limit, function))
        return function
    return add


def params(port=None, vhost="/", user="guest", password="guest", **more):
    more.setdefault("heartbeat", 30)
    return pika.ConnectionParameters(HOST, port or PORT, vhost, pika.PlainCredentials(user, password), **more)


OPEN = []


def connect(**more):
    connection = pika.BlockingConnection(params(**more))
    OPEN.append(connection)
    return connection


def channel(connection=None):
    return (connection or connect()).channel()


def eq(got, want):
    assert got == want, f"got {got!r}, want {want!r}"


def name(suffix=""):
    SEEN["n"] = SEEN.get("n", 0) + 1
    return f"pika-{SEEN['case']}-{os.getpid()}-{SEEN['n']}{suffix}"


def queue(ch, **more):
    q = name()
    ch.queue_declare(q, **more)
    return q


def until(ch, done, seconds=10):
    connection, end = ch.connection, time.time() + seconds
    while not done():
        assert time.time() < end, "nothing came"
        connection.process_data_events(0.05)


def get(ch, q, seconds=5, auto_ack=True):
    """basic.get, again until there is a message."""
    end = time.time() + seconds
    while time.time() < end:
        method, props, body = ch.basic_get(q, auto_ack)
        if method:
            return method, props, body
        time.sleep(0.01)
    raise AssertionError(f"no message in {q}")


def empty(ch, q):
    eq(ch.basic_get(q)[0], None)


def ready(ch, q, want, seconds=5):
    end = time.time() + seconds
    while (count := ch.queue_declare(q, passive=True).method.message_count) != want:
        assert time.time() < end, f"{count} messages ready, want {want}"
        time.sleep(0.02)


def watch(ch, kind):
    """The methods of this kind which the broker sends from now on (pika's exceptions leave out class and method)."""
    impl, seen, number = ch.connection._impl, [], 0 if kind is spec.Connection.Close else ch.channel_number
    process = impl._process_frame

    def look(frame):
        if isinstance(frame, pika.frame.Method) and frame.channel_number == number and isinstance(frame.method, kind):
            seen.append(frame.method)
        return process(frame)

    impl._process_frame = look
    return seen


def closes(ch, code, text, ids, action, hard=False):
    """`action` must make the broker close the channel (or the connection) with exactly this."""
    closed = watch(ch, spec.Connection.Close if hard else spec.Channel.Close)
    try:
        action()
        until(ch, lambda: closed)
    except (pika.exceptions.AMQPError, pika.exceptions.AMQPChannelError):
        pass
    assert closed, "no close came"
    got = closed[0]
    eq((got.reply_code, got.reply_text, (got.class_id, got.method_id)), (code, text, ids))
    if not hard:  # the connection goes on, and the channel's number can be used again
        again = ch.connection.channel(ch.channel_number)
        again.queue_delete(again.queue_declare("", exclusive=True).method.queue)


def refused(ch, code, text, ids, action):
    closes(ch, code, text, ids, action, hard=True)


class Broker:
    """A second broker of our own, which may be stopped and started again on the same port."""

    def __init__(self):
        self.binary = os.environ.get("LEVERET_BIN")
        if not self.binary:
            raise Skip("LEVERET_BIN is unset")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.folder = tempfile.mkdtemp(prefix="second-", dir=os.environ.get("OUT"))
        self.process = None

    def start(self):
        log = open(os.path.join(self.folder, "broker.log"), "ab")
        self.process = subprocess.Popen([self.binary, "--port", str(self.port), "--shards", os.environ.get("SHARDS", "1")],
                                        cwd=self.folder, stdout=log, stderr=log)
        for _ in range(400):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
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


# ---- declare -----------------------------------------------------------------------------------------------------------

@case()
def declare_active_again_and_passive():
    ch, q, x = channel(), name(), name("-x")
    for _ in range(2):
        ok = ch.queue_declare(q, durable=True, arguments={"x-max-length": 10}).method
        eq((ok.queue, ok.message_count, ok.consumer_count), (q, 0, 0))
        ch.exchange_declare(x, "topic", durable=True)
    ch.queue_declare(q, passive=True)
    ch.exchange_declare(x, passive=True)
    ch.basic_publish("", q, b"1")
    ready(ch, q, 1)
    ch.basic_consume(q, lambda *_: None)
    ok = channel().queue_declare(q, passive=True).method
    eq((ok.message_count, ok.consumer_count), (0, 1))
    ch.queue_delete(q)
    ch.exchange_delete(x)


@case()
def declare_server_named():
    ch = channel()
    q = ch.queue_declare("", exclusive=True).method.queue
    assert q.startswith("amq.gen-") and len(q) == 30, q
    assert q != ch.queue_declare("", exclusive=True).method.queue
    tag = ch.basic_consume(q, lambda *_: None)
    ch._impl._send_method(spec.Basic.Consume(queue=q, consumer_tag=""))
    assert tag


@case()
def declare_exclusive_is_gone_at_close():
    one, q = connect(), name()
    one.channel().queue_declare(q, exclusive=True)
    one.channel().queue_declare(q, exclusive=True)  # another channel of the same connection may
    one.close()
    ch = channel()
    closes(ch, 404, f"NOT_FOUND - no queue '{q}' in vhost '/'", (50, 10), lambda: ch.queue_declare(q, passive=True))


@case()
def declare_auto_delete_goes_with_its_last_consumer():
    connection = connect()
    ch, q = connection.channel(), name()
    ch.queue_declare(q, auto_delete=True)
    tags = [ch.basic_consume(q, lambda *_: None) for _ in range(2)]
    ch.basic_cancel(tags[0])
    ch.queue_declare(q, passive=True)
    ch.basic_cancel(tags[1])
    closes(ch, 404, f"NOT_FOUND - no queue '{q}' in vhost '/'", (50, 10), lambda: ch.queue_declare(q, passive=True))


@case()
def auto_delete_exchange_goes_with_its_last_binding():
    ch, x = channel(), name("-x")
    ch.exchange_declare(x, "direct", auto_delete=True)
    q = queue(ch, exclusive=True)
    ch.queue_bind(q, x, "k")
    ch.queue_unbind(q, x, "k")
    closes(ch, 404, f"NOT_FOUND - no exchange '{x}' in vhost '/'", (40, 10), lambda: ch.exchange_declare(x, passive=True))


@case()
def delete_purge_and_unbind():
    ch = channel()
    eq(ch.queue_delete(name()).method.message_count, 0)
    ch.exchange_delete(name())
    ch.queue_unbind(name(), name(), "k")
    q = queue(ch)
    ch.confirm_delivery()
    for i in range(3):
        ch.basic_publish("", q, b"%d" % i)
    eq(ch.queue_purge(q).method.message_count, 3)
    ch.basic_publish("", q, b"x")
    closes(ch, 406, f"PRECONDITION_FAILED - queue '{q}' in vhost '/' not empty", (50, 40), lambda: ch.queue_delete(q, if_empty=True))
    ch = channel()
    ch.basic_consume(q, lambda *_: None)
    closes(ch, 406, f"PRECONDITION_FAILED - queue '{q}' in vhost '/' in use", (50, 40), lambda: ch.queue_delete(q, if_unused=True))
    ch = channel()
    eq(ch.queue_delete(q).method.message_count, 1)


@case()
def last_declared_queue():
    ch = channel()
    q = queue(ch, exclusive=True)
    ch.queue_bind("", "amq.direct", q)
    ch.basic_publish("amq.direct", q, b"a")
    eq(get(ch, "")[2], b"a")
    other = channel()
    closes(other, 404, "NOT_FOUND - no previously declared queue", (60, 70), lambda: other.basic_get(""))


# ---- publish and confirm -----------------------------------------------------------------------------------------------

@case()
def confirm_one():
    ch = channel()
    q = queue(ch, durable=True)
    ch.confirm_delivery()
    ch.basic_publish("", q, b"one", Props(delivery_mode=2))
    eq(ch.queue_declare(q, passive=True).method.message_count, 1)
    ch.queue_delete(q)


@case()
def confirm_many_outstanding():
    ch = channel()
    q, done, upto = queue(ch, durable=True), set(), [0]
    impl = ch._impl

    def acked(frame):
        m = frame.method
        assert isinstance(m, spec.Basic.Ack), m
        new = set(range(1, m.delivery_tag + 1)) if m.multiple else {m.delivery_tag}
        done.update(new)

    impl.confirm_delivery(acked)
    n = 3000
    for i in range(n):
        impl.basic_publish("", q, b"%d" % i, Props(delivery_mode=2 if i % 2 else 1))
        if i % 300 == 0:
            ch.connection.process_data_events(0)
    until(ch, lambda: len(done) == n)
    eq(done, set(range(1, n + 1)))
    for i in range(n):
        if i % 500 == 0:
            eq(get(ch, q)[2], b"%d" % i)
        else:
            ch.basic_get(q, True)
    ch.queue_delete(q)


@case()
def confirm_nack_of_a_rejecting_queue():
    ch = channel()
    q = queue(ch, exclusive=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    ch.confirm_delivery()
    ch.basic_publish("", q, b"1")
    try:
        ch.basic_publish("", q, b"2")
        raise AssertionError("no nack")
    except NackError:
        pass
    eq(get(ch, q)[2], b"1")
    ch.basic_publish("", q, b"3")
    eq(get(ch, q)[2], b"3")


@case()
def confirm_unroutable_and_mandatory():
    ch = channel()
    ch.confirm_delivery()
    ch.basic_publish("amq.direct", name(), b"dropped")
    try:
        ch.basic_publish("amq.direct", "nowhere", b"back", Props(message_id="7", headers={"a": 1}), mandatory=True)
        raise AssertionError("no return")
    except UnroutableError as error:
        m = error.messages[0]
        eq((m.method.reply_code, m.method.reply_text, m.method.exchange, m.method.routing_key), (312, "NO_ROUTE", "amq.direct", "nowhere"))
        eq((m.body, m.properties.message_id, m.properties.headers), (b"back", "7", {"a": 1}))


@case()
def return_comes_before_the_ack():
    ch, got = channel(), []
    impl = ch._impl
    impl.confirm_delivery(lambda frame: got.append(("ack", frame.method.delivery_tag, frame.method.multiple)))
    impl.add_on_return_callback(lambda c, m, p, b: got.append(("return", b)))
    for i in range(50):
        impl.basic_publish("", name("-none"), b"%d" % i, mandatory=True)

    def acked():
        return max([g[1] for g in got if g[0] == "ack"], default=0) == 50

    until(ch, acked)
    returns = 0
    for g in got:
        if g[0] == "return":
            eq(g[1], b"%d" % returns)
            returns += 1
        else:
            assert g[1] <= returns, f"ack {g[1]} with {returns} returns"
    eq(returns, 50)


@case()
def big_message():
    ch = channel()
    q, body = queue(ch, exclusive=True), os.urandom(5 * 1024 * 1024)
    ch.confirm_delivery()
    ch.basic_publish("", q, body)
    assert get(ch, q)[2] == body
    got = []
    ch.basic_consume(q, lambda c, m, p, b: got.append(b), auto_ack=True)
    ch.basic_publish("", q, body)
    until(ch, lambda: got)
    assert got[0] == body


@case()
def body_sizes_around_a_frame():
    connection = connect(frame_max=4096)
    ch = connection.channel()
    q = queue(ch, exclusive=True)
    for size in (0, 1, 4087, 4088, 4089, 8175, 8176, 8177, 131064, 131065):
        ch.basic_publish("", q, b"\xce" * size)
        method, _, body = get(ch, q)
        eq((len(body), set(body) - {0xCE}), (size, set()))


@case()
def empty_body():
    ch, got = channel(), []
    q = queue(ch, exclusive=True)
    ch.basic_publish("", q, b"", Props(type="empty"))
    method, props, body = get(ch, q)
    eq((body, props.type), (b"", "empty"))
    ch.basic_consume(q, lambda c, m, p, b: got.append(b), auto_ack=True)
    for body in (b"", b"x", b""):
        ch.basic_publish("", q, body)
    until(ch, lambda: len(got) == 3)
    eq(got, [b"", b"x", b""])


@case()
def properties_round_trip():
    ch = channel()
    q = queue(ch, exclusive=True)
    headers = {
        "array": [1, "two", {"three": 3}, None, [True, []]], "bool": True, "bytes": b"\x00\xff", "decimal": decimal.Decimal("1.25"),
        "empty": "", "false": False, "int": -7, "long": 2 ** 40, "nested": {"a": {"b": ["c"]}},
        "none": None, "text": "žluťoučký", "time": datetime.datetime(2020, 1, 2, 3, 4, 5), "zero": 0,
    }
    want = Props(content_type="text/plain", content_encoding="utf-8", headers=headers, delivery_mode=2, priority=9, correlation_id="c",
                 reply_to="r", expiration="60000", message_id="m", timestamp=1600000000, type="t", user_id="guest", app_id="a", cluster_id="cl")
    ch.basic_publish("", q, b"x", want)
    got = get(ch, q)[1]
    headers["bytes"] = got.headers["bytes"]  # pika sends bytes as 'x', and reads them back as bytes
    eq(bytes(got.headers["bytes"]), b"\x00\xff")
    eq(vars(got), vars(want))
    ch.basic_publish("", q, b"x")
    eq(vars(get(ch, q)[1]), vars(Props()))
    ch.basic_publish("", q, b"x", Props(headers={}))
    eq(get(ch, q)[1].headers, {})


# ---- consume -----------------------------------------------------------------------------------------------------------

@case()
def consume_in_order_and_ack():
    ch, got = channel(), []
    q = queue(ch)
    for i in range(200):
        ch.basic_publish("", q, b"%d" % i)

    def take(c, m, p, b):
        got.append((m.delivery_tag, m.redelivered, m.exchange, m.routing_key, b))
        c.basic_ack(m.delivery_tag)

    tag = ch.basic_consume(q, take)
    until(ch, lambda: len(got) == 200)
    eq(got, [(i + 1, False, "", q, b"%d" % i) for i in range(200)])
    ch.basic_cancel(tag)
    ch.close()
    ch = channel()
    eq(ch.queue_delete(q).method.message_count, 0)


@case()
def consume_with_prefetch():
    ch, got = channel(), []
    q = queue(ch)
    for i in range(10):
        ch.basic_publish("", q, b"%d" % i)
    ch.basic_qos(prefetch_count=3)
    ch.basic_consume(q, lambda c, m, p, b: got.append(m.delivery_tag))
    until(ch, lambda: len(got) == 3)
    ch.connection.process_data_events(0.3)
    eq(len(got), 3)
    ch.basic_ack(got[1], multiple=True)
    until(ch, lambda: len(got) == 5)
    ch.connection.process_data_events(0.3)
    eq(len(got), 5)
    ch.basic_ack(0, multiple=True)
    until(ch, lambda: len(got) == 8)
    ch.close()
    ch = channel()
    ready(ch, q, 5)
    ch.queue_delete(q)


@case()
def prefetch_of_the_whole_channel():
    ch, got = channel(), []
    q = queue(ch)
    ch.basic_qos(prefetch_count=4, global_qos=True)
    for _ in range(3):
        ch.basic_consume(q, lambda c, m, p, b: got.append(m.delivery_tag))
    for i in range(12):
        ch.basic_publish("", q, b"%d" % i)
    until(ch, lambda: len(got) == 4)
    ch.connection.process_data_events(0.3)
    eq(len(got), 4)
    ch.basic_ack(4, multiple=True)
    until(ch, lambda: len(got) == 8)
    ch.queue_delete(q)


@case()
def round_robin_between_consumers():
    ch, got = channel(), []
    q = queue(ch, exclusive=True)
    for c in "abc":
        ch.basic_consume(q, lambda c, m, p, b: got.append(m.consumer_tag), auto_ack=True, consumer_tag=c)
    for i in range(30):
        ch.basic_publish("", q, b"x")
    until(ch, lambda: len(got) == 30)
    eq({c: got.count(c) for c in "abc"}, {"a": 10, "b": 10, "c": 10})


@case()
def get_counts_and_empty():
    ch = channel()
    q = queue(ch, exclusive=True)
    eq(ch.basic_get(q), (None, None, None))
    for i in range(3):
        ch.basic_publish("", q, b"%d" % i)
    ready(ch, q, 3)
    for i in range(3):
        method, _, body = ch.basic_get(q)
        eq((method.delivery_tag, method.redelivered, method.message_count, method.routing_key, body), (i + 1, False, 2 - i, q, b"%d" % i))
    empty(ch, q)
    ch.basic_nack(2)
    eq(ch.basic_get(q)[2], b"1")


@case()
def generator_of_messages():
    ch, got = channel(), []
    q = queue(ch)
    for i in range(5):
        ch.basic_publish("", q, b"%d" % i)
    for method, _, body in ch.consume(q, inactivity_timeout=5):
        assert method, "nothing came"
        got.append(body)
        ch.basic_ack(method.delivery_tag)
        if len(got) == 3:
            break
    ch.cancel()
    eq(got, [b"0", b"1", b"2"])
    ready(ch, q, 2)
    ch.queue_delete(q)


@case()
def requeue_keeps_the_order():
    ch = channel()
    q = queue(ch)
    for i in range(6):
        ch.basic_publish("", q, b"%d" % i)
    ready(ch, q, 6)
    tags = [ch.basic_get(q)[0].delivery_tag for _ in range(4)]
    ch.basic_reject(tags[2], requeue=True)
    ch.basic_nack(tags[1], multiple=True, requeue=True)
    ch.basic_nack(tags[3], requeue=True)
    got = []
    for _ in range(6):
        method, _, body = get(ch, q)
        got.append((body, method.redelivered))
    eq(got, [(b"%d" % i, i < 4) for i in range(6)])
    ch.basic_publish("", q, b"a")
    get(ch, q, auto_ack=False)
    ch.close()
    ch = channel()
    method, _, body = get(ch, q)
    eq((body, method.redelivered), (b"a", True))
    ch.queue_delete(q)


@case()
def recover_redelivers():
    ch, got = channel(), []
    q = queue(ch, exclusive=True)
    ch.basic_consume(q, lambda c, m, p, b: got.append((m.delivery_tag, m.redelivered, b)))
    for i in range(3):
        ch.basic_publish("", q, b"%d" % i)
    until(ch, lambda: len(got) == 3)
    ch.basic_ack(1)
    ch.basic_recover(requeue=True)
    until(ch, lambda: len(got) == 5)
    eq(got[3:], [(4, True, b"1"), (5, True, b"2")])


@case()
def cancel_keeps_what_is_unacked():
    ch, got = channel(), []
    q = queue(ch)
    tag = ch.basic_consume(q, lambda c, m, p, b: got.append(m.delivery_tag))
    ch.basic_publish("", q, b"1")
    until(ch, lambda: got)
    ch._impl.basic_cancel(tag)
    ch.connection.process_data_events(0.2)
    ch.basic_ack(got[0])
    ch.basic_publish("", q, b"2")
    ready(ch, q, 1)
    ch.queue_delete(q)


@case()
def cancel_notice_when_the_queue_goes():
    ch, got = channel(), []
    q = queue(ch)
    ch.add_on_cancel_callback(lambda frame: got.append(frame.method.consumer_tag))
    ch.basic_consume(q, lambda *_: None, consumer_tag="gone")
    channel().queue_delete(q)
    until(ch, lambda: got)
    eq(got, ["gone"])
    ch.queue_declare("", exclusive=True)  # the channel goes on


@case()
def consumer_priority():
    ch, got = channel(), []
    q = queue(ch, exclusive=True)
    ch.basic_qos(prefetch_count=2)

    def take(c, m, p, b):
        got.append(m.consumer_tag)

    ch.basic_consume(q, take, consumer_tag="low", arguments={"x-priority": -1})
    ch.basic_consume(q, take, consumer_tag="high", arguments={"x-priority": 10})
    ch.basic_consume(q, take, consumer_tag="none")
    for i in range(6):
        ch.basic_publish("", q, b"x")
    until(ch, lambda: len(got) == 6)
    eq((set(got[:2]), set(got[2:4]), set(got[4:])), ({"high"}, {"none"}, {"low"}))


@case()
def single_active_consumer():
    ch, got = channel(), []
    q = queue(ch, arguments={"x-single-active-consumer": True})

    def take(c, m, p, b):
        got.append(m.consumer_tag)

    ch.basic_consume(q, take, auto_ack=True, consumer_tag="first")
    ch.basic_consume(q, take, auto_ack=True, consumer_tag="second")
    for _ in range(4):
        ch.basic_publish("", q, b"x")
    until(ch, lambda: len(got) == 4)
    ch.basic_cancel("first")
    ch.basic_publish("", q, b"x")
    until(ch, lambda: len(got) == 5)
    eq(got, ["first"] * 4 + ["second"])
    ch.queue_delete(q)


# ---- routing -----------------------------------------------------------------------------------------------------------

def routes(kind, table, publish):
    """table: queue label -> bindings; publish: [(key, headers, labels that get it)]"""
    ch, x = channel(), name("-x")
    ch.exchange_declare(x, kind)
    queues = {}
    for label, bindings in table.items():
        queues[label] = queue(ch, exclusive=True)
        for key, arguments in bindings:
            ch.queue_bind(queues[label], x, key, arguments)
    ch.confirm_delivery()
    for key, headers, labels in publish:
        ch.basic_publish(x, key, key.encode(), Props(headers=headers))
        got = {label for label, q in queues.items() for _ in range(ch.queue_purge(q).method.message_count)}
        eq((key, headers, got), (key, headers, set(labels.split())))
    ch.exchange_delete(x)


@case()
def routing_topic():
    keys = ["#", "*", "*.*", "a.#", "#.a", "a.*", "a.#.a", "", "user.#", "*.critical", "a*"]
    rows = {"": ["#", ""], "a": ["#", "*", "a.#", "#.a"], ".": ["#", "*.*"], "a.": ["#", "*.*", "a.#", "a.*"],
            "a.a": ["#", "*.*", "a.#", "#.a", "a.*", "a.#.a"], "a.b.a": ["#", "a.#", "#.a", "a.#.a"], "a*": ["#", "*", "a*"],
            "user": ["#", "*", "user.#"], "user.x.y": ["#", "user.#"], "kern.critical": ["#", "*.*", "*.critical"], "critical": ["#", "*"]}
    label = {k: "k%d" % i for i, k in enumerate(keys)}
    routes("topic", {label[k]: [(k, None)] for k in keys}, [(k, None, " ".join(label[b] for b in want)) for k, want in rows.items()])


@case()
def routing_headers():
    routes("headers", {
        "all": [("", {"x-match": "all", "a": 1, "b": "x"})], "any": [("", {"x-match": "any", "a": 1, "b": "x"})],
        "default": [("", {"a": 1, "b": "x"})], "present": [("", {"a": None})], "with": [("", {"x-match": "all-with-x", "x-a": 1})],
        "none": [("", {"x-match": "any"})], "everything": [("", {"x-match": "all"})],
    }, [
        ("1", {"a": 1, "b": "x", "c": True}, "all any default present everything"), ("2", {"a": 1}, "any present everything"),
        ("3", {"a": "1", "b": "y"}, "present everything"), ("4", {}, "everything"), ("5", None, "everything"),
        ("6", {"x-a": 1}, "with everything"), ("7", {"x-a": 2, "b": "x"}, "any everything"),
    ])


@case()
def routing_direct_and_fanout():
    routes("direct", {"a": [("k1", None), ("k2", None)], "b": [("k2", None)]}, [("k1", None, "a"), ("k2", None, "a b"), ("k3", None, "")])
    routes("fanout", {"a": [("k1", None), ("k2", None)], "b": [("", None)]}, [("k1", None, "a b"), ("zz", None, "a b")])


@case()
def routing_one_copy_and_cc():
    ch, x = channel(), name("-x")
    ch.exchange_declare(x, "topic")
    q, other, blind = (queue(ch, exclusive=True) for _ in range(3))
    ch.queue_bind(q, x, "#")
    ch.queue_bind(q, x, "a.*")
    ch.queue_bind(other, x, "cc")
    ch.queue_bind(blind, x, "bcc")
    ch.confirm_delivery()
    ch.basic_publish(x, "a.b", b"x", Props(headers={"CC": ["cc", "cc"], "BCC": ["bcc"]}))
    for which in (q, other, blind):
        eq(ch.queue_declare(which, passive=True).method.message_count, 1)
        eq(get(ch, which)[1].headers, {"CC": ["cc", "cc"]})


@case()
def routing_exchange_to_exchange_and_alternate():
    ch, a, b, alt = channel(), name("-a"), name("-b"), name("-alt")
    ch.exchange_declare(alt, "fanout")
    ch.exchange_declare(a, "topic", arguments={"alternate-exchange": alt})
    ch.exchange_declare(b, "direct")
    q, lost = queue(ch, exclusive=True), queue(ch, exclusive=True)
    ch.exchange_bind(b, a, "k.#")
    ch.exchange_bind(a, b, "k.loop")
    ch.queue_bind(q, b, "k.1")
    ch.queue_bind(lost, alt)
    ch.confirm_delivery()
    ch.basic_publish(a, "k.1", b"1", mandatory=True)
    eq(get(ch, q)[0].exchange, a)
    ch.basic_publish(a, "z", b"2", mandatory=True)
    method, _, body = get(ch, lost)
    eq((method.exchange, method.routing_key, body), (a, "z", b"2"))
    for key in ("k.2", "k.loop"):  # reaches an exchange that leads nowhere: no alternate
        try:
            ch.basic_publish(a, key, b"3", mandatory=True)
            raise AssertionError("no return")
        except UnroutableError:
            empty(ch, lost)
    ch.exchange_unbind(b, a, "k.#")
    ch.basic_publish(a, "k.1", b"4")
    eq(get(ch, lost)[2], b"4")
    for x in (a, b, alt):
        ch.exchange_delete(x)


# ---- queues' own rules -------------------------------------------------------------------------------------------------

@case()
def dead_letters_and_expiry():
    ch = channel()
    dead = queue(ch, exclusive=True)
    q = queue(ch, exclusive=True, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    ch.basic_publish("", q, b"1", Props(expiration="30", headers={"mine": 1}))
    method, props, body = get(ch, dead)
    eq((method.exchange, method.routing_key, body, props.expiration), ("", dead, b"1", None))
    eq({k: v for k, v in props.headers.items() if k in ("mine", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason")},
       {"mine": 1, "x-first-death-exchange": "", "x-first-death-queue": q, "x-first-death-reason": "expired"})
    death, = props.headers["x-death"]
    when = death.pop("time")
    assert isinstance(when, datetime.datetime), when
    eq(death, {"count": 1, "reason": "expired", "queue": q, "exchange": "", "routing-keys": [q], "original-expiration": "30"})
    ch.basic_publish("", q, b"2")
    method, _, _ = get(ch, q, auto_ack=False)
    ch.basic_reject(method.delivery_tag, requeue=False)
    eq(get(ch, dead)[1].headers["x-death"][0]["reason"], "rejected")


@case()
def length_limits_and_ttl():
    ch = channel()
    dead = queue(ch, exclusive=True)
    q = queue(ch, exclusive=True, arguments={"x-max-length": 2, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    for i in range(4):
        ch.basic_publish("", q, b"%d" % i)
    ready(ch, q, 2)
    eq([get(ch, q)[2] for _ in range(2)], [b"2", b"3"])
    eq([(lambda m: (m[2], m[1].headers["x-death"][0]["reason"]))(get(ch, dead)) for _ in range(2)], [(b"0", "maxlen"), (b"1", "maxlen")])
    short = queue(ch, exclusive=True, arguments={"x-message-ttl": 100})
    ch.basic_publish("", short, b"1")
    ready(ch, short, 1)
    ready(ch, short, 0)
    idle = name()
    ch.queue_declare(idle, arguments={"x-expires": 200})
    time.sleep(0.8)
    closes(ch, 404, f"NOT_FOUND - no queue '{idle}' in vhost '/'", (50, 10), lambda: ch.queue_declare(idle, passive=True))


@case()
def priority_queue():
    ch = channel()
    q = queue(ch, exclusive=True, arguments={"x-max-priority": 5})
    for p in (1, None, 5, 3, 9, 5, 0):
        ch.basic_publish("", q, str(p).encode(), Props(priority=p))
    ready(ch, q, 7)
    eq([get(ch, q)[2] for _ in range(7)], [b"5", b"9", b"5", b"3", b"1", b"None", b"0"])


# ---- request and reply -------------------------------------------------------------------------------------------------

def ask(reply_queue, no_ack):
    server, requests = channel(), queue(channel(), auto_delete=True)
    ready_, answers = threading.Event(), {}

    def serve(c, m, p, b):
        c.basic_publish("", p.reply_to, b.upper(), Props(correlation_id=p.correlation_id))

    server.basic_consume(requests, serve, auto_ack=True)
    client = channel()
    reply = reply_queue or client.queue_declare("", exclusive=True).method.queue
    client.basic_consume(reply, lambda c, m, p, b: answers.setdefault(p.correlation_id, (b, m.exchange, m.routing_key)), auto_ack=no_ack)
    for i in range(20):
        client.basic_publish("", requests, b"ask%d" % i, Props(reply_to=reply, correlation_id=str(i)))
    end = time.time() + 10
    while len(answers) < 20:
        assert time.time() < end, answers
        server.connection.process_data_events(0.01)
        client.connection.process_data_events(0.01)
    eq({k: v[0] for k, v in answers.items()}, {str(i): b"ASK%d" % i for i in range(20)})
    return {v[1:] for v in answers.values()}


@case()
def rpc_with_a_reply_queue():
    ask(None, True)


@case()
def rpc_with_direct_reply_to():
    (exchange, key), = ask("amq.rabbitmq.reply-to", True)
    eq(exchange, "")
    assert key.startswith("amq.rabbitmq.reply-to.") and len(key) > 30, key


@case()
def direct_reply_to_errors():
    pseudo = "amq.rabbitmq.reply-to"
    ch = channel()
    closes(ch, 406, "PRECONDITION_FAILED - reply consumer cannot acknowledge", (60, 20), lambda: ch.basic_consume(pseudo, print))
    ch = channel()
    closes(ch, 406, "PRECONDITION_FAILED - fast reply consumer does not exist", (60, 40),
           lambda: ch.basic_publish("", "x", b"", Props(reply_to=pseudo)))
    ch = channel()
    ch.basic_consume(pseudo, print, auto_ack=True)
    closes(ch, 406, "PRECONDITION_FAILED - reply consumer already set", (60, 20), lambda: ch.basic_consume(pseudo, print, auto_ack=True))


# ---- transactions ------------------------------------------------------------------------------------------------------

@case()
def tx_commit_and_rollback():
    ch, look = channel(), channel()
    q = queue(ch)
    ch.tx_select()
    ch.basic_publish("", q, b"1")
    ch.basic_publish("", q, b"2")
    eq(look.queue_declare(q, passive=True).method.message_count, 0)
    ch.tx_commit()
    ready(look, q, 2)
    ch.basic_publish("", q, b"3")
    ch.tx_rollback()
    ch.tx_commit()
    eq(look.queue_declare(q, passive=True).method.message_count, 2)
    tag = ch.basic_get(q)[0].delivery_tag
    ch.basic_ack(tag)
    ch.tx_rollback()
    ch.basic_ack(tag)  # the ack was undone: it is due again
    ch.tx_commit()
    tag = ch.basic_get(q)[0].delivery_tag
    ch.basic_ack(tag)
    ch.close()  # not committed: back to the queue
    ready(look, q, 1)
    eq(look.basic_get(q, True)[0].redelivered, True)
    look.queue_delete(q)


@case()
def tx_returns_before_commit_ok():
    ch, got = channel(), []
    ch.add_on_return_callback(lambda c, m, p, b: got.append(b))
    ch.tx_select()
    ch.basic_publish("", name(), b"1", mandatory=True)
    ch.tx_commit()
    ch.connection.process_data_events(0)
    eq(got, [b"1"])


@case()
def tx_and_confirm_do_not_mix():
    ch = channel()
    ch.tx_select()
    closes(ch, 406, "PRECONDITION_FAILED - cannot switch from tx to confirm mode", (85, 10), ch.confirm_delivery)
    ch = channel()
    ch.confirm_delivery()
    closes(ch, 406, "PRECONDITION_FAILED - cannot switch from confirm to tx mode", (90, 10), ch.tx_select)
    for method, ids in ((ch.connection.channel().tx_commit, (90, 20)), (ch.connection.channel().tx_rollback, (90, 30))):
        closes(method.__self__, 406, "PRECONDITION_FAILED - channel is not transactional", ids, method)


# ---- errors that close a channel ---------------------------------------------------------------------------------------

@case()
def error_404():
    ch, no = connect(), name()
    q, x = f"NOT_FOUND - no queue '{no}' in vhost '/'", f"NOT_FOUND - no exchange '{no}' in vhost '/'"
    mine = queue(channel(ch), exclusive=True)
    for text, ids, act in (
        (q, (50, 10), lambda c: c.queue_declare(no, passive=True)), (q, (60, 20), lambda c: c.basic_consume(no, print)),
        (q, (60, 70), lambda c: c.basic_get(no)), (q, (50, 30), lambda c: c.queue_purge(no)),
        (q, (50, 20), lambda c: c.queue_bind(no, "amq.direct", "k")), (x, (50, 20), lambda c: c.queue_bind(mine, no, "k")),
        (x, (50, 20), lambda c: c.queue_bind(no, no, "k")), (x, (40, 10), lambda c: c.exchange_declare(no, passive=True)),
        (x, (60, 40), lambda c: c.basic_publish(no, "k", b"")), (x, (40, 30), lambda c: c.exchange_bind(no, "amq.direct", "k")),
    ):
        c = ch.channel()
        closes(c, 404, text, ids, lambda: act(c))


@case()
def error_406_inequivalent():
    connection = connect()
    q, x = name(), name("-x")
    ch = connection.channel()
    ch.queue_declare(q, durable=True, arguments={"x-message-ttl": 10, "x-mine": 1})
    ch.exchange_declare(x, "direct", arguments={"alternate-exchange": "foo"})
    ch.queue_declare(q, durable=True, arguments={"x-message-ttl": 10, "x-mine": 2})
    pre = "PRECONDITION_FAILED - inequivalent arg "
    inq, inx = f" for queue '{q}' in vhost '/': ", f" for exchange '{x}' in vhost '/': "
    for text, act in (
        ("'durable'" + inq + "received 'false' but current is 'true'", lambda c: c.queue_declare(q)),
        ("'auto_delete'" + inq + "received 'true' but current is 'false'", lambda c: c.queue_declare(q, durable=True, auto_delete=True)),
        ("'x-message-ttl'" + inq + "received '20' but current is '10'", lambda c: c.queue_declare(q, durable=True, arguments={"x-message-ttl": 20})),
        ("'x-message-ttl'" + inq + "received none but current is the value '10' of type ", lambda c: c.queue_declare(q, durable=True)),
        ("'x-max-length'" + inq + "received the value '5' of type ", lambda c: c.queue_declare(q, durable=True, arguments={"x-message-ttl": 10, "x-max-length": 5})),
    ):
        c = connection.channel()
        closed = watch(c, spec.Channel.Close)
        try:
            act(c)
        except pika.exceptions.ChannelClosedByBroker:
            pass
        m = closed[0]
        eq((m.reply_code, m.reply_text[:len(pre + text)], m.class_id, m.method_id), (406, pre + text, 50, 10))
        assert m.reply_text[len(pre + text):] in ("", "'signedint'", "'long'", "'byte'", "'signedint' but current is none", "'byte' but current is none"), m.reply_text
    for text, act in (
        ("'type'" + inx + "received 'fanout' but current is 'direct'", lambda c: c.exchange_declare(x, "fanout")),
        ("'durable'" + inx + "received 'true' but current is 'false'", lambda c: c.exchange_declare(x, "direct", durable=True)),
        ("'internal'" + inx + "received 'true' but current is 'false'", lambda c: c.exchange_declare(x, "direct", internal=True)),
        ("'alternate-exchange'" + inx + "received 'bar' but current is 'foo'", lambda c: c.exchange_declare(x, "direct", arguments={"alternate-exchange": "bar"})),
        ("'alternate-exchange'" + inx + "received none but current is the value 'foo' of type 'longstr'", lambda c: c.exchange_declare(x, "direct")),
    ):
        c = connection.channel()
        closes(c, 406, pre + text, (40, 10), lambda: act(c))
    ch.queue_delete(q)
    ch.exchange_delete(x)


@case()
def error_406_arguments():
    connection, q = connect(), name()
    pre = f"PRECONDITION_FAILED - invalid arg '%s' for queue '{q}' in vhost '/': "
    for key, value, text in (
        ("x-message-ttl", -10, "{value_negative,-10}"), ("x-expires", 0, "{value_zero,0}"), ("x-expires", -1, "{value_negative,-1}"),
        ("x-max-length", -1, "{value_negative,-1}"), ("x-max-priority", 256, "{max_value_exceeded,256}"), ("x-overflow", "nope", "invalid_overflow"),
        ("x-dead-letter-routing-key", "k", "routing_key_but_no_dlx_defined"),
        ("x-message-ttl", "10", '"expected integer, got longstr"'),
    ):
        c = connection.channel()
        closes(c, 406, pre % key + text, (50, 10), lambda: c.queue_declare(q, arguments={key: value}))
    c = connection.channel()
    closes(c, 406, f"PRECONDITION_FAILED - invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue '{q}' in vhost '/'", (50, 10),
           lambda: c.queue_declare(q, arguments={"x-dead-letter-exchange": 100000}))


@case()
def error_406_publish():
    connection, q = connect(), name()
    connection.channel().queue_declare(q, exclusive=True)
    pre = "PRECONDITION_FAILED - "
    for props, text in (
        (Props(expiration="foo"), "invalid expiration 'foo': no_integer"), (Props(expiration="-1"), "invalid expiration '-1': {value_negative,-1}"),
        (Props(expiration="5x"), "invalid expiration '5x': {leftover_string,\"x\"}"),
        (Props(user_id="bob"), "user_id property set to 'bob' but authenticated user was 'guest'"),
        (Props(headers={"CC": "a"}), 'invalid message: {unacceptable_type_in_header,"CC",longstr}'),
    ):
        c = connection.channel()
        closes(c, 406, pre + text, (60, 40), lambda: c.basic_publish("", q, b"", props))


@case()
def error_406_unknown_tag():
    connection = connect()
    q = queue(connection.channel(), exclusive=True)
    for tag, ids, act in (
        (1, (60, 80), lambda c: c.basic_ack(1)), (0, (60, 80), lambda c: c.basic_ack(0)), (7, (60, 80), lambda c: c.basic_ack(7, multiple=True)),
        (9, (60, 120), lambda c: c.basic_nack(9)), (9, (60, 90), lambda c: c.basic_reject(9)),
    ):
        c = connection.channel()
        closes(c, 406, f"PRECONDITION_FAILED - unknown delivery tag {tag}", ids, lambda: act(c))
    c = connection.channel()
    c.basic_publish("", q, b"x")
    tag = get(c, q, auto_ack=False)[0].delivery_tag
    c.basic_ack(tag)
    c.basic_ack(0, multiple=True)
    closes(c, 406, "PRECONDITION_FAILED - unknown delivery tag 1", (60, 80), lambda: c.basic_ack(tag))


@case()
def error_405_exclusive():
    owner, q, connection = channel(), name(), connect()
    owner.queue_declare(q, exclusive=True)
    text = (f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{q}' in vhost '/'. It could be originally declared on another "
            "connection or the exclusive property value does not match that of the original declaration.")
    for ids, act in (
        ((50, 10), lambda c: c.queue_declare(q, exclusive=True)), ((50, 10), lambda c: c.queue_declare(q, passive=True)), ((60, 20), lambda c: c.basic_consume(q, print)),
        ((60, 70), lambda c: c.basic_get(q)), ((50, 30), lambda c: c.queue_purge(q)), ((50, 40), lambda c: c.queue_delete(q)),
        ((50, 20), lambda c: c.queue_bind(q, "amq.direct", "k")),
    ):
        c = connection.channel()
        closes(c, 405, text, ids, lambda: act(c))
    c = connection.channel()
    c.basic_publish("", q, b"may")
    eq(get(owner, q)[2], b"may")
    closes(owner, 405, text, (50, 10), lambda: owner.queue_declare(q))


@case()
def error_403():
    connection = connect()
    internal = name("-internal")
    q = queue(connection.channel(), exclusive=True)
    connection.channel().exchange_declare(internal, "fanout", internal=True)
    pre = "ACCESS_REFUSED - "
    default = "operation not permitted on the default exchange"
    for text, ids, act in (
        ("queue name 'amq.foo' contains reserved prefix 'amq.*'", (50, 10), lambda c: c.queue_declare("amq.foo")),
        ("exchange name 'amq.foo' contains reserved prefix 'amq.*'", (40, 10), lambda c: c.exchange_declare("amq.foo", "direct")),
        (default, (50, 20), lambda c: c.queue_bind(q, "", "k")), (default, (50, 50), lambda c: c.queue_unbind(q, "", "k")),
        (default, (40, 20), lambda c: c._impl._rpc(spec.Exchange.Delete(0, ""), None, [spec.Exchange.DeleteOk])),
        ("deletion of system exchange 'amq.direct' in vhost '/' not allowed", (40, 20), lambda c: c.exchange_delete("amq.direct")),
        (f"cannot publish to internal exchange '{internal}' in vhost '/'", (60, 40), lambda c: c.basic_publish(internal, "", b"")),
    ):
        c = connection.channel()
        closes(c, 403, pre + text, ids, lambda: act(c))
    c = connection.channel()
    c.basic_consume(q, print, exclusive=True)
    d = connection.channel()
    closes(d, 403, f"ACCESS_REFUSED - queue '{q}' in vhost '/' in exclusive use", (60, 20), lambda: d.basic_consume(q, print))
    connection.channel().exchange_delete(internal)


@case()
def error_406_unknown_exchange_type():
    ch = channel()
    closed = watch(ch, spec.Channel.Close)
    try:
        ch.exchange_declare(name("-x"), "zzqx")
    except pika.exceptions.AMQPError:
        pass
    eq([(m.reply_code, m.class_id, m.method_id) for m in closed], [(406, 40, 10)])
    assert closed[0].reply_text in ("PRECONDITION_FAILED - unknown exchange type 'zzqx'", "PRECONDITION_FAILED - invalid exchange type 'zzqx'"), closed


# ---- errors that close the connection ----------------------------------------------------------------------------------

@case()
def error_530_duplicate_consumer_tag():
    ch = channel()
    q = queue(ch, exclusive=True)
    ch.basic_consume(q, print, consumer_tag="t")
    refused(ch, 530, "NOT_ALLOWED - attempt to reuse consumer tag 't'", (60, 20),
            lambda: ch._impl._send_method(spec.Basic.Consume(queue=q, consumer_tag="t")))


@case()
def error_540():
    for text, ids, act in (
        ("immediate=true", (60, 40), lambda c: c._impl._send_method(spec.Basic.Publish(exchange="", routing_key="x", immediate=True), (Props(), b""))),
        ("prefetch_size!=0 (1)", (60, 10), lambda c: c.basic_qos(prefetch_size=1)),
        ("requeue=false", (60, 110), lambda c: c.basic_recover(requeue=False)),
        ("active=false", (20, 20), lambda c: c.flow(False)),
    ):
        c = channel()
        refused(c, 540, "NOT_IMPLEMENTED - " + text, ids, lambda: act(c))


@case()
def error_504_and_505():
    ch = channel()
    refused(ch, 504, "CHANNEL_ERROR - expected 'channel.open'", (20, 40), lambda: ch.connection._impl._send_method(99, spec.Channel.Close(200, "", 0, 0)))
    ch = channel()
    refused(ch, 504, "CHANNEL_ERROR - second 'channel.open' seen", (20, 10), lambda: ch._impl._send_method(spec.Channel.Open()))
    ch = channel()
    refused(ch, 505, "UNEXPECTED_FRAME - expected method frame, got non method frame instead", (0, 0),
            lambda: ch.connection._impl._send_frame(pika.frame.Body(ch.channel_number, b"x")))


@case()
def error_503_server_only_method():
    ch = channel()
    refused(ch, 503, "COMMAND_INVALID - unimplemented method", (50, 11),
            lambda: ch._impl._send_method(spec.Queue.DeclareOk("q", 0, 0)))


@case()
def refused_vhost_and_login():
    try:
        connect(vhost="nowhere")
        raise AssertionError("connected")
    except pika.exceptions.ProbableAccessDeniedError as error:
        eq(str(error), "ConnectionClosedByBroker: (530) 'NOT_ALLOWED - vhost nowhere not found'")
    for user, password in (("guest", "wrong"), ("nobody", "guest"), ("guest", "")):
        try:
            connect(user=user, password=password)
            raise AssertionError("connected")
        except pika.exceptions.ProbableAuthenticationError as error:
            eq(str(error), "ConnectionClosedByBroker: (403) 'ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. "
               "For details see the broker logfile.'")


@case()
def after_a_channel_error_what_follows_is_dropped():
    ch, q = channel(), name()
    ch.queue_declare(q)
    impl = ch._impl
    impl.basic_publish("no-such", "k", b"")
    for _ in range(20):  # in flight behind the mistake
        impl.basic_publish("", q, b"late")
    until(ch, lambda: impl.is_closed)
    look = channel()
    eq(look.queue_delete(q).method.message_count, 0)


# ---- connections -------------------------------------------------------------------------------------------------------

@case()
def server_properties():
    got = connect()._impl.server_properties
    for key in ("product", "version", "platform", "copyright", "information", "cluster_name"):
        assert got.get(key), key
    for key in ("publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify", "connection.blocked",
                "consumer_priorities", "authentication_failure_close", "per_consumer_qos", "direct_reply_to"):
        eq((key, got["capabilities"].get(key)), (key, True))


@case()
def many_channels():
    connection = connect()
    channels = [connection.channel() for _ in range(200)]
    q = queue(channels[0], exclusive=True)
    for i, ch in enumerate(channels):
        ch.basic_publish("", q, b"%d" % i)
    ready(channels[0], q, 200)
    for ch in channels[1:]:
        ch.close()
    connection.channel(7).queue_purge(q)


@case()
def interleaved_content_on_two_channels():
    connection = connect()
    one, two = connection.channel(), connection.channel()
    q = queue(one, exclusive=True)
    send, body = connection._impl._send_frame, pika.frame.Body
    for ch in (one, two):
        ch._impl._send_method(spec.Basic.Publish(exchange="", routing_key=q))
    for ch in (one, two):
        send(pika.frame.Header(ch.channel_number, 6, Props()))
    for part in (b"abc", b"def"):
        send(body(one.channel_number, part))
        send(body(two.channel_number, part[::-1]))
    eq([get(one, q)[2] for _ in range(2)], [b"abcdef", b"cbafed"])


@case(30)
def heartbeats_keep_an_idle_connection():
    connection = connect(heartbeat=2)
    ch = connection.channel()
    end = time.time() + 7
    while time.time() < end:
        connection.process_data_events(0.5)
    ch.queue_declare("", exclusive=True)


@case(30)
def a_silent_peer_is_dropped():
    connection = connect(heartbeat=2)
    ch, q = connection.channel(), name()
    ch.queue_declare(q, exclusive=True)
    look = channel()
    time.sleep(9)  # no heartbeat is sent meanwhile
    closes(look, 404, f"NOT_FOUND - no queue '{q}' in vhost '/'", (50, 10), lambda: look.queue_declare(q, passive=True))
    OPEN.remove(connection)


@case()
def a_cut_connection_gives_back_its_messages():
    connection = connect()
    ch, got = connection.channel(), []
    q = queue(ch)
    for i in range(5):
        ch.basic_publish("", q, b"%d" % i)
    ready(ch, q, 5)
    ch.basic_consume(q, lambda c, m, p, b: got.append(b))
    until(ch, lambda: len(got) == 5)
    connection._impl._transport._sock.shutdown(socket.SHUT_RDWR)
    OPEN.remove(connection)
    look = channel()
    ready(look, q, 5)
    eq([(lambda m: (m[2], m[0].redelivered))(get(look, q)) for _ in range(5)], [(b"%d" % i, True) for i in range(5)])
    look.queue_delete(q)


@case(90)
def recovery_after_a_restart():
    broker = Broker()
    broker.start()
    try:
        connection = connect(port=broker.port)
        ch = connection.channel()
        ch.queue_declare("r", durable=True)
        broker.stop()
        try:
            end = time.time() + 10
            while time.time() < end:
                connection.process_data_events(0.1)
            raise AssertionError("the end of the broker was not seen")
        except AMQPConnectionError as error:
            if isinstance(error, pika.exceptions.ConnectionClosedByBroker):
                eq((error.reply_code, error.reply_text), (320, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"))
        broker.start()
        ch = channel(connect(port=broker.port, connection_attempts=20, retry_delay=0.5))
        ch.queue_declare("r", durable=True)
        ch.confirm_delivery()
        ch.basic_publish("", "r", b"after", Props(delivery_mode=2))
        eq(get(ch, "r")[2], b"after")
    finally:
        for c in OPEN[:]:
            try:
                c.close()
            except Exception:
                pass
        OPEN.clear()
        broker.stop()


# ---- SelectConnection --------------------------------------------------------------------------------------------------

class Select:
    """A SelectConnection whose steps are given as callbacks; run() ends when finish() is called."""

    def __init__(self, opened, **more):
        self.closed, self.error, self.opened, self.result = None, None, opened, None
        self.connection = pika.SelectConnection(params(**more), on_open_callback=self.on_open, on_open_error_callback=self.on_error,
                                                on_close_callback=self.on_close)

    def on_open(self, connection):
        connection.channel(on_open_callback=lambda ch: self.guard(self.opened, ch))

    def guard(self, function, *arguments):
        try:
            function(*arguments)
        except Exception as error:
            self.error = error
            self.connection.ioloop.stop()

    def on_error(self, connection, error):
        self.error = error
        connection.ioloop.stop()

    def on_close(self, connection, reason):
        self.closed = reason
        connection.ioloop.stop()

    def finish(self, result=None):
        self.result = result
        self.connection.close()

    def run(self):
        self.connection.ioloop.start()
        if self.error:
            raise self.error
        return self.result


@case()
def select_publish_confirm_consume():
    q, acks, got = name(), [], []

    def opened(ch):
        ch.queue_declare(q, callback=lambda _: ch.confirm_delivery(lambda f: acks.append(f.method), callback=lambda _: publish(ch)))

    def publish(ch):
        for i in range(100):
            ch.basic_publish("", q, b"%d" % i)
        ch.basic_qos(prefetch_count=7, callback=lambda _: ch.basic_consume(q, take, callback=lambda f: got.append(f.method.NAME)))

    def take(ch, m, p, b):
        got.append(b)
        ch.basic_ack(m.delivery_tag)
        if len(got) == 101:
            ch.queue_delete(q, callback=lambda _: s.finish(True))

    s = Select(opened)
    eq(s.run(), True)
    eq(got, ["Basic.ConsumeOk"] + [b"%d" % i for i in range(100)])
    done = set()
    for m in acks:
        done |= set(range(1, m.delivery_tag + 1)) if m.multiple else {m.delivery_tag}
    eq(done, set(range(1, 101)))
    assert isinstance(s.closed, pika.exceptions.ConnectionClosedByClient), s.closed


@case()
def select_channel_error_leaves_the_connection():
    reasons, no = [], name()

    def opened(ch):
        ch.add_on_close_callback(closed)
        ch.queue_declare(no, passive=True)

    def closed(ch, reason):
        reasons.append((reason.reply_code, reason.reply_text))
        s.connection.channel(on_open_callback=lambda c: c.queue_declare("", exclusive=True, callback=lambda f: s.finish(f.method.queue)))

    s = Select(opened)
    assert s.run().startswith("amq.gen-")
    eq(reasons, [(404, f"NOT_FOUND - no queue '{no}' in vhost '/'")])


@case()
def select_connection_error():
    def opened(ch):
        ch.queue_declare("", exclusive=True, callback=lambda f: consume(ch, f.method.queue))

    def consume(ch, q):
        ch.basic_consume(q, print, consumer_tag="t", callback=lambda _: ch._send_method(spec.Basic.Consume(queue=q, consumer_tag="t")))

    s = Select(opened)
    s.run()
    eq((s.closed.reply_code, s.closed.reply_text), (530, "NOT_ALLOWED - attempt to reuse consumer tag 't'"))


@case()
def select_cancel_and_return():
    q, got = name(), []

    def opened(ch):
        ch.add_on_cancel_callback(lambda f: (got.append(("cancel", f.method.consumer_tag)), s.finish()))
        ch.add_on_return_callback(lambda c, m, p, b: (got.append(("return", m.method.reply_code if hasattr(m, "method") else m.reply_code, b)), ch.queue_delete(q)))
        ch.queue_declare(q, callback=lambda _: ch.basic_consume(q, print, consumer_tag="c", callback=lambda _: ch.basic_publish("", "nowhere", b"r", mandatory=True)))

    s = Select(opened)
    s.run()
    eq(got, [("return", 312, b"r"), ("cancel", "c")])


@case()
def select_refused_vhost():
    s = Select(print, vhost="nowhere")
    try:
        s.run()
        raise AssertionError("connected")
    except pika.exceptions.ProbableAccessDeniedError as error:
        eq(str(error), "ConnectionClosedByBroker: (530) 'NOT_ALLOWED - vhost nowhere not found'")


@case(90)
def select_recovery_after_a_restart():
    broker, seen = Broker(), []
    broker.start()
    try:
        s = Select(lambda ch: (seen.append("open"), threading.Thread(target=broker.stop).start()), port=broker.port)
        s.run()
        assert s.closed is not None
        time.sleep(0.5)
        while broker.process is not None:
            time.sleep(0.1)
        broker.start()

        def opened(ch):
            ch.queue_declare("s", callback=lambda _: ch.basic_consume("s", lambda c, m, p, b: s.finish(b), auto_ack=True,
                                                                      callback=lambda _: ch.basic_publish("", "s", b"again")))

        s = Select(opened, port=broker.port, connection_attempts=20, retry_delay=0.5)
        eq(s.run(), b"again")
    finally:
        broker.stop()


# ---- the runner --------------------------------------------------------------------------------------------------------

def alarm(*_):
    raise TimeoutError("the case's time is up")


def main():
    signal.signal(signal.SIGALRM, alarm)
    failed = 0
    with open(sys.argv[1], "w") as out:
        for title, limit, function in CASES:
            if len(sys.argv) > 2 and not any(part in title for part in sys.argv[2:]):
                continue
            SEEN.update(case=title, n=0)
            start, verdict, why = time.time(), "PASS", ""
            signal.alarm(limit)
            try:
                function()
            except Skip as reason:
                verdict, why = "SKIP", str(reason)
            except BaseException:
                verdict, why = "FAIL", "\n" + traceback.format_exc()
                failed += 1
            signal.alarm(5)
            for connection in OPEN:
                try:
                    connection.close()
                except BaseException:
                    pass
            signal.alarm(0)
            OPEN.clear()
            out.write(f"{verdict} {title}\n")
            out.flush()
            print(f"{verdict} {title} {time.time() - start:.2f}s {why}", flush=True)
    print(f"{failed} failed")


main()
