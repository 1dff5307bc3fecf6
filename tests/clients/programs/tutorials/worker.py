import sys
import time
from connect import connect

channel = connect().channel()
channel.queue_declare(queue="task_queue", durable=True)


def callback(ch, method, properties, body):
    print(f" [x] Received {body.decode()} {'again' if method.redelivered else 'first'}", flush=True)
    time.sleep(body.count(b".") * 0.1)
    if b"hang" in body and not method.redelivered:
        time.sleep(1000)
    ch.basic_ack(delivery_tag=method.delivery_tag)
    print(f" [x] Done {body.decode()}", flush=True)


channel.basic_qos(prefetch_count=1)
channel.basic_consume(queue="task_queue", on_message_callback=callback)
print(" [*] Waiting for messages", flush=True)
channel.start_consuming()
