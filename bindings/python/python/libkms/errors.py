"""The exceptions: one class for each status of the library, all of them `Error`.

Branch on the class; the text says what to do, is meant for people and logs, and never holds plaintext or key bytes.

>>> try:
...     kms.describe_key("alias/nobody")
... except AliasNotFound as error:
...     print(int(error.status), error.code)
202 Forbidden.AliasNotFound
"""

import enum
from typing import Any

from . import _libkms

__all__ = [
    "AliasAlreadyExists",
    "AliasNotFound",
    "AnchorUnavailable",
    "AuthenticationFailed",
    "BatchPartial",
    "BufferTooSmall",
    "DeletionProtected",
    "Error",
    "ExpiredImportToken",
    "FileExists",
    "FileIO",
    "Forked",
    "Internal",
    "InvalidArgument",
    "InvalidImportToken",
    "InvalidKeyMaterial",
    "KeyNotFound",
    "KeyVersionDestroyed",
    "KeyVersionDisabled",
    "KeyVersionNotFound",
    "KeystoreBusy",
    "KeystoreCorrupt",
    "KeystoreIO",
    "KeystoreNotFound",
    "KeystoreReadOnly",
    "KeystoreReplaced",
    "KeystoreRolledBack",
    "KeystoreSecondPath",
    "KeystoreTooNew",
    "LimitExceeded",
    "MalformedCiphertext",
    "MissingParameter",
    "NotAKeystore",
    "OutOfMemory",
    "Poisoned",
    "RandomFailed",
    "RejectedDisabled",
    "RejectedPendingDeletion",
    "RejectedPendingImport",
    "RootKeyUnavailable",
    "RootSlotExists",
    "RootSlotNotFound",
    "StateModifiedFailed",
    "Status",
    "UnknownAction",
    "UnsupportedAlias",
    "UnsupportedOperation",
    "UnsupportedOrigin",
    "WrongRootKey",
]


class Status(enum.IntEnum):
    """Why a call failed: stable numbers, by hundreds: arguments, existence, state, cryptography, keystore, files, internal.

    >>> Status.KEY_NOT_FOUND.code
    'Forbidden.KeyNotFound'
    """

    INVALID_ARGUMENT = 100
    MISSING_PARAMETER = 101
    BUFFER_TOO_SMALL = 102
    UNKNOWN_ACTION = 103
    UNSUPPORTED_ALIAS = 104
    LIMIT_EXCEEDED = 105
    BATCH_PARTIAL = 106
    KEY_NOT_FOUND = 200
    KEY_VERSION_NOT_FOUND = 201
    ALIAS_NOT_FOUND = 202
    ALIAS_ALREADY_EXISTS = 203
    REJECTED_DISABLED = 300
    REJECTED_PENDING_DELETION = 301
    REJECTED_PENDING_IMPORT = 302
    STATE_MODIFIED_FAILED = 303
    UNSUPPORTED_OPERATION = 304
    UNSUPPORTED_ORIGIN = 305
    DELETION_PROTECTED = 306
    KEY_VERSION_DISABLED = 307
    KEY_VERSION_DESTROYED = 308
    MALFORMED_CIPHERTEXT = 400
    AUTHENTICATION_FAILED = 401
    INVALID_KEY_MATERIAL = 402
    INVALID_IMPORT_TOKEN = 403
    EXPIRED_IMPORT_TOKEN = 404
    WRONG_ROOT_KEY = 500
    NOT_A_KEYSTORE = 501
    KEYSTORE_TOO_NEW = 502
    KEYSTORE_CORRUPT = 503
    KEYSTORE_IO = 504
    KEYSTORE_READ_ONLY = 505
    KEYSTORE_BUSY = 506
    KEYSTORE_NOT_FOUND = 507
    KEYSTORE_REPLACED = 508
    ROOT_KEY_UNAVAILABLE = 509
    KEYSTORE_ROLLED_BACK = 510
    ANCHOR_UNAVAILABLE = 511
    KEYSTORE_SECOND_PATH = 512
    ROOT_SLOT_NOT_FOUND = 515
    ROOT_SLOT_EXISTS = 516
    FILE_IO = 600
    FILE_EXISTS = 601
    INTERNAL = 900
    POISONED = 901
    FORKED = 902
    RANDOM_FAILED = 903
    OUT_OF_MEMORY = 904

    @property
    def code(self) -> str:
        """The service's code, or ours in the same style where the service has none."""
        return _CODES[self]


