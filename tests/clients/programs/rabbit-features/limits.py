"""The length of queues: in messages, in bytes, and what happens to what is too much."""
from harness import (all_of, bodies, case, channel, closes, consume, dead_lettered, empty, eq, exchange, get, idle, nacked,
                     name, publish, queue, quorum, ready, until)


def reasons(ch, dead, count):
    got = []
    for _ in range(count):
        _, props, body = get(ch, dead)
        got.append((body, props.headers["x-death"][0]["reason"]))
    return got


@case()
def max_length_drops_the_head():
    ch = channel()
    q, dead = dead_lettered(ch, x_max_length=3)
    publish(ch, q, "1", "2", "3", "4", "5")
    eq(reasons(ch, dead, 2), [("1", "maxlen"), ("2", "maxlen")])
    eq(all_of(ch, q), ["3", "4", "5"])


@case()
def max_length_without_dead_letters():
    ch = channel()
    for arguments in ({}, {"x_overflow": "drop-head"}):
        q = queue(ch, x_max_length=2, **arguments)
        publish(ch, q, *map(str, range(100)))
        eq(all_of(ch, q), ["98", "99"])


@case()
def max_length_counts_what_is_ready():
    ch = channel()
    q = queue(ch, x_max_length=2)
    publish(ch, q, "1", "2")
    tags = [get(ch, q, ack=False)[0].delivery_tag for _ in range(2)]
    publish(ch, q, "3", "4")
    ready(ch, q, 2)
    ch.basic_nack(tags[1], multiple=True, requeue=True)  # four are ready again, which is two too many
    ready(ch, q, 2)
    eq(all_of(ch, q), ["3", "4"])


@case()
def max_length_of_zero():
    ch = channel()
    q, dead = dead_lettered(ch, x_max_length=0)
    publish(ch, q, "nobody")
    eq(get(ch, dead)[2], "nobody")
    got = consume(ch, q)
    publish(ch, q, "somebody")
    until(ch, lambda: got)
    eq([body for body, *_ in got], ["somebody"])
    empty(ch, dead)


@case()
def max_length_bytes_drops_the_head():
    ch = channel()
    q, dead = dead_lettered(ch, x_max_length_bytes=1000)
    publish(ch, q, "a" * 400, "b" * 600, headers={"h": "x" * 2000})  # bodies count, and nothing else
    ready(ch, q, 2)
    publish(ch, q, "c")
    eq(get(ch, dead)[2], "a" * 400)
    publish(ch, q, "d" * 1000)
    eq(bodies(ch, dead, 2), ["b" * 600, "c"])
    eq(all_of(ch, q), ["d" * 1000])
    publish(ch, q, "e" * 1001)
    eq(get(ch, dead)[2], "e" * 1001)
    empty(ch, q)


@case()
def max_length_and_bytes_together():
    ch = channel()
    q = queue(ch, x_max_length=3, x_max_length_bytes=10)
    publish(ch, q, "1", "2", "3", "4")
    eq(all_of(ch, q), ["2", "3", "4"])
    publish(ch, q, "1", "22222", "33333")
    eq(all_of(ch, q), ["22222", "33333"])


@case()
def reject_publish():
    ch = channel()
    q = queue(ch, x_max_length=2, x_overflow="reject-publish")
    publish(ch, q, "1", "2")
    nacked(ch, q, "3")
    eq(get(ch, q)[2], "1")
    publish(ch, q, "4")
    nacked(ch, q, "5")
    eq(all_of(ch, q), ["2", "4"])


@case()
def reject_publish_by_bytes():
    ch = channel()
    q = queue(ch, x_max_length_bytes=100, x_overflow="reject-publish")
    publish(ch, q, "1" * 60, "2" * 40)
    nacked(ch, q, "3")
    eq(get(ch, q)[2], "1" * 60)
    publish(ch, q, "4")
    eq(all_of(ch, q), ["2" * 40, "4"])


@case()
def reject_publish_without_confirms():
    ch = channel(confirms=False)
    q = queue(ch, x_max_length=1, x_overflow="reject-publish")
    publish(ch, q, "1", "2", "3")
    eq(all_of(ch, q), ["1"])


