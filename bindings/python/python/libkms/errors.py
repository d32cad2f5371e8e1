"""Exceptions: one subclass of `Error` for each status of the library.

Branch on the class. The text is for people and logs, names the next step, and never contains plaintext or key bytes.

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
    "KeystoreUnavailable",
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
    """The numeric status of a failed call. The numbers are stable.

    The hundreds group them: 1 arguments, 2 existence, 3 state, 4 cryptography, 5 keystore, 6 files, 9 internal.

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
    KEYSTORE_UNAVAILABLE = 517
    FILE_IO = 600
    FILE_EXISTS = 601
    INTERNAL = 900
    POISONED = 901
    FORKED = 902
    RANDOM_FAILED = 903
    OUT_OF_MEMORY = 904

    @property
    def code(self) -> str:
        """The error code of the service (Alibaba Cloud KMS), or one in its style where the service has none."""
        return _CODES[self]


_CODES: dict[int, str] = {number: code for number, _, code in _libkms.statuses()}


class Error(Exception):
    """Any failure of the library; there is one subclass for each status.

    `status` is a `Status`, or an int if this package does not know the status. `code` is the error code of the service
    (Alibaba Cloud KMS).
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
    """A required parameter is missing."""


class BufferTooSmall(Error, status=Status.BUFFER_TOO_SMALL):
    """The buffer is too small, and nothing was written; `size` is the number of bytes that the call needs."""

    size: int


class UnknownAction(Error, status=Status.UNKNOWN_ACTION):
    """`Keystore.call` knows no action of this name."""


class UnsupportedAlias(Error, status=Status.UNSUPPORTED_ALIAS):
    """The call accepts a key id only, not an alias."""


class LimitExceeded(Error, status=Status.LIMIT_EXCEEDED):
    """A plaintext, context or description is too long, or the key would have too many tags."""


class BatchPartial(Error, status=Status.BATCH_PARTIAL):
    """Some records of a batch failed. Python never raises this: a batch returns the exception of each record in its place."""


class KeyNotFound(Error, LookupError, status=Status.KEY_NOT_FOUND):
    """No key has this id."""


class KeyVersionNotFound(Error, LookupError, status=Status.KEY_VERSION_NOT_FOUND):
    """The key has no version of this id."""


class AliasNotFound(Error, LookupError, status=Status.ALIAS_NOT_FOUND):
    """No alias has this name."""


class AliasAlreadyExists(Error, status=Status.ALIAS_ALREADY_EXISTS):
    """An alias of this name exists already; `update_alias` moves it to another key."""


class RejectedDisabled(Error, status=Status.REJECTED_DISABLED):
    """The key is Disabled."""


class RejectedPendingDeletion(Error, status=Status.REJECTED_PENDING_DELETION):
    """The key's deletion is pending."""


class RejectedPendingImport(Error, status=Status.REJECTED_PENDING_IMPORT):
    """The key waits for its material, or the material has expired."""


class StateModifiedFailed(Error, status=Status.STATE_MODIFIED_FAILED):
    """The present state of the key does not allow this change of state."""


class UnsupportedOperation(Error, status=Status.UNSUPPORTED_OPERATION):
    """The operation does not apply to this kind of key: keys with imported material and service-managed keys do not rotate."""


class UnsupportedOrigin(Error, status=Status.UNSUPPORTED_ORIGIN):
    """The library generated the material of this key, so the key accepts no import."""


class DeletionProtected(Error, status=Status.DELETION_PROTECTED):
    """The key is protected from deletion."""


class KeyVersionDisabled(Error, status=Status.KEY_VERSION_DISABLED):
    """The version that encrypted the ciphertext is Disabled or PendingDeletion; see `Keystore.enable_key_version`."""


class KeyVersionDestroyed(Error, status=Status.KEY_VERSION_DESTROYED):
    """The version that encrypted the ciphertext was destroyed. This is final."""


class MalformedCiphertext(Error, ValueError, status=Status.MALFORMED_CIPHERTEXT):
    """The bytes are not a ciphertext of this library, or they are cut off."""


