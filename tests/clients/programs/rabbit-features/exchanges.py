"""Exchanges that RabbitMQ and its plugins add, and de-duplication."""
import time

from harness import (Broker, Props, all_of, bodies, case, channel, closes, count, empty, eq, exchange, get, name,
                     publish, queue, ready, sink, stays_empty)
from pika.exceptions import UnroutableError


def total(ch, queues, want):
    """Waits until the queues have so many messages in all: how many each of them has."""
    end = time.time() + 10
    while sum(got := [count(ch, q) for q in queues]) != want:
        assert time.time() < end, f"{got}, want {want} in all"
        time.sleep(0.02)
    return got


def returned(ch, x, key):
    try:
        ch.basic_publish(x, key, b"back", mandatory=True)
        return False
    except UnroutableError:
        return True


# ---- alternate exchanges -----------------------------------------------------------------------------------------------

@case()
def alternate_exchange():
    ch = channel()
    last = exchange(ch, "fanout")
    middle = exchange(ch, "direct", alternate_exchange=last)
    x = exchange(ch, "direct", alternate_exchange=middle)
    here, there, rest = sink(ch, x, "here"), sink(ch, middle, "there"), sink(ch, last)
    for key in ("here", "there", "nowhere"):
        assert not returned(ch, x, key)
    for q, key in ((here, "here"), (there, "there"), (rest, "nowhere")):
        method, _, _ = get(ch, q)
        eq((method.exchange, method.routing_key), (x, key))
        empty(ch, q)


@case()
def alternate_exchange_that_is_missing():
    ch = channel()
    x = exchange(ch, "direct", alternate_exchange=name("-none"))
    publish(ch, "k", "dropped", x=x)
    assert returned(ch, x, "k")


@case()
def alternate_exchange_not_for_a_full_queue():
    ch = channel()
    other = exchange(ch, "fanout")
    x = exchange(ch, "fanout", alternate_exchange=other)
    rest = sink(ch, other)
    q = queue(ch, x_max_length=0)
    ch.queue_bind(q, x)
    publish(ch, "", "1", x=x)
    stays_empty(ch, rest, 0.2)


# ---- hashing -----------------------------------------------------------------------------------------------------------

@case(30)
def consistent_hash_by_routing_key():
    ch = channel(confirms=False)
    x = exchange(ch, "x-consistent-hash")
    queues, weights = [queue(ch) for _ in range(4)], (1, 2, 3, 4)
    for q, weight in zip(queues, weights):
        ch.queue_bind(q, x, str(weight))
    for i in range(4000):
        publish(ch, f"key{i}", str(i), x=x)
    shares = total(ch, queues, 4000)
    for share, weight in zip(shares, weights):
        assert 0.7 < share / (400 * weight) < 1.3, shares
    homes = {body: q for q in queues for body in all_of(ch, q)}
    eq(len(homes), 4000)
    for i in range(0, 4000, 7):
        publish(ch, f"key{i}", str(i), x=x)
    total(ch, queues, len(range(0, 4000, 7)))
    for q in queues:
        for body in all_of(ch, q):
            eq(homes[body], q)


@case(30)
def consistent_hash_when_a_queue_comes_and_goes():
    ch = channel(confirms=False)
    x = exchange(ch, "x-consistent-hash")
    queues = [queue(ch) for _ in range(4)]
    for q in queues[:3]:
        ch.queue_bind(q, x, "10")

    def homes():
        for i in range(1500):
            publish(ch, f"key{i}", str(i), x=x)
        total(ch, queues, 1500)
        return {body: q for q in queues for body in all_of(ch, q)}

    before = homes()
    ch.queue_bind(queues[3], x, "10")
    after = homes()
    moved = [body for body in before if after[body] != before[body]]
    assert 200 < len(moved) < 600, len(moved)
    eq({after[body] for body in moved}, {queues[3]})
    ch.queue_unbind(queues[3], x, "10")
    eq(homes(), before)


