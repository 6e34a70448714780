"""Nodes of Maelstrom's protocol, one for each workload, some of them wrong: node.py WORKLOAD [DEFECT].

The defect "modest" is none: such a node of kafka does not do more than it has to."""

import json
import sys
import threading
import time

workload, defect = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
lock = threading.RLock()
state = {"id": None, "nodes": [], "next": 0, "elements": set(), "counts": {}, "generated": 0, "logs": {}, "committed": {}}
waiting = {}


def send(dest, body):
    with lock:
        print(json.dumps({"src": state["id"], "dest": dest, "body": body}), flush=True)


def reply(request, body):
    send(request["src"], {**body, "in_reply_to": request["body"]["msg_id"]})


def rpc(dest, body, then):
    with lock:
        state["next"] += 1
        waiting[state["next"]] = then
        send(dest, {**body, "msg_id": state["next"]})


def others():
    return [node for node in state["nodes"] if node != state["id"]]


def gossip(body):
    for node in others():
        send(node, body())


def every(seconds, work):
    def loop():
        while True:
            time.sleep(seconds)
            with lock:
                work()

    threading.Thread(target=loop, daemon=True).start()


def of_set(request, body, add, element, elements):
    if body["type"] == add:
        state["elements"].add(body[element])
        if defect == "once":
            gossip(lambda: {"type": "merge", "elements": [body[element]]})
        reply(request, {"type": add + "_ok"})
    elif body["type"] == "read":
        reply(request, {"type": "read_ok", elements: sorted(state["elements"])})
    elif body["type"] == "merge":
        state["elements"].update(body["elements"])


def of_counter(request, body):
    """What each node has added, and what it has subtracted: both grow, so that the larger is the later."""
    if body["type"] == "add":
        sign, delta = ("+", body["delta"]) if body["delta"] > 0 or defect == "growing" else ("-", -body["delta"])
        own = sign + state["id"]
        state["counts"][own] = state["counts"].get(own, 0) + max(delta, 0)
        reply(request, {"type": "add_ok"})
    elif body["type"] == "read":
        value = sum(count if own[0] == "+" else -count for own, count in state["counts"].items())
        reply(request, {"type": "read_ok", "value": value})
    elif body["type"] == "merge":
        for node, count in body["counts"].items():
            state["counts"][node] = max(count, state["counts"].get(node, 0))


def of_registers(request, body):
    """Each operation is one on lin-kv, under the same key."""
    if defect == "seq-kv":
        service = "seq-kv"
    else:
        service = "lin-kv"
    arguments = {name: value for name, value in body.items() if name != "msg_id"}
    rpc(service, arguments, lambda answer: reply(request, {n: v for n, v in answer.items() if n != "in_reply_to"}))


def of_transactions(request, body):
    """The whole database is one value of lin-kv, replaced by a compare-and-set."""

    def begin(_=None):
        rpc("lin-kv", {"type": "read", "key": "db"}, carry_out)

    def carry_out(answer):
        before = answer.get("value", {})
        after, answered = json.loads(json.dumps(before)), []
        for f, key, value in body["txn"]:
            held = after.get(str(key))
            if f == "r":
                value = held
            elif f == "append":
                after[str(key)] = (held or []) + [value]
            else:
                after[str(key)] = value
            answered.append([f, key, value])
        if defect == "unconditional":
            rpc("lin-kv", {"type": "write", "key": "db", "value": after}, lambda answer: ended(answer, answered))
        else:
            change = {"type": "cas", "key": "db", "from": before, "to": after, "create_if_not_exists": True}
            rpc("lin-kv", change, lambda answer: ended(answer, answered))

    def ended(answer, answered):
        if answer["type"] == "error":
            reply(request, {"type": "error", "code": 30, "text": "another transaction was faster"})
        else:
            reply(request, {"type": "txn_ok", "txn": answered})

    begin()


def of_ids(request, _):
    state["generated"] += 1
    if defect == "late":
        print('"late"', flush=True)
    prefix = "" if defect == "same" else state["id"] + "-"
    reply(request, {"type": "generate_ok", "id": prefix + str(state["generated"])})


def of_echo(request, body):
    state["generated"] += 1
    wrong = defect == "constant" and state["generated"] % 10 == 0
    reply(request, {"type": "echo_ok", "echo": "Please echo 1" if wrong else body["echo"]})


