"""Every operation, in Python's types."""

import os
import pickle
from datetime import datetime, timedelta, timezone

import pytest

import libkms
import libkms.testing
from libkms import EventKind, KeyState, Origin, Rotation, VersionState, Wrapping
from libkms.testing import ManualClock


def test_the_first_program_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with libkms.open("keys.db", root_key_file="root.key", create=True) as kms:
        key = kms.create_key(description="orders", rotate_every=timedelta(days=90))
        blob = kms.encrypt(key.id, b"4111 1111", context={"tenant": "42"})
        assert kms.decrypt(blob, context={"tenant": "42"}) == b"4111 1111"
        kms.rotate(key.id)
        assert kms.decrypt(blob, context={"tenant": "42"}) == b"4111 1111", "rotation lost an old ciphertext"
    with libkms.open("keys.db", root_key_file="root.key") as kms:
        assert kms.decrypt(blob, context={"tenant": "42"}) == b"4111 1111", "reopening lost a ciphertext"


def test_a_key_says_what_it_is(kms, kms_clock):
    key = kms.create_key(description="ö", rotate_every=timedelta(hours=1))
    assert (key.state, key.origin, key.rotation) == (KeyState.ENABLED, Origin.KMS, Rotation.ENABLED)
    assert key.description == "ö" and key.version_count == 1
    assert key.created == kms_clock.now() == key.last_rotation
    assert key.next_rotation == kms_clock.now() + timedelta(hours=1)
    assert key.delete_date is None and key.material_expires is None and key.deletion_protection is None
    assert pickle.loads(pickle.dumps(key)) == key, "a record can be sent to another process"
    with pytest.raises(AttributeError):
        key.id = "other"


def test_the_life_of_a_key(kms, kms_clock):
    key = kms.create_key()
    kms.disable_key(key.id)
    assert kms.describe_key(key.id).state is KeyState.DISABLED
    kms.enable_key(key.id)
    kms.set_deletion_protection(key.id, True, "invoices")
    assert kms.describe_key(key.id).deletion_protection == "invoices"
    with pytest.raises(libkms.DeletionProtected):
        kms.schedule_key_deletion(key.id)
    kms.set_deletion_protection(key.id, False)
    kms.schedule_key_deletion(key.id, timedelta(days=7))
    assert kms.describe_key(key.id).delete_date == kms_clock.now() + timedelta(days=7)
    kms.cancel_key_deletion(key.id)
    kms.update_key_description(key.id, "new")
    assert kms.describe_key(key.id).description == "new"
    kms.schedule_key_deletion(key.id, timedelta(days=7))
    kms_clock.advance(timedelta(days=8))
    kms.tick()
    kms_clock.advance(timedelta(hours=2))
    assert kms.tick().destroyed == 1
    with pytest.raises(libkms.KeyNotFound):
        kms.describe_key(key.id)


@pytest.mark.parametrize("window", [timedelta(days=7, hours=1), timedelta(days=6), timedelta(days=367)])
def test_a_waiting_period_out_of_range_is_a_value_error(kms, window):
    with pytest.raises(ValueError):
        kms.schedule_key_deletion(kms.create_key().id, window)


@pytest.mark.parametrize("interval", [timedelta(0), timedelta(milliseconds=1500), timedelta(days=3651), timedelta(-1)])
def test_an_interval_out_of_range_is_a_value_error(kms, interval):
    with pytest.raises(ValueError):
        kms.create_key(rotate_every=interval)


def test_lists_hide_their_pages(kms):
    made = sorted(kms.create_key().id for _ in range(600))
    assert [key.id for key in kms.list_keys()] == made, "keys are listed once each, in the order of their ids"
    for _ in range(520):
        kms.rotate(made[0])
    assert [version.number for version in kms.list_key_versions(made[0])] == list(range(521, 0, -1))
    for number in range(257):
        kms.create_alias(made[number % 2], f"alias/n{number:03}")
    assert [alias.name for alias in kms.list_aliases()] == [f"alias/n{number:03}" for number in range(257)]
    assert {alias.key_id for alias in kms.list_aliases(made[1])} == {made[1]}


def test_a_list_is_read_as_it_is_used(kms):
    kms.create_key()
    listed = kms.list_keys()
    next(listed)
    with pytest.raises(StopIteration):
        next(listed)


def test_versions(kms):
    key = kms.create_key()
    second = kms.rotate(key.id)
    version = kms.describe_key_version(key.id, second)
    assert (version.number, version.is_primary, version.created.tzinfo) == (2, True, timezone.utc)
    with pytest.raises(libkms.KeyVersionNotFound):
        kms.describe_key_version(key.id, key.id)


