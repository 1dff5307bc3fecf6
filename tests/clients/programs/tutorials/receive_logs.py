"""receive_logs.py EXCHANGE TYPE [KEY...]     for headers, a KEY is a binding such as x-match=all,format=pdf"""
import sys
from connect import connect

exchange, kind, *keys = sys.argv[1:]
channel = connect().channel()
channel.exchange_declare(exchange=exchange, exchange_type=kind)
result = channel.queue_declare(queue="", exclusive=True)
queue_name = result.method.queue
for key in keys or [""]:
    if kind == "headers":
        channel.queue_bind(exchange=exchange, queue=queue_name, arguments=dict(pair.split("=") for pair in key.split(",")))
    else:
        channel.queue_bind(exchange=exchange, queue=queue_name, routing_key=key)
channel.basic_consume(queue=queue_name, auto_ack=True,
                      on_message_callback=lambda ch, method, properties, body: print(f" [x] {method.routing_key}:{body.decode()}", flush=True))
print(" [*] Waiting for logs", flush=True)
channel.start_consuming()
