"""What calls return: enumerations and frozen records. No repr shows a secret."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, TypeAlias

from .errors import Status

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECOND = timedelta(milliseconds=1)


def to_millis(time: datetime) -> int:
    """Unix milliseconds of an aware datetime."""
    if not isinstance(time, datetime):
        raise TypeError(f"a datetime is needed, not {type(time).__name__}")
    if time.tzinfo is None or time.utcoffset() is None:
        raise ValueError("a datetime without a time zone; pass an aware one, such as datetime.now(timezone.utc)")
    return (time - EPOCH) // _MILLISECOND


def from_millis(millis: int) -> datetime:
    """An aware datetime in UTC; one beyond what datetime can say is its last."""
    try:
        return EPOCH + millis * _MILLISECOND
    except OverflowError:
        return (datetime.max if millis > 0 else datetime.min).replace(tzinfo=timezone.utc)


def date(millis: int | None) -> datetime | None:
    return None if millis is None else from_millis(millis)


def to_seconds(interval: timedelta, what: str) -> int:
    """Whole seconds of a timedelta."""
    if not isinstance(interval, timedelta):
        raise TypeError(f"{what} is a timedelta, not {type(interval).__name__}")
    if interval.microseconds:
        raise ValueError(f"{what} has whole seconds")
    return interval // timedelta(seconds=1)


class KeyState(enum.IntEnum):
    """The states of a key. Only an Enabled one encrypts and decrypts."""

    ENABLED = 1
    DISABLED = 2
    PENDING_DELETION = 3
    PENDING_IMPORT = 4


class Origin(enum.IntEnum):
    """Where a key's material comes from: made by the library, or imported (BYOK)."""

    KMS = 0
    EXTERNAL = 1


class RootKind(enum.IntEnum):
    """What opens a keystore: a key of 32 bytes (given or from a file), a passphrase, or a callback."""

    KEY = 1
    PASSPHRASE = 2
    CALLBACK = 3


class Rotation(enum.IntEnum):
    """Automatic rotation of a key: off, on, or on but paused because the key isn't Enabled."""

    DISABLED = 0
    ENABLED = 1
    SUSPENDED = 2


class Wrapping(enum.IntEnum):
    """How material or a data key is wrapped with an RSA-2048 public key."""

    PKCS1_V1_5 = 1
    OAEP_SHA_1 = 2
    OAEP_SHA_256 = 3


class EventKind(enum.IntEnum):
    """The kind of an event."""

    ROTATED = 1
    """A key has a new version, which is its primary now."""
    ROTATION_FAILED = 2
    """A due rotation could not be stored; encryption continues under the old primary, and the rotation is tried again."""
    KEY_DESTROYED = 3
    """A key and all its material are gone."""
    DELETION_DUE = 4
    """A key's waiting period is over and its deletion date is reached; it is destroyed when that is confirmed in an hour."""
    CLOCK_SUSPECT = 5
    """A key's newest version was created in the future: a clock is or was wrong."""
    KEY_DAMAGED = 6
    """A key's row in the keystore is damaged or was altered."""
    THREAD_STOPPED = 7
    """The rotation thread has stopped; every further call raises `Poisoned`."""
    MATERIAL_EXPIRED = 8
    """Imported material has expired and was erased; the key waits for it to be imported again."""
    KEYSTORE_REPLACED = 9
    """The keystore's file was replaced or removed, or overwritten with another history of the keystore."""
    VERSION_DELETION_DUE = 10
    """A version's waiting period is over; it is destroyed when that is confirmed in an hour."""
    VERSION_DESTROYED = 11
    """A version's key material is gone: `schedule_key_version_deletion`."""
    ROTATION_WAITS_FOR_BACKUP = 13
    """A due rotation waits until a recorded backup has the key's newest version."""
    ROTATED_WITHOUT_BACKUP = 14
    """A key rotated although no recorded backup has its former version: it had waited as long as `require_backup` lets it."""


@dataclass(frozen=True, slots=True)
class Key:
    """What a key is. Dates are aware, UTC.

    >>> kms.create_key(description="orders").state
    <KeyState.ENABLED: 1>
    """

    id: str
    state: KeyState
    origin: Origin
    description: str
    created: datetime
    rotation: Rotation
    rotate_every: timedelta | None
    """The interval of automatic rotation; None: no policy."""
    primary_version_id: str | None
    """The version that encrypts; None while the key waits for its import."""
    version_count: int
    last_rotation: datetime | None
    """When the newest version was created."""
    next_rotation: datetime | None
    """The last rotation plus the interval; may lie in the past while rotation is suspended."""
    delete_date: datetime | None
    """When the key will be destroyed; only while its deletion is pending."""
    material_expires: datetime | None
    """When imported material is refused and then erased."""
    deletion_protection: str | None
    """Why the key is protected from deletion (perhaps ""); None: it isn't."""
    service_managed: bool

    @classmethod
    def _of(cls, fields: Mapping[str, Any]) -> "Key":
        seconds = fields["rotate_every"]
        return cls(
            id=fields["id"],
            state=KeyState(fields["state"]),
            origin=Origin(fields["origin"]),
            description=fields["description"],
            created=from_millis(fields["created"]),
            rotation=Rotation(fields["rotation"]),
            rotate_every=None if seconds is None else timedelta(seconds=seconds),
            primary_version_id=fields["primary_version_id"],
            version_count=fields["version_count"],
            last_rotation=date(fields["last_rotation"]),
            next_rotation=date(fields["next_rotation"]),
            delete_date=date(fields["delete_date"]),
            material_expires=date(fields["material_expires"]),
            deletion_protection=fields["deletion_protection"],
            service_managed=fields["service_managed"],
        )