@case()
def consistent_hash_by_header_and_by_property():
    ch = channel(confirms=False)
    for arguments, properties in (
            ({"hash_header": "who"}, lambda i: {"headers": {"who": f"w{i}"}}),
            ({"hash_property": "message_id"}, lambda i: {"message_id": f"m{i}"}),
            ({"hash_property": "correlation_id"}, lambda i: {"correlation_id": f"c{i}"}),
            ({"hash_property": "timestamp"}, lambda i: {"timestamp": 1600000000 + i})):
        arguments = {key.replace("_", "-"): value for key, value in arguments.items()}
        x = name("-x")
        ch.exchange_declare(x, "x-consistent-hash", auto_delete=True, arguments=arguments)
        queues = [queue(ch) for _ in range(3)]
        for q in queues:
            ch.queue_bind(q, x, "1")
        for key in ("this", "that"):
            for i in range(100):
                publish(ch, f"{key}{i}", str(i), x=x, **properties(i))
        shares = total(ch, queues, 200)
        assert min(shares) > 0, (arguments, shares)
        for q in queues:  # the routing key differs, and where it goes does not
            got = all_of(ch, q)
            eq(len(got), 2 * len(set(got)))


@case()
def consistent_hash_errors():
    arguments = {"hash-header": "a", "hash-property": "message_id"}
    closes(406, None, lambda c: c.exchange_declare(name("-x"), "x-consistent-hash", arguments=arguments))
    closes(406, None, lambda c: c.exchange_declare(name("-x"), "x-consistent-hash", arguments={"hash-property": "user_id"}))
    ch = channel()
    x, q = exchange(ch, "x-consistent-hash"), queue(ch, exclusive=False)
    for weight in ("much", "-1"):
        closes(406, None, lambda c: c.queue_bind(q, x, weight))


@case()
def modulus_hash():
    ch = channel(confirms=False)
    x = exchange(ch, "x-modulus-hash")
    queues = [sink(ch, x) for _ in range(3)]
    for _ in range(2):
        for i in range(300):
            publish(ch, f"key{i}", str(i), x=x)
    shares = total(ch, queues, 600)
    assert min(shares) > 60, shares
    for q in queues:
        got = all_of(ch, q)
        eq(len(got), 2 * len(set(got)))


@case()
def random_exchange():
    ch = channel(confirms=False)
    x = exchange(ch, "x-random")
    queues = [sink(ch, x, "any") for _ in range(3)]
    for i in range(600):
        publish(ch, "k", str(i), x=x)
    shares = total(ch, queues, 600)
    assert min(shares) > 60, shares
    eq(sorted(int(body) for q in queues for body in all_of(ch, q)), list(range(600)))


@case()
def local_random_exchange():  # 4.0 and later
    ch = channel(confirms=False)
    x = exchange(ch, "x-local-random")
    queues = [sink(ch, x) for _ in range(3)]
    for i in range(600):
        publish(ch, "k", str(i), x=x)
    shares = total(ch, queues, 600)
    assert min(shares) > 60, shares
    eq(sorted(int(body) for q in queues for body in all_of(ch, q)), list(range(600)))


@case()
def recent_history():
    ch = channel()
    for arguments, kept in (({}, 20), ({"x_recent_history_length": 3}, 3)):
        x = exchange(ch, "x-recent-history", **arguments)
        first = sink(ch, x)
        publish(ch, "", *map(str, range(30)), x=x)
        publish(ch, "", "unseen", x=x, headers={"x-recent-history-no-store": True})
        eq(all_of(ch, first), [str(i) for i in range(30)] + ["unseen"])
        late = sink(ch, x)
        ready(ch, late, kept)
        eq(sorted(int(body) for body in all_of(ch, late)), list(range(30 - kept, 30)))
        publish(ch, "", "both", x=x)
        eq(all_of(ch, first) + all_of(ch, late), ["both", "both"])


# ---- delayed messages --------------------------------------------------------------------------------------------------

def delayed(ch, kind="direct", **more):
    return exchange(ch, "x-delayed-message", x_delayed_type=kind, **more)


