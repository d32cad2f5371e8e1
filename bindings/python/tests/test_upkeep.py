"""The keystore as a whole: its faults, its copies, its root key, its anchor."""

import sqlite3
import sys
import threading
import uuid
from datetime import timedelta

import pytest

import libkms


def test_keys_made_at_once_are_alike_and_their_own(kms):
    made = kms.create_keys(3, description="orders", rotate_every=timedelta(days=1))
    assert {key.id for key in made} == {key.id for key in kms.list_keys()} and len(made) == 3
    assert {(key.description, key.rotate_every) for key in made} == {("orders", timedelta(days=1))}
    assert kms.decrypt(kms.encrypt(made[2].id, b"text")) == b"text"
    assert {key.state for key in kms.create_keys(2, origin=libkms.Origin.EXTERNAL)} == {libkms.KeyState.PENDING_IMPORT}


@pytest.mark.parametrize("count", [0, 1001])
def test_keys_beyond_the_limit_are_not_made(kms, count):
    with pytest.raises(libkms.InvalidArgument):
        kms.create_keys(count)
    assert list(kms.list_keys()) == []


def test_a_damaged_key_is_a_fault_with_its_id(place):
    with libkms.open(**place) as kms:
        whole, damaged = kms.create_keys(2)
        assert kms.verify() == []
    with sqlite3.connect(place["location"]) as table:
        changed = table.execute("UPDATE key SET description = 'x' WHERE id = ?", [uuid.UUID(damaged.id).bytes])
        assert changed.rowcount == 1
    with libkms.open(**place) as kms:
        faults = kms.verify()
        assert [(fault.key_id, fault.status) for fault in faults] == [(damaged.id, libkms.Status.KEYSTORE_CORRUPT)]
        assert faults[0].text
        assert kms.decrypt(kms.encrypt(whole.id, b"text")) == b"text"


def test_a_backup_opens_as_the_keystore_did(place, tmp_path, stored):
    key = stored.create_key()
    blob = stored.encrypt(key.id, b"text")
    stored.backup(tmp_path / "copy.db")
    stored.rotate(key.id)
    with libkms.open(tmp_path / "copy.db", root_key_file=place["root_key_file"]) as copy:
        assert copy.decrypt(blob) == b"text" and copy.describe_key(key.id).version_count == 1
    with pytest.raises(libkms.KeystoreIO):
        stored.backup(tmp_path / "copy.db")


def test_a_new_root_is_the_only_one(place, tmp_path):
    with libkms.open(**place) as kms:
        key = kms.create_key()
        blob = kms.encrypt(key.id, b"text")
        with pytest.raises(libkms.MissingParameter):
            kms.change_root()
        with pytest.raises(libkms.InvalidArgument):
            kms.change_root(root_key=bytes(range(32)), root_passphrase="p")
        with pytest.raises(libkms.RootKeyUnavailable):
            kms.change_root(root_key_file=tmp_path / "new.key")
        kms.change_root(root_key_file=tmp_path / "new.key", create=True)
        assert kms.decrypt(blob) == b"text", "the open handle goes on"
    with pytest.raises(libkms.WrongRootKey):
        libkms.open(place["location"], root_key_file=place["root_key_file"])
    with libkms.open(place["location"], root_key_file=tmp_path / "new.key") as kms:
        assert kms.decrypt(blob) == b"text"


