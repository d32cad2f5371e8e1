"""Refuse what Django must not do with an encrypted field: FieldError for a query, system checks for a model."""

import functools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from django.core import checks
from django.core.exceptions import FieldError
from django.db.models import Count, F, Index, Subquery, UniqueConstraint
from django.db.models.expressions import Case, Col, Exists, ExpressionWrapper, Ref, Value, When
from django.db.models.functions import Cast, Coalesce
from django.db.models.lookups import Exact, IsNull
from django.db.models.sql import Query, UpdateQuery
from django.db.models.sql.compiler import SQLCompiler
from django.db.models.sql.subqueries import InsertQuery

from ._columns import LOOKUP

if TYPE_CHECKING:
    from .django import EncryptedField


def refuse(field: "EncryptedField", what: str) -> FieldError:
    return FieldError(
        f"{field.place()} is an encrypted field, and {what} means nothing, as equal values differ there; {LOOKUP}"
    )


# Values on their way into a field.


def carries(value: Any, field: "EncryptedField") -> bool:
    """Return whether a resolved expression yields a ciphertext of this field, or NULL."""
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
            selects = _columns(value.query)
            return len(selects) == 1 and len(selects[0]) == 1 and carries(selects[0][0], field)
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
    """Accept only the lookup `field=None`, which Django turns into isnull."""

    def __init__(self, lhs: Any, rhs: Any) -> None:
        if rhs is not None:
            raise refuse(lhs.output_field, "a comparison with it")
        super().__init__(lhs, rhs)


class EncryptedCol(Col):
    """A reference to an encrypted column; compiling the first one in a query checks the whole query."""

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        if not getattr(compiler, "_libkms_checked", False):
            compiler._libkms_checked = True
            _check_query(compiler.query)
        return super().as_sql(compiler, connection)


def _check_query(query: Any) -> None:
    for what, field in _misuses(query):
        raise refuse(field, what)


def install() -> None:
    """Install the checks for queries that use an encrypted column only in a part, which has another compiler.

    The compilers of all databases are subclasses."""
    original = SQLCompiler.__init__

    @functools.wraps(original)
    def checked(self: SQLCompiler, query: Any, *args: Any, **kwargs: Any) -> None:
        original(self, query, *args, **kwargs)
        if isinstance(query, Query) and (
            query.combinator or query.extra_order_by or any(map(_has_subquery, _expressions(query)))
        ):
            _check_query(query)

    SQLCompiler.__init__ = checked  # type: ignore[method-assign]


def _expressions(query: Any) -> Iterator[Any]:
    yield from query.annotations.values()
    yield query.where
    yield from query.order_by
    for _, value in _assigned(query):
        yield value


def _has_subquery(expression: Any) -> bool:
    if isinstance(expression, (Subquery, Query)):
        return True
    parts = getattr(expression, "children", None)
    if parts is None and hasattr(expression, "get_source_expressions"):
        parts = expression.get_source_expressions()
    return any(map(_has_subquery, parts or ()))


def _columns(query: Any) -> list[list[Any]]:
    """Return the columns of a query, or of each part of a combined one; none if it selects all fields of its model."""
    if not query.combinator:
        return [[*query.select, *query.annotation_select.values()]]
    found = []
    for part in query.combined_queries:
        # As the compiler does; `selected` came with Django 5.2.
        name = "selected" if hasattr(query, "selected") else "values_select"
        if getattr(query, name) and not getattr(part, name):
            part = part.clone()
            part.set_values(getattr(query, name))
        found += _columns(part)
    return found


