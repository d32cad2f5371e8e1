"""A call that waits for another process releases the GIL, so the other threads keep running."""

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
import time
from datetime import datetime, timedelta, timezone

import pytest

import libkms
import libkms.aio

HOLD = 1.5
"""Seconds for which another process has the keystore's lock."""

HOLDER = """
import sqlite3, sys, time, libkms
path, root, hold = sys.argv[1:]
# Announces a change, so that every handle reads the keystore on its next call.
with libkms.open(path, root_key_file=root, rotation_thread=False) as kms:
    kms.create_key()
held = sqlite3.connect(path, isolation_level=None)
held.execute("begin exclusive")
print("held", flush=True)
time.sleep(float(hold))
held.execute("rollback")
"""


def held(place, hold=HOLD):
    """Another process, which has the lock from now on."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER), place["location"], place["root_key_file"], str(hold)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    return process


class Ticks:
    """The longest time for which this process's other threads were blocked."""

    def __enter__(self):
        self.longest, self.last, self.stop = 0.0, time.monotonic(), threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def run(self):
        while not self.stop.wait(0.002):
            self.tick()

    def tick(self):
        now = time.monotonic()
        self.longest, self.last = max(self.longest, now - self.last), now

    def __exit__(self, *exception):
        self.tick()
        self.stop.set()
        self.thread.join()


def calls(kms, key, blob):
    external = kms.create_key(origin=libkms.Origin.EXTERNAL)
    public = kms.get_parameters_for_import(external.id, libkms.Wrapping.OAEP_SHA_256).public_key
    data_key = kms.generate_data_key_without_plaintext(key.id)
    return {
        "encrypt": lambda: kms.encrypt(key.id, b"text", {"a": "b"}),
        "encrypt by alias": lambda: kms.encrypt("alias/hot", b"text"),
        "decrypt": lambda: kms.decrypt(blob),
        "encrypt_into": lambda: kms.encrypt_into(key.id, b"text", bytearray(200)),
        "decrypt_into": lambda: kms.decrypt_into(blob, bytearray(200)),
        "reencrypt": lambda: kms.reencrypt(blob),
        "encrypt_batch": lambda: kms.encrypt_batch(key.id, [b"a", b"b"]),
        "decrypt_batch": lambda: kms.decrypt_batch([blob, blob]),
        "reencrypt_batch": lambda: kms.reencrypt_batch([blob, blob]),
        "inspect": lambda: kms.inspect(blob),
        "generate_data_key": lambda: kms.generate_data_key(key.id),
        "generate_data_key_without_plaintext": lambda: kms.generate_data_key_without_plaintext(key.id),
        "generate_and_export_data_key": lambda: kms.generate_and_export_data_key(
            key.id, public, libkms.Wrapping.OAEP_SHA_256
        ),
        "export_data_key": lambda: kms.export_data_key(data_key, public, libkms.Wrapping.OAEP_SHA_256),
        "describe_key": lambda: kms.describe_key(key.id),
        "list_keys": lambda: list(kms.list_keys()),
        "list_aliases": lambda: list(kms.list_aliases()),
        "create_key": lambda: kms.create_key(),
        "rotate": lambda: kms.rotate(key.id),
        "tag_resource": lambda: kms.tag_resource(key.id, {"a": "b"}),
        "tick": lambda: kms.tick(),
        "verify": lambda: kms.verify(),
        "call": lambda: kms.call("DescribeKey", {"KeyId": key.id}),
    }


@pytest.fixture
def hot(stored):
    key = stored.create_key()
    stored.create_alias(key.id, "alias/hot")
    return key, stored.encrypt("alias/hot", b"text")


def test_no_call_holds_the_gil_while_it_waits(stored, place, hot):
    results = {}

    def run(name, call):
        begun = time.monotonic()
        try:
            results[name] = (call(), time.monotonic() - begun)
        except BaseException as error:
            results[name] = (error, time.monotonic() - begun)

    made = calls(stored, *hot)
    # What is hot is so in each thread.
    ready, go = threading.Barrier(len(made) + 1), threading.Event()

    def work(name, call):
        stored.decrypt(hot[1])
        stored.encrypt(hot[0].id, b"")
        ready.wait()
        go.wait()
        run(name, call)

    threads = [threading.Thread(target=work, args=item) for item in made.items()]
    for thread in threads:
        thread.start()
    ready.wait()
    process = held(place)
    with Ticks() as ticks:
        go.set()
        for thread in threads:
            thread.join()
    assert process.wait(30) == 0
    assert ticks.longest < HOLD / 3, f"all threads stood still for {ticks.longest:.2f} s"
    assert not [found for found in results.items() if isinstance(found[1][0], BaseException)]
    waited = {name for name, (_, took) in results.items() if took > HOLD / 3}
    assert waited >= {"encrypt", "decrypt", "rotate", "describe_key"}, "the lock was not waited for"


