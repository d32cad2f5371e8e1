"""The examples of the documentation run, and there is one for every call."""

import asyncio
import doctest
import importlib
import inspect
from datetime import datetime, timedelta, timezone

import pytest

import libkms
import libkms.aio
from libkms.testing import ManualClock

MODULES = ["libkms", "libkms._keystore", "libkms._libkms", "libkms._types", "libkms.aio", "libkms.errors",
           "libkms.sqlalchemy", "libkms.testing"]


def examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    for name in MODULES:
        yield from finder.find(importlib.import_module(name), name)


@pytest.mark.parametrize("example", [e for e in examples() if e.examples], ids=lambda example: example.name)
def test_an_example_runs(example, tmp_path):
    with ManualClock().used() as clock, libkms.open("memory:", root_key=bytes(range(32))) as kms:
        key = kms.create_key()
        example.globs.update(vars(libkms))
        example.globs.update(
            libkms=libkms, kms=kms, key=key, now=clock.now(), folder=tmp_path, asyncio=asyncio,
            timedelta=timedelta, datetime=datetime, timezone=timezone, ManualClock=ManualClock,
        )
        if any("external" in part.source for part in example.examples):
            example.globs["external"] = kms.create_key(origin=libkms.Origin.EXTERNAL)
        (tmp_path / "plain").write_bytes(b"Hello, files!")
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        report = []
        runner.run(example, out=report.append)
        assert runner.summarize(verbose=False).failed == 0, "".join(report)


def test_every_call_has_an_example():
    tested = {example.name.rpartition(".")[2] for example in examples() if example.examples}
    calls = {name for name, _ in inspect.getmembers(libkms.Keystore) if not name.startswith("_")} - {"closed"}
    assert calls - tested == set()
    for name in calls:
        assert inspect.getdoc(getattr(libkms.Keystore, name)), name
