"""Dead letters: where they go, and what is written about them.

FEATURES_ANY_ORDER=1 leaves the order of fields and of entries aside: RabbitMQ before 4.0 has other ones.
"""
import datetime
import os
import time

from pika.compat import long

from harness import (Broker, Props, all_of, bodies, case, channel, closes, dead_lettered, empty, eq, exchange, get, name,
                     publish, queue, ready, sink, stays_empty)

FIELDS = ["count", "reason", "queue", "time", "exchange", "routing-keys"]
ORDERED = not os.environ.get("FEATURES_ANY_ORDER")


def without_time(fields):
    return [field for field in fields if field != "time"]


def deaths(props, *want):
    """x-death, entry by entry: fields, their order, their types. `time` is looked at here, the others are compared."""
    entries = props.headers["x-death"]
    eq(len(entries), len(want))
    if not ORDERED:
        entries = sorted(entries, key=lambda entry: (entry["queue"], entry["reason"]))
        want = sorted(want, key=lambda one: [dict(zip(without_time(one[0]), one[1]))[key] for key in ("queue", "reason")])
    for entry, (fields, values) in zip(entries, want):
        eq(list(entry) if ORDERED else sorted(entry), fields if ORDERED else sorted(fields))
        eq({key: entry[key] for key in entry if key != "time"}, dict(zip(without_time(fields), values)))
        kinds = {"count": long, "time": datetime.datetime, "routing-keys": list}
        eq({key: type(value) for key, value in entry.items()}, {key: kinds.get(key, str) for key in entry})
        age = time.time() - entry["time"].replace(tzinfo=datetime.timezone.utc).timestamp()
        assert -2 <= age < 60, f"time is {age} s ago"


def first(props, q, reason, x=""):
    eq([props.headers.get(f"x-first-death-{key}") for key in ("exchange", "queue", "reason")], [x, q, reason])


def reject(ch, q):
    ch.basic_reject(get(ch, q, ack=False)[0].delivery_tag, requeue=False)


@case()
def dead_letter_rejected():
    ch = channel()
    q, dead = dead_lettered(ch)
    publish(ch, q, "1", content_type="text/plain", delivery_mode=2, message_id="m", headers={"mine": 7})
    reject(ch, q)
    method, props, body = get(ch, dead)
    eq((method.exchange, method.routing_key, method.redelivered, body), ("", dead, False, "1"))
    eq((props.content_type, props.delivery_mode, props.message_id, props.headers["mine"]), ("text/plain", 2, "m", 7))
    deaths(props, (FIELDS, [1, "rejected", q, "", [q]]))
    first(props, q, "rejected")


@case()
def dead_letter_nacked():
    ch = channel()
    q, dead = dead_lettered(ch)
    publish(ch, q, "1", "2", "3")
    tags = [get(ch, q, ack=False)[0].delivery_tag for _ in range(3)]
    ch.basic_nack(tags[1], multiple=True, requeue=False)
    ch.basic_ack(tags[2])
    for want in ("1", "2"):
        _, props, body = get(ch, dead)
        eq(body, want)
        deaths(props, (FIELDS, [1, "rejected", q, "", [q]]))
    stays_empty(ch, dead, 0.2)


@case()
def dead_letter_expired():
    ch = channel()
    q, dead = dead_lettered(ch)
    publish(ch, q, "1", expiration="50")
    _, props, _ = get(ch, dead)
    eq(props.expiration, None)
    deaths(props, (["original-expiration"] + FIELDS, ["50", 1, "expired", q, "", [q]]))
    first(props, q, "expired")


@case()
def dead_letter_expired_by_the_queue():
    ch = channel()
    q, dead = dead_lettered(ch, x_message_ttl=50)
    publish(ch, q, "1")
    _, props, _ = get(ch, dead)
    deaths(props, (FIELDS, [1, "expired", q, "", [q]]))