@case(30)
def delayed_message_comes_when_it_is_due():
    ch = channel()
    x = delayed(ch)
    q = sink(ch, x, "k")
    start = time.time()
    for delay in (1500, 500, 1000):
        publish(ch, "k", str(delay), x=x, headers={"x-delay": delay, "mine": 1})
    for delay in (500, 1000, 1500):
        method, props, body = get(ch, q)
        assert time.time() - start >= delay / 1000 - 0.001, f"{body} came after {time.time() - start} s"
        eq((body, method.exchange, method.routing_key, props.headers["mine"]), (str(delay), x, "k", 1))
    empty(ch, q)


@case()
def delayed_message_without_a_delay():
    ch = channel()
    x = delayed(ch, "topic")
    q = sink(ch, x, "a.#")
    publish(ch, "a.b", "plain", x=x)
    publish(ch, "a.b", "zero", x=x, headers={"x-delay": 0})
    eq(bodies(ch, q, 2), ["plain", "zero"])
    publish(ch, "b", "no", x=x)
    stays_empty(ch, q, 0.2)


@case()
def delayed_message_is_routed_when_it_is_due():
    ch = channel()
    x = delayed(ch, "fanout")
    there = sink(ch, x)
    publish(ch, "", "1", x=x, headers={"x-delay": 800})
    ch.queue_unbind(there, x, "")
    late = sink(ch, x)
    eq(get(ch, late)[2], "1")
    empty(ch, there)


@case()
def delayed_message_of_the_same_time_keeps_its_order():
    ch = channel(confirms=False)
    x = delayed(ch, "fanout")
    q = sink(ch, x)
    impl = ch._impl
    for i in range(200):
        impl.basic_publish(x, "", b"%d" % i, Props(headers={"x-delay": 1000}))
    got = bodies(ch, q, 200)
    eq(sorted(map(int, got)), list(range(200)))
    eq(got, sorted(got, key=int))


@case()
def delayed_message_by_headers_and_to_an_exchange():
    ch = channel()
    x = delayed(ch, "headers")
    plain = exchange(ch, "fanout")
    q = sink(ch, plain)
    ch.exchange_bind(plain, x, "", {"x-match": "all", "kind": "a"})
    for kind in ("a", "b"):
        publish(ch, "", kind, x=x, headers={"x-delay": 300, "kind": kind})
    eq(get(ch, q)[2], "a")
    stays_empty(ch, q, 0.3)


@case()
def delayed_message_goes_with_its_exchange():
    ch = channel()
    x = delayed(ch, "fanout")
    publish(ch, "", "1", x=x, headers={"x-delay": 500})
    ch.exchange_delete(x)
    ch.exchange_declare(x, "fanout", auto_delete=True)
    q = sink(ch, x)
    stays_empty(ch, q, 1)


@case()
def delayed_message_errors():
    closes(406, None, lambda c: c.exchange_declare(name("-x"), "x-delayed-message"))
    for kind in ("nothing", 1):
        closes(406, None, lambda c: c.exchange_declare(name("-x"), "x-delayed-message", arguments={"x-delayed-type": kind}))


@case(60)
def delayed_message_and_kill():
    with Broker() as broker:
        ch = broker.channel()
        ch.exchange_declare("x", "x-delayed-message", durable=True, arguments={"x-delayed-type": "direct"})
        ch.queue_declare("q", durable=True)
        ch.queue_bind("q", "x", "k")
        start = time.time()
        for i in range(20):
            publish(ch, "k", str(i), x="x", delivery_mode=2, headers={"x-delay": 3000 + 100 * i})
        publish(ch, "k", "past", x="x", delivery_mode=2, headers={"x-delay": 300})
        publish(ch, "k", "far", x="x", delivery_mode=2, headers={"x-delay": 3600000})
        broker.kill()
        broker.start()
        ch = broker.channel()
        eq(get(ch, "q")[2], "past")
        for i in range(20):
            eq(get(ch, "q")[2], str(i))
            assert time.time() - start >= 3 + 0.1 * i - 0.001, "too early"
        stays_empty(ch, "q", 0.3)


# ---- de-duplication ----------------------------------------------------------------------------------------------------

