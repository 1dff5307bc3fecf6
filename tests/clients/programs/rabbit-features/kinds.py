"""Priorities, single active consumers, and what is particular to quorum queues."""
import time

from harness import (Broker, bodies, case, channel, closes, consume, empty, eq, get, hang_up, idle, name, publish,
                     queue, quorum, ready, stays_empty, until)


def reject(ch, q, requeue=True):
    """Gets a message and gives it back: its properties."""
    method, props, _ = get(ch, q, ack=False)
    ch.basic_reject(method.delivery_tag, requeue=requeue)
    return props


def counted(props, key="x-delivery-count"):
    return (props.headers or {}).get(key) or 0  # that a count of none is left out is for the broker to say


# ---- priorities --------------------------------------------------------------------------------------------------------

@case()
def priority_order():
    ch = channel()
    q = queue(ch, x_max_priority=10)
    for i, priority in enumerate((1, None, 10, 3, 200, 10, 0, 3)):
        publish(ch, q, f"{i}:{priority}", priority=priority)
    eq(bodies(ch, q, 8), ["2:10", "4:200", "5:10", "3:3", "7:3", "0:1", "1:None", "6:0"])


@case()
def priority_to_a_consumer():
    ch = channel()
    q = queue(ch, x_max_priority=255)
    for priority in range(256):
        publish(ch, q, str(priority), priority=priority)
    got = consume(ch, q)
    until(ch, lambda: len(got) == 256)
    eq([body for body, *_ in got], [str(i) for i in range(255, -1, -1)])
    eq([props.priority for *_, props in got], list(range(255, -1, -1)))


@case()
def priority_overtakes_while_the_consumer_is_busy():
    ch = channel()
    q = queue(ch, x_max_priority=5)
    got = consume(ch, q, ack=False, prefetch=1)
    publish(ch, q, "busy")
    until(ch, lambda: got)
    for priority in (0, 1, 2, 5, 3):
        publish(ch, q, str(priority), priority=priority)
    while len(got) < 6:
        n = len(got)
        ch.basic_ack(got[-1][1].delivery_tag)
        until(ch, lambda: len(got) > n)
    eq([body for body, *_ in got], ["busy", "5", "3", "2", "1", "0"])


@case()
def priority_of_what_is_requeued():
    ch = channel()
    q = queue(ch, x_max_priority=5)
    for body, priority in (("a1", 1), ("b1", 1), ("a5", 5), ("b5", 5)):
        publish(ch, q, body, priority=priority)
    tags = [get(ch, q, ack=False)[0].delivery_tag for _ in range(3)]
    publish(ch, q, "c5", priority=5)
    ch.basic_nack(tags[-1], multiple=True, requeue=True)
    got = [get(ch, q) for _ in range(5)]
    eq([body for *_, body in got], ["a5", "b5", "c5", "a1", "b1"])
    eq([method.redelivered for method, *_ in got], [True, True, False, True, False])


@case()
def priority_and_length():
    """drop-head takes the head: the oldest of the highest priority."""
    ch = channel()
    dead = queue(ch)
    q = queue(ch, x_max_priority=5, x_max_length=3, x_dead_letter_exchange="", x_dead_letter_routing_key=dead)
    for body, priority in (("low", 0), ("high", 5), ("mid", 3), ("late", 0)):
        publish(ch, q, body, priority=priority)
    eq(get(ch, dead)[2], "high")
    eq(bodies(ch, q, 3), ["mid", "low", "late"])


@case()
def priority_and_expiry():
    """A message behind one of a higher priority may expire late, yet it is never delivered."""
    ch = channel()
    dead = queue(ch)
    q = queue(ch, x_max_priority=5, x_dead_letter_exchange="", x_dead_letter_routing_key=dead)
    publish(ch, q, "stays", priority=5)
    publish(ch, q, "goes", priority=1, expiration="100")
    time.sleep(0.4)
    eq(bodies(ch, q, 1), ["stays"])
    empty(ch, q)
    eq(get(ch, dead)[2], "goes")


