"""A program that takes part in a Flotilla fleet with a plain NATS client: docs/wire.md, step by step.

    python interop.py call    # asks the service "alpha", sends it a durable command, reads one of its events
    python interop.py serve   # is the service "beta": answers a query and handles the durable commands of a saga

It prints one JSON object a line. Needs nats-py; NATS_URL says where the server is.
"""

import asyncio
import json
import os
import signal
import sys
import uuid
from datetime import datetime, timezone

import nats
from nats.errors import TimeoutError as NatsTimeout

PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"


def partition_of(key: str) -> int:
    h = 0x811C9DC5
    for byte in key.encode("utf-8"):
        h = ((h ^ byte) * 0x01000193) & 0xFFFFFFFF
    return (h ^ (h >> 16)) % 16


def subject_token(key: str) -> str:
    return "".join(chr(b) if b in PLAIN else f"={b:02X}" for b in key.encode("utf-8")) or "="


def now() -> str:
    return datetime.now(timezone.utc).isoformat()


def say(**fact) -> None:
    print(json.dumps(fact), flush=True)


async def call(url: str) -> None:
    """Is the service "outside", whose manifest provisioned its streams and consumers."""
    nc = await nats.connect(url, inbox_prefix="_INBOX_outside")
    js = nc.jetstream()

    # A query: a request with an id and a type.
    answer = await nc.request(
        "rpc.alpha.GetTotal.v1",
        json.dumps({"accountId": "py-nobody"}).encode(),
        timeout=5,
        headers={"ce-id": str(uuid.uuid4()), "ce-type": "alpha.GetTotal.v1"},
    )
    say(query=json.loads(answer.data), outcome=answer.headers["ce-outcome"])

    # A durable command: stored in its owner's queue, answered in ours. Sent twice, as after a lost acknowledgement.
    key, conversation, command_id = "py-1", "conversation-1", str(uuid.uuid4())
    subject = f"cmd.alpha.Add.v1.{partition_of(key)}.{subject_token(key)}"
    headers = {
        "ce-specversion": "1.0",
        "ce-id": command_id,
        "ce-type": "alpha.Add.v1",
        "ce-source": "outside",
        "ce-time": now(),
        "ce-subject": key,
        "ce-correlationid": command_id,
        "ce-replyto": f"reply.outside.{partition_of(conversation)}.{subject_token(conversation)}",
        "content-type": "application/json",
    }
    body = json.dumps({"accountId": key, "amount": 5}).encode()
    await js.publish(subject, body, headers={**headers, "Nats-Msg-Id": command_id})
    await js.publish(subject, body, headers={**headers, "Nats-Msg-Id": f"{command_id}.2"})
    replies = await js.pull_subscribe_bind(durable="outside", stream="REPLY_outside")
    for _ in range(2):
        [reply] = await replies.fetch(1, timeout=15)
        say(
            answer=json.loads(reply.data),
            outcome=reply.headers["ce-outcome"],
            mine=reply.headers["ce-causationid"] == command_id,
            conversation=reply.subject.split(".")[-1],
        )
        await reply.ack_sync()
    await take_out_handled(js, "REPLY_outside", "outside")

    # An event: from the consumer of our reaction "watch".
    events = await js.pull_subscribe_bind(durable="outside-watch", stream="EVT_alpha")
    [event] = await events.fetch(1, timeout=15)
    say(event=json.loads(event.data), type=event.headers["ce-type"], about=event.headers["ce-subject"])
    await event.ack_sync()
    await nc.close()


async def serve(url: str) -> None:
    """Is the service "beta"."""
    nc = await nats.connect(url, inbox_prefix="_INBOX_beta")
    js = nc.jetstream()
    # Stands for a table that is written in the transaction of the change.
    handled = {}

    async def on_request(request) -> None:
        deadline = (request.headers or {}).get("ce-deadline")
        if deadline and datetime.fromisoformat(deadline.replace("Z", "+00:00")) < datetime.now(timezone.utc):
            return  # nobody waits any more
        say(served=json.loads(request.data))
        await request.respond(json.dumps({"balance": 42}).encode())

    requests = await nc.subscribe("rpc.beta.GetBalance.v1", queue="beta", cb=on_request)
    commands = await js.pull_subscribe_bind(durable="beta", stream="CMD_beta")
    await nc.flush()
    say(ready=True)

    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    while not stopped.is_set():
        try:
            [command] = await commands.fetch(1, timeout=1)
        except NatsTimeout:
            continue
        await handle(js, command, handled)
        await take_out_handled(js, "CMD_beta", "beta")
    await requests.drain()
    await nc.close()


async def handle(js, command, handled) -> None:
    told = command.headers or {}
    if told.get("ce-type") != "beta.Charge.v1" or "ce-id" not in told:
        await give_up(js, command, "UNKNOWN_MESSAGE", f"no handler for {told.get('ce-type')}")
        return
    message_id = told["ce-id"]
    first = message_id not in handled
    if first:
        payload = json.loads(command.data)
        handled[message_id] = {"chargeId": f"py-{payload['tabId']}"}
    answer = handled[message_id]
    say(handled=message_id, first=first)
    if "ce-replyto" in told:
        sequence = command.metadata.sequence.stream
        reply_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{message_id}/reply/{sequence}"))
        await js.publish(
            told["ce-replyto"],
            json.dumps(answer).encode(),
            headers={
                "Nats-Msg-Id": reply_id,
                "ce-specversion": "1.0",
                "ce-id": reply_id,
                "ce-type": told["ce-type"],
                "ce-source": "beta",
                "ce-time": now(),
                "ce-subject": told.get("ce-subject", message_id),
                "ce-correlationid": told.get("ce-correlationid", message_id),
                "ce-causationid": message_id,
                "ce-outcome": "ok",
                "content-type": "application/json",
            },
        )
    await command.ack_sync()


async def give_up(js, message, code: str, why: str) -> None:
    """The dead letter first, then the settlement."""
    sequence = message.metadata.sequence.stream
    kept = {name: value for name, value in (message.headers or {}).items() if not name.startswith("Nats-")}
    dead_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"DLQ/beta/CMD_beta/{sequence}"))
    await js.publish(
        "dlq.beta.beta",
        message.data,
        headers={
            **kept,
            "Nats-Msg-Id": dead_id,
            "flotilla-error-code": code,
            "flotilla-error-message": why,
            "flotilla-attempts": str(message.metadata.num_delivered),
            "flotilla-service": "beta",
            "flotilla-consumer": "beta",
            "flotilla-original-subject": message.subject,
            "flotilla-original-stream": "CMD_beta",
            "flotilla-original-sequence": str(sequence),
            "flotilla-died-at": now(),
            "flotilla-history": "[]",
        },
    )
    await message.term()


async def take_out_handled(js, stream: str, consumer: str) -> None:
    """A queue keeps what is not handled: its consumer takes out the rest."""
    info = await js.consumer_info(stream, consumer)
    floor = info.ack_floor.stream_seq if info.ack_floor else 0
    if floor > 0:
        await js.purge_stream(stream, seq=floor + 1)


if __name__ == "__main__":
    mode = {"call": call, "serve": serve}[sys.argv[1]]
    asyncio.run(mode(os.environ["NATS_URL"]))
