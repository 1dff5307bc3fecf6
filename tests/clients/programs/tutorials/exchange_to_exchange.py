"""Announcements fan out to a direct exchange, from which one queue takes what concerns it."""
from connect import connect

channel = connect().channel()
channel.exchange_declare(exchange="announcements", exchange_type="fanout")
channel.exchange_declare(exchange="departments", exchange_type="direct")
channel.exchange_bind(destination="departments", source="announcements")
result = channel.queue_declare(queue="", exclusive=True)
channel.queue_bind(exchange="departments", queue=result.method.queue, routing_key="sales")
channel.confirm_delivery()
for key in ("sales", "support", "sales"):
    channel.basic_publish(exchange="announcements", routing_key=key, body="to " + key)
for method, properties, body in channel.consume(result.method.queue, inactivity_timeout=1):
    if method is None:
        break
    print(f" [x] {method.exchange} {method.routing_key}:{body.decode()}", flush=True)
