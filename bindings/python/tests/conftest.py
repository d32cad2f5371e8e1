"""What the tests share. They run against the installed package, never against the source folder."""

from pathlib import Path

import pytest

import libkms


@pytest.fixture
def place(tmp_path: Path) -> dict:
    """The arguments of an open that finds, or makes, one keystore in a folder."""
    return {"location": tmp_path / "keys.db", "root_key_file": tmp_path / "root.key", "create": True}


@pytest.fixture
def stored(place: dict) -> libkms.Keystore:
    """A keystore on the disk, with its rotation thread."""
    with libkms.open(**place) as keystore:
        yield keystore