HOLDING_THE_GIL = "encrypt decrypt encrypt_into decrypt_into reencrypt encrypt_batch decrypt_batch inspect generate_data_key"


@pytest.mark.parametrize("name", HOLDING_THE_GIL.split())
def test_a_call_under_a_hot_key_waits_alone(stored, place, hot, name):
    call = calls(stored, *hot)[name]
    call()
    process = held(place, 0.6)
    with Ticks() as ticks:
        begun = time.monotonic()
        result = call()
        took = time.monotonic() - begun
    assert process.wait(30) == 0 and took > 0.2, "the lock was not waited for"
    assert ticks.longest < 0.2, f"all threads stood still for {ticks.longest:.2f} s"
    assert result


def test_the_event_loop_goes_on_while_a_decryption_waits(stored, place, hot):
    async def main():
        kms = libkms.aio.Keystore(stored)
        await kms.decrypt(hot[1])
        process = held(place)
        longest, last = 0.0, time.monotonic()
        waiting = asyncio.create_task(kms.decrypt(hot[1]))
        while not waiting.done():
            await asyncio.sleep(0.002)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        assert await waiting == b"text" and process.wait(30) == 0
        return longest

    assert asyncio.run(main()) < HOLD / 3


def test_a_first_use_and_an_overdue_rotation_wait_alone(place):
    days = [0]

    def clock():
        return datetime.now(timezone.utc) + timedelta(days=days[0])

    with libkms.open(**place, rotation_thread=False, clock=clock) as kms:
        fresh, due = kms.create_key(), kms.create_key(rotate_every=timedelta(days=2))
        kms.encrypt(due.id, b"")
        days[0] = 3
        with libkms.open(**place, rotation_thread=False, clock=clock) as other:
            for call in (
                lambda: other.encrypt(fresh.id, b"first"),
                lambda: kms.encrypt(due.id, b"overdue", {"a": "b"}),
                lambda: kms.encrypt_batch(due.id, [b"overdue"]),
            ):
                process = held(place, 0.8)
                with Ticks() as ticks:
                    assert call()
                assert process.wait(30) == 0
                assert ticks.longest < 0.3, f"all threads stood still for {ticks.longest:.2f} s"
        assert kms.describe_key(due.id).version_count == 2, "one rotation, not one for each try"


def test_a_forked_child_waits_alone(stored, place, hot):
    process = held(place)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with Ticks() as ticks:
                text = stored.decrypt(hot[1])
            os.write(writer, f"{text.decode()} {ticks.longest}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        text, longest = answer.read().decode().split()
    os.waitpid(child, 0)
    assert text == "text" and float(longest) < HOLD / 3 and process.wait(30) == 0


def test_a_call_that_waits_can_fail_as_any_other(place, hot, stored):
    with libkms.open(**{**place, "create": False}, busy_timeout=timedelta(milliseconds=300)) as kms:
        kms.decrypt(hot[1])
        process = held(place)
        with Ticks() as ticks, pytest.raises(libkms.KeystoreBusy, match="busy"):
            kms.decrypt(hot[1])
        with pytest.raises(libkms.KeystoreBusy):
            kms.encrypt_into(hot[0].id, b"text", bytearray(200))
        assert [type(item) for item in kms.decrypt_batch([hot[1]])] == [libkms.KeystoreBusy]
        assert process.wait(30) == 0 and ticks.longest < 0.2
        room = bytearray(3)
        other = libkms.open(**place)
        other.create_key()
        other.close()
        with pytest.raises(libkms.BufferTooSmall) as caught:
            kms.decrypt_into(hot[1], room)
        assert caught.value.size == 4 and room == bytes(3)


def test_a_context_is_used_as_it_was_given_when_the_call_is_made_again(place):
    """The GIL is let go in between; a dict that another thread changes must not be read twice."""
    with libkms.open(**place, rotation_thread=False) as kms, libkms.open(**place, rotation_thread=False) as other:
        key = kms.create_key()
        for number in range(50):
            other.create_key()
            context = {"tenant": str(number)}
            blob = kms.encrypt(key.id, b"text", context)
            assert kms.decrypt(blob, {"tenant": str(number)}) == b"text"
        with pytest.raises(TypeError, match="maps str to str"):
            other.create_key()
            kms.encrypt(key.id, b"text", {"tenant": 5})


def test_what_a_clock_calls_may_wait(place):
    def clock():
        if kms is not None and threading.current_thread() is threading.main_thread() and not inside:
            inside.append(1)
            seen.append(kms.describe_key(key.id).id)
            kms.create_key()
            inside.clear()
        return datetime.now(timezone.utc)

    kms, inside, seen = None, [1], []
    opened = libkms.open(**place, clock=clock, rotation_thread=False)
    key = opened.create_key(rotate_every=timedelta(days=1))
    kms, inside = opened, []
    assert kms.decrypt(kms.encrypt(key.id, b"text")) == b"text" and seen
    kms = None
    opened.close()
