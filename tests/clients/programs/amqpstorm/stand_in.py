"""A pytest plugin for amqpstorm's tests: the port of the broker, and a clean-up over AMQP in place of the HTTP API."""
import os

import amqpstorm
import amqpstorm.tests.functional.utility as utility

PORT = int(os.environ["AMQP_PORT"])
connect = amqpstorm.Connection.__init__


def with_port(self, hostname, username, password, port=PORT, **more):
    connect(self, hostname, username, password, port, **more)


def clean(names, queue=False, exchange=False):
    with amqpstorm.Connection(utility.HOST, utility.USERNAME, utility.PASSWORD) as connection:
        channel = connection.channel()
        for name in names:
            if queue:
                channel.queue.delete(name)
            if exchange:
                channel.exchange.delete(name)


amqpstorm.Connection.__init__ = with_port
utility.clean = clean
