"""An embedded key management service: no server, no network, one file.

A program opens a keystore, creates customer master keys and encrypts under them. The library rotates each key on its
schedule: it creates a new version, which encrypts from then on. Old ciphertexts stay readable.

>>> with libkms.open(folder / "keys.db", root_key_file=folder / "root.key", create=True) as kms:
...     key = kms.create_key(description="orders", rotate_every=timedelta(days=90))
...     blob = kms.encrypt(key.id, b"4111 1111", context={"tenant": "42"})
...     version_id = kms.rotate(key.id)
...     kms.decrypt(blob, context={"tenant": "42"})
b'4111 1111'

`libkms.aio` has the same calls for asyncio, and `libkms.testing` has a manual clock for tests. `libkms.sqlalchemy` and
`libkms.django` have encrypted columns.
"""

try:
    from . import _libkms
except ImportError as _refusal:
    if "subinterpreter" in str(_refusal):
        raise ImportError(
            "libkms works in the main interpreter only, because its module keeps objects of one interpreter; "
            "use processes or threads"
        ) from _refusal
    raise

from ._keystore import AnchorCallback, Keystore, RootCallback, open
from ._survey import Survey, SurveyCount
from ._libkms import __version__
from ._types import (
    Actor,
    Alias,
    BlobInfo,
    DataKey,
    Event,
    EventKind,
    ExportedDataKey,
    Fault,
    FileInfo,
    Health,
    ImportParameters,
    Key,
    KeyState,
    KeyVersion,
    LoggedChange,
    Origin,
    RootKind,
    RootSlot,
    Rotation,
    TickReport,
    VersionState,
    Wrapping,
)
from .errors import (
    AliasAlreadyExists,
    AliasNotFound,
    AnchorUnavailable,
    AuthenticationFailed,
    BatchPartial,
    BufferTooSmall,
    DeletionProtected,
    Error,
    ExpiredImportToken,
    FileExists,
    FileIO,
    Forked,
    Internal,
    InvalidArgument,
    InvalidImportToken,
    InvalidKeyMaterial,
    KeyNotFound,
    KeyVersionDestroyed,
    KeyVersionDisabled,
    KeyVersionNotFound,
    KeystoreBusy,
    KeystoreCorrupt,
    KeystoreIO,
    KeystoreNotFound,
    KeystoreReadOnly,
    KeystoreReplaced,
    KeystoreRolledBack,
    KeystoreSecondPath,
    KeystoreTooNew,
    KeystoreUnavailable,
    LimitExceeded,
    MalformedCiphertext,
    MissingParameter,
    NotAKeystore,
    OutOfMemory,
    Poisoned,
    RandomFailed,
    RejectedDisabled,
    RejectedPendingDeletion,
    RejectedPendingImport,
    RootKeyUnavailable,
    RootSlotExists,
    RootSlotNotFound,
    StateModifiedFailed,
    Status,
    UnknownAction,
    UnsupportedAlias,
    UnsupportedOperation,
    UnsupportedOrigin,
    WrongRootKey,
)

__all__ = [
    "Actor",
    "Alias",
    "AliasAlreadyExists",
    "AliasNotFound",
    "AnchorCallback",
    "AnchorUnavailable",
    "AuthenticationFailed",
    "BlobInfo",
    "BatchPartial",
    "BufferTooSmall",
    "DataKey",
    "DeletionProtected",
    "Error",
    "Event",
    "EventKind",
    "ExpiredImportToken",
    "ExportedDataKey",
    "Fault",
    "FileExists",
    "FileIO",
    "FileInfo",
    "Forked",
    "Health",
    "ImportParameters",
    "Internal",
    "InvalidArgument",
    "InvalidImportToken",
    "InvalidKeyMaterial",
    "Key",
    "KeyNotFound",
    "KeyState",
    "KeyVersion",
    "KeyVersionDestroyed",
    "KeyVersionDisabled",
    "KeyVersionNotFound",
    "Keystore",
    "KeystoreBusy",
    "KeystoreCorrupt",
    "KeystoreIO",
    "KeystoreNotFound",
    "KeystoreReadOnly",
    "KeystoreReplaced",
    "KeystoreRolledBack",
    "KeystoreSecondPath",
    "KeystoreTooNew",
    "KeystoreUnavailable",
    "LimitExceeded",
    "LoggedChange",
    "MAX_OVERHEAD",
    "MalformedCiphertext",
    "MissingParameter",
    "NotAKeystore",
    "Origin",
    "OutOfMemory",
    "Poisoned",
    "RandomFailed",
    "RejectedDisabled",
    "RejectedPendingDeletion",
    "RejectedPendingImport",
    "RootCallback",
    "RootKeyUnavailable",
    "RootKind",
    "RootSlot",
    "RootSlotExists",
    "RootSlotNotFound",
    "Rotation",
    "StateModifiedFailed",
    "Status",
    "Survey",
    "SurveyCount",
    "TickReport",
    "UnknownAction",
    "UnsupportedAlias",
    "UnsupportedOperation",
    "UnsupportedOrigin",
    "VersionState",
    "Wrapping",
    "WrongRootKey",
    "__version__",
    "open",
]

MAX_OVERHEAD = 112
"""The most bytes by which a ciphertext is longer than its plaintext, in any version of the library; 80 in this one."""
