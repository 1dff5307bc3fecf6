"""Message TTL, of the queue and of the message, and the expiry of queues."""
import time

from harness import (Props, bodies, case, channel, closes, consume, count, dead_lettered, empty, eq, get, gone, idle,
                     name, publish, queue, quorum, ready, stays_empty, until)

TEN_YEARS_MS = 315360000000


@case()
def ttl_of_the_queue():
    ch = channel()
    q, dead = dead_lettered(ch, x_message_ttl=200)
    publish(ch, q, "1", "2", "3")
    eq(bodies(ch, dead, 3), ["1", "2", "3"])
    empty(ch, q)
    ready(ch, q, 0)


@case()
def ttl_of_the_message():
    ch = channel()
    q, dead = dead_lettered(ch)
    publish(ch, q, "short", expiration="100")
    publish(ch, q, "long", expiration="60000")
    publish(ch, q, "none")
    eq(get(ch, dead)[2], "short")
    ready(ch, q, 2)
    method, props, body = get(ch, q)
    eq((body, props.expiration), ("long", "60000"))
    eq(bodies(ch, q, 1), ["none"])


@case()
def ttl_is_never_early():
    ch = channel()
    for arguments, properties in (({"x_message_ttl": 700}, {}), ({}, {"expiration": "700"})):
        q, dead = dead_lettered(ch, **arguments)
        start = time.time()
        publish(ch, q, "1", **properties)
        get(ch, dead)
        took = time.time() - start
        assert took >= 0.699, took


@case()
def ttl_the_shorter_counts():
    ch = channel()
    for queue_ttl, expiration in ((60000, "150"), (150, "60000")):
        q, dead = dead_lettered(ch, x_message_ttl=queue_ttl)
        publish(ch, q, "1", expiration=expiration)
        eq(get(ch, dead)[2], "1")


@case()
def ttl_expires_at_the_head_only():
    ch = channel()
    q, dead = dead_lettered(ch)
    publish(ch, q, "first", expiration="60000")
    publish(ch, q, "short", expiration="50")
    publish(ch, q, "last")
    time.sleep(0.5)
    empty(ch, dead)
    eq(get(ch, q)[2], "first")
    eq(get(ch, dead)[2], "short")
    eq(bodies(ch, q, 1), ["last"])
    empty(ch, q)


@case()
def ttl_zero():
    ch = channel()
    for arguments, properties in (({"x_message_ttl": 0}, {}), ({}, {"expiration": "0"})):
        q, dead = dead_lettered(ch, **arguments)
        publish(ch, q, "nobody", **properties)
        eq(get(ch, dead)[2], "nobody")
        got = consume(ch, q)
        publish(ch, q, "somebody", **properties)
        until(ch, lambda: got)
        eq([body for body, *_ in got], ["somebody"])
        empty(ch, dead)


@case()
def ttl_of_what_is_unacked():
    ch = channel()
    q, dead = dead_lettered(ch, x_message_ttl=400)
    publish(ch, q, "kept", "returned")
    kept, returned = get(ch, q, ack=False)[0], get(ch, q, ack=False)[0]
    time.sleep(0.8)
    empty(ch, dead)
    ch.basic_nack(returned.delivery_tag, requeue=True)
    eq(get(ch, dead)[2], "returned")
    ch.basic_ack(kept.delivery_tag)
    stays_empty(ch, dead, 0.2)


@case()
def ttl_goes_on_after_a_requeue():
    ch = channel()
    q, dead = dead_lettered(ch, x_message_ttl=1000)
    start = time.time()
    publish(ch, q, "1")
    for _ in range(3):
        ch.basic_nack(get(ch, q, ack=False)[0].delivery_tag, requeue=True)
        time.sleep(0.1)
    get(ch, dead)
    assert time.time() - start < 9, "the requeue has started the time again and again"