KeyName: TypeAlias = str | Key
"""What names a key in an argument: its id, "alias/NAME" where aliases are accepted, or what `describe_key` returned."""


class VersionState(enum.IntEnum):
    """The state of a version. The state of its key comes first."""

    ENABLED = 1
    """The version decrypts; the primary also encrypts."""
    DISABLED = 2
    """The version decrypts nothing until it is enabled again."""
    PENDING_DELETION = 3
    """As Disabled, and it will be destroyed."""
    DESTROYED = 4
    """The key material is gone; the id and the number remain."""


VersionFields: TypeAlias = tuple[str, int, int, bool, int, int | None, int | None, int | None]


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """One version of a key; `number` is 1 for the oldest and never reused."""

    id: str
    number: int
    created: datetime
    is_primary: bool
    state: VersionState | int
    delete_date: datetime | None
    """When the version will be destroyed; only while its deletion is pending."""
    last_encrypt_date: datetime | None
    """The start of the day on which the version was last used to encrypt; None if no use was recorded.

    The rotation thread or `tick` writes this date. A read-only keystore records no use."""
    last_decrypt_date: datetime | None
    """The start of the day on which the version was last used to decrypt; None if no use was recorded."""

    @classmethod
    def _of(cls, fields: VersionFields) -> "KeyVersion":
        version_id, number, created, is_primary, state, delete_date, last_encrypt, last_decrypt = fields
        return cls(
            version_id,
            number,
            from_millis(created),
            is_primary,
            VersionState(state) if state in VersionState._value2member_map_ else state,
            date(delete_date),
            date(last_encrypt),
            date(last_decrypt),
        )


@dataclass(frozen=True, slots=True)
class Alias:
    """Another name of a key."""

    name: str
    key_id: str


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """What a ciphertext says about itself; nothing of it is authenticated."""

    algorithm: int
    """1: XAES-256-GCM."""
    has_context: bool
    key_id: str
    version_id: str
    is_primary: bool
    """Whether the version is the primary of `key_id` now; if not, `reencrypt` moves it there. An alias may name another key by
    now: compare `key_id` with `describe_key(alias).id`."""


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What the header of an encrypted file says; nothing of it is authenticated."""

    key_id: str
    version_id: str
    is_primary: bool
    """Whether the version is the primary of `key_id` now; if not, `reencrypt_file` moves the file there."""
    file_id: bytes
    """16 random bytes, which re-encryption keeps."""
    sequence: int
    """How often the header was written: 1 after encryption, one more after each re-encryption."""
    plaintext_len: int


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key: use `plaintext`, then forget it; store `blob` beside your data. The repr doesn't show the plaintext."""

    plaintext: bytes = field(repr=False)
    blob: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ExportedDataKey:
    """A data key encrypted under a key (`blob`) and wrapped with a public key (`exported`, 256 bytes)."""

    blob: bytes = field(repr=False)
    exported: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ImportParameters:
    """What an import needs: wrap the 32 bytes with `public_key` (RSA-2048, a SubjectPublicKeyInfo in DER), and pass the
    token back with them, until `expires`."""

    public_key: bytes = field(repr=False)
    token: bytes = field(repr=False)
    expires: datetime


@dataclass(frozen=True, slots=True)
class TickReport:
    """What one pass of the clock did: keys rotated, destroyed, those whose rows could not be read, versions destroyed."""

    rotated: int
    destroyed: int
    damaged: int
    versions_destroyed: int


