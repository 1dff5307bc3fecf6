import sys
import uuid
import pika
from connect import connect


class FibonacciRpcClient:
    def __init__(self):
        self.connection = connect()
        self.channel = self.connection.channel()
        self.callback_queue = self.channel.queue_declare(queue="", exclusive=True).method.queue
        self.channel.basic_consume(queue=self.callback_queue, on_message_callback=self.on_response, auto_ack=True)
        self.response = self.corr_id = None

    def on_response(self, ch, method, props, body):
        if self.corr_id == props.correlation_id:
            self.response = body

    def call(self, n):
        self.response, self.corr_id = None, str(uuid.uuid4())
        self.channel.basic_publish(exchange="", routing_key="rpc_queue", body=str(n),
                                   properties=pika.BasicProperties(reply_to=self.callback_queue, correlation_id=self.corr_id))
        while self.response is None:
            self.connection.process_data_events(time_limit=5)
        return int(self.response)


client = FibonacciRpcClient()
for n in sys.argv[1:]:
    print(f" [.] Got {client.call(n)}", flush=True)