def test_a_version_is_disabled_enabled_and_destroyed_after_its_period():
    clock, events = ManualClock(), []
    with libkms.open("memory:", root_key=bytes(range(32)), clock=clock, on_event=events.append) as kms:
        key = kms.create_key()
        old = key.primary_version_id
        blob = kms.encrypt(key, b"text")
        primary = kms.rotate(key)
        assert kms.describe_key_version(key, old).state is VersionState.ENABLED
        with pytest.raises(libkms.StateModifiedFailed):
            kms.disable_key_version(key, primary)
        with pytest.raises(libkms.StateModifiedFailed):
            kms.schedule_key_version_deletion(key, old)
        with pytest.raises(libkms.KeyVersionNotFound):
            kms.disable_key_version(key, key.id)

        kms.disable_key_version(key, old)
        assert kms.describe_key_version(key, old).state is VersionState.DISABLED
        with pytest.raises(libkms.KeyVersionDisabled) as raised:
            kms.decrypt(blob)
        assert raised.value.status is libkms.Status.KEY_VERSION_DISABLED
        kms.enable_key_version(key, old)
        assert kms.decrypt(blob) == b"text"

        kms.disable_key_version(key, old)
        with pytest.raises(libkms.InvalidArgument):
            kms.schedule_key_version_deletion(key, old, timedelta(days=6))
        kms.schedule_key_version_deletion(key, old, timedelta(days=7))
        pending = kms.describe_key_version(key, old)
        assert pending.state is VersionState.PENDING_DELETION
        assert pending.delete_date == clock.now() + timedelta(days=7)
        with pytest.raises(libkms.StateModifiedFailed):
            kms.enable_key_version(key, old)
        kms.cancel_key_version_deletion(key, old)
        cancelled = kms.describe_key_version(key, old)
        assert (cancelled.state, cancelled.delete_date) == (VersionState.DISABLED, None)

        kms.schedule_key_version_deletion(key, old, timedelta(days=7))
        clock.advance(timedelta(days=7))
        assert kms.tick().versions_destroyed == 0
        clock.advance(timedelta(hours=1))
        assert kms.tick().versions_destroyed == kms.health().versions_destroyed == 1
        gone = kms.describe_key_version(key, old)
        assert (gone.state, gone.number) == (VersionState.DESTROYED, 1)
        with pytest.raises(libkms.KeyVersionDestroyed) as raised:
            kms.decrypt(blob)
        assert raised.value.status is libkms.Status.KEY_VERSION_DESTROYED
        with pytest.raises(libkms.KeyVersionDestroyed):
            kms.enable_key_version(key, old)
    kinds = [(event.kind, event.version_id) for event in events[1:]]
    assert kinds == [(EventKind.VERSION_DELETION_DUE, old), (EventKind.VERSION_DESTROYED, old)]
    assert events[2].waited == timedelta(days=7, hours=1)


def test_a_version_has_the_days_of_its_last_use():
    clock = ManualClock()
    with libkms.open("memory:", root_key=bytes(range(32)), clock=clock) as kms:
        key = kms.create_key()

        def days():
            version = kms.describe_key_version(key, key.primary_version_id)
            return version.last_encrypt_date, version.last_decrypt_date

        assert days() == (None, None)
        clock.advance(timedelta(hours=1))
        blob = kms.encrypt(key, b"text")
        kms.tick()
        first, none = days()
        assert none is None and (first.hour, first.minute) == (0, 0) and first.date() == clock.now().date()
        clock.advance(timedelta(days=1))
        kms.tick()  # a pass begins the day
        kms.decrypt(blob)
        kms.tick()
        assert days() == (first, first + timedelta(days=1))