@case()
def reject_publish_of_one_queue_of_two():
    ch = channel()
    x = exchange(ch, "fanout")
    full, roomy = queue(ch, x_max_length=1, x_overflow="reject-publish"), queue(ch)
    for q in (full, roomy):
        ch.queue_bind(q, x)
    publish(ch, "", "1", x=x)
    nacked(ch, "", "2", x=x)
    eq(all_of(ch, full), ["1"])
    eq(all_of(ch, roomy), ["1", "2"])


@case()
def reject_publish_nacks_in_order():
    ch = channel(confirms=False)
    q = queue(ch, x_max_length=10, x_overflow="reject-publish")
    impl, settled = ch._impl, {}

    def confirmed(frame):
        method = frame.method
        verdict = type(method).__name__
        first = 1 if method.multiple else method.delivery_tag
        for tag in range(first, method.delivery_tag + 1):
            settled.setdefault(tag, verdict)

    impl.confirm_delivery(confirmed)
    for i in range(100):
        impl.basic_publish("", q, b"%d" % i)
    until(ch, lambda: len(settled) == 100)
    eq(settled, {i: "Ack" if i <= 10 else "Nack" for i in range(1, 101)})
    eq(all_of(ch, q), [str(i) for i in range(10)])


@case()
def reject_publish_takes_what_is_requeued():
    ch = channel()
    q = queue(ch, x_max_length=2, x_overflow="reject-publish")
    publish(ch, q, "1", "2")
    tag = get(ch, q, ack=False)[0].delivery_tag
    publish(ch, q, "3")
    ch.basic_nack(tag, requeue=True)
    ready(ch, q, 3)
    nacked(ch, q, "4")
    eq(all_of(ch, q), ["1", "2", "3"])


@case()
def reject_publish_dlx():
    ch = channel()
    q, dead = dead_lettered(ch, x_max_length=1, x_overflow="reject-publish-dlx")
    publish(ch, q, "1")
    nacked(ch, q, "2")
    nacked(ch, q, "3")
    eq(reasons(ch, dead, 2), [("2", "maxlen"), ("3", "maxlen")])
    eq(all_of(ch, q), ["1"])


@case()
def quorum_queue_drops_the_head():
    ch = channel()
    dead = queue(ch)
    q = quorum(ch, x_max_length=2, x_dead_letter_exchange="", x_dead_letter_routing_key=dead)
    publish(ch, q, "1", "2", "3", "4")
    eq(reasons(ch, dead, 2), [("1", "maxlen"), ("2", "maxlen")])
    eq(bodies(ch, q, 2), ["3", "4"])


@case()
def quorum_queue_rejects_a_publish():
    ch = channel()
    q = quorum(ch, x_max_length=2, x_overflow="reject-publish")
    refused = 0
    for i in range(20):  # the limit is soft there
        try:
            publish(ch, q, str(i))
        except Exception:
            refused += 1
    assert refused >= 10, refused
    ready(ch, q, 20 - refused)


@case()
def overflow_keeps_up_with_a_consumer():
    ch = channel()
    q = queue(ch, x_max_length=5)
    got = consume(ch, q)
    publish(ch, q, *map(str, range(200)))
    idle(ch, 0.2)
    seen = [int(body) for body, *_ in got]
    eq(seen, sorted(set(seen)))  # some may have been pushed out, none comes twice or out of order
    eq(seen[-1], 199)


@case()
def limit_errors():
    for key, value, reason in (
            ("x-max-length", -1, "{value_negative,-1}"), ("x-max-length-bytes", -1, "{value_negative,-1}"),
            ("x-overflow", "drop-tail", "invalid_overflow"), ("x-overflow", 1, "{unacceptable_type,signedint}")):
        q = name()
        closes(406, f"PRECONDITION_FAILED - invalid arg '{key}' for queue '{q}' in vhost '/': {reason}",
               lambda c: c.queue_declare(q, exclusive=True, arguments={key: value}))