_CODES: dict[int, str] = {number: code for number, _, code in _libkms.statuses()}


class Error(Exception):
    """Any failure of the library. A subclass says which; treat one that you don't know as a failure.

    `status` is a `Status`, or an int that this package doesn't know yet; `code` is the service's code for it.
    """

    status: int
    code: str
    response: dict[str, Any]
    """The service's error body; only after `Keystore.call`."""

    def __init_subclass__(cls, status: Status | None = None) -> None:
        if status is not None:
            cls.status = status
            cls.code = status.code
            _BY_STATUS[status] = cls


_BY_STATUS: dict[int, type[Error]] = {}


class InvalidArgument(Error, ValueError, status=Status.INVALID_ARGUMENT):
    """An argument is out of its range or form, or the keystore is closed."""


class MissingParameter(Error, status=Status.MISSING_PARAMETER):
    """A parameter that the call can't do without is missing."""


class BufferTooSmall(Error, status=Status.BUFFER_TOO_SMALL):
    """The buffer is too small; `size` says how many bytes are needed, and nothing was written."""

    size: int


class UnknownAction(Error, status=Status.UNKNOWN_ACTION):
    """`Keystore.call` knows no action of this name."""


class UnsupportedAlias(Error, status=Status.UNSUPPORTED_ALIAS):
    """The call takes a key id, and an alias was given."""


class LimitExceeded(Error, status=Status.LIMIT_EXCEEDED):
    """Too long a plaintext, context or description, or too many tags."""


class BatchPartial(Error, status=Status.BATCH_PARTIAL):
    """Some records of a batch failed. Not raised here: batches return each record's exception in its place."""


class KeyNotFound(Error, LookupError, status=Status.KEY_NOT_FOUND):
    """There is no key of this id."""


class KeyVersionNotFound(Error, LookupError, status=Status.KEY_VERSION_NOT_FOUND):
    """The key has no version of this id."""


class AliasNotFound(Error, LookupError, status=Status.ALIAS_NOT_FOUND):
    """There is no alias of this name."""


class AliasAlreadyExists(Error, status=Status.ALIAS_ALREADY_EXISTS):
    """There is an alias of this name; `update_alias` moves it."""


class RejectedDisabled(Error, status=Status.REJECTED_DISABLED):
    """The key is Disabled."""


class RejectedPendingDeletion(Error, status=Status.REJECTED_PENDING_DELETION):
    """The key's deletion is pending."""


class RejectedPendingImport(Error, status=Status.REJECTED_PENDING_IMPORT):
    """The key waits for its material, or that has expired."""


class StateModifiedFailed(Error, status=Status.STATE_MODIFIED_FAILED):
    """The key's state doesn't allow this change of state."""


class UnsupportedOperation(Error, status=Status.UNSUPPORTED_OPERATION):
    """Not for this kind of key: imported material and service-managed keys don't rotate."""


class UnsupportedOrigin(Error, status=Status.UNSUPPORTED_ORIGIN):
    """The key's material is the library's own, so it can't be imported."""


class DeletionProtected(Error, status=Status.DELETION_PROTECTED):
    """The key is protected from deletion."""


class KeyVersionDisabled(Error, status=Status.KEY_VERSION_DISABLED):
    """The version that encrypted the ciphertext is disabled: see `Keystore.enable_key_version`."""


class KeyVersionDestroyed(Error, status=Status.KEY_VERSION_DESTROYED):
    """The version that encrypted the ciphertext was destroyed. This is final."""


