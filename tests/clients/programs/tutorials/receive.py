from connect import connect

channel = connect().channel()
channel.queue_declare(queue="hello")
channel.basic_consume(queue="hello", on_message_callback=lambda ch, method, properties, body: print(f" [x] Received {body}", flush=True), auto_ack=True)
print(" [*] Waiting for messages", flush=True)
channel.start_consuming()
