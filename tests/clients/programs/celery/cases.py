"""Cases for Celery over kombu and py-amqp: cases.py CASES_FILE [NAME_PART...]

Workers are processes of their own. Most cases share one; those that kill a worker or need other settings start theirs.
"""
import datetime
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

from amqp.exceptions import NotFound
from celery import chain, chord, group
from celery.exceptions import TaskRevokedError
from kombu import Connection

import tasks

HERE = os.path.dirname(os.path.abspath(__file__))
PORT = int(os.environ["AMQP_PORT"])
FOLDER = tempfile.mkdtemp(prefix="notes-", dir=os.environ.get("OUT"))
CASES, ENDS, NOW, SHARED = [], [], {}, []
PATIENCE_S = 30


class Skip(Exception):
    pass


def case(limit=60):
    def add(function):
        CASES.append((function.__name__, limit, function))
        return function
    return add


def eq(got, want):
    assert got == want, f"got {got!r}, want {want!r}"


def name():
    NOW["n"] += 1
    return f"celery-{NOW['case']}-{os.getpid()}-{NOW['n']}"


def wait(done, what, seconds=PATIENCE_S):
    end = time.time() + seconds
    while not (got := done()):
        assert time.time() < end, what
        time.sleep(0.02)
    return got


def notes(file):
    try:
        with open(os.path.join(FOLDER, file)) as lines:
            return [json.loads(line) for line in lines]
    except FileNotFoundError:
        return []


class Suite:
    """The settings, the app that they make here, and the workers that work by them."""

    def __init__(self, port=None, backend="rpc://", queue=None, **more):
        broker = f"amqp://guest:guest@127.0.0.1:{port or PORT}//"
        self.settings = {"broker": broker, "backend": backend, "queue": queue or name(), "folder": FOLDER, "more": more}
        self.app, self.workers = tasks.build(self.settings), []

    def task(self, title):
        return self.app.tasks[title]

    def s(self, title, *arguments):
        return self.task(title).s(*arguments)

    def worker(self, pool="solo", *flags):
        log = os.path.join(FOLDER, name() + ".log")
        with open(log, "ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-P", pool, "-c", "1", "-l", "INFO",
                 "--without-mingle", "-n", f"{name()}@localhost", *flags],
                cwd=HERE, stdout=out, stderr=out, env={**os.environ, "CELERY_CONF": json.dumps(self.settings)})
        self.workers.append(process)
        wait(lambda: process.poll() is not None or " ready." in open(log).read(), "the worker does not start")
        assert process.poll() is None, open(log).read()
        return process

    def end(self):
        for process in self.workers:
            stop(process)
        self.app.close()
        # Workers and clients leave a queue of tasks behind, which is durable.
        with Connection(self.settings["broker"]) as connection:
            connection.default_channel.queue_delete(self.settings["queue"])


def stop(process, how=signal.SIGTERM):
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def own(**more):
    suite = Suite(**more)
    ENDS.append(suite.end)
    return suite


def shared():
    if not SHARED:
        SHARED.append(Suite(task_send_sent_event=True, worker_send_task_events=True))
        SHARED[0].worker("prefork")  # a solo worker acknowledges when something wakes it, which may take 2 s
    return SHARED[0]


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


# ---- tasks and their results -------------------------------------------------------------------------------------------

@case()
def results_and_errors():
    suite = shared()
    eq(suite.task("add").delay(2, 3).get(timeout=PATIENCE_S), 5)
    try:
        suite.task("broken").delay().get(timeout=PATIENCE_S)
        raise AssertionError("no error")
    except ValueError as error:
        eq(str(error), "as told")


@case()
def many_small_tasks():
    suite, file = shared(), name()
    results = [suite.task("mark").delay(file, i) for i in range(400)]
    eq([result.get(timeout=PATIENCE_S) for result in results], list(range(400)))
    eq([what for _, what in notes(file)], list(range(400)))  # each once, and in order