class MalformedCiphertext(Error, ValueError, status=Status.MALFORMED_CIPHERTEXT):
    """Not a ciphertext of this library, or cut off."""


class AuthenticationFailed(Error, status=Status.AUTHENTICATION_FAILED):
    """The ciphertext was changed, or the context is not the one it was encrypted with."""


class InvalidKeyMaterial(Error, ValueError, status=Status.INVALID_KEY_MATERIAL):
    """The material can't be unwrapped, hasn't 32 bytes, or isn't the one that this key had."""


class InvalidImportToken(Error, ValueError, status=Status.INVALID_IMPORT_TOKEN):
    """The token isn't one that was made for this key."""


class ExpiredImportToken(Error, status=Status.EXPIRED_IMPORT_TOKEN):
    """The token is older than 24 hours."""


class WrongRootKey(Error, status=Status.WRONG_ROOT_KEY):
    """The root key is not the one that the keystore was created with."""


class NotAKeystore(Error, status=Status.NOT_A_KEYSTORE):
    """The file is something else."""


class KeystoreTooNew(Error, status=Status.KEYSTORE_TOO_NEW):
    """A later version of the library made the keystore."""


class KeystoreCorrupt(Error, status=Status.KEYSTORE_CORRUPT):
    """Something in the keystore was changed or damaged; keys that the text does not name still work."""


class KeystoreIO(Error, OSError, status=Status.KEYSTORE_IO):
    """The disk failed. A change may have been made all the same: look before you repeat it."""


class KeystoreReadOnly(Error, status=Status.KEYSTORE_READ_ONLY):
    """The keystore was opened read-only."""


class KeystoreBusy(Error, TimeoutError, status=Status.KEYSTORE_BUSY):
    """Another process held the keystore for longer than the busy timeout."""


class KeystoreNotFound(Error, FileNotFoundError, status=Status.KEYSTORE_NOT_FOUND):
    """There is no keystore at this place; `create=True` makes one."""


class KeystoreReplaced(Error, status=Status.KEYSTORE_REPLACED):
    """Another file stands at the keystore's path now, or none. Nothing was written."""


class RootKeyUnavailable(Error, status=Status.ROOT_KEY_UNAVAILABLE):
    """The root key file is missing, unreadable, open to others, of the wrong size or all zeros, or the callback raised."""


class KeystoreRolledBack(Error, status=Status.KEYSTORE_ROLLED_BACK):
    """An older copy of the whole keystore was put in the place of the one that its anchor knows."""


class KeystoreSecondPath(Error, status=Status.KEYSTORE_SECOND_PATH):
    """The path is a second one to the keystore: another name of its file, or a mount of the file alone."""


class AnchorUnavailable(Error, status=Status.ANCHOR_UNAVAILABLE):
    """The anchor is missing, damaged or of another keystore, or its callback raised. A change may have been made."""


class RootSlotNotFound(Error, status=Status.ROOT_SLOT_NOT_FOUND):
    """The keystore has no root slot of this id."""


class RootSlotExists(Error, status=Status.ROOT_SLOT_EXISTS):
    """This root opens the keystore already. Nothing was changed."""


class FileIO(Error, OSError, status=Status.FILE_IO):
    """A file could not be read or written, or changed while it was read."""


class FileExists(Error, FileExistsError, status=Status.FILE_EXISTS):
    """The target exists, and the call may not replace it."""


class Internal(Error, status=Status.INTERNAL):
    """A bug of the library."""


class Poisoned(Error, status=Status.POISONED):
    """A panic inside the library was stopped; close the keystore."""


class Forked(Error, status=Status.FORKED):
    """A "memory:" keystore doesn't survive a fork."""


class RandomFailed(Error, status=Status.RANDOM_FAILED):
    """The kernel returned no randomness."""


class OutOfMemory(Error, MemoryError, status=Status.OUT_OF_MEMORY):
    """The call needs more memory than the process may have."""


_libkms.know_exceptions(_BY_STATUS, Error)
