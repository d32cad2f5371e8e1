"""What the encrypted columns of SQLAlchemy and Django share: values, keys and contexts on their way in and out."""

from collections.abc import Mapping
from typing import Any

from ._keystore import Keystore
from ._types import Key, KeyName
from .errors import AuthenticationFailed, Error, MalformedCiphertext

LOOKUP = "add a column with an HMAC of the value, and compare or index that one"
"""What to do instead of asking the database about a ciphertext."""


def key_name(key: KeyName) -> str:
    """The name under which a key is used: an id, or "alias/NAME", which may name another key tomorrow."""
    if isinstance(key, Key):
        return key.id
    if not isinstance(key, str):
        raise TypeError(f"key must be a key id, an alias or a Key, not {type(key).__name__}")
    return key


def context_of(context: str | Mapping[str, str] | None) -> dict[str, str] | None:
    """The encryption context of a column; a name stands for {"column": name}."""
    if context is None:
        return None
    if isinstance(context, str):
        return {"column": context}
    return dict(context)


def of_type(value: Any, accepted: type | tuple[type, ...], place: str) -> Any:
    """Refuse a value that would be stored as something else than it is."""
    if isinstance(value, accepted):
        return value
    names = accepted if isinstance(accepted, tuple) else (accepted,)
    expected = " or ".join(kind.__name__ for kind in names)
    raise TypeError(f"{place} stores {expected}, not {type(value).__name__}; convert the value first")


def ciphertext(value: Any, place: str) -> bytes:
    """The bytes that the database returned. A database of dynamic types also stores text or numbers in the column."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    raise MalformedCiphertext(_not_encrypted(place, f"a value of type {type(value).__name__}"))


def decrypt(keystore: Keystore, value: Any, context: Mapping[str, str] | None, place: str) -> bytes:
    """Decrypt a stored value; `place` is the table and column, for the error."""
    blob = ciphertext(value, place)
    try:
        return keystore.decrypt(blob, context)
    except MalformedCiphertext:
        raise MalformedCiphertext(_not_encrypted(place, f"{len(blob)} bytes")) from None
    except AuthenticationFailed as error:
        hint = "after a rename or a change of context, pass the former one as from_context to move_rows"
        raise AuthenticationFailed(f"{place}: {error}; {hint}") from error
    except Error as error:
        raise type(error)(f"{place}: {error}") from error


def _not_encrypted(place: str, found: str) -> str:
    return f"{place} holds {found} where a libkms ciphertext is needed; something wrote to the column without encrypting"
