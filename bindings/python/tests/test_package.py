"""The package as it is installed."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import libkms
from libkms import _libkms

FOLDER = Path(libkms.__file__).parent


def test_types_are_shipped():
    assert (FOLDER / "py.typed").exists() and (FOLDER / "_libkms.pyi").exists()


def test_the_version_is_one():
    assert libkms.__version__ == importlib.metadata.version("libkms")


def test_the_module_exports_itself_only():
    out = subprocess.run(["nm", "-D", "--defined-only", _libkms.__file__], capture_output=True, text=True, check=True)
    names = {line.split()[-1] for line in out.stdout.splitlines()}
    assert names == {"PyInit__libkms"}, "the library's C functions must not be exported a second time"


def test_the_module_is_never_unloaded_and_brings_its_openssl():
    out = subprocess.run(["readelf", "-d", _libkms.__file__], capture_output=True, text=True, check=True).stdout
    assert "NODELETE" in out
    assert "SONAME" not in out, "a program that loads libkms.so.0 later would be given this module in its place"
    assert "libcrypto" not in out and "libssl" not in out and "libsqlite" not in out


def test_nothing_optional_is_needed():
    program = "import sys, libkms, libkms.aio, libkms.testing; print({'sqlalchemy', 'django', 'pytest'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