class AuthenticationFailed(Error, status=Status.AUTHENTICATION_FAILED):
    """The ciphertext was modified, or the context is not the one that it was encrypted with."""


class InvalidKeyMaterial(Error, ValueError, status=Status.INVALID_KEY_MATERIAL):
    """The material cannot be unwrapped, does not have 32 bytes, or differs from the material of the first import."""


class InvalidImportToken(Error, ValueError, status=Status.INVALID_IMPORT_TOKEN):
    """The import token is not one for this key."""


class ExpiredImportToken(Error, status=Status.EXPIRED_IMPORT_TOKEN):
    """The import token is older than 24 hours."""


class WrongRootKey(Error, status=Status.WRONG_ROOT_KEY):
    """The root key opens no root slot of the keystore, or the keystore was altered."""


class NotAKeystore(Error, status=Status.NOT_A_KEYSTORE):
    """The file is not a keystore."""


class KeystoreTooNew(Error, status=Status.KEYSTORE_TOO_NEW):
    """A later version of the library made the keystore."""


class KeystoreCorrupt(Error, status=Status.KEYSTORE_CORRUPT):
    """A part of the keystore was altered or damaged; keys that the text does not name still work."""


class KeystoreIO(Error, OSError, status=Status.KEYSTORE_IO):
    """The disk failed. The change may have been made: read the keystore before you repeat the call."""


class KeystoreReadOnly(Error, status=Status.KEYSTORE_READ_ONLY):
    """The keystore was opened read-only."""


class KeystoreBusy(Error, TimeoutError, status=Status.KEYSTORE_BUSY):
    """Another process held the keystore for longer than the busy timeout."""


class KeystoreNotFound(Error, FileNotFoundError, status=Status.KEYSTORE_NOT_FOUND):
    """No keystore is at this path; `create=True` creates one."""


class KeystoreReplaced(Error, status=Status.KEYSTORE_REPLACED):
    """The keystore's path now names another file or none. Nothing was written."""


class RootKeyUnavailable(Error, status=Status.ROOT_KEY_UNAVAILABLE):
    """The root key file is missing, unreadable, open to others, of the wrong size or all zeros, or the callback raised."""


class KeystoreRolledBack(Error, status=Status.KEYSTORE_ROLLED_BACK):
    """The keystore is older than its anchor: an older copy of the whole keystore replaced it."""


class KeystoreSecondPath(Error, status=Status.KEYSTORE_SECOND_PATH):
    """The path is a second path of the keystore: another name of its file, or a mount of the file alone."""


class AnchorUnavailable(Error, status=Status.ANCHOR_UNAVAILABLE):
    """The anchor is missing, damaged or of another keystore, or its callback raised. The change may have been made."""


class RootSlotNotFound(Error, status=Status.ROOT_SLOT_NOT_FOUND):
    """No root slot of the keystore has this id."""


class RootSlotExists(Error, status=Status.ROOT_SLOT_EXISTS):
    """This root key opens the keystore already. Nothing was changed."""


class KeystoreUnavailable(Error, ConnectionError, status=Status.KEYSTORE_UNAVAILABLE):
    """The database cannot be reached or did not answer in time. The change may have been made: read the keystore first."""


class FileIO(Error, OSError, status=Status.FILE_IO):
    """The library could not read or write a file, or the file changed while the library read it."""


class FileExists(Error, FileExistsError, status=Status.FILE_EXISTS):
    """The target exists, and the call was not asked to replace it."""


class Internal(Error, status=Status.INTERNAL):
    """A bug of the library."""


class Poisoned(Error, status=Status.POISONED):
    """The library caught an internal panic earlier; close the keystore."""


class Forked(Error, status=Status.FORKED):
    """A forked child used a "memory:" keystore, or an encrypted file object that its parent writes."""


class RandomFailed(Error, status=Status.RANDOM_FAILED):
    """The kernel returned no random bytes."""


class OutOfMemory(Error, MemoryError, status=Status.OUT_OF_MEMORY):
    """The call needs more memory than the process may have."""


_libkms.know_exceptions(_BY_STATUS, Error)
