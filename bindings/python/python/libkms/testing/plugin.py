"""Fixtures for pytest, which loads this plugin wherever libkms is installed."""

from collections.abc import Iterator

import pytest

import libkms

from . import ManualClock


@pytest.fixture
def kms_clock() -> Iterator[ManualClock]:
    """Return a manual clock at the start of 2026, for every keystore that the test opens without another clock."""
    with ManualClock().used() as clock:
        yield clock


@pytest.fixture
def kms(kms_clock: ManualClock) -> Iterator[libkms.Keystore]:
    """Return a keystore in memory with the clock `kms_clock`."""
    with libkms.open("memory:", root_key=bytes(range(32))) as keystore:
        yield keystore