def marked(mark):
    return {"x-deduplication-header": mark}


@case()
def deduplicating_exchange():
    ch = channel()
    x = exchange(ch, "x-message-deduplication", x_cache_size=100)
    one, two = sink(ch, x), sink(ch, x)
    for body, mark in (("1", "a"), ("2", "a"), ("3", "b"), ("4", "a"), ("5", 7), ("6", 7)):
        publish(ch, "", body, x=x, headers=marked(mark))
    publish(ch, "", "free", x=x)
    publish(ch, "", "free", x=x)
    for q in (one, two):
        # Those without a name go by no other shard, and may overtake those with one.
        got = all_of(ch, q)
        eq([body for body in got if body != "free"], ["1", "3", "5"])
        eq(got.count("free"), 2)


@case()
def deduplicating_exchange_of_any_type():  # LavinMQ's way to say it
    ch = channel()
    x = exchange(ch, "direct", x_message_deduplication=True, x_cache_size=100)
    q = sink(ch, x, "k")
    publish(ch, "k", "1", x=x, headers=marked("a"))
    publish(ch, "k", "2", x=x, headers=marked("a"))
    publish(ch, "k", "3", x=x, headers=marked("b"))
    eq(all_of(ch, q), ["1", "3"])


@case()
def deduplicating_exchange_with_a_header_of_its_own():
    ch = channel()
    x = exchange(ch, "fanout", x_message_deduplication=True, x_cache_size=100, x_deduplication_header="order")
    q = sink(ch, x)
    for body, order in (("1", "a"), ("2", "a"), ("3", "b")):
        publish(ch, "", body, x=x, headers={"order": order, **marked("same")})
    eq(all_of(ch, q), ["1", "3"])


@case()
def deduplicating_exchange_forgets():
    ch = channel()
    x = exchange(ch, "x-message-deduplication", x_cache_size=100, x_cache_ttl=400)
    q = sink(ch, x)
    publish(ch, "", "1", x=x, headers=marked("a"))
    publish(ch, "", "long", x=x, headers={**marked("b"), "x-cache-ttl": 60000})
    time.sleep(0.8)
    publish(ch, "", "2", x=x, headers=marked("a"))
    publish(ch, "", "long again", x=x, headers=marked("b"))
    eq(all_of(ch, q), ["1", "long", "2"])
    small = exchange(ch, "x-message-deduplication", x_cache_size=2)
    q = sink(ch, small)
    for mark in ("a", "b", "c", "d", "a"):
        publish(ch, "", mark, x=small, headers=marked(mark))
    eq(all_of(ch, q), ["a", "b", "c", "d", "a"])


@case()
def deduplicating_queue():
    ch = channel()
    q = queue(ch, x_message_deduplication=True)
    for body, mark in (("1", "a"), ("2", "a"), ("3", "b"), ("4", "b")):
        publish(ch, q, body, headers=marked(mark))
    publish(ch, q, "free")
    publish(ch, q, "free")
    eq(all_of(ch, q), ["1", "3", "free", "free"])


@case(60)
def deduplicating_and_kill():
    with Broker() as broker:
        ch = broker.channel()
        ch.exchange_declare("x", "x-message-deduplication", durable=True, arguments={"x-cache-size": 1000})
        ch.queue_declare("q", durable=True)
        ch.queue_bind("q", "x")
        ch.queue_declare("own", durable=True, arguments={"x-message-deduplication": True})
        for i in range(50):
            publish(ch, "", str(i), x="x", delivery_mode=2, headers=marked(f"m{i}"))
            publish(ch, "own", str(i), delivery_mode=2, headers=marked(f"m{i}"))
        broker.kill()
        broker.start()
        ch = broker.channel()
        for i in range(40, 60):
            publish(ch, "", str(i), x="x", delivery_mode=2, headers=marked(f"m{i}"))
            publish(ch, "own", str(i), delivery_mode=2, headers=marked(f"m{i}"))
        for q in ("q", "own"):
            eq(sorted(map(int, all_of(ch, q))), list(range(60)))
