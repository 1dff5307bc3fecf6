import sys
import pika
from connect import connect

connection = connect()
channel = connection.channel()
channel.queue_declare(queue="task_queue", durable=True)
for message in sys.argv[1:]:
    channel.basic_publish(exchange="", routing_key="task_queue", body=message,
                          properties=pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent))
connection.close()
