"""The user's functions that the library calls, and the handling of their exceptions."""

import gc
import os
import sys
import threading
import time
import weakref
from datetime import datetime, timedelta, timezone

import pytest

import libkms
from libkms import EventKind
from libkms.testing import ManualClock

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


class Clock:
    def __init__(self):
        self.time = START
        self.error = None

    def __call__(self):
        if self.error is not None:
            raise self.error
        return self.time


def test_a_function_is_a_clock():
    clock = Clock()
    with libkms.open("memory:", root_key=bytes(range(32)), clock=clock) as kms:
        key = kms.create_key(rotate_every=timedelta(days=1))
        clock.time += timedelta(days=1)
        kms.encrypt(key.id, b"")
        assert kms.describe_key(key.id).last_rotation == clock.time, "encrypting under an overdue key did not rotate it"


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_exception_of_the_clock_ends_the_call_and_changes_nothing(error):
    clock = Clock()
    with libkms.open("memory:", root_key=bytes(range(32)), clock=clock) as kms:
        key = kms.create_key(rotate_every=timedelta(days=1))
        generation = kms.health().generation
        clock.error = error("broken")
        calls = [
            kms.create_key,
            lambda: kms.rotate(key.id),
            lambda: kms.encrypt(key.id, b"text"),
            lambda: kms.encrypt_batch(key.id, [b"text"]),
            kms.tick,
        ]
        for call in calls:
            with pytest.raises(error, match="broken"):
                call()
        clock.error = None
        assert kms.health().generation == generation, "a call that the clock ended has changed something"
        assert kms.decrypt(kms.encrypt(key.id, b"text")) == b"text"
        assert kms.describe_key(key.id).version_count == 1


def test_a_clock_that_fails_on_the_rotation_thread_is_shown_and_rotation_goes_on(monkeypatch):
    shown = []
    monkeypatch.setattr(sys, "unraisablehook", shown.append)
    clock = Clock()
    with libkms.open("memory:", root_key=bytes(range(32)), clock=clock, rotation_thread=True) as kms:
        key = kms.create_key(rotate_every=timedelta(seconds=1))
        main = threading.get_ident()
        failing = threading.Event()

        def fails(self):
            if threading.get_ident() != main:
                failing.set()
                raise ZeroDivisionError
            return self.time

        monkeypatch.setattr(Clock, "__call__", fails)
        assert failing.wait(60), "the rotation thread never asked the clock"
        monkeypatch.undo()
        clock.time += timedelta(days=1)
        deadline = datetime.now() + timedelta(seconds=60)
        while kms.describe_key(key.id).version_count < 2:
            assert datetime.now() < deadline, "rotation stopped for ever because a clock failed once"
        assert not kms.health().thread_stopped


def test_events_tell_what_happened():
    events = []
    with libkms.open("memory:", root_key=bytes(range(32)), on_event=events.append) as kms:
        key = kms.create_key()
        version_id = kms.rotate(key.id)
    [event] = events
    assert (event.kind, event.key_id, event.version_id, event.status) == (EventKind.ROTATED, key.id, version_id, None)
    assert event.time.tzinfo is timezone.utc


def test_the_event_of_a_destruction_says_how_long_the_key_waited():
    events = []
    clock = ManualClock()
    with libkms.open("memory:", root_key=bytes(range(32)), clock=clock, on_event=events.append) as kms:
        kms.schedule_key_deletion(kms.create_key().id, timedelta(days=7))
        for wait in (timedelta(days=7), timedelta(hours=1)):
            clock.advance(wait)
            kms.tick()
    assert [(event.kind, event.waited) for event in events] == [
        (EventKind.DELETION_DUE, timedelta(0)),
        (EventKind.KEY_DESTROYED, timedelta(days=7, hours=1)),
    ]


def test_an_exception_of_a_listener_is_shown_and_the_call_goes_on(monkeypatch):
    shown = []
    monkeypatch.setattr(sys, "unraisablehook", shown.append)

    def listener(event):
        raise ZeroDivisionError("broken")

    with libkms.open("memory:", root_key=bytes(range(32)), on_event=listener) as kms:
        key = kms.create_key()
        assert kms.rotate(key.id) == kms.describe_key(key.id).primary_version_id
    assert [item.exc_type for item in shown] == [ZeroDivisionError]