@case()
def priority_of_dead_letters():
    ch = channel()
    dead = queue(ch, x_max_priority=9)
    q = queue(ch, x_dead_letter_exchange="", x_dead_letter_routing_key=dead)
    for priority in (1, 9, 5):
        publish(ch, q, str(priority), priority=priority)
    for _ in range(3):
        reject(ch, q, requeue=False)
    ready(ch, dead, 3)
    eq(bodies(ch, dead, 3), ["9", "5", "1"])


@case()
def priority_errors():
    for value, reason in ((256, "{max_value_exceeded,256}"), (-1, "{value_negative,-1}")):
        q = name()
        closes(406, f"PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue '{q}' in vhost '/': {reason}",
               lambda c: c.queue_declare(q, exclusive=True, arguments={"x-max-priority": value}))


@case(60)
def priority_and_kill():
    with Broker() as broker:
        ch = broker.channel()
        ch.queue_declare("q", durable=True, arguments={"x-max-priority": 9})
        for i in range(100):
            publish(ch, "q", f"{i % 10}:{i}", priority=i % 10, delivery_mode=2)
        broker.kill()
        broker.start()
        ch = broker.channel()
        eq(bodies(ch, "q", 100), [f"{p}:{i}" for p in range(9, -1, -1) for i in range(100) if i % 10 == p])


# ---- single active consumer --------------------------------------------------------------------------------------------

def actives(ch, q, consumers, body):
    """Publishes, and says which of the consumers got it."""
    before = [len(got) for _, got in consumers]
    publish(ch, q, body)
    end = time.time() + 10
    while time.time() < end:
        for other, _ in consumers:
            other.connection.process_data_events(0.01)
        now = [i for i, (_, got) in enumerate(consumers) if len(got) > before[i]]
        if now:
            return now
    raise AssertionError("nobody got it")


@case()
def single_active_consumer_and_who_is_next():
    ch = channel()
    for kind in ("classic", "quorum"):
        q = queue(ch, exclusive=False, x_queue_type=kind, x_single_active_consumer=True)
        consumers = []
        for _ in range(3):
            other = channel()
            consumers.append((other, consume(other, q)))
        for i in range(5):
            eq(actives(ch, q, consumers, str(i)), [0])
        consumers[0][0].connection.close()
        del consumers[0]
        for i in range(5):
            eq(actives(ch, q, consumers, str(i)), [0])
        consumers[0][0].close()
        del consumers[0]
        eq(actives(ch, q, consumers, "last"), [0])


@case()
def single_active_consumer_gives_back_what_is_unacked():
    ch = channel()
    q = queue(ch, exclusive=False, x_single_active_consumer=True)
    one, two = channel(), channel()
    first, second = consume(one, q, ack=False, prefetch=2), consume(two, q, ack=False, prefetch=2)
    publish(ch, q, "1", "2", "3", "4")
    until(one, lambda: len(first) == 2)
    idle(two, 0.2)
    eq(second, [])
    hang_up(one)
    until(two, lambda: len(second) == 2)
    eq([(body, method.redelivered) for body, method, _ in second], [("1", True), ("2", True)])


@case()
def single_active_consumer_errors():
    q = name()
    closes(406, f"PRECONDITION_FAILED - invalid arg 'x-single-active-consumer' for queue '{q}' in vhost '/': "
                "{unacceptable_type,longstr}",
           lambda c: c.queue_declare(q, exclusive=True, arguments={"x-single-active-consumer": "yes"}))
    ch = channel()
    q = queue(ch, exclusive=False, x_single_active_consumer=True)
    closes(403, f"ACCESS_REFUSED - queue '{q}' in vhost '/' in exclusive use",
           lambda c: c.basic_consume(q, lambda *_: None, exclusive=True))


# ---- quorum queues -----------------------------------------------------------------------------------------------------

