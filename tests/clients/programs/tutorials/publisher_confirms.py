import pika
from connect import connect

channel = connect().channel()
queue = channel.queue_declare(queue="", exclusive=True).method.queue
channel.confirm_delivery()
for i in range(500):
    channel.basic_publish("", queue, str(i), pika.BasicProperties(delivery_mode=2), mandatory=True)
print(" [x] Confirmed", channel.queue_declare(queue, passive=True).method.message_count)
try:
    channel.basic_publish("", "no-such-queue", "lost", mandatory=True)
except pika.exceptions.UnroutableError:
    print(" [x] Returned")