def test_the_change_log_says_who_did_what_when():
    clock = ManualClock()
    with libkms.open("memory:", root_key=bytes(range(32)), clock=clock, actor="the tests") as kms:
        key = kms.create_key()
        clock.advance(timedelta(hours=1))
        version = kms.rotate(key)
        kms.disable_key(key)
        with pytest.raises(libkms.RejectedDisabled):
            kms.rotate(key)
        created, rotated, disabled, refused = kms.changes()
        assert (created.action, created.key_id, created.count, created.status) == ("CreateKey", key.id, 1, None)
        assert created.time == clock.now() - timedelta(hours=1) and created.waited == timedelta(0)
        assert (rotated.action, rotated.version_id, rotated.time) == ("CreateKeyVersion", version, clock.now())
        assert (refused.action, refused.status) == ("CreateKeyVersion", libkms.Status.REJECTED_DISABLED)
        assert (refused.actor.label, refused.actor.process_id) == ("the tests", os.getpid())
        assert refused.actor.user_id == os.getuid() and refused.actor.program.startswith("python")
        assert created.previous_mac == bytes(32) and rotated.previous_mac == created.mac
        assert disabled.generation == created.generation + 2

        assert list(kms.changes(start=clock.now())) == [rotated, disabled, refused]
        assert list(kms.changes(end=clock.now())) == [created]
        assert list(kms.changes(after=rotated.generation)) == [disabled, refused]
        other = kms.create_key()
        assert [change.action for change in kms.changes(other)] == ["CreateKey"]
        assert list(kms.changes("00000000-0000-4000-8000-000000000000")) == []
        with pytest.raises(libkms.UnsupportedAlias):
            list(kms.changes("alias/none"))
        with pytest.raises(ValueError):
            list(kms.changes(start=datetime(2026, 1, 1)))

        assert (kms.cut_changes(clock.now()), kms.cut_changes(clock.now())) == (1, 0)
        assert [change.action for change in kms.changes()][-1] == "CutChanges"
    for label, error in (("x" * 256, libkms.LimitExceeded), ("", libkms.InvalidArgument)):
        with pytest.raises(error):
            libkms.open("memory:", root_key=bytes(range(32)), actor=label)


def test_a_long_change_log_is_complete(kms):
    for _ in range(520):
        kms.create_key()
    changes = list(kms.changes())
    assert len(changes) == 520
    assert all(after.previous_mac == before.mac for before, after in zip(changes, changes[1:]))


def test_re_encryption_keeps_the_context_unless_told_otherwise(kms):
    key, other = kms.create_key(), kms.create_key()
    old = kms.encrypt(key.id, b"text", {"tenant": "42"})
    assert kms.inspect(old).has_context
    kms.rotate(key.id)
    assert not kms.inspect(old).is_primary
    moved = kms.reencrypt(old, source_context={"tenant": "42"})
    assert kms.inspect(moved).is_primary
    assert kms.decrypt(moved, {"tenant": "42"}) == b"text"
    bare = kms.reencrypt(old, other.id, {"tenant": "42"}, {})
    assert kms.inspect(bare).key_id == other.id
    assert kms.decrypt(bare) == b"text"
    with pytest.raises(libkms.AuthenticationFailed):
        kms.reencrypt(old)


def test_aliases_and_tags(kms):
    first, second = kms.create_key(), kms.create_key()
    kms.create_alias(first.id, "alias/app")
    blob = kms.encrypt("alias/app", b"text")
    kms.update_alias(second.id, "alias/app")
    assert kms.describe_key("alias/app").id == second.id
    assert kms.decrypt(blob) == b"text"
    kms.delete_alias("alias/app")
    with pytest.raises(libkms.AliasNotFound):
        kms.encrypt("alias/app", b"text")
    kms.tag_resource(first.id, {"team": "payments", "env": "prod"})
    kms.untag_resource(first.id, ["env", "none"])
    assert kms.list_resource_tags(first.id) == {"team": "payments"}
    with pytest.raises(TypeError):
        kms.untag_resource(first.id, "team")


def test_imported_material(kms, kms_clock):
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    key = kms.create_key(origin=Origin.EXTERNAL)
    assert key.state is KeyState.PENDING_IMPORT and key.primary_version_id is None
    parameters = kms.get_parameters_for_import(key.id, Wrapping.OAEP_SHA_256)
    assert parameters.expires == kms_clock.now() + timedelta(days=1)
    oaep = padding.OAEP(padding.MGF1(SHA256()), SHA256(), None)
    wrapped = load_der_public_key(parameters.public_key).encrypt(bytes(range(32)), oaep)
    expires = kms_clock.now() + timedelta(days=30)
    kms.import_key_material(key.id, wrapped, parameters.token, expires)
    assert kms.describe_key(key.id).material_expires == expires
    blob = kms.encrypt(key.id, b"text")
    kms_clock.advance(timedelta(days=31))
    with pytest.raises(libkms.RejectedPendingImport):
        kms.decrypt(blob)
    kms.import_raw_key_material(key.id, bytearray(range(32)))
    assert kms.decrypt(blob) == b"text"
    kms.delete_key_material(key.id)
    with pytest.raises(libkms.RejectedPendingImport):
        kms.decrypt(blob)
    with pytest.raises(ValueError):
        kms.import_raw_key_material(key.id, bytes(range(32)), datetime(2030, 1, 1))


