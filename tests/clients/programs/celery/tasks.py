"""The tasks, for the cases and for the workers that they start: CELERY_CONF is the settings as JSON."""
import json
import os
import signal
import time
from functools import partial

from celery import Celery


def build(settings):
    app = Celery("suite", broker=settings["broker"], backend=settings.get("backend", "rpc://"))
    app.conf.update(task_default_queue=settings["queue"], worker_prefetch_multiplier=1, result_expires=60,
                    broker_connection_retry_on_startup=True, broker_connection_retry=True,
                    broker_transport_options={"confirm_publish": True}, **settings.get("more", {}))
    folder, task = settings["folder"], partial(app.task, shared=False)

    def note(name, *what):
        """A line for each time that a task was begun: who asks looks here, and not at the results."""
        with open(os.path.join(folder, name), "a") as file:
            file.write(json.dumps([time.time(), *what]) + "\n")

    @task(name="add")
    def add(x, y):
        return x + y

    @task(name="total")
    def total(numbers):
        return sum(numbers)

    @task(name="mark")
    def mark(name, what):
        note(name, what)
        return what

    @task(name="began", bind=True)
    def began(self):
        return time.time(), self.request.delivery_info["redelivered"]

    @task(name="broken")
    def broken():
        raise ValueError("as told")

    @task(name="unsteady", bind=True, autoretry_for=(ValueError,), max_retries=2, retry_backoff=1, retry_jitter=False)
    def unsteady(self, name, failures):
        note(name, self.request.retries)
        if self.request.retries < failures:
            raise ValueError(f"attempt {self.request.retries}")
        return self.request.retries

    @task(name="slow", bind=True)
    def slow(self, name, seconds):
        """Sleeps the first time only."""
        redelivered = self.request.delivery_info["redelivered"]
        note(name, redelivered)
        if not redelivered:
            time.sleep(seconds)
        return redelivered

    @task(name="slow_late", bind=True, acks_late=True)
    def slow_late(self, name, seconds):
        return slow.run.__func__(self, name, seconds)

    @task(name="dies", bind=True, acks_late=True, reject_on_worker_lost=True)
    def dies(self, name):
        redelivered = self.request.delivery_info["redelivered"]
        note(name, redelivered)
        if not redelivered:
            os.kill(os.getpid(), signal.SIGKILL)
        return redelivered

    return app


app = build(json.loads(os.environ["CELERY_CONF"])) if "CELERY_CONF" in os.environ else None
