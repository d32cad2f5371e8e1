"""What Django must not do with an encrypted field: in a query FieldError, in a model a system check."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from django.core import checks
from django.core.exceptions import FieldError
from django.db.models import Count, F, Index, Subquery, UniqueConstraint
from django.db.models.expressions import Case, Col, ExpressionWrapper, Ref, Value, When
from django.db.models.functions import Cast, Coalesce
from django.db.models.lookups import Exact, IsNull
from django.db.models.sql import Query, UpdateQuery

from ._columns import LOOKUP

if TYPE_CHECKING:
    from .django import EncryptedField


def refuse(field: "EncryptedField", what: str) -> FieldError:
    return FieldError(
        f"{field.place()} is an encrypted field, and {what} means nothing, as equal values differ there; {LOOKUP}"
    )


# Values on their way into a field.


def carries(value: Any, field: "EncryptedField") -> bool:
    """Whether a resolved expression yields a ciphertext of this field, or NULL."""
    match value:
        case Value():
            return bool(value.value is None or _output(value) == field)
        case Col():
            return bool(value.target == field)
        case Case():
            results = [case.result for case in value.cases] + [value.default]
            return all(carries(result, field) for result in results)
        case Coalesce() | ExpressionWrapper():
            return all(carries(source, field) for source in value.get_source_expressions())
        case Cast():
            # What bulk_update makes of its values where the database needs it.
            return bool(_output(value) == field) and carries(value.get_source_expressions()[0], field)
        case Subquery():
            query = value.query
            columns = [*query.select, *query.annotation_select.values()]
            return not query.combinator and len(columns) == 1 and carries(columns[0], field)
    return False


def _output(expression: Any) -> Any:
    return expression._output_field_or_none


def check_expression(value: Any, field: "EncryptedField") -> None:
    if not carries(value, field):
        raise FieldError(
            f"{field.place()} is encrypted, and this expression would be stored as it is: {type(value).__name__}; compute "
            f"the value in the program and pass it itself, or inside an expression as Value(value, output_field=field) "
            f"with the model's own field"
        )


# Questions about ciphertexts.


class OnlyNull(Exact):
    """`field=None`, which Django turns into isnull."""

    def __init__(self, lhs: Any, rhs: Any) -> None:
        if rhs is not None:
            raise refuse(lhs.output_field, "a comparison with it")
        super().__init__(lhs, rhs)


class EncryptedCol(Col):
    """A reference to an encrypted column in a query, which is checked when the first of them is compiled."""

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        if not getattr(compiler, "_libkms_checked", False):
            compiler._libkms_checked = True
            for what, field in _misuses(compiler.query):
                raise refuse(field, what)
        return super().as_sql(compiler, connection)


def _inside(expression: Any, plain: bool = False) -> Iterator["EncryptedField"]:
    """Encrypted fields whose ciphertext the expression computes with; `plain`: whether it may be passed on as it is."""
    if isinstance(expression, EncryptedCol):
        if not plain:
            yield _target(expression)
        return
    if isinstance(expression, (Subquery, Query)) or not hasattr(expression, "get_source_expressions"):
        return
    sources = [source for source in expression.get_source_expressions() if source is not None]
    match expression:
        case When():
            plains = [False, plain]
        case Case() | Coalesce() | ExpressionWrapper() | Ref():
            plains = [plain] * len(sources)
        case IsNull():
            plains = [True]
        case Count():
            plains = [not getattr(expression, "distinct")]
        case _:
            plains = []
    plains += [False] * (len(sources) - len(plains))
    for source, may in zip(sources, plains):
        yield from _inside(source, may)


def _conditions(node: Any) -> Iterator["EncryptedField"]:
    for child in getattr(node, "children", ()):
        yield from _conditions(child) if hasattr(child, "children") else _inside(child)


def _misuses(query: Any) -> Iterator[tuple[str, "EncryptedField"]]:
    for name, expression in query.annotations.items():
        for field in _inside(expression, True):
            yield f"{type(expression).__name__} of it", field
    for field in _conditions(query.where):
        yield "a comparison with it", field
    for item in _ordering(query):
        for field in _named(query, item):
            yield "sorting by it", field
    assignments = getattr(query, "values") if isinstance(query, UpdateQuery) else ()
    for assigned, _, value in assignments:
        if hasattr(value, "resolve_expression"):
            resolved = value.resolve_expression(query.clone(), allow_joins=False, for_save=True)
            for field in _inside(resolved, isinstance(getattr(assigned, "cached_col", None), EncryptedCol)):
                yield f"its ciphertext in {assigned.name}", field
    columns = [*query.select, *query.annotation_select.values()]
    if query.distinct_fields:
        for name in query.distinct_fields:
            for field in _named(query, name):
                yield "DISTINCT of it", field
    elif query.distinct and not query.default_cols:
        for field in _without_key(columns):
            yield "DISTINCT of it", field
    if isinstance(query.group_by, tuple):
        for field in _without_key(query.group_by):
            yield "grouping by it", field


def _ordering(query: Any) -> Iterable[Any]:
    if query.extra_order_by:
        return ()
    found: Iterable[Any] = query.order_by
    if not found and query.default_ordering and query.get_meta():
        found = query.get_meta().ordering or ()
    return found


def _named(query: Any, item: Any) -> Iterator["EncryptedField"]:
    """The encrypted fields behind what order_by and distinct take."""
    if hasattr(item, "resolve_expression"):
        yield from _inside(item.resolve_expression(query.clone(), allow_joins=True, reuse=None))
        return
    name = str(item).lstrip("-+")
    if name in query.annotations:
        yield from _inside(query.annotations[name])
        return
    try:
        field = query.names_to_path(name.split("__"), query.get_meta())[1]
    except FieldError:
        return
    if isinstance(getattr(field, "cached_col", None), EncryptedCol):
        yield field


def _without_key(columns: Iterable[Any]) -> Iterator["EncryptedField"]:
    """Encrypted columns of tables whose primary key isn't among the columns; with it, rows stay apart anyway."""
    columns = [column for column in columns if isinstance(column, Col)]
    keyed = {column.alias for column in columns if column.target.primary_key}
    for column in columns:
        if isinstance(column, EncryptedCol) and column.alias not in keyed:
            yield _target(column)