@dataclass(frozen=True, slots=True)
class Health:
    """A keystore's condition: flags that weaken a promise, and counts of this handle since it was opened."""

    memory_not_locked: bool
    """Key bytes may be swapped out: raise RLIMIT_MEMLOCK."""
    polling: bool
    """Other processes' changes are seen within 100 ms instead of at the next call."""
    rotation_failing: bool
    """The rotation thread's last pass failed; it tries again."""
    thread_stopped: bool
    """The rotation thread died of a bug; every other call raises `Poisoned`."""
    read_only: bool
    """The keystore was opened read-only: nothing rotates."""
    no_rotation_thread: bool
    """No thread rotates: call `tick`."""
    cipher_memory_unprotected: bool
    """Cipher contexts, which hold keys, may be swapped out or dumped: OpenSSL is the system's."""
    slow_cpu: bool
    """The CPU has no quick instructions for AES-GCM or for random numbers."""
    keystore_replaced: bool
    """The path names another file or nothing: nothing is changed or encrypted until the keystore is back."""
    path_unverified: bool
    """The keystore may have a second path, through which a crash would damage it: its file has several names."""
    thread_not_started: bool
    """No thread could be started: calls rotate the overdue keys that they use, and it is tried again every 5 s."""
    thread_stalled: bool
    """A clock, a disk or another process holds up the rotation thread."""
    rotations: int
    rotation_failures: int
    keys_destroyed: int
    versions_destroyed: int
    """Versions destroyed by a deletion of their own."""
    events_dropped: int
    """Events that `on_event` missed, because it was too slow."""
    keys_cached: int
    generation: int
    """Grows by one with every change of the keystore, by any process."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that `verify` found wrong with the keystore."""

    key_id: str | None
    """None where it is about no single key."""
    status: Status | int
    """What use of it fails with."""
    text: str
    """For people and logs."""

    @classmethod
    def _of(cls, fields: tuple[str | None, int, str]) -> "Fault":
        key_id, status, text = fields
        return cls(key_id, Status(status) if status in Status._value2member_map_ else status, text)


@dataclass(frozen=True, slots=True)
class RootSlot:
    """One root that opens the keystore."""

    id: str
    kind: RootKind | int
    created: datetime | None
    """None if keystore format 1 made the slot."""
    label: str | None
    opened_this_handle: bool

    @classmethod
    def _of(cls, fields: tuple[str, int, int | None, str | None, bool]) -> "RootSlot":
        slot_id, kind, created, label, opened = fields
        known = RootKind(kind) if kind in RootKind._value2member_map_ else kind
        return cls(slot_id, known, date(created), label, opened)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who made a change."""

    process_id: int
    user_id: int
    """The real user of the process."""
    program: str
    """The file name of the program, such as "python3.13"; empty where the kernel does not show it."""
    label: str | None
    """What `libkms.open(actor=...)` set."""


@dataclass(frozen=True, slots=True)
class LoggedChange:
    """An entry of the change log: one change of the keystore, or one management call that was refused."""

    generation: int
    """The generation that the entry made. The next entry has the next one."""
    id: str
    time: datetime
    since_boot: timedelta
    """Since the machine started, time asleep included."""
    actor: Actor
    action: str
    """The name of the action, as docs/actions.md has it, or by the clock, such as "RotateKeyAuto"."""
    key_id: str | None
    """The key, for an entry about one key."""
    version_id: str | None
    """The version, for an entry about one version."""
    count: int
    """How many keys the change concerned; for "CutChanges", how many entries it removed."""
    status: Status | int | None
    """None for a change; for a refused call what it failed with."""
    refusals_omitted: int
    """Refused calls of the same handle before this entry that have no entry of their own."""
    waited: timedelta
    """How long a destroyed key or version waited for its destruction, as the library counted; else zero."""
    mac: bytes
    """The keyed hash of this entry and of `previous_mac`."""
    previous_mac: bytes
    """The `mac` of the entry before."""

    @classmethod
    def _of(cls, fields: Mapping[str, Any]) -> "LoggedChange":
        status = fields["status"]
        return cls(
            generation=fields["generation"],
            id=fields["id"],
            time=from_millis(fields["time_ms"]),
            since_boot=timedelta(milliseconds=fields["boot_ms"]),
            actor=Actor(*fields["actor"]),
            action=fields["action"],
            key_id=fields["key_id"],
            version_id=fields["version_id"],
            count=fields["count"],
            status=None if status == 0 else Status(status) if status in Status._value2member_map_ else status,
            refusals_omitted=fields["refusals_omitted"],
            waited=timedelta(milliseconds=fields["waited_ms"] or 0),
            mac=fields["mac"],
            previous_mac=fields["previous_mac"],
        )


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to the keys, whether the clock did it or a call."""

    kind: EventKind | int
    status: Status | int | None
    """Why, for the kinds that are failures."""
    key_id: str | None
    version_id: str | None
    time: datetime
    waited: timedelta = timedelta(0)
    """How long a destroyed key or version waited for its destruction, as the library counted; else zero."""

    @classmethod
    def _of(
        cls, kind: int, status: int | None, key_id: str | None, version_id: str | None, millis: int, waited_ms: int
    ) -> "Event":
        known_kind = EventKind(kind) if kind in EventKind._value2member_map_ else kind
        known_status = Status(status) if status is not None and status in Status._value2member_map_ else status
        waited = timedelta(milliseconds=waited_ms)
        return cls(known_kind, known_status, key_id, version_id, from_millis(millis), waited)