@case()
def ttl_of_a_quorum_queue():
    ch = channel()
    dead = queue(ch)
    q = quorum(ch, x_message_ttl=200, x_dead_letter_exchange="", x_dead_letter_routing_key=dead)
    publish(ch, q, "1", "2", delivery_mode=2)
    eq(bodies(ch, dead, 2), ["1", "2"])
    ready(ch, q, 0)


@case()
def ttl_is_confirmed_and_without_dead_letters_is_gone():
    ch = channel()
    q = queue(ch, x_message_ttl=50)
    publish(ch, q, "1", "2")
    ready(ch, q, 0)
    empty(ch, q)


@case()
def ttl_expired_is_never_delivered():
    ch = channel()
    q = queue(ch, x_message_ttl=200)
    publish(ch, q, *map(str, range(50)))
    time.sleep(0.5)
    got = consume(ch, q)
    idle(ch, 0.3)
    eq(got, [])
    publish(ch, q, "fresh")
    until(ch, lambda: got)
    eq([body for body, *_ in got], ["fresh"])


@case()
def ttl_many_messages():
    ch = channel(confirms=False)
    q, dead = dead_lettered(ch, x_message_ttl=300)
    for i in range(2000):
        publish(ch, q, str(i))
    ready(ch, dead, 2000)
    eq(bodies(ch, dead, 2000), [str(i) for i in range(2000)])
    eq(count(ch, q), 0)


@case()
def ttl_errors_of_the_message():
    ch = channel(confirms=False)
    q = queue(ch)
    errors = {"foo": "no_integer", "": "no_integer", " 5": "no_integer", "5x": '{leftover_string,"x"}',
              "-1": "{value_negative,-1}", str(TEN_YEARS_MS + 1): "{value_too_large,%d}" % (TEN_YEARS_MS + 1)}
    for expiration, reason in errors.items():
        closes(406, f"PRECONDITION_FAILED - invalid expiration '{expiration}': {reason}",
               lambda c: c.basic_publish("", q, b"1", Props(expiration=expiration)))
    for expiration in ("+60000", str(TEN_YEARS_MS)):
        publish(ch, q, "good", expiration=expiration)
    ready(ch, q, 2)


@case()
def queue_expires():
    ch = channel()
    q = queue(ch, exclusive=False, x_expires=500)
    publish(ch, q, "1")
    start = time.time()
    while not gone(q):  # looking from a channel of its own is use, too: so it looks seldom
        assert time.time() - start < 15, "it is still there"
        time.sleep(1.2)


@case()
def queue_expires_while_in_use():
    ch = channel()
    dead = queue(ch)
    q = queue(ch, exclusive=False, x_expires=1000, x_dead_letter_exchange="", x_dead_letter_routing_key=dead)
    for _ in range(5):  # basic.get is use
        time.sleep(0.3)
        ch.basic_get(q, True)
    for _ in range(5):  # and so is a declare, a passive one too
        time.sleep(0.3)
        ch.queue_declare(q, passive=True)
    tag = ch.basic_consume(q, lambda *_: None)
    idle(ch, 1.5)
    ch.queue_declare(q, passive=True)
    ch.basic_cancel(tag)
    publish(ch, q, "1")
    time.sleep(2)
    assert gone(q)
    empty(ch, dead)  # what was in it is no dead letter


@case()
def queue_expiry_errors():
    for key, value, reason in (
            ("x-expires", 0, "{value_zero,0}"), ("x-expires", -1, "{value_negative,-1}"),
            ("x-expires", TEN_YEARS_MS + 1, "{value_too_large,%d}" % (TEN_YEARS_MS + 1)),
            ("x-message-ttl", -10, "{value_negative,-10}"),
            ("x-message-ttl", TEN_YEARS_MS + 1, "{value_too_large,%d}" % (TEN_YEARS_MS + 1))):
        q = name()
        closes(406, f"PRECONDITION_FAILED - invalid arg '{key}' for queue '{q}' in vhost '/': {reason}",
               lambda c: c.queue_declare(q, exclusive=True, arguments={key: value}))