def test_several_roots_open_a_keystore(place, tmp_path, recwarn):
    passphrase, new_file = "correct horse", tmp_path / "new.key"
    with libkms.open(**place) as kms:
        blob = kms.encrypt(kms.create_key().id, b"text")
        recovery = kms.add_root_slot(root_passphrase=passphrase, label="recovery")
        file = kms.add_root_slot(root_key_file=new_file, create=True)
        with pytest.raises(libkms.RootSlotExists):
            kms.add_root_slot(root_passphrase=passphrase)
        with pytest.raises(libkms.RootSlotExists):
            kms.change_root(root_passphrase=passphrase)
        with pytest.raises(libkms.InvalidArgument, match="zero"):
            kms.add_root_slot(root_key=bytes(32))
        slots = kms.list_root_slots()
        assert [slot.id for slot in slots][1:] == [recovery, file]
        assert [slot.label for slot in slots] == [None, "recovery", None]
        assert [slot.opened_this_handle for slot in slots] == [True, False, False]
        assert slots[1].kind is libkms.RootKind.PASSPHRASE and slots[1].created.tzinfo
    for root in ({"root_passphrase": passphrase}, {"root_key_file": new_file}, {"root_key_file": place["root_key_file"]}):
        with libkms.open(place["location"], **root) as kms:
            assert kms.decrypt(blob) == b"text"
    with libkms.open(place["location"], root_passphrase=passphrase) as kms:
        for slot_id in (slots[0].id, file):
            kms.remove_root_slot(slot_id)
        with pytest.raises(libkms.UnsupportedOperation):
            kms.remove_root_slot(recovery)
        with pytest.raises(libkms.RootSlotNotFound):
            kms.remove_root_slot(file)
    with pytest.raises(libkms.WrongRootKey):
        libkms.open(place["location"], root_key_file=new_file)


def test_a_root_callback_that_raises_changes_no_root(place):
    class Away:
        def wrap(self, root, aad):
            raise ConnectionError("the HSM is away")

        unwrap = wrap

    with libkms.open(**place) as kms:
        with pytest.raises(libkms.RootKeyUnavailable) as raised:
            kms.change_root(root_callback=Away())
        assert isinstance(raised.value.__cause__, ConnectionError)
    libkms.open(**place).close()


class Anchor:
    def __init__(self):
        self.record = None
        self.error = None

    def get(self):
        if self.error:
            raise self.error
        return self.record

    def put(self, record):
        if self.error:
            raise self.error
        self.record = record


def test_an_anchor_of_the_callers_refuses_an_older_copy(place):
    anchor = Anchor()
    with libkms.open(**place, anchor_callback=anchor) as kms:
        kms.create_key()
    old, first = place["location"].read_bytes(), anchor.record
    assert len(first) == 104
    with libkms.open(**place, anchor_callback=anchor) as kms:
        kms.create_key()
    assert anchor.record != first, "a change is put into the anchor before its call returns"
    place["location"].write_bytes(old)
    with pytest.raises(libkms.KeystoreRolledBack):
        libkms.open(**place, anchor_callback=anchor)


def test_what_an_anchor_raises_is_the_cause(place):
    anchor = Anchor()
    with libkms.open(**place, anchor_callback=anchor) as kms:
        key = kms.create_key()
        anchor.error = ConnectionError("the anchor is away")
        with pytest.raises(libkms.AnchorUnavailable) as raised:
            kms.create_key()
        assert raised.value.__cause__ is anchor.error
        assert kms.decrypt(kms.encrypt(key.id, b"text")) == b"text", "what changes nothing needs no anchor"
        anchor.error = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            kms.create_key()
        anchor.error = None
        kms.create_key()
    anchor.record = "text"
    with pytest.raises(libkms.AnchorUnavailable) as raised:
        libkms.open(**place, anchor_callback=anchor)
    assert isinstance(raised.value.__cause__, TypeError)


def test_a_rotation_that_can_not_be_anchored_is_shown_and_encryption_goes_on(place, monkeypatch, kms_clock):
    shown = []
    monkeypatch.setattr(sys, "unraisablehook", shown.append)
    anchor = Anchor()
    with libkms.open(**place, anchor_callback=anchor) as kms:
        key = kms.create_key(rotate_every=timedelta(days=1))
        kms_clock.advance(timedelta(days=2))
        anchor.error = ConnectionError("the anchor is away")
        assert kms.decrypt(kms.encrypt(key.id, b"text")) == b"text"
        assert [item.exc_type for item in shown] == [ConnectionError], "the exception was lost"


def test_two_anchors_are_refused(place, tmp_path):
    with pytest.raises(libkms.InvalidArgument):
        libkms.open(**place, anchor_file=tmp_path / "anchor", anchor_callback=Anchor())


def test_threads_change_an_anchored_keystore_together(place):
    with libkms.open(**place, anchor_callback=Anchor()) as kms:
        threads = [threading.Thread(target=lambda: [kms.create_key() for _ in range(5)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert not any(thread.is_alive() for thread in threads), "an anchor's callback waits for ever"
        assert len(list(kms.list_keys())) == 20
