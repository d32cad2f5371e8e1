"""Python has everything that include/kms.h declares: a function or a constant without an equivalent fails here."""

import inspect
import re
from pathlib import Path

import pytest

import libkms
import libkms.errors

HEADER = (Path(__file__).parents[3] / "include" / "kms.h").read_text()

# Functions with another name or form in Python; all others are methods of the same name.
ELSEWHERE = {
    "kms_open": "libkms.open",
    "kms_options_new": "libkms.open",
    "kms_options_free": "libkms.open",
    "kms_options_set_busy_timeout_ms": "libkms.open(busy_timeout)",
    "kms_options_set_poll_interval_ms": "libkms.open(poll_interval)",
    "kms_options_set_offline_limit_s": "libkms.open(offline_limit)",
    "kms_options_set_anchor_strict": "libkms.open(anchor_strict)",
    "kms_options_set_accept_rollback": "libkms.open(accept_rollback)",
    "kms_options_set_require_backup": "libkms.open(require_backup)",
    "kms_options_set_event_callback": "libkms.open(on_event)",
    "kms_get_key_description": "libkms.Key.description",
    "kms_list_changes": "libkms.Keystore.changes",
    "kms_version": "libkms.__version__",
    "kms_status_name": "libkms.Status.KEY_NOT_FOUND.name",
    "kms_status_code": "libkms.Status.KEY_NOT_FOUND.code",
    "kms_last_error": "libkms.Error.__str__",
    # The text is a str, the output a new bytes: nothing is measured or freed.
    "kms_string_free": "libkms.Keystore.call",
    "kms_id_size": "libkms.Key.id",
    "kms_max_overhead": "libkms.MAX_OVERHEAD",
    # File objects are read, written and closed as all are; a stream is one that writes, or a call between two of them.
    "kms_file_header_size": "libkms.Keystore.is_encrypted_file",
    "kms_file_start_size": "libkms.Keystore.decrypt_file",
    "kms_open_file_callback": "libkms.Keystore.open_file",
    "kms_file_size": "libkms.Keystore.open_file",
    "kms_file_read": "libkms.Keystore.open_file",
    "kms_file_close": "libkms.Keystore.open_file",
    # Python has a separate class for a survey.
    "kms_begin_survey": "libkms.Survey",
    "kms_survey_add": "libkms.Survey.add",
    "kms_survey_add_batch": "libkms.Survey.update",
    "kms_survey_counts": "libkms.Survey.counts",
    "kms_survey_unreadable": "libkms.Survey",
    "kms_survey_free": "libkms.Survey",
    "kms_encrypt_stream": "libkms.Keystore.open_file(key)",
    "kms_decrypt_stream": "libkms.Keystore.decrypt_file",
    "kms_stream_update": "libkms.Keystore.open_file(key)",
    "kms_stream_finish": "libkms.Keystore.open_file(key)",
    "kms_stream_free": "libkms.Keystore.open_file(key)",
}


def functions() -> set[str]:
    """The names of functions; a type of a callback, `(*kms_..._fn)(`, isn't one."""
    code = re.sub(r"/\*.*?\*/|//[^\n]*", "", HEADER, flags=re.DOTALL)
    return set(re.findall(r"\b(kms_\w+)\(", code))


def equivalent(name: str) -> str:
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    if name.startswith("kms_options_set_"):
        return f"libkms.open({name.removeprefix('kms_options_set_')})"
    return f"libkms.Keystore.{name.removeprefix('kms_')}"


def is_there(place: str) -> bool:
    call, _, parameter = place.rstrip(")").partition("(")
    found = libkms
    for part in call.split(".")[1:]:
        if part in getattr(found, "__dataclass_fields__", ()):
            return True
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    return not parameter or parameter in inspect.signature(found).parameters


def test_the_functions_are_found():
    assert len(functions()) > 60
    assert {"kms_open", "kms_encrypt_batch", "kms_options_set_clock", "kms_string_free"} <= functions()
    assert set(ELSEWHERE) <= functions(), "an entry of the table names a function that is gone"


@pytest.mark.parametrize("name", sorted(functions()))
def test_python_has_what_c_has(name):
    assert is_there(equivalent(name)), f"{name} has no equivalent: {equivalent(name)} isn't there"


def test_a_missing_equivalent_is_noticed():
    assert not is_there("libkms.Keystore.nothing")
    assert not is_there("libkms.open(nothing)")
    assert not is_there(equivalent("kms_options_set_nothing"))


def constants(prefix: str) -> dict[str, int]:
    found = re.findall(rf"^#define KMS_{prefix}_(\w+) (\d+)$", HEADER, flags=re.MULTILINE)
    return {name: int(number) for name, number in found}


@pytest.mark.parametrize(
    "prefix, kind",
    [
        ("ORIGIN", libkms.Origin),
        ("STATE", libkms.KeyState),
        ("ROTATION", libkms.Rotation),
        ("WRAPPING", libkms.Wrapping),
        ("EVENT", libkms.EventKind),
    ],
)
def test_an_enumeration_is_the_headers(prefix, kind):
    statuses = {status.name for status in libkms.Status}
    named = {name: number for name, number in constants(prefix).items() if f"{prefix}_{name}" not in statuses}
    assert named and {member.name: int(member) for member in kind} == named


def test_health_has_each_flag_of_the_header():
    flags = {name.lower() for name in constants("HEALTH")}
    assert len(flags) > 5 and flags <= set(libkms.Health.__dataclass_fields__)


def test_statuses_are_the_headers():
    assert {int(status) for status in libkms.Status} == {
        int(number) for number in re.findall(r"^#define KMS_(?!HEALTH_)\w+ ([1-9]\d\d)$", HEADER, flags=re.MULTILINE)
    } - {libkms.MAX_OVERHEAD}
    assert f"#define KMS_MAX_OVERHEAD {libkms.MAX_OVERHEAD}\n" in HEADER


def test_the_defaults_are_the_headers():
    [keys] = re.findall(r"keeps in memory; at least 1,\s+(?:// )?(\d+)\s", HEADER)
    assert inspect.signature(libkms.open).parameters["cache_keys"].default == int(keys)
    [timeout] = re.findall(r"milliseconds, 0 to 3600000, (\d+) by default", HEADER)
    assert inspect.signature(libkms.open).parameters["busy_timeout"].default.total_seconds() * 1000 == int(timeout)