@case()
def dead_letter_maxlen():
    ch = channel()
    q, dead = dead_lettered(ch, x_max_length=1)
    publish(ch, q, "1", "2")
    _, props, body = get(ch, dead)
    eq(body, "1")
    deaths(props, (FIELDS, [1, "maxlen", q, "", [q]]))
    first(props, q, "maxlen")


@case()
def dead_letter_counts_and_orders():
    """One entry for each queue and reason, the newest in front."""
    ch = channel()
    one, two = name("-one"), name("-two")
    ch.queue_declare(one, exclusive=True, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": two})
    ch.queue_declare(two, exclusive=True, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": one})
    publish(ch, one, "1", expiration="100")
    _, props, _ = get(ch, two, ack=False)  # expired in `one`
    first_time = props.headers["x-death"][0]["time"]
    ch.basic_recover(True)
    time.sleep(1.1)
    reject(ch, two)
    _, props, _ = get(ch, one, ack=False)
    expired = (["original-expiration"] + FIELDS, ["100", 1, "expired", one, "", [one]])
    deaths(props, (FIELDS, [1, "rejected", two, "", [two]]), expired)
    ch.basic_recover(True)
    reject(ch, one)
    reject(ch, two)
    _, props, _ = get(ch, one)
    deaths(props, (FIELDS, [2, "rejected", two, "", [two]]), (FIELDS, [1, "rejected", one, "", [one]]), expired)
    eq([entry["time"] for entry in props.headers["x-death"] if entry["reason"] == "expired"], [first_time])
    first(props, one, "expired")


@case()
def dead_letter_last_death_headers():  # 3.13 and later
    ch = channel()
    one, two = name("-one"), name("-two")
    ch.queue_declare(one, exclusive=True, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": two})
    ch.queue_declare(two, exclusive=True, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": one})
    publish(ch, one, "1", expiration="50")
    get(ch, two, ack=False)
    ch.basic_recover(True)
    reject(ch, two)
    _, props, _ = get(ch, one)
    eq([props.headers.get(f"x-last-death-{key}") for key in ("exchange", "queue", "reason")], ["", two, "rejected"])
    first(props, one, "expired")


@case()
def dead_letter_keeps_the_routing_keys():
    ch = channel()
    x, dlx = exchange(ch, "topic"), exchange(ch, "direct")
    q = queue(ch, x_dead_letter_exchange=dlx)
    ch.queue_bind(q, x, "the.#")
    by_key, by_cc, by_bcc = sink(ch, dlx, "the.key"), sink(ch, dlx, "a.cc"), sink(ch, dlx, "a.bcc")
    publish(ch, "the.key", "1", x=x, headers={"CC": ["a.cc"], "BCC": ["a.bcc"]})
    reject(ch, q)
    for dead in (by_key, by_cc, by_bcc):
        method, props, body = get(ch, dead)
        eq((method.exchange, method.routing_key, body), (dlx, "the.key", "1"))
        deaths(props, (FIELDS, [1, "rejected", q, x, ["the.key", "a.cc"]]))
        assert "BCC" not in props.headers, props.headers


@case()
def dead_letter_with_a_key_of_its_own():
    ch = channel()
    dlx = exchange(ch, "direct")
    q = queue(ch, x_dead_letter_exchange=dlx, x_dead_letter_routing_key="own")
    own, cc = sink(ch, dlx, "own"), sink(ch, dlx, "cc")
    publish(ch, q, "1", headers={"CC": ["cc"]})
    reject(ch, q)
    method, props, _ = get(ch, own)
    eq((method.exchange, method.routing_key), (dlx, "own"))
    deaths(props, (FIELDS, [1, "rejected", q, "", [q, "cc"]]))
    stays_empty(ch, cc, 0.2)


@case()
def dead_letter_to_an_exchange_that_comes_late():
    ch = channel()
    dlx = name("-x")
    q = queue(ch, x_dead_letter_exchange=dlx)
    publish(ch, q, "lost", "kept")
    reject(ch, q)
    ready(ch, q, 1)
    ch.exchange_declare(dlx, "fanout", auto_delete=True)
    reject(ch, q)  # there is an exchange now, and no queue yet
    ready(ch, q, 0)
    dead = sink(ch, dlx)
    publish(ch, q, "third")
    reject(ch, q)
    eq(get(ch, dead)[2], "third")


@case()
def dead_letter_by_the_alternate_exchange():
    ch = channel()
    other = exchange(ch, "fanout")
    dlx = exchange(ch, "direct", alternate_exchange=other)
    q = queue(ch, x_dead_letter_exchange=dlx)
    dead = sink(ch, other)
    publish(ch, q, "1")
    reject(ch, q)
    method, props, body = get(ch, dead)
    eq((method.exchange, method.routing_key, body), (dlx, q, "1"))
    deaths(props, (FIELDS, [1, "rejected", q, "", [q]]))


@case()
def dead_letter_to_many_queues():
    ch = channel()
    dlx = exchange(ch, "fanout")
    q = queue(ch, x_dead_letter_exchange=dlx)
    sinks = [sink(ch, dlx) for _ in range(5)]
    publish(ch, q, *map(str, range(20)))
    for _ in range(20):
        reject(ch, q)
    for dead in sinks:
        eq(bodies(ch, dead, 20), [str(i) for i in range(20)])


@case()
def dead_letter_cycle_of_expiry_ends():
    ch = channel()
    dlx = exchange(ch, "fanout")
    q = queue(ch, x_message_ttl=50, x_dead_letter_exchange=dlx)
    ch.queue_bind(q, dlx)
    dead = sink(ch, dlx)
    publish(ch, q, "1")
    eq(get(ch, dead)[2], "1")
    stays_empty(ch, dead)
    empty(ch, q)


@case()
def dead_letter_cycle_of_rejections_goes_on():
    ch = channel()
    q = name()
    ch.queue_declare(q, exclusive=True, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": q})
    publish(ch, q, "1")
    for i in range(10):
        method, props, body = get(ch, q, ack=False)
        if i:
            deaths(props, (FIELDS, [i, "rejected", q, "", [q]]))
        ch.basic_reject(method.delivery_tag, requeue=False)
    eq(get(ch, q)[2], "1")


@case()
def dead_letter_cycle_with_a_rejection_in_it():
    """The retry pattern: rejected from the work queue, expired from the waiting queue, back to the work queue."""
    ch = channel()
    work, wait = name("-work"), name("-wait")
    ch.queue_declare(work, exclusive=True, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": wait})
    ch.queue_declare(wait, exclusive=True, arguments={"x-message-ttl": 50, "x-dead-letter-exchange": "",
                                                      "x-dead-letter-routing-key": work})
    publish(ch, work, "1")
    for i in range(5):
        method, props, _ = get(ch, work, ack=False)
        if i:
            deaths(props, (FIELDS, [i, "expired", wait, "", [wait]]), (FIELDS, [i, "rejected", work, "", [work]]))
        ch.basic_reject(method.delivery_tag, requeue=False)


@case()
def dead_letter_history_of_a_publisher():  # 4.0 and later: what a publisher says of deaths is not taken as history
    ch = channel()
    q, dead = dead_lettered(ch)
    publish(ch, q, "1")
    reject(ch, q)
    _, props, body = get(ch, dead)
    ch.basic_publish("", q, body, Props(headers=props.headers))
    reject(ch, q)
    _, props, _ = get(ch, dead)
    eq((props.headers["x-death"][0]["count"], len(props.headers["x-death"])), (1, 1))


@case()
def dead_letter_not_for_purge_and_delete():
    ch = channel()
    dead = queue(ch)
    q = name()
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    ch.queue_declare(q, exclusive=True, arguments=arguments)
    publish(ch, q, "1", "2")
    ch.queue_purge(q)
    publish(ch, q, "3")
    ch.queue_delete(q)
    stays_empty(ch, dead, 0.3)


@case()
def dead_letter_of_an_exclusive_queue_that_went():
    one = channel()
    ch = channel()
    dead = queue(ch)
    q = queue(one, x_dead_letter_exchange="", x_dead_letter_routing_key=dead)
    publish(one, q, "1", "2")
    get(one, q, ack=False)
    one.connection.close()
    stays_empty(ch, dead, 0.3)


@case()
def dead_letter_into_a_full_queue():
    ch = channel()
    full = queue(ch, x_max_length=1, x_overflow="reject-publish")
    q = queue(ch, x_dead_letter_exchange="", x_dead_letter_routing_key=full)
    publish(ch, full, "there")
    publish(ch, q, "dead")
    reject(ch, q)
    ready(ch, q, 0)
    publish(ch, q, "next")
    reject(ch, q)
    ready(ch, q, 0)
    eq(all_of(ch, full), ["there"])


@case()
def dead_letter_chain():
    ch = channel()
    last = queue(ch)
    q, before = last, []
    for _ in range(4):
        q = queue(ch, x_message_ttl=30, x_dead_letter_exchange="", x_dead_letter_routing_key=q)
        before.append(q)
    publish(ch, q, "1")
    _, props, body = get(ch, last)
    eq(body, "1")
    deaths(props, *[(FIELDS, [1, "expired", one, "", [one]]) for one in before])
    first(props, q, "expired")


@case()
def dead_letter_errors():
    q = name()
    for arguments, text in (
            ({"x-dead-letter-exchange": 1}, f"invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue '{q}' in vhost '/'"),
            ({"x-dead-letter-routing-key": "k"}, f"invalid arg 'x-dead-letter-routing-key' for queue '{q}' in vhost '/': "
                                                 "routing_key_but_no_dlx_defined"),
            ({"x-dead-letter-exchange": "", "x-dead-letter-routing-key": 1},
             f"invalid arg 'x-dead-letter-routing-key' for queue '{q}' in vhost '/': {{unacceptable_type,signedint}}")):
        closes(406, f"PRECONDITION_FAILED - {text}", lambda c: c.queue_declare(q, exclusive=True, arguments=arguments))


@case(60)
def dead_letter_and_kill():
    """A broker that is killed between moves has each message once: where it was, or where it went."""
    with Broker() as broker:
        ch = broker.channel()
        ch.queue_declare("dead", durable=True)
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead", "x-max-length": 100}
        ch.queue_declare("work", durable=True, arguments=arguments)
        for i in range(200):
            publish(ch, "work", str(i), delivery_mode=2)
        for _ in range(50):
            reject(ch, "work")
        ready(ch, "dead", 150)
        broker.kill()
        broker.start()
        ch = broker.channel()
        both = all_of(ch, "dead") + all_of(ch, "work")
        eq(sorted(map(int, both)), list(range(200)))
        publish(ch, "work", "again")
        reject(ch, "work")
        _, props, _ = get(ch, "dead")
        deaths(props, (FIELDS, [1, "rejected", "work", "", ["work"]]))


@case(60)
def dead_letter_of_what_expired_while_down():
    with Broker() as broker:
        ch = broker.channel()
        ch.queue_declare("dead", durable=True)
        ch.queue_declare("work", durable=True, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
        publish(ch, "work", "1", delivery_mode=2, expiration="1000")
        publish(ch, "work", "2", delivery_mode=2, expiration="600000")
        broker.kill()
        time.sleep(1.2)
        broker.start()
        ch = broker.channel()
        _, props, body = get(ch, "dead")
        eq(body, "1")
        deaths(props, (["original-expiration"] + FIELDS, ["1000", 1, "expired", "work", "", ["work"]]))
        eq(all_of(ch, "work"), ["2"])
