"""confluent-kafka-python: produce, read, process in transactions, or tell the story of a group.

Usage: with_confluent.py BOOTSTRAP create|produce|read|process|group TOPIC PARTITIONS COUNT
"""

import sys
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import group_story

bootstrap, action, topic, partitions, count = sys.argv[1:]
partitions, count = int(partitions), int(count)


class Member:
    def __init__(self, group):
        self.consumer = Consumer({
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 6000,
        })
        self.consumer.subscribe([topic])

    def poll(self, seconds):
        messages = self.consumer.consume(500, timeout=seconds)
        for message in messages:
            if message.error() is not None:
                raise SystemExit(f"polling: {message.error()}")
        return [(message.partition(), message.offset(), message.value().decode()) for message in messages]

    def assigned(self):
        return {assigned.partition for assigned in self.consumer.assignment()}

    def commit(self):
        self.consumer.commit(asynchronous=False)

    def close(self):
        self.consumer.close()


class Library:
    @staticmethod
    def member(group):
        return Member(group)

    @staticmethod
    def produce(values):
        """Sends each value, idempotently, to the partitions in turn, and waits for every acknowledgement."""
        producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True})
        acknowledged = []

        def delivered(error, message):
            if error is not None:
                raise SystemExit(f"sending {message.value()}: {error}")
            acknowledged.append((message.partition(), message.offset()))

        for place, value in enumerate(values):
            producer.produce(topic, value.encode(), partition=place % partitions, on_delivery=delivered)
        left = producer.flush(group_story.DEADLINE_S)
        group_story.insist(left == 0, f"{left} messages were not acknowledged")
        group_story.insist(len(set(acknowledged)) == len(values), f"offsets given twice: {acknowledged}")


def read():
    """Everything in the topic, of each partition in the order of offsets: lines of partition, offset, value."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "none", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    until, got = time.monotonic() + group_story.DEADLINE_S, 0
    while got < count:
        group_story.insist(time.monotonic() < until, f"{count} wanted, got {got}")
        for message in consumer.consume(500, timeout=0.5):
            group_story.insist(message.error() is None, f"reading: {message.error()}")
            print(message.partition(), message.offset(), message.value().decode())
            got += 1
    consumer.close()


def transactional():
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": f"worker-{topic}"})
    producer.init_transactions(group_story.DEADLINE_S)
    return producer


def consumer_of(name, group, isolation):
    consumer = Consumer({
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "isolation.level": isolation,
        "session.timeout.ms": 6000,
    })
    consumer.subscribe([name])
    return consumer


def messages_of(consumer, wanted):
    until, got = time.monotonic() + group_story.DEADLINE_S, []
    while len(got) < wanted:
        group_story.insist(time.monotonic() < until, f"{wanted} wanted, got {len(got)}")
        for message in consumer.consume(wanted - len(got), timeout=0.5):
            group_story.insist(message.error() is None, f"reading: {message.error()}")
            got.append(message)
    return got


def attempt(consumer, producer, outputs, inputs, prefix):
    """Writes an output for each input, and the consumer's position, in one transaction, and leaves it open."""
    producer.begin_transaction()
    for message in inputs:
        producer.produce(outputs, f"{prefix}-{message.value().decode()}".encode(), partition=message.partition())
    # Otherwise a producer that is fenced may not have sent them at all.
    group_story.insist(producer.flush(group_story.DEADLINE_S) == 0, "outputs are sent")
    positions = consumer.position(consumer.assignment())
    producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata(), group_story.DEADLINE_S)


def process():
    """Processes the topic exactly once, after an attempt that aborts and one that is fenced."""
    outputs, group = f"{topic}-out", f"{topic}-workers"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    made = admin.create_topics([NewTopic(outputs, num_partitions=partitions, replication_factor=3)])
    made[outputs].result(timeout=group_story.DEADLINE_S)
    producer = transactional()
    for ending in ["aborted", "fenced", "done"]:
        consumer = consumer_of(topic, group, "read_committed")
        inputs = messages_of(consumer, count)
        attempt(consumer, producer, outputs, inputs, ending)
        if ending == "aborted":
            producer.abort_transaction(group_story.DEADLINE_S)
        elif ending == "fenced":
            successor = transactional()
            try:
                producer.commit_transaction(group_story.DEADLINE_S)
                raise SystemExit("an instance that was replaced has committed")
            except KafkaException as error:
                group_story.insist(error.args[0].fatal(), f"fenced by {error}")
            producer = successor
        else:
            producer.commit_transaction(group_story.DEADLINE_S)
        consumer.close()
    committed = messages_of(consumer_of(outputs, f"{group}-read", "read_committed"), count)
    expected = sorted(f"done-{message.value().decode()}" for message in inputs)
    values = sorted(message.value().decode() for message in committed)
    group_story.insist(values == expected, f"committed: {values}")
    everything = messages_of(consumer_of(outputs, f"{group}-all", "read_uncommitted"), 3 * count)
    prefixes = {message.value().decode().split("-")[0] for message in everything}
    group_story.insist(prefixes == {"aborted", "fenced", "done"}, f"written: {prefixes}")
    after = consumer_of(topic, group, "read_committed")
    stored = after.committed([TopicPartition(topic, partition) for partition in range(partitions)])
    group_story.insist(sum(at.offset for at in stored) == count, f"committed offsets: {stored}")
    print("every message was processed once")


if action == "create":
    admin = AdminClient({"bootstrap.servers": bootstrap})
    made = admin.create_topics([NewTopic(topic, num_partitions=partitions, replication_factor=3)])
    made[topic].result(timeout=group_story.DEADLINE_S)
    cluster = admin.list_topics(timeout=group_story.DEADLINE_S)
    group_story.insist(len(cluster.brokers) == 3, f"brokers: {cluster.brokers}")
elif action == "produce":
    Library.produce([f"confluent-{number}" for number in range(count)])
elif action == "read":
    read()
elif action == "process":
    process()
elif action == "group":
    group_story.tell(Library, f"{topic}-of-confluent", partitions, count)
else:
    raise SystemExit(__doc__)