def _target(column: EncryptedCol) -> Any:
    return column.target


# Models.


def check_field(field: "EncryptedField") -> list[checks.CheckMessage]:
    def error(number: int, what: str) -> checks.CheckMessage:
        return checks.Error(
            f"{what} means nothing for an encrypted field: equal values have different ciphertexts.",
            hint=f"{LOOKUP[0].upper()}{LOOKUP[1:]}.",
            obj=field,
            id=f"fields.E{number}",
        )

    if field.name is None:
        # The output of a GeneratedField, or the base of an array.
        return [
            checks.Error(
                "An encrypted field can't be inside of another field: the database would store it without the keystore.",
                hint="Use an encrypted field of its own, and compute its value in the program.",
                obj=field,
                id="fields.E956",
            )
        ]
    meta = field.model._meta
    found = []
    if field.primary_key:
        found.append(error(952, "primary_key"))
    elif field.unique or any(getattr(field, f"unique_for_{period}") for period in ("date", "month", "year")):
        found.append(error(950, "unique"))
    if getattr(field, "db_index") and not field.primary_key:
        found.append(error(951, "db_index"))
    if any(field.name in names for names in meta.unique_together):
        found.append(error(953, "unique_together"))
    for constraint in meta.constraints:
        names = _names(constraint) if isinstance(constraint, UniqueConstraint) else set()
        # A CheckConstraint has `check` before Django 5.1.
        condition = getattr(constraint, "condition", None) or getattr(constraint, "check", None)
        if field.name in names | set(_compared(condition)):
            found.append(error(953, f"the constraint {constraint.name}"))
    for index in meta.indexes:
        if field.name in _names(index) | set(_compared(index.condition)):
            found.append(error(954, f"the index {index.name}"))
    if any(field.name in _names_in(item) for item in meta.ordering or ()):
        found.append(error(955, "Meta.ordering"))
    latest = [meta.get_latest_by] if isinstance(meta.get_latest_by, str) else meta.get_latest_by or ()
    if any(field.name in _names_in(item) for item in latest):
        found.append(error(955, "Meta.get_latest_by"))
    if getattr(field, "has_db_default", bool)():
        found.append(
            checks.Error(
                "An encrypted field can't have a db_default: the database would store it without the keystore.",
                hint="Use default, with a value or a function.",
                obj=field,
                id="fields.E956",
            )
        )
    return found


def _names(part: Index | UniqueConstraint) -> set[str]:
    names = {name.lstrip("-") for name in part.fields}
    for expression in part.expressions:
        names |= _names_in(expression)
    return names


def _compared(condition: Any) -> Iterator[str]:
    """The fields that a condition asks for more than whether they are NULL."""
    for child in getattr(condition, "children", ()):
        if isinstance(child, tuple):
            name, *lookups = child[0].split("__")
            if lookups != ["isnull"] and not (child[1] is None and lookups in ([], ["exact"])):
                yield name
        else:
            yield from _compared(child)


def _names_in(item: Any) -> set[str]:
    if isinstance(item, str):
        return {item.lstrip("-+")}
    parts = item.flatten() if hasattr(item, "flatten") else [item]
    return {getattr(part, "name") for part in parts if isinstance(part, F)}
