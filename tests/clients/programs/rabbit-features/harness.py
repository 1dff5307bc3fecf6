"""What the cases share: connections, assertions with patience, a broker that may be killed, and the runner.

AMQP_PORT is the broker's port. LEVERET_BIN is the program that the cases with a restart start; without it they skip.
"""
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

import pika
from pika import spec
from pika.exceptions import NackError

HOST, PORT = os.environ.get("AMQP_HOST", "127.0.0.1"), int(os.environ["AMQP_PORT"])
CASES, OPEN, DECLARED, NOW = [], [], [], {}
Props = pika.BasicProperties


class Skip(Exception):
    pass


def case(limit=20):
    def add(function):
        CASES.append((function.__name__, limit, function))
        return function
    return add


def connect(port=None):
    parameters = pika.ConnectionParameters(HOST, port or PORT, heartbeat=30)
    connection = pika.BlockingConnection(parameters)
    OPEN.append(connection)
    return connection


def channel(connection=None, confirms=True, port=None):
    ch = (connection or connect(port)).channel()
    if confirms:
        ch.confirm_delivery()
    return ch


def eq(got, want):
    assert got == want, f"got {got!r}, want {want!r}"


def name(suffix=""):
    NOW["n"] += 1
    return f"feat-{NOW['case']}-{os.getpid()}-{NOW['n']}{suffix}"


def queue(ch, exclusive=True, **arguments):
    """An exclusive queue, or a durable one, which the runner deletes; `x_max_length=3` is the argument x-max-length."""
    q = name()
    arguments = {key.replace("_", "-"): value for key, value in arguments.items()}
    ch.queue_declare(q, durable=not exclusive, exclusive=exclusive, arguments=arguments)
    if not exclusive:
        DECLARED.append(("queue", q))
    return q


def quorum(ch, **arguments):
    return queue(ch, exclusive=False, x_queue_type="quorum", **arguments)


def exchange(ch, kind="direct", durable=False, **arguments):
    x = name("-x")
    arguments = {key.replace("_", "-"): value for key, value in arguments.items()}
    ch.exchange_declare(x, kind, durable=durable, arguments=arguments)
    DECLARED.append(("exchange", x))
    return x


def sink(ch, x, key=""):
    """An exclusive queue bound to the exchange."""
    q = queue(ch)
    ch.queue_bind(q, x, key)
    return q


def dead_lettered(ch, **arguments):
    """A queue, and the one that its dead letters go to."""
    dead = queue(ch)
    return queue(ch, x_dead_letter_exchange="", x_dead_letter_routing_key=dead, **arguments), dead


def publish(ch, q, *bodies, x="", **properties):
    for body in bodies:
        ch.basic_publish(x, q, body.encode() if isinstance(body, str) else body, Props(**properties))


def nacked(ch, q, body, x="", **properties):
    """Publishes what must be refused."""
    try:
        publish(ch, q, body, x=x, **properties)
    except NackError:
        return
    raise AssertionError(f"{body!r} was not refused")


def get(ch, q, seconds=6, ack=True):
    """basic.get, again until there is a message: its method, properties and body as text."""
    end = time.time() + seconds
    while time.time() < end:
        method, props, body = ch.basic_get(q, ack)
        if method:
            return method, props, body.decode()
        time.sleep(0.01)
    raise AssertionError(f"no message in {q}")


def bodies(ch, q, count, ack=True):
    return [get(ch, q, ack=ack)[2] for _ in range(count)]


def all_of(ch, q):
    """What is ready, to the last."""
    got = []
    while True:
        method, _, body = ch.basic_get(q, True)
        if not method:
            return got
        got.append(body.decode())


def empty(ch, q):
    eq(all_of(ch, q), [])


def stays_empty(ch, q, seconds=0.5):
    time.sleep(seconds)
    empty(ch, q)


def count(ch, q):
    return ch.queue_declare(q, passive=True).method.message_count