def test_data_keys(kms):
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = kms.create_key()
    made = kms.generate_data_key(key.id, 48, {"a": "b"})
    assert len(made.plaintext) == 48 and kms.decrypt(made.blob, {"a": "b"}) == made.plaintext
    assert "plaintext" not in repr(made) and repr(made.plaintext)[2:-1] not in repr(made), "a repr shows a secret"
    assert len(kms.decrypt(kms.generate_data_key_without_plaintext(key.id))) == 32

    private = rsa.generate_private_key(65537, 2048)
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    oaep = padding.OAEP(padding.MGF1(SHA256()), SHA256(), None)
    exported = kms.generate_and_export_data_key(key.id, public, Wrapping.OAEP_SHA_256)
    assert private.decrypt(exported.exported, oaep) == kms.decrypt(exported.blob)
    again = kms.export_data_key(exported.blob, public, Wrapping.OAEP_SHA_256)
    assert private.decrypt(again, oaep) == kms.decrypt(exported.blob)


def test_batches_give_a_result_or_an_exception_for_each_item(kms):
    key = kms.create_key()
    texts = [b"", b"a", bytearray(b"bc"), memoryview(b"def")]
    blobs = kms.encrypt_batch(key.id, texts, {"t": "1"})
    assert kms.decrypt_batch(blobs, {"t": "1"}) == [bytes(text) for text in texts]
    kms.rotate(key.id)
    mixed = kms.reencrypt_batch([blobs[0], b"no", blobs[2]], None, {"t": "1"})
    assert isinstance(mixed[1], libkms.MalformedCiphertext)
    assert [kms.inspect(blob).is_primary for blob in (mixed[0], mixed[2])] == [True, True]
    each = kms.encrypt_batch(key.id, [b"x", b"y", b"z"], contexts=[{"n": "0"}, None, {"n": "2"}])
    assert kms.decrypt(each[0], {"n": "0"}) + kms.decrypt(each[1]) + kms.decrypt(each[2], {"n": "2"}) == b"xyz"
    wrong = kms.decrypt_batch(each)
    assert [type(item) for item in wrong] == [libkms.AuthenticationFailed, bytes, libkms.AuthenticationFailed]
    assert all(isinstance(item, libkms.KeyNotFound) for item in kms.encrypt_batch("none", [b"x", b"y"]))
    assert kms.encrypt_batch(key.id, []) == []
    with pytest.raises(ValueError):
        kms.encrypt_batch(key.id, [b"x"], contexts=[])
    with pytest.raises(TypeError):
        kms.encrypt_batch(key.id, ["text"])


def test_a_large_batch_lets_the_gil_go_and_gives_the_same(kms):
    key = kms.create_key()
    before = libkms._libkms.release_gil_from(1)
    try:
        blobs = kms.encrypt_batch(key.id, [b"a", b"b"])
        assert kms.decrypt_batch([*blobs, b"?"])[:2] == [b"a", b"b"]
        assert kms.decrypt(kms.encrypt(key.id, b"text")) == b"text"
        room = bytearray(84)
        assert kms.encrypt_into(key.id, b"text", room) == 84
        assert kms.decrypt_into(room, room) == 4 and room[:4] == b"text"
    finally:
        libkms._libkms.release_gil_from(before)


def test_service_keys_and_json(kms):
    key = kms.create_service_key("sessions")
    assert key.service_managed and kms.create_service_key("sessions").id == key.id
    with pytest.raises(libkms.UnsupportedOperation):
        kms.rotate(key.id)
    assert kms.call("DescribeKey", {"KeyId": key.id})["KeyMetadata"]["KeyId"] == key.id
    with pytest.raises(libkms.KeyNotFound) as raised:
        kms.call("DescribeKey", {"KeyId": "none"})
    assert raised.value.response["Code"] == "Forbidden.KeyNotFound"
    with pytest.raises(libkms.UnknownAction):
        kms.call("Nonsense")


def test_health_counts(kms, kms_clock):
    kms.create_key(rotate_every=timedelta(days=1))
    kms_clock.advance(timedelta(days=2))
    assert kms.tick().rotated == 1
    health = kms.health()
    assert health.rotations == 1 and health.no_rotation_thread and not health.thread_stopped
    assert not health.cipher_memory_unprotected, "the package's own OpenSSL has the system's memory functions"
    assert isinstance(health.slow_cpu, bool)


def test_a_closed_keystore_says_so(kms):
    kms.close()
    kms.close()
    assert kms.closed and "closed" in repr(kms)
    for call in (lambda: kms.encrypt("k", b""), kms.health, lambda: list(kms.list_keys())):
        with pytest.raises(libkms.InvalidArgument, match="closed"):
            call()


