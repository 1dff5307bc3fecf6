//! Leveret: a message broker that speaks RabbitMQ's AMQP 0-9-1.

pub mod amqp;
