"""A story of a consumer group, told to any client library: members share partitions, one leaves, another resumes.

A library gives `member(group)`, whose result has `poll(seconds) -> [(partition, offset, value)]`, `assigned() -> set`,
`commit()` and `close()`, and `produce(values)`. Whatever does not come to pass by the deadline ends the story with an
error that says what was waited for.
"""

import time
from concurrent.futures import ThreadPoolExecutor

DEADLINE_S = 60


def wait(what, members, condition):
    """Polls all members at once until `condition(messages by member)` holds; returns those messages.

    Each is polled by a thread of its own, as members of a group in processes of their own would be. Polled in turn, a
    member would learn of its assignment while nobody polls it; kafka-python 3.0 forgets an assignment that comes between
    two polls and joins again, and two such members can go on so for ever.
    """
    until = time.monotonic() + DEADLINE_S
    got = [[] for _ in members]
    with ThreadPoolExecutor(len(members)) as threads:
        while not condition(got):
            if time.monotonic() > until:
                state = [(sorted(m.assigned()), len(g)) for m, g in zip(members, got)]
                raise SystemExit(f"waited {DEADLINE_S} s in vain until {what}; assigned and got: {state}")
            for messages, polled in zip(got, threads.map(lambda member: member.poll(0.2), members)):
                messages.extend(polled)
    return got


def values(messages):
    return [value for _, _, value in messages]


def insist(holds, what):
    if not holds:
        raise SystemExit(what)


def tell(library, group, partitions, present):
    """`present` messages are in the topic, of `partitions` partitions, when the story begins."""
    everything = set(range(partitions))
    first = library.member(group)
    [got] = wait("the first member has everything", [first], lambda got: len(got[0]) >= present)
    insist(len(set(values(got))) == present == len(got), f"{present} wanted once each, got {len(got)}")
    insist(first.assigned() == everything, f"alone, but assigned {first.assigned()}")
    first.commit()

    second = library.member(group)
    wait(
        "two members share the partitions",
        [first, second],
        lambda _: first.assigned() and second.assigned()
        and first.assigned().isdisjoint(second.assigned())
        and first.assigned() | second.assigned() == everything,
    )
    wanted = [f"shared-{number}" for number in range(60)]
    library.produce(wanted)
    got = wait("both have 60 more", [first, second], lambda got: sum(map(len, got)) >= 60)
    insist(got[0] and got[1], "one of the two was given nothing")
    insist(sorted(values(got[0]) + values(got[1])) == sorted(wanted), f"not each once: {got}")
    for member, messages in zip([first, second], got):
        strangers = {partition for partition, _, _ in messages} - member.assigned()
        insist(not strangers, f"messages of {strangers}, which are not assigned")
    first.commit()
    second.commit()

    second.close()
    wait("the first has all partitions again", [first], lambda _: first.assigned() == everything)
    wanted = [f"alone-{number}" for number in range(20)]
    library.produce(wanted)
    [got] = wait("the first has 20 more", [first], lambda got: len(got[0]) >= 20)
    insist(sorted(values(got)) == sorted(wanted), f"not each once: {got}")
    first.commit()
    first.close()

    wanted = [f"resumed-{number}" for number in range(10)]
    library.produce(wanted)
    third = library.member(group)
    [got] = wait("a third resumes where the group was", [third], lambda got: len(got[0]) >= 10)
    insist(sorted(values(got)) == sorted(wanted), f"not where the group was: {got}")
    third.close()
    print("the story of the group came to pass")