@case()
def quorum_delivery_limit():
    ch = channel()
    dead = queue(ch)
    q = quorum(ch, x_delivery_limit=2, x_dead_letter_exchange="", x_dead_letter_routing_key=dead)
    publish(ch, q, "1", headers={"mine": 1})
    eq([counted(reject(ch, q)) for _ in range(3)], [0, 1, 2])
    _, props, body = get(ch, dead)
    death, = props.headers["x-death"]
    eq((body, death["reason"], death["queue"], death["count"], props.headers["mine"]), ("1", "delivery_limit", q, 1, 1))
    eq(props.headers["x-first-death-reason"], "delivery_limit")
    stays_empty(ch, q, 0.2)


@case()
def quorum_delivery_limit_without_dead_letters():
    ch = channel()
    q = quorum(ch, x_delivery_limit=1)
    publish(ch, q, "1", "2")
    got = [get(ch, q, ack=False) for _ in range(2)]
    for method, *_ in got:
        ch.basic_reject(method.delivery_tag, requeue=True)
    got = [get(ch, q, ack=False) for _ in range(2)]
    eq([(body, method.redelivered, counted(props)) for method, props, body in got], [("1", True, 1), ("2", True, 1)])
    ch.basic_reject(got[0][0].delivery_tag, requeue=True)
    ch.basic_ack(got[1][0].delivery_tag)
    stays_empty(ch, q)


@case()
def quorum_counts_lost_channels():
    ch = channel()
    dead = queue(ch)
    q = quorum(ch, x_delivery_limit=2, x_dead_letter_exchange="", x_dead_letter_routing_key=dead)
    publish(ch, q, "1")
    for want in (0, 1, 2):
        other = channel()
        _, props, _ = get(other, q, ack=False)
        eq(counted(props), want)
        if want == 1:
            other.close()
        else:
            other.connection.close()
    eq(get(ch, dead)[1].headers["x-death"][0]["reason"], "delivery_limit")


@case()
def quorum_delivery_limit_off():  # the default of 20 is of 4.0 and later
    ch = channel()
    q, plain = quorum(ch, x_delivery_limit=-1), quorum(ch)
    for one in (q, plain):
        publish(ch, one, "1")
        for i in range(21):
            eq(counted(reject(ch, one)), i)
    eq(get(ch, q)[2], "1")
    stays_empty(ch, plain)


@case()
def quorum_nack_is_not_counted():  # 4.3 and later
    ch = channel()
    q = quorum(ch, x_delivery_limit=1)
    publish(ch, q, "1")
    for i in range(5):
        method, props, _ = get(ch, q, ack=False)
        eq((counted(props), counted(props, "x-acquired-count")), (0, i))
        ch.basic_nack(method.delivery_tag, requeue=True)
    reject(ch, q)
    _, props, _ = get(ch, q)
    eq((counted(props), counted(props, "x-acquired-count")), (1, 6))


@case()
def quorum_serves_returned_messages_first():
    ch, other = channel(), channel()
    q = quorum(ch)
    publish(ch, q, "1", "2", "3")
    eq(bodies(other, q, 2, ack=False), ["1", "2"])
    other.close()
    ready(ch, q, 3)
    eq(bodies(ch, q, 3), ["1", "2", "3"])


@case()
def quorum_priorities():  # 4.3 and later: 0 to 31, and 4 for a message that names none
    ch = channel()
    q = quorum(ch)
    for body, priority in (("none", None), ("3", 3), ("5", 5), ("31", 31), ("200", 200), ("0", 0), ("4", 4)):
        publish(ch, q, body, priority=priority)
    eq(bodies(ch, q, 7), ["31", "200", "5", "none", "4", "3", "0"])


@case()
def quorum_errors():
    q = name()
    kind = {"x-queue-type": "quorum"}
    for arguments, more, text in (
            ({}, {"durable": False}, f"invalid property 'non-durable' for queue '{q}' in vhost '/'"),
            ({}, {"durable": True, "exclusive": True}, f"invalid property 'exclusive-owner' for queue '{q}' in vhost '/'"),
            ({}, {"durable": True, "auto_delete": True}, f"invalid property 'auto-delete' for queue '{q}' in vhost '/'"),
            ({"x-max-priority": 5}, {"durable": True},
             f"invalid arg 'x-max-priority' for queue '{q}' in vhost '/' of queue type rabbit_quorum_queue")):
        closes(406, f"PRECONDITION_FAILED - {text}", lambda c: c.queue_declare(q, arguments={**kind, **arguments}, **more))
    closes(406, f"PRECONDITION_FAILED - invalid arg 'x-delivery-limit' for queue '{q}' in vhost '/' of queue type "
                "rabbit_classic_queue",
           lambda c: c.queue_declare(q, durable=True, arguments={"x-delivery-limit": 3}))
    ch = channel()
    q = quorum(ch)
    closes(406, f"PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue '{q}' in vhost '/': received 'classic' "
                "but current is 'quorum'",
           lambda c: c.queue_declare(q, durable=True, arguments={"x-queue-type": "classic"}))


