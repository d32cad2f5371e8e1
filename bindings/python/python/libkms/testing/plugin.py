"""The pytest plugin: fixtures of libkms. It is loaded by itself where libkms is installed."""

from collections.abc import Iterator

import pytest

import libkms

from . import ManualClock


@pytest.fixture
def kms_clock() -> Iterator[ManualClock]:
    """A manual clock at the start of 2026, which every keystore follows that the test opens without another."""
    with ManualClock().used() as clock:
        yield clock


@pytest.fixture
def kms(kms_clock: ManualClock) -> Iterator[libkms.Keystore]:
    """A keystore in memory, under `kms_clock`."""
    with libkms.open("memory:", root_key=bytes(range(32))) as keystore:
        yield keystore
