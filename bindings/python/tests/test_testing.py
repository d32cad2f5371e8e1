"""Time travel for applications, by `libkms.testing`."""

from datetime import datetime, timedelta, timezone

import pytest

import libkms
from libkms.testing import ManualClock


def test_data_survives_ten_years_of_rotations(tmp_path, kms_clock):
    with libkms.open(tmp_path / "keys.db", root_key_file=tmp_path / "root.key", create=True) as kms:
        key = kms.create_key(rotate_every=timedelta(days=90))
        blobs = []
        rotated = kms_clock.travel(
            timedelta(days=3650), step=timedelta(days=30), each=lambda: blobs.append(kms.encrypt(key.id, b"card"))
        )
        assert rotated == 40 and kms.describe_key(key.id).version_count == 41
        assert kms.decrypt_batch(blobs) == [b"card"] * len(blobs) and len(blobs) == 122
        assert len({kms.inspect(blob).version_id for blob in blobs}) == 41
    with libkms.open(tmp_path / "keys.db", root_key_file=tmp_path / "root.key") as kms:
        assert kms.decrypt(blobs[0]) == b"card"


def test_the_fixture_is_there_without_an_import(kms, kms_clock):
    assert kms.create_key().created == kms_clock.now() == datetime(2026, 1, 1, tzinfo=timezone.utc)


def test_a_missed_schedule_is_made_good_once(kms, kms_clock):
    key = kms.create_key(rotate_every=timedelta(days=1))
    kms_clock.advance(timedelta(days=1000))
    kms.encrypt(key.id, b"")
    assert kms.describe_key(key.id).version_count == 2


def test_nothing_rotates_early_when_the_clock_goes_back(kms, kms_clock):
    key = kms.create_key(rotate_every=timedelta(days=1))
    kms_clock.advance(timedelta(days=-100))
    assert kms.tick().rotated == 0
    assert kms.describe_key(key.id).version_count == 1


def test_keystores_under_another_clock_do_not_travel(kms_clock):
    other = ManualClock()
    with libkms.open("memory:", root_key=bytes(range(32)), clock=other) as kms:
        key = kms.create_key(rotate_every=timedelta(days=1))
        assert kms_clock.travel(timedelta(days=10)) == 0
        assert kms.describe_key(key.id).version_count == 1
        assert other.travel(timedelta(days=10)) == 10


def test_naive_times_are_refused():
    with pytest.raises(ValueError):
        ManualClock(datetime(2026, 1, 1))
    with pytest.raises(ValueError):
        ManualClock().travel(timedelta(days=1), step=timedelta(0))
