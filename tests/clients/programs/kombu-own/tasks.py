import os
from celery import Celery, chord, group  # noqa: F401

app = Celery("own", broker=os.environ["CELERY_URL"], backend="rpc://")
app.conf.update(task_default_queue=os.environ.get("CELERY_QUEUE", "own-celery"), task_acks_late=True, worker_prefetch_multiplier=2,
                broker_connection_retry_on_startup=True, result_expires=60, task_create_missing_queues=True)


@app.task
def add(x, y):
    return x + y


@app.task(bind=True, max_retries=3)
def flaky(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return self.request.retries


@app.task
def broken():
    raise ValueError("as told")
