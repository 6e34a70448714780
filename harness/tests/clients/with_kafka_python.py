"""kafka-python: produce, read, or tell the story of a group.

Usage: with_kafka_python.py BOOTSTRAP create|produce|read|group TOPIC PARTITIONS COUNT
"""

import sys
import time

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

import group_story

bootstrap, action, topic, partitions, count = sys.argv[1:]
bootstrap, partitions, count = bootstrap.split(","), int(partitions), int(count)


class Member:
    def __init__(self, group):
        self.consumer = KafkaConsumer(
            topic,
            bootstrap_servers=bootstrap,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=6000,
            heartbeat_interval_ms=1000,
        )

    def poll(self, seconds):
        polled = self.consumer.poll(timeout_ms=int(seconds * 1000))
        return [
            (record.partition, record.offset, record.value.decode())
            for records in polled.values()
            for record in records
        ]

    def assigned(self):
        return {assigned.partition for assigned in self.consumer.assignment()}

    def commit(self):
        self.consumer.commit()

    def close(self):
        self.consumer.close()


class Library:
    @staticmethod
    def member(group):
        return Member(group)

    @staticmethod
    def produce(values):
        """Sends each value to the partitions in turn, and waits for every acknowledgement."""
        producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
        sent = [
            producer.send(topic, value.encode(), partition=place % partitions)
            for place, value in enumerate(values)
        ]
        places = {(one.partition, one.offset) for one in (one.get(group_story.DEADLINE_S) for one in sent)}
        group_story.insist(len(places) == len(values), f"offsets given twice: {places}")
        producer.close()


def read():
    """Everything in the topic, of each partition in the order of offsets: lines of partition, offset, value."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    assigned = [TopicPartition(topic, partition) for partition in range(partitions)]
    consumer.assign(assigned)
    consumer.seek_to_beginning(*assigned)
    ends = consumer.end_offsets(assigned)
    group_story.insist(sum(ends.values()) == count, f"{count} wanted, the ends are {ends}")
    until, got = time.monotonic() + group_story.DEADLINE_S, 0
    while got < count:
        group_story.insist(time.monotonic() < until, f"{count} wanted, got {got}")
        for records in consumer.poll(timeout_ms=500).values():
            for record in records:
                print(record.partition, record.offset, record.value.decode())
                got += 1
    consumer.close()


if action == "create":
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic(topic, num_partitions=partitions, replication_factor=3)])
    until = time.monotonic() + group_story.DEADLINE_S
    while topic not in admin.list_topics():
        group_story.insist(time.monotonic() < until, f"{topic} is not listed")
        time.sleep(0.05)
    admin.close()
elif action == "produce":
    Library.produce([f"kafka-python-{number}" for number in range(count)])
elif action == "read":
    read()
elif action == "group":
    group_story.tell(Library, f"{topic}-of-kafka-python", partitions, count)
else:
    raise SystemExit(__doc__)