@case()
def many_small_tasks_from_threads():
    suite, file = shared(), name()

    def publish(n):
        for i in range(100):
            suite.task("mark").apply_async((file, [n, i]), ignore_result=True)

    threads = [threading.Thread(target=publish, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait(lambda: len(notes(file)) >= 400, "not all were done")
    eq(sorted(what for _, what in notes(file)), [[n, i] for n in range(4) for i in range(100)])


@case()
def tasks_wait_for_a_worker():
    suite = own()
    results = [suite.task("add").delay(i, 1) for i in range(50)]
    suite.worker()
    eq([result.get(timeout=PATIENCE_S) for result in results], list(range(1, 51)))


@case()
def tasks_are_shared_by_workers():
    suite, file = own(), name()
    for _ in range(2):
        suite.worker()
    results = group(suite.s("slow", file, 0.05) for _ in range(20))()
    eq(results.get(timeout=PATIENCE_S), [False] * 20)
    eq(len(notes(file)), 20)


# ---- groups, chains, chords --------------------------------------------------------------------------------------------

@case()
def groups_and_chains():
    suite = shared()
    eq(group(suite.s("add", i, i) for i in range(30))().get(timeout=PATIENCE_S), [2 * i for i in range(30)])
    eq(chain(suite.s("add", 1, 1), suite.s("add", 10), suite.s("add", 100))().get(timeout=PATIENCE_S), 112)
    nested = group(chain(suite.s("add", i, 1), suite.s("add", 1)) for i in range(10))
    eq(nested().get(timeout=PATIENCE_S), [i + 2 for i in range(10)])
    chunks = suite.task("add").chunks(zip(range(20), range(20)), 5)().get(timeout=PATIENCE_S)
    eq([number for chunk in chunks for number in chunk], [2 * i for i in range(20)])


@case()
def chords():
    """The results are in files, for the rpc backend has no chords: the task that waits for the header comes again and
    again with a countdown."""
    folder = tempfile.mkdtemp(prefix="results-", dir=os.environ.get("OUT"))
    suite = own(backend=f"file://{folder}")
    suite.worker()
    eq(chord((suite.s("add", i, i) for i in range(10)), suite.s("total"))().get(timeout=PATIENCE_S), 90)
    eq((group(suite.s("add", i, 1) for i in range(5)) | suite.s("total")).delay().get(timeout=PATIENCE_S), 15)


# ---- time --------------------------------------------------------------------------------------------------------------

@case()
def countdown_and_eta():
    suite = shared()
    now = time.time()
    wanted = [0.5, 1.5, 1.0]
    results = [suite.task("began").apply_async(countdown=seconds) for seconds in wanted]
    eta = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1)
    results.append(suite.task("began").apply_async(eta=eta))
    began = [result.get(timeout=PATIENCE_S)[0] - now for result in results]
    for took, least in zip(began, wanted + [1.0]):
        assert took >= least - 0.01, f"{began}, want {wanted}"


@case()
def many_etas_hold_up_nobody():
    """A worker takes tasks that are not due yet beyond its prefetch limit, by raising that limit."""
    suite = own()
    suite.worker("prefork")
    eq(suite.task("add").delay(0, 0).get(timeout=PATIENCE_S), 0)  # it has begun
    start = time.time()
    late = [suite.task("began").apply_async(countdown=6) for _ in range(20)]
    eq(suite.task("add").delay(1, 1).get(timeout=PATIENCE_S), 2)
    soon = time.time()
    began = [result.get(timeout=PATIENCE_S)[0] for result in late]
    assert min(began) >= start + 6, "too early"
    assert soon < min(began), "the task that was due waited for those that were not"


@case()
def etas_go_back_when_their_worker_is_killed():
    suite = own()
    first = suite.worker("prefork")
    results = [suite.task("began").apply_async(countdown=5) for _ in range(5)]
    with Connection(suite.settings["broker"]) as connection:
        ch = connection.default_channel
        wait(lambda: ch.queue_declare(suite.settings["queue"], passive=True).message_count == 0, "they are not taken")
        stop(first, signal.SIGKILL)
        wait(lambda: ch.queue_declare(suite.settings["queue"], passive=True).message_count == 5, "they are not given back", 10)
    suite.worker("prefork")
    for result in results:
        eq(result.get(timeout=PATIENCE_S)[1], True)  # redelivered


@case()
def native_delayed_delivery():
    """With quorum queues the delay is the broker's: a ladder of queues with a TTL each and dead letters to the next."""
    suite = own(task_default_queue_type="quorum", worker_detect_quorum_queues=True, task_default_exchange_type="topic")
    suite.worker()
    now = time.time()
    results = [(seconds, suite.task("began").apply_async(countdown=seconds)) for seconds in (1, 3, 2)]
    for seconds, result in results:
        took = result.get(timeout=PATIENCE_S)[0] - now
        assert took >= seconds - 1.01, f"{took} s, want {seconds}"  # the delay is cut to whole seconds


@case()
def task_expires():
    """By the expiration of its message, for nobody has taken it yet."""
    suite, file = own(), name()
    suite.task("mark").apply_async((file, "late"), expires=0.5, ignore_result=True)
    good = suite.task("mark").apply_async((file, "good"), expires=60)
    with Connection(suite.settings["broker"]) as connection:
        ch = connection.default_channel
        wait(lambda: ch.queue_declare(suite.settings["queue"], passive=True).message_count == 1, "it does not expire", 6)
    suite.worker()
    eq(good.get(timeout=PATIENCE_S), "good")
    eq([what for _, what in notes(file)], ["good"])


@case()
def task_expires_in_the_hands_of_a_worker():
    suite, file = own(), name()
    suite.worker()
    suite.task("slow").apply_async((file, 1.5), ignore_result=True)
    wait(lambda: notes(file), "it did not begin")
    late = suite.task("mark").apply_async((file, "late"), expires=1, countdown=0.1)
    eq(suite.task("mark").apply_async((file, "good"), expires=60).get(timeout=PATIENCE_S), "good")
    assert not late.ready() or isinstance(late.result, TaskRevokedError), late.result
    eq([what for _, what in notes(file)], [False, "good"])


# ---- retries -----------------------------------------------------------------------------------------------------------

@case()
def autoretry_with_backoff():
    suite, good, bad = shared(), name(), name()
    results = suite.task("unsteady").delay(good, 2), suite.task("unsteady").delay(bad, 3)
    eq(results[0].get(timeout=PATIENCE_S), 2)
    try:
        results[1].get(timeout=PATIENCE_S)
        raise AssertionError("no error")
    except ValueError as error:
        eq(str(error), "attempt 2")
    for file in (good, bad):
        eq([what for _, what in notes(file)], [0, 1, 2])
        at = [when for when, _ in notes(file)]
        assert at[1] - at[0] >= 0.99 and at[2] - at[1] >= 1.99, at


# ---- priorities --------------------------------------------------------------------------------------------------------

@case()
def priorities_of_what_waits():
    suite, file = own(task_queue_max_priority=10, task_default_priority=5), name()
    for i, priority in enumerate((1, 9, 5, None, 0, 9, 3)):
        more = {} if priority is None else {"priority": priority}
        suite.task("mark").apply_async((file, f"{i}:{priority}"), ignore_result=True, **more)
    suite.worker()
    wait(lambda: len(notes(file)) == 7, "not all were done")
    eq([what for _, what in notes(file)], ["1:9", "5:9", "2:5", "3:None", "6:3", "0:1", "4:0"])


@case()
def priorities_while_a_worker_is_busy():
    suite, file = own(task_queue_max_priority=10, task_acks_late=True), name()
    suite.worker()
    suite.task("slow_late").apply_async((file, 1.5))
    wait(lambda: notes(file), "it did not begin")
    for priority in (0, 2, 9, 4):
        suite.task("mark").apply_async((file, priority), priority=priority, ignore_result=True)
    wait(lambda: len(notes(file)) == 5, "not all were done")
    eq([what for _, what in notes(file)], [False, 9, 4, 2, 0])


# ---- workers that die --------------------------------------------------------------------------------------------------

@case()
def acks_late_and_a_killed_worker():
    suite, file = own(), name()
    first = suite.worker()
    result = suite.task("slow_late").delay(file, 60)
    wait(lambda: notes(file), "it did not begin")
    stop(first, signal.SIGKILL)
    suite.worker()
    eq(result.get(timeout=PATIENCE_S), True)
    eq([what for _, what in notes(file)], [False, True])


@case()
def acks_late_and_a_second_worker():
    """It is there already, and takes over at once."""
    suite, file = own(), name()
    first = suite.worker()
    result = suite.task("slow_late").delay(file, 60)
    wait(lambda: notes(file), "it did not begin")
    suite.worker()
    stop(first, signal.SIGKILL)
    eq(result.get(timeout=PATIENCE_S), True)


@case()
def acks_early_and_a_killed_worker():
    suite, file = own(), name()
    first = suite.worker("threads")  # the others acknowledge when the task is done, or leave a child behind
    suite.task("slow").apply_async((file, 60), ignore_result=True)
    wait(lambda: notes(file), "it did not begin")
    time.sleep(0.5)
    stop(first, signal.SIGKILL)
    suite.worker()
    eq(suite.task("add").delay(1, 2).get(timeout=PATIENCE_S), 3)
    eq([what for _, what in notes(file)], [False])


@case()
def reject_on_worker_lost():
    suite, file = own(), name()
    suite.worker("prefork")
    eq(suite.task("dies").delay(file).get(timeout=PATIENCE_S), True)
    eq([what for _, what in notes(file)], [False, True])


@case()
def workers_stop_in_good_order():
    suite, file = own(), name()
    first = suite.worker()
    results = [suite.task("slow_late").delay(file, 0.3) for _ in range(10)]
    wait(lambda: len(notes(file)) >= 2, "they did not begin")
    stop(first)
    suite.worker()
    for result in results:
        result.get(timeout=PATIENCE_S)
    eq([what for _, what in notes(file)].count(False) >= 9, True)  # one at most was under way


# ---- remote control, events, routing -----------------------------------------------------------------------------------

@case()
def remote_control():
    suite, file = shared(), name()
    control = suite.app.control
    eq([list(reply.values()) for reply in control.ping(timeout=3)].count([{"ok": "pong"}]) >= 1, True)
    queues, = [q for q in control.inspect(timeout=3).active_queues().values() if q[0]["name"] == suite.settings["queue"]]
    eq(len(queues), 1)
    result = suite.task("mark").apply_async((file, "never"), countdown=2)
    time.sleep(0.3)
    control.revoke(result.id)
    try:
        result.get(timeout=PATIENCE_S)
        raise AssertionError("it ran")
    except TaskRevokedError:
        pass
    eq(notes(file), [])


@case()
def events():
    suite, seen = shared(), []
    ready = threading.Event()

    def watch():
        with suite.app.connection() as connection:
            receiver = suite.app.events.Receiver(connection, handlers={"*": lambda event: seen.append(event)})
            ready.set()
            try:
                receiver.capture(limit=None, timeout=5, wakeup=False)
            except (socket.timeout, TimeoutError):
                pass

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    assert ready.wait(10)
    time.sleep(0.5)
    result = suite.task("add").delay(1, 1)
    eq(result.get(timeout=PATIENCE_S), 2)
    kinds = {"task-sent", "task-received", "task-started", "task-succeeded"}
    wait(lambda: kinds <= {event["type"] for event in list(seen) if event.get("uuid") == result.id}, "events are missing")


@case()
def routes_to_queues():
    queue = name()
    suite = own(queue=queue, task_routes={"mark": {"queue": f"{queue}-marks"}})
    file = name()
    suite.worker("solo", "-Q", f"{queue},{queue}-marks")
    eq(suite.task("mark").delay(file, 1).get(timeout=PATIENCE_S), 1)
    eq(suite.task("add").delay(1, 1).get(timeout=PATIENCE_S), 2)
    with Connection(suite.settings["broker"]) as connection:
        ch = connection.default_channel
        for title in (queue, f"{queue}-marks"):
            eq(ch.queue_declare(title, passive=True).consumer_count, 1)
        ch.queue_delete(f"{queue}-marks")


@case()
def purge():
    suite = own()
    for i in range(20):
        suite.task("add").delay(i, i)
    with Connection(suite.settings["broker"]) as connection:
        eq(connection.default_channel.queue_purge(suite.settings["queue"]), 20)
        eq(connection.default_channel.queue_declare(suite.settings["queue"], passive=True).message_count, 0)
        try:
            connection.channel().queue_declare(name(), passive=True)
            raise AssertionError("it is there")
        except NotFound:
            pass


@case()
def a_killed_broker_comes_back():
    broker = Broker()
    broker.start()
    ENDS.append(broker.kill)
    suite, file = own(port=broker.port), name()
    for i in range(20):  # these wait in the broker when it is killed
        suite.task("mark").apply_async((file, i), ignore_result=True)
    broker.kill()
    broker.start()
    suite.worker()
    wait(lambda: len(notes(file)) >= 20, "not all were done")
    eq([what for _, what in notes(file)], list(range(20)))
    broker.kill()  # and now with a worker that has to come back
    broker.start()
    suite.task("mark").apply_async((file, 20), ignore_result=True, retry=True)
    # Others may come once more, if the broker was killed before it had their acknowledgements.
    wait(lambda: 20 in [what for _, what in notes(file)], "the worker did not come back")
    eq({what for _, what in notes(file)}, set(range(21)))


# ---- the runner --------------------------------------------------------------------------------------------------------

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
            for end in reversed(ENDS):
                signal.alarm(20)
                try:
                    end()
                except BaseException as error:
                    why += f" (not tidied: {error!r})"
            signal.alarm(0)
            ENDS.clear()
            out.write(f"{verdict} {title}\n")
            out.flush()
            print(f"{verdict} {title} {time.time() - start:.2f}s {why}", flush=True)
    for suite in SHARED:
        suite.end()


main()