def test_a_repr_shows_no_password_of_a_database() -> None:
    with libkms.open("memory:", root_key=bytes(range(32))) as kms:
        kms._location = "postgres://ann:secret@db.example/keys#ring"
        assert repr(kms) == "<libkms.Keystore 'postgres://ann@db.example/keys#ring'>"
    with pytest.raises(libkms.Error) as raised:
        libkms.open("postgres://ann:secret@127.0.0.1:1/keys?sslmode=disable", root_key=bytes(range(32)))
    assert "secret" not in str(raised.value) + repr(raised.value)


def test_a_keystore_cannot_be_pickled(kms):
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(kms)


@pytest.mark.parametrize(
    "options, error",
    [
        ({}, libkms.MissingParameter),
        ({"root_key": bytes(range(32)), "root_passphrase": "p"}, libkms.InvalidArgument),
        ({"root_key": bytes(31)}, libkms.InvalidArgument),
        ({"root_passphrase": ""}, libkms.InvalidArgument),
        ({"root_key": "text"}, TypeError),
        ({"root_key": bytes(range(32)), "busy_timeout": timedelta(hours=2)}, ValueError),
        ({"root_key": bytes(range(32)), "cache_keys": 0}, ValueError),
        ({"root_key": bytes(range(32)), "poll_interval": timedelta(milliseconds=9)}, ValueError),
        ({"root_key": bytes(range(32)), "offline_limit": timedelta(days=31)}, ValueError),
        ({"root_key": bytes(range(32)), "offline_limit": timedelta(seconds=1.5)}, ValueError),
        ({"root_key": bytes(range(32)), "require_backup": timedelta(days=31)}, ValueError),
        ({"root_key": bytes(range(32)), "require_backup": timedelta(seconds=1.5)}, ValueError),
        ({"root_key": bytes(range(32)), "require_backup": True}, libkms.InvalidArgument),
        ({"root_key": bytes(range(32)), "clock": lambda: datetime(2026, 1, 1)}, ValueError),
        ({"root_key": bytes(range(32)), "clock": lambda: 5}, TypeError),
    ],
)
def test_open_refuses(options, error):
    with pytest.raises(error):
        libkms.open("memory:", **options)


def test_open_tells_what_is_wrong_with_the_place(tmp_path, place):
    with pytest.raises(FileNotFoundError):
        libkms.open(tmp_path / "none.db", root_key=bytes(range(32)))
    libkms.open(**place).close()
    with pytest.raises(libkms.WrongRootKey):
        libkms.open(place["location"], root_key=bytes(range(32)))
    with libkms.open(place["location"], root_key_file=place["root_key_file"], read_only=True) as kms:
        with pytest.raises(libkms.KeystoreReadOnly):
            kms.create_key()


def test_the_rotation_thread_rotates(place):
    events = []
    with libkms.open(**place, on_event=events.append) as kms:
        key = kms.create_key(rotate_every=timedelta(seconds=1))
        deadline = datetime.now() + timedelta(seconds=60)
        while kms.describe_key(key.id).version_count < 2:
            assert datetime.now() < deadline, "a due key was not rotated"
    assert any(event.kind is EventKind.ROTATED and event.key_id == key.id for event in events)


def test_a_due_rotation_waits_for_a_backup(tmp_path, place):
    clock, events = libkms.testing.ManualClock(), []
    with libkms.open(**place, clock=clock, require_backup=timedelta(days=3), on_event=events.append) as kms:
        key = kms.create_key(rotate_every=timedelta(days=1))
        clock.advance(timedelta(days=1))
        assert kms.tick().rotated == 0
        kms.backup(tmp_path / "one.db")
        assert kms.tick().rotated == 1
        clock.advance(timedelta(days=4))
        assert kms.tick().rotated == 1
        kinds = [event.kind for event in events if event.key_id == key.id]
        assert EventKind.ROTATION_WAITS_FOR_BACKUP in kinds and EventKind.ROTATED_WITHOUT_BACKUP in kinds


def test_an_anchor_refuses_an_older_copy_of_the_keystore(tmp_path, place):
    anchor = tmp_path / "anchor"
    with libkms.open(**place, anchor_file=anchor) as kms:
        kms.create_key()
    old = place["location"].read_bytes()
    with libkms.open(**place, anchor_file=anchor) as kms:
        kms.create_key()
    place["location"].write_bytes(old)
    with pytest.raises(libkms.KeystoreRolledBack):
        libkms.open(**place, anchor_file=anchor)