def _inside(expression: Any, plain: bool = False) -> Iterator["EncryptedField"]:
    """Yield the encrypted fields that the expression computes with; `plain`: whether it may return them unchanged."""
    if isinstance(expression, EncryptedCol):
        if not plain:
            yield _target(expression)
        return
    if isinstance(expression, (Subquery, Query)):
        query = expression.query if isinstance(expression, Subquery) else expression
        if not plain and not isinstance(expression, Exists):
            for column in (column for columns in _columns(query) for column in columns):
                yield from _inside(column)
        return
    if not hasattr(expression, "get_source_expressions"):
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
    for assigned, value in _assigned(query):
        resolved = value
        if isinstance(query, UpdateQuery):
            resolved = value.resolve_expression(query.clone(), allow_joins=False, for_save=True)
        for field in _inside(resolved, isinstance(getattr(assigned, "cached_col", None), EncryptedCol)):
            yield f"its ciphertext in {assigned.name}", field
    if query.combinator and not query.combinator_all:
        for part in _columns(query):
            for field in _without_key(part):
                yield f"{query.combinator.upper()}{' without ALL' * (query.combinator == 'union')} of it", field
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


def _assigned(query: Any) -> Iterator[tuple[Any, Any]]:
    """Return the fields and expressions that an UPDATE or INSERT assigns."""
    pairs: Iterable[tuple[Any, Any]] = ()
    if isinstance(query, UpdateQuery):
        pairs = ((field, value) for field, _, value in getattr(query, "values"))
    elif isinstance(query, InsertQuery):
        pairs = ((field, vars(row).get(field.attname)) for row in getattr(query, "objs") for field in query.fields)
    return ((field, value) for field, value in pairs if hasattr(value, "resolve_expression"))


def _ordering(query: Any) -> Iterable[Any]:
    if query.extra_order_by:
        return query.extra_order_by  # type: ignore[no-any-return]
    found: Iterable[Any] = query.order_by
    if not found and query.default_ordering and query.get_meta():
        found = query.get_meta().ordering or ()
    return found


def _named(query: Any, item: Any) -> Iterator["EncryptedField"]:
    """Yield the encrypted fields that an argument of order_by or distinct means."""
    if hasattr(item, "resolve_expression"):
        yield from _inside(item.resolve_expression(query.clone(), allow_joins=True, reuse=None))
        return
    name = str(item).lstrip("-+")
    if name in query.annotations:
        yield from _inside(query.annotations[name])
        return
    table, _, column = name.rpartition(".")
    if table:
        # Of extra(order_by=...), with the names of the database.
        named = (getattr(field, "cached_col", None) for field in query.get_meta().concrete_fields)
        yield from (_target(col) for col in named if isinstance(col, EncryptedCol) and col.target.column == column.strip('`"'))
        return
    if name in query.extra:
        return
    try:
        field = query.names_to_path(name.split("__"), query.get_meta())[1]
    except FieldError:
        return
    if isinstance(getattr(field, "cached_col", None), EncryptedCol):
        yield field


def _without_key(columns: Iterable[Any]) -> Iterator["EncryptedField"]:
    """Yield the encrypted columns whose table's primary key is not among the columns; with it, the rows stay apart."""
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
    default = field.get_prep_value(field.default) if field.has_default() else None
    if not (default is None or callable(default) or isinstance(default, field.accepts)):
        expected = " or ".join(kind.__name__ for kind in field.accepts)
        found.append(
            checks.Error(
                f"The default of an encrypted field must be {expected}, not {type(default).__name__}.",
                hint="Convert the default, or use a function that returns the value.",
                obj=field,
                id="fields.E957",
            )
        )
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
    """Yield the fields that a condition compares in another way than with NULL."""
    for child in getattr(condition, "children", ()):
        if isinstance(child, tuple):
            name, *lookups = child[0].split("__")
            if lookups != ["isnull"] and not (child[1] is None and lookups in ([], ["exact"])):
                yield name
            yield from _names_in(child[1]) if hasattr(child[1], "resolve_expression") else ()
        else:
            yield from _compared(child)
    if not hasattr(condition, "children") and not isinstance(condition, IsNull) and condition is not None:
        yield from _names_in(condition)


def _names_in(item: Any) -> set[str]:
    if isinstance(item, str):
        return {item.lstrip("-+")}
    parts = item.flatten() if hasattr(item, "flatten") else [item]
    return {getattr(part, "name") for part in parts if isinstance(part, F)}
