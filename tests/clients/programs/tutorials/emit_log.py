"""emit_log.py EXCHANGE TYPE KEY MESSAGE [HEADER=VALUE...]"""
import sys
import pika
from connect import connect

exchange, kind, key, message, *headers = sys.argv[1:]
connection = connect()
channel = connection.channel()
channel.exchange_declare(exchange=exchange, exchange_type=kind)
channel.basic_publish(exchange=exchange, routing_key=key, body=message,
                      properties=pika.BasicProperties(headers=dict(h.split("=") for h in headers)) if headers else None)
connection.close()