def test_an_interrupt_in_a_listener_comes_out_of_the_call():
    def listener(event):
        raise KeyboardInterrupt

    with libkms.open("memory:", root_key=bytes(range(32)), rotation_thread=False, on_event=listener) as kms:
        key = kms.create_key()
        with pytest.raises(KeyboardInterrupt):
            kms.rotate(key.id)
        assert kms.describe_key(key.id).version_count == 2, "what was done before the event is done"


def test_a_callback_may_use_the_keystore_but_not_close_it():
    seen = []

    def listener(event):
        seen.append(kms.decrypt(kms.encrypt(event.key_id, b"text")))
        try:
            kms.close()
        except RuntimeError as error:
            seen.append(type(error))

    with libkms.open("memory:", root_key=bytes(range(32)), rotation_thread=False, on_event=listener) as kms:
        kms.rotate(kms.create_key().id)
        assert seen == [b"text", RuntimeError] and not kms.closed


def test_with_the_rotation_thread_a_listener_that_blocks_holds_up_no_call():
    let_go, told = threading.Event(), []

    def listener(event):
        let_go.wait(30)
        told.append((event.version_id, threading.current_thread() is not threading.main_thread()))

    with libkms.open("memory:", root_key=bytes(range(32)), on_event=listener) as kms:
        key = kms.create_key()
        made = [kms.rotate(key.id) for _ in range(5)]
        assert told == [] and kms.health().events_dropped == 0
        let_go.set()
    assert told == [(version_id, True) for version_id in made], "closing tells what waits, in order"


class Root:
    def __init__(self):
        self.error = None
        self.answer = None

    def wrap(self, root, aad):
        if self.error:
            raise self.error
        return bytes(byte ^ 0x55 for byte in aad + root)

    def unwrap(self, wrapped, aad):
        if self.error:
            raise self.error
        opened = bytearray(byte ^ 0x55 for byte in wrapped)
        if not opened.startswith(aad):
            raise ValueError("wrapped for something else")
        return self.answer or opened[len(aad) :]


def test_a_root_callback_opens_the_keystore(tmp_path):
    with libkms.open(tmp_path / "keys.db", root_callback=Root(), create=True) as kms:
        key = kms.create_key()
        blob = kms.encrypt(key.id, b"text")
    with libkms.open(tmp_path / "keys.db", root_callback=Root()) as kms:
        assert kms.decrypt(blob) == b"text"


def test_what_a_root_callback_raises_is_the_cause(tmp_path):
    root = Root()
    root.error = ConnectionError("the HSM is away")
    with pytest.raises(libkms.RootKeyUnavailable) as raised:
        libkms.open(tmp_path / "keys.db", root_callback=root, create=True)
    assert raised.value.__cause__ is root.error
    root.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        libkms.open(tmp_path / "keys.db", root_callback=root, create=True)
    root.error = None
    libkms.open(tmp_path / "keys.db", root_callback=root, create=True).close()
    root.answer = b"short"
    with pytest.raises(libkms.RootKeyUnavailable):
        libkms.open(tmp_path / "keys.db", root_callback=root)
    root.answer = "text"
    with pytest.raises(libkms.RootKeyUnavailable) as raised:
        libkms.open(tmp_path / "keys.db", root_callback=root)
    assert isinstance(raised.value.__cause__, TypeError)


def test_a_root_callback_that_binds_nothing_is_refused(tmp_path):
    class PublicKey:
        def wrap(self, root, aad):
            return bytes(byte ^ 0x55 for byte in root)

        def unwrap(self, wrapped, aad):
            return bytes(byte ^ 0x55 for byte in wrapped)

    with pytest.raises(libkms.RootKeyUnavailable, match="never public-key"):
        libkms.open(tmp_path / "keys.db", root_callback=PublicKey(), create=True)
    assert not (tmp_path / "keys.db").exists()


def test_a_forgotten_keystore_ends(place):
    def threads():
        return len(os.listdir("/proc/self/task"))

    kms = libkms.open(**place)
    kms.create_key()
    before = threads()
    gone = weakref.ref(kms)
    del kms
    gc.collect()
    assert gone() is None
    deadline = time.monotonic() + 60
    while threads() >= before:
        assert time.monotonic() < deadline, "the rotation thread of a forgotten keystore goes on"
