import os
import pika


def connect():
    return pika.BlockingConnection(pika.ConnectionParameters(host="localhost", port=int(os.environ.get("AMQP_PORT", 5672))))