@case(60)
def quorum_and_kill():
    """Messages are persistent whatever they say, and the deliveries stay counted."""
    with Broker() as broker:
        ch = broker.channel()
        ch.queue_declare("q", durable=True, arguments={"x-queue-type": "quorum", "x-delivery-limit": 3})
        publish(ch, "q", *map(str, range(20)))
        for want in (0, 1):
            eq(counted(reject(ch, "q")), want)
        time.sleep(0.2)  # nobody waits for a count to be on the disk
        broker.kill()
        broker.start()
        ch = broker.channel()
        got = [get(ch, "q") for _ in range(20)]
        eq(sorted(int(body) for *_, body in got), list(range(20)))
        count, = [counted(props) for _, props, body in got if body == "0"]
        assert count in (2, 3), count  # a restart may count as one more
        empty(ch, "q")


@case(30)
def quorum_consumer_timeout():  # 4.3 and later
    ch, other = channel(), channel()
    q = quorum(ch, x_consumer_timeout=1000)
    publish(ch, q, "1")
    cancelled = []
    ch.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
    got = consume(ch, q, ack=False, consumer_tag="slow")
    until(ch, lambda: got)
    until(ch, lambda: cancelled, 25)
    eq(cancelled, ["slow"])
    method, _, body = get(other, q)
    eq((body, method.redelivered), ("1", True))


# ---- delayed retry -----------------------------------------------------------------------------------------------------

@case(30)
def delayed_retry():  # 4.3 and later: min(x-delayed-retry-min * failed deliveries, x-delayed-retry-max)
    ch = channel()
    q = quorum(ch, x_delayed_retry_type="all", x_delayed_retry_min=400, x_delayed_retry_max=1000, x_delivery_limit=10)
    publish(ch, q, "1")
    method, *_ = get(ch, q, ack=False)
    for failures, least in enumerate((0.4, 0.8, 1.0, 1.0), 1):
        start = time.time()
        ch.basic_reject(method.delivery_tag, requeue=True)
        method, props, _ = get(ch, q, ack=False)
        away = time.time() - start
        assert away >= least - 0.001, f"back after {away} s, want {least}"
        eq(counted(props), failures)


@case(30)
def delayed_retry_lets_others_pass():
    ch = channel()
    q = quorum(ch, x_delayed_retry_type="failed", x_delayed_retry_min=1500, x_delayed_retry_max=3000)
    publish(ch, q, "poison", "good")
    got = []

    def take(c, method, props, body):
        got.append((body.decode(), method.redelivered))
        if body == b"poison" and not method.redelivered:
            c.basic_reject(method.delivery_tag, requeue=True)
        else:
            c.basic_ack(method.delivery_tag)

    ch.basic_qos(prefetch_count=1)
    ch.basic_consume(q, take)
    until(ch, lambda: len(got) == 3)
    eq(got, [("poison", False), ("good", False), ("poison", True)])


@case(60)
def delayed_retry_and_kill():
    with Broker() as broker:
        ch = broker.channel()
        arguments = {"x-queue-type": "quorum", "x-delayed-retry-type": "all", "x-delayed-retry-min": 2000, "x-delayed-retry-max": 2000}
        ch.queue_declare("q", durable=True, arguments=arguments)
        publish(ch, "q", "1")
        reject(ch, "q")
        broker.kill()
        broker.start()
        ch = broker.channel()
        eq(get(ch, "q")[2], "1")
        empty(ch, "q")