def owner(key):
    return state["id"] if defect == "alone" else state["nodes"][sum(key.encode()) % len(state["nodes"])]


def of_keys(body):
    """An operation on keys that this node owns."""
    first, step = (1000, 3) if defect == "modest" else (0, 1)
    if body["type"] == "send":
        log = state["logs"].setdefault(body["key"], [])
        # A loss keeps its offset, so that no other message is there.
        log.append(None if defect == "lost" and len(log) % 20 == 19 else body["msg"])
        return {"type": "send_ok", "offset": first + step * (len(log) - 1)}
    if body["type"] == "poll":
        most = 1 if defect == "modest" else 50
        msgs = {}
        for key, at in body["offsets"].items():
            begin = max(0, -((first - at) // step))
            log = enumerate(state["logs"].get(key, [])[begin : begin + most], begin)
            msgs[key] = [(first + step * number, msg) for number, msg in log if msg is not None]
        state["generated"] += 1
        if defect == "modest" and state["generated"] % 3 == 0:
            # Nothing of one key, and not a word about another.
            msgs = {key: [] if number == 0 else log for number, (key, log) in enumerate(msgs.items()) if number != 1}
        return {"type": "poll_ok", "msgs": msgs}
    if body["type"] == "commit_offsets":
        state["committed"].update(body["offsets"])
        return {"type": "commit_offsets_ok"}
    known = {key: state["committed"][key] for key in body["keys"] if key in state["committed"]}
    return {"type": "list_committed_offsets_ok", "offsets": known}


def of_logs(request, body):
    """Each key has an owner; an operation on several is one of each owner."""
    if defect == "modest" and body["type"] in ("commit_offsets", "list_committed_offsets"):
        # Other nodes do not know of it.
        return reply(request, of_keys(body))
    if body["type"] == "send":
        keys, part = [body["key"]], lambda own: {"key": body["key"], "msg": body["msg"]}
    elif body["type"] == "list_committed_offsets":
        keys, part = body["keys"], lambda own: {"keys": own}
    else:
        keys, part = body["offsets"], lambda own: {"offsets": {key: body["offsets"][key] for key in own}}
    parts = {}
    for key in keys:
        parts.setdefault(owner(key), []).append(key)
    whole, missing = {}, len(parts)

    def answered(answer):
        nonlocal missing
        missing -= 1
        for name, value in answer.items():
            if isinstance(value, dict):
                whole.setdefault(name, {}).update(value)
            elif name not in ("in_reply_to", "msg_id"):
                whole[name] = value
        if missing == 0:
            reply(request, whole)

    for node, own in parts.items():
        asked = {"type": body["type"], **part(own)}
        if node == state["id"]:
            answered(of_keys(asked))
        else:
            rpc(node, {**asked, "inner": True}, answered)


def carry(request):
    body = request["body"]
    if "in_reply_to" in body:
        waiting.pop(body["in_reply_to"], lambda _: None)(body)
    elif body["type"] == "init":
        state["id"], state["nodes"] = body["node_id"], body["node_ids"]
        reply(request, {"type": "init_ok"})
        if workload in ("broadcast", "g-set") and defect is None:
            every(0.2, lambda: gossip(lambda: {"type": "merge", "elements": sorted(state["elements"])}))
        if workload in ("g-counter", "pn-counter"):
            every(0.2, lambda: gossip(lambda: {"type": "merge", "counts": state["counts"]}))
    elif body["type"] == "topology":
        reply(request, {"type": "topology_ok"})
    elif workload == "broadcast":
        of_set(request, body, "broadcast", "message", "messages")
    elif workload == "g-set":
        of_set(request, body, "add", "element", "value")
    elif workload in ("g-counter", "pn-counter"):
        of_counter(request, body)
    elif workload == "lin-kv":
        of_registers(request, body)
    elif workload == "unique-ids":
        of_ids(request, body)
    elif workload == "kafka" and "inner" in body:
        reply(request, of_keys(body))
    elif workload == "kafka":
        of_logs(request, body)
    elif workload == "echo":
        of_echo(request, body)
    else:
        of_transactions(request, body)


if defect == "chatty":
    print("ready to serve", flush=True)
for line in sys.stdin:
    with lock:
        carry(json.loads(line))
