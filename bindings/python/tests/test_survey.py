"""Surveys: counts by key and version, and the versions that nothing needs."""

import os

import libkms


def numbers(survey: libkms.Survey, key_id: str) -> list[tuple[int, int]]:
    return [(found.version.number, found.count) for found in survey.counts() if found.key_id == key_id]


def test_every_version_of_the_keys_that_occur_is_counted():
    with libkms.open("memory:", root_key=bytes(range(32))) as kms:
        key, other, absent = (kms.create_key() for _ in range(3))
        blobs = [kms.encrypt(key.id, b"x", context={"a": "b"}), kms.encrypt(key.id, b"x")]
        kms.rotate(key.id)
        kms.rotate(key.id)
        blobs += [kms.encrypt(key.id, bytearray(5)), memoryview(kms.encrypt(other.id, b"")), *blobs]
        survey = libkms.Survey(kms)
        survey.update(blobs)
        assert numbers(survey, key.id) == [(3, 1), (2, 0), (1, 4)]
        assert numbers(survey, other.id) == [(1, 1)]
        assert {found.key_id for found in survey.counts()} == {key.id, other.id} and absent
        assert survey.unreadable == 0


def test_what_cannot_be_read_is_counted_apart():
    with libkms.open("memory:", root_key=bytes(range(32))) as kms:
        key = kms.create_key()
        blob = kms.encrypt(key.id, b"x")
        survey = libkms.Survey(kms)
        survey.add(blob)
        for bad in (b"", b"no blob", blob[:79], b"\0" + blob[1:], blob[:8] + bytes(16) + blob[24:]):
            survey.add(bad)
        survey.add(blob)
        assert survey.unreadable == 5
        assert numbers(survey, key.id) == [(1, 2)]


def test_a_survey_of_the_parent_is_not_for_a_child(tmp_path):
    with libkms.open(tmp_path / "keys.db", root_key=bytes(range(32)), create=True) as kms:
        blob = kms.encrypt(kms.create_key().id, b"x")
        survey = libkms.Survey(kms)
        survey.add(blob)
        child = os.fork()
        if child == 0:
            refused = 0
            for call in (lambda: survey.add(blob), survey.counts):
                try:
                    call()
                except libkms.Forked:
                    refused += 1
            own = libkms.Survey(kms)
            own.add(blob)
            os._exit(0 if refused == 2 and len(own.counts()) == 1 else 1)
        assert os.waitpid(child, 0)[1] == 0
        survey.add(blob)
        assert [found.count for found in survey.counts()] == [2]