def ready(ch, q, want, seconds=6):
    end = time.time() + seconds
    while (n := count(ch, q)) != want:
        assert time.time() < end, f"{n} messages ready, want {want}"
        time.sleep(0.02)


def until(ch, done, seconds=6):
    end = time.time() + seconds
    while not done():
        assert time.time() < end, "nothing came"
        ch.connection.process_data_events(0.02)


def idle(ch, seconds):
    end = time.time() + seconds
    while time.time() < end:
        ch.connection.process_data_events(0.02)


def consume(ch, q, ack=True, prefetch=0, take=None, **more):
    """Consumes into the list that is returned: (body, method, properties); `take` is called with the channel and tag."""
    got = []

    def deliver(_, method, props, body):
        got.append((body.decode(), method, props))
        if take:
            take(ch, method.delivery_tag)

    if prefetch:
        ch.basic_qos(prefetch_count=prefetch)
    ch.basic_consume(q, deliver, auto_ack=ack, **more)
    return got


def closes(code, text, action, hard=False, on=None):
    """`action` must make the broker close its channel (or connection) with this code, and this text if there is one."""
    ch = on or channel(confirms=False)
    impl, seen = ch.connection._impl, []
    process, kind = impl._process_frame, spec.Connection.Close if hard else spec.Channel.Close

    def look(frame):
        if isinstance(frame, pika.frame.Method) and isinstance(frame.method, kind):
            seen.append((frame.method.reply_code, frame.method.reply_text))
        return process(frame)

    impl._process_frame = look
    try:
        action(ch)
        until(ch, lambda: seen, 5)
    except (pika.exceptions.AMQPError, pika.exceptions.AMQPChannelError):
        pass
    finally:
        impl._process_frame = process
    assert seen, f"no close came, want {code} {text}"
    eq(seen[0] if text else seen[0][:1], (code, text) if text else (code,))


def hang_up(ch):
    """Cuts the connection. pika's own close cancels the consumers first, which may go on at others at once."""
    ch.connection._impl._transport._sock.shutdown(socket.SHUT_RDWR)


def gone(q):
    try:
        channel().queue_declare(q, passive=True)
        return False
    except pika.exceptions.ChannelClosedByBroker as error:
        eq(error.reply_code, 404)
        return True


class Broker:
    """A second broker of our own, which may be killed and started again in the same folder and on the same port."""

    def __init__(self):
        self.binary, self.process = os.environ.get("LEVERET_BIN"), None
        if not self.binary:
            raise Skip("LEVERET_BIN is unset")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.folder = tempfile.mkdtemp(prefix="second-", dir=os.environ.get("OUT"))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()

    def start(self):
        with open(os.path.join(self.folder, "broker.log"), "ab") as log:
            self.process = subprocess.Popen(
                [self.binary, "--port", str(self.port), "--shards", os.environ.get("SHARDS", "1")],
                cwd=self.folder, stdout=log, stderr=log)
        for _ in range(400):
            try:
                return socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert self.process.poll() is None, "the broker ended"
                time.sleep(0.05)
        raise AssertionError("the broker does not listen")

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def channel(self, confirms=True):
        return channel(confirms=confirms, port=self.port)


def alarm(*_):
    raise TimeoutError("the case's time is up")


def tidy():
    for connection in OPEN:
        try:
            connection.close()
        except BaseException:
            pass
    OPEN.clear()
    if DECLARED:
        ch = connect().channel()
        for kind, title in DECLARED:
            ch.queue_delete(title) if kind == "queue" else ch.exchange_delete(title)
        ch.connection.close()
    DECLARED.clear()
    OPEN.clear()


def main():
    """cases.py CASES_FILE [NAME_PART...]: writes PASS/FAIL/SKIP lines to the file; the log goes to stdout."""
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
            signal.alarm(10)
            try:
                tidy()
            except BaseException as error:
                why += f" (not tidied: {error!r})"
            signal.alarm(0)
            out.write(f"{verdict} {title}\n")
            out.flush()
            print(f"{verdict} {title} {time.time() - start:.2f}s {why}", flush=True)
