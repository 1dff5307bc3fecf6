"""What RabbitMQ adds to AMQP, seen by pika: cases.py CASES_FILE [NAME_PART...]"""
import deaths  # noqa: F401
import exchanges  # noqa: F401
import kinds  # noqa: F401
import limits  # noqa: F401
import ttl  # noqa: F401
from harness import main

main()
