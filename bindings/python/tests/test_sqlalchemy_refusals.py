"""Expressions that SQLAlchemy must refuse for an encrypted column, and what must keep working."""

import pytest
from sqlalchemy import (
    Column,
    Computed,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    bindparam,
    case,
    cast,
    column,
    create_engine,
    delete,
    desc,
    distinct,
    exists,
    func,
    insert,
    literal,
    literal_column,
    null,
    select,
    text,
    type_coerce,
    union,
    table,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, aliased, mapped_column
from sqlalchemy.types import ARRAY, JSON, PickleType, TypeDecorator

import libkms
from libkms.sqlalchemy import EncryptedBytes, EncryptedColumnError, EncryptedText, Progress, move_rows

MAGIC = b"\x8bKMS"


@pytest.fixture
def model(stored):
    key = stored.create_key()

    class Base(DeclarativeBase):
        pass

    class Customer(Base):
        __tablename__ = "customer"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str | None]
        card: Mapped[str | None] = mapped_column(EncryptedText(stored, key.id, context="card"))
        photo: Mapped[bytes | None] = mapped_column(EncryptedBytes(stored, key.id, context="photo"))

    class Archive(Base):
        __tablename__ = "archive"
        id: Mapped[int] = mapped_column(primary_key=True)
        card: Mapped[str | None] = mapped_column(EncryptedText(stored, key.id, context="card"))

    Customer.key_id, Customer.archive = key.id, Archive
    return Customer


@pytest.fixture
def engine(model, tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path / 'application.db'}")
    model.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([model(id=1, name="one", card="first"), model(id=2, name="two", card=None)])
        session.commit()
    yield engine
    with engine.connect() as connection:
        for blob in connection.scalars(text("select card from customer where card is not null")):
            assert isinstance(blob, bytes) and blob[:4] == MAGIC, f"plaintext was stored: {blob!r}"
    engine.dispose()


def card(engine, model, id=1):
    with Session(engine) as session:
        return session.get(model, id).card


EXPRESSIONS = {
    "literal": lambda m: literal("x"),
    "literal of another type": lambda m: literal("x", String),
    "literal of another encrypted column": lambda m: literal(b"x", m.photo.type),
    "bytes as they are": lambda m: type_coerce(b"x", LargeBinary),
    "parameter of another type": lambda m: bindparam("b", "x", type_=String),
    "text": lambda m: text("'x'"),
    "literal column": lambda m: literal_column("'x'"),
    "literal column that claims the type": lambda m: literal_column("'x'", m.card.type),
    "a column that claims the type": lambda m: column("name", m.card.type),
    "other column": lambda m: m.name,
    "other encrypted column": lambda m: m.photo,
    "function": lambda m: func.lower("X"),
    "function of the column": lambda m: func.upper(m.card),
    "function that claims the type": lambda m: func.hex("X", type_=m.card.type),
    "concatenation": lambda m: literal("a") + m.name,
    "case": lambda m: case((m.id == 1, "x"), else_=m.card),
    "else of a case": lambda m: case((m.id == 1, m.card), else_="x"),
    "coalesce": lambda m: func.coalesce(m.card, "x"),
    "coalesce with a literal first": lambda m: func.coalesce(literal("x"), m.card),
    "nullif": lambda m: func.nullif(m.name, "y"),
    "cast": lambda m: cast(m.name, LargeBinary),
    "cast to the type": lambda m: cast(m.name, m.card.type),
    "a coerced column": lambda m: type_coerce(m.name, m.card.type),
    "scalar subquery": lambda m: select(m.name).where(m.id == 1).scalar_subquery(),
    "subquery of a literal": lambda m: select(literal("x")).scalar_subquery(),
    "subquery of an untyped parameter": lambda m: select(bindparam(None, "x")).scalar_subquery(),
    "column of a subquery": lambda m: select(select(func.lower(m.card).label("card")).subquery().c.card).scalar_subquery(),
    "union": lambda m: select(
        union_all(select(m.card), select(literal("x", m.name.type).label("card"))).subquery().c.card
    ).scalar_subquery(),
    "json": lambda m: func.json_object("a", m.name),
    "label": lambda m: literal("x").label("card"),
    "arithmetic": lambda m: m.id + 1,
    "boolean": lambda m: m.id == 1,
}

STATEMENTS = {
    "update": lambda m, e: update(m).where(m.id == 1).values(card=e),
    "update by column": lambda m, e: update(m.__table__).values({m.__table__.c.card: e}),
    "update by attribute": lambda m, e: update(m).values({m.card: e}),
    "ordered update": lambda m, e: update(m.__table__).ordered_values(("name", "x"), ("card", e)),
    "insert": lambda m, e: insert(m).values(id=9, card=e),
    "insert of rows": lambda m, e: insert(m).values([{"id": 8, "card": "y"}, {"id": 9, "card": e}]),
    "insert of a tuple": lambda m, e: insert(m.__table__).values((9, "x", e, None)),
    "upsert": lambda m, e: sqlite.insert(m)
    .values(id=1, card="y")
    .on_conflict_do_update(index_elements=["id"], set_={"card": e}),
    "upsert by column": lambda m, e: sqlite.insert(m)
    .values(id=1, card="y")
    .on_conflict_do_update(index_elements=[m.id], set_={m.card: e}),
    "insert from select": lambda m, e: insert(m).from_select(["id", "card"], select(m.id + 10, e)),
}


@pytest.mark.parametrize("statement", STATEMENTS)
def test_an_expression_is_refused_when_the_statement_is_compiled(engine, model, statement):
    refused = 0
    for expression, make in EXPRESSIONS.items():
        try:
            built = STATEMENTS[statement](model, make(model))
        except Exception as error:
            assert "sqlalchemy" in type(error).__module__, (expression, error)
            continue
        with pytest.raises(EncryptedColumnError, match="customer.card is encrypted"):
            built.compile(engine)
            pytest.fail(f"{expression} is not refused")
        with Session(engine) as session, pytest.raises(EncryptedColumnError):
            session.execute(built)
            pytest.fail(f"{expression} is not refused")
        refused += 1
    assert refused >= len(EXPRESSIONS) - 2, "SQLAlchemy itself refused more than was expected"
    assert card(engine, model) == "first"


OTHER_TYPES = {
    "a later row": lambda t: insert(t).values([{"id": 8, "card": "x"}, {"id": 9, "card": bindparam("b")}]),
    "a later row as a tuple": lambda t: insert(t).values([(8, "n", "x", None), (9, "n", bindparam("b"), None)]),
    "a later row with a value": lambda t: insert(t).values([{"id": 8, "card": "x"}, {"id": 9, "card": bindparam("c", "x")}]),
    "all rows": lambda t: insert(t).values([{"id": n, "card": bindparam("b")} for n in (8, 9)]),
    "its name in a condition": lambda t: update(t).values(card=bindparam("b")).where(t.c.name != bindparam("b")),
    "its name in another column": lambda t: update(t).values(card=bindparam("b"), name=bindparam("b")),
    "its name in a column before": lambda t: update(t).ordered_values((t.c.name, bindparam("b")), (t.c.card, bindparam("b"))),
    "its name with a processor": lambda t: update(t)
    .values(card=bindparam("b"))
    .where(bindparam("b", type_=JSON).is_not(None)),
    "its name without a type": lambda t: update(t).values(card=bindparam("b")).where(bindparam("b").is_not(None)),
    "coerced on the left": lambda t: update(t).values({type_coerce(t.c.card, String): "x"}),
    "coerced on the left of an insert": lambda t: insert(t).values({t.c.id: 9, type_coerce(t.c.card, LargeBinary): b"x"}),
    "coerced on the left, ordered": lambda t: update(t).ordered_values((type_coerce(t.c.card, String), bindparam("b"))),
    "a tuple on the left": lambda t: update(t).ordered_values(
        (tuple_(t.c.name, t.c.card), select(t.c.name, t.c.name).where(t.c.id == 1).scalar_subquery())
    ),
    **{
        f"upsert by {kind}": lambda t, key=key: sqlite.insert(t)
        .values(id=1, card="y")
        .on_conflict_do_update(index_elements=["id"], set_={key(t): "x"})
        for kind, key in {
            "a literal column": lambda t: literal_column("card"),
            "a column of another type": lambda t: column("card", String),
            "a name in other letters": lambda t: "CARD",
        }.items()
    },
}


@pytest.mark.filterwarnings("ignore:Additional column names")
@pytest.mark.parametrize("way", OTHER_TYPES)
def test_a_parameter_that_ends_up_with_another_type_is_refused(engine, model, way):
    statement = OTHER_TYPES[way](model.__table__)
    with engine.begin() as connection, pytest.raises(EncryptedColumnError) as caught:
        connection.execute(statement, {"b": "x"} if "b" in statement.compile().params else {})
    assert "type" in str(caught.value)
    assert card(engine, model) == "first"


def test_typed_parameters_in_later_rows_are_encrypted(engine, model):
    kind = model.__table__.c.card.type
    rows = [{"id": 7, "card": bindparam("a")}, {"id": 8, "card": bindparam("b", type_=kind)}, {"id": 9, "card": null()}]
    with engine.begin() as connection:
        connection.execute(insert(model.__table__).values(rows), {"a": "a", "b": "b"})
        same = update(model.__table__).where(model.__table__.c.id == bindparam("c"))
        connection.execute(same.values(card=bindparam("b", type_=kind), photo=None), {"b": "again", "c": 9})
    assert [card(engine, model, id) for id in (7, 8, 9)] == ["a", "b", "again"]
    assert str(update(model.__table__).values(card=None).compile(engine, compile_kwargs={"literal_binds": True}))


def test_statements_inside_of_later_rows_are_watched(engine, model):
    from sqlalchemy.dialects import postgresql

    t = model.__table__
    inner = update(t).values(card=literal("x")).returning(t.c.id).cte()
    for inside in (select(inner.c.id).scalar_subquery(), select(func.length(t.c.card)).scalar_subquery()):
        rows = [{"id": 8, "name": "a"}, {"id": 9, "name": inside}]
        for outer in (
            insert(t).values(rows),
            postgresql.insert(t).values(id=1).on_conflict_do_update(index_elements=["id"], set_={"name": inside}),
        ):
            with pytest.raises(EncryptedColumnError):
                outer.compile(dialect=postgresql.dialect())


def test_the_error_says_what_to_write_and_shows_no_value(engine, model):
    with pytest.raises(EncryptedColumnError) as caught:
        update(model).values(card=literal("4111 1111")).compile(engine)
    assert "literal(value, customer.card.type)" in str(caught.value) and "4111" not in str(caught.value)


def test_an_attribute_set_to_an_expression_is_refused(engine, model):
    for expression in EXPRESSIONS.values():
        with Session(engine) as session:
            made = session.get(model, 1)
            made.card = expression(model)
            with pytest.raises(Exception):
                session.flush()
        with Session(engine) as session:
            session.add(model(id=7, card=expression(model)))
            with pytest.raises(Exception):
                session.flush()
    assert card(engine, model) == "first"


def test_values_of_another_type_are_refused_without_being_shown(engine, model):
    secret = 41111111
    for value in (secret, secret.to_bytes(4), [secret], literal(str(secret)), model.name):
        with engine.begin() as connection, pytest.raises(EncryptedColumnError, match="customer.card stores str") as caught:
            connection.execute(model.__table__.insert(), {"id": 9, "card": value})
        assert str(secret) not in str(caught.value)
        with engine.begin() as connection, pytest.raises(EncryptedColumnError):
            connection.execute(model.__table__.insert(), [{"id": 8, "card": "a"}, {"id": 9, "card": value}])
        with engine.begin() as connection, pytest.raises(EncryptedColumnError):
            connection.execute(update(model.__table__).values(card=bindparam("b")), {"b": value})
    for value in (5, "text", [1]):
        with engine.begin() as connection, pytest.raises(EncryptedColumnError, match="customer.photo stores bytes"):
            connection.execute(model.__table__.insert(), {"id": 9, "photo": value})


def test_a_failed_encryption_shows_no_value(engine, model, stored):
    stored.disable_key(model.key_id)
    with Session(engine) as session:
        session.add(model(id=9, card="4111 1111"))
        with pytest.raises(libkms.RejectedDisabled) as caught:
            session.flush()
    assert "4111" not in str(caught.value)
    stored.enable_key(model.key_id)


def test_an_alembic_script_never_holds_a_plaintext(engine, model):
    for statement in (update(model).values(card="4111"), insert(model).values(id=9, card="4111")):
        with pytest.raises(Exception) as caught:
            statement.compile(engine, compile_kwargs={"literal_binds": True})
        assert "4111" not in str(caught.value)


def test_what_carries_ciphertexts_of_the_column_works(engine, model):
    typed = literal("typed", model.card.type)
    other = aliased(model)
    with Session(engine) as session:

        def done(statement, expected, id=1, **given):
            session.execute(statement, given or None)
            session.flush()
            session.expire_all()
            assert session.get(model, id).card == expected

        done(update(model).where(model.id == 1).values(card="plain"), "plain")
        done(update(model).where(model.id == 1).values(card=typed), "typed")
        done(update(model).where(model.id == 1).values(card=bindparam("b")), "bound", b="bound")
        done(update(model).where(model.id == 2).values(card=case((model.id == 2, typed), else_=model.card)), "typed", 2)
        done(update(model).where(model.id == 2).values(card=func.coalesce(null(), typed)), "typed", 2)
        source = select(other.card).where(other.id == 1).scalar_subquery()
        done(update(model).where(model.id == 2).values(card=source), "bound", 2)
        done(update(model).where(model.id == 2).values(card=null()), None, 2)
        done(update(model).where(model.id == 1).values(card=model.card), "bound")
        done(insert(model).from_select(["id", "card"], select(model.id + 20, model.card)), "bound", 21)
        done(insert(model).values(id=30, card=source), "bound", 30)
        upsert = sqlite.insert(model).values(id=1, card="upserted")
        done(upsert.on_conflict_do_update(index_elements=["id"], set_={"card": upsert.excluded.card}), "upserted")
        done(upsert.on_conflict_do_update(index_elements=[model.id], set_={model.card: "again"}), "again")
        archive = model.archive
        session.execute(insert(archive).from_select(["id", "card"], select(model.id, model.card)))
        assert session.get(archive, 1).card == "again"
        session.commit()


def test_the_orm_updates_and_returns(engine, model):
    with Session(engine) as session:
        made = session.get(model, 1)
        assert session.execute(update(model).where(model.id == 1).values(card="a")).rowcount == 1
        assert made.card == "a", "the session's objects are kept in step"
        assert session.query(model).filter(model.id == 1).update({"card": "b"}) == 1
        assert session.query(model).filter(model.id == 1).update({model.card: "c"}, synchronize_session="fetch") == 1
        found = session.execute(update(model).where(model.id == 1).values(card="d").returning(model.id, model.card))
        assert found.all() == [(1, "d")]
        found = session.scalars(insert(model).returning(model.card), [{"id": 5, "card": "e"}, {"id": 6, "card": "f"}])
        assert sorted(found.all()) == ["e", "f"]
        found = session.scalars(insert(model).values(id=7, card="g").returning(model))
        assert found.one().card == "g"
        upsert = sqlite.insert(model).values(id=1, card="h")
        upsert = upsert.on_conflict_do_update(index_elements=["id"], set_={"card": upsert.excluded.card})
        assert session.scalars(upsert.returning(model.card)).one() == "h"
        session.execute(update(model), [{"id": 5, "card": "bulk"}, {"id": 6, "card": None}])
        session.bulk_update_mappings(model, [{"id": 7, "card": "mapped"}])
        session.bulk_save_objects([model(id=8, card="saved")])
        session.bulk_insert_mappings(model, [{"id": 9, "card": "inserted"}])
        session.merge(model(id=9, card="merged"))
        session.commit()
        cards = dict(session.execute(select(model.id, model.card)).all())
        assert cards == {1: "h", 2: None, 5: "bulk", 6: None, 7: "mapped", 8: "saved", 9: "merged"}
        assert session.execute(delete(model).where(model.id == 9).returning(model.card)).scalar_one() == "merged"
        assert session.scalar(select(func.count(model.card))) == 4
        assert session.scalars(select(model.id).where(model.card == None)).all() == [2, 6]  # noqa: E711
        assert session.scalars(select(model.id).where(model.card.is_not(None)).order_by(model.id)).all() == [1, 5, 7, 8]
        assert len(session.execute(select(model).distinct()).all()) == 6
        assert len(session.execute(select(model.id, model.card).group_by(model.id, model.card)).all()) == 6
        assert session.scalar(select(exists().where(model.card.is_(None))))
        assert session.scalars(select(model.card).order_by(model.id).limit(1)).one() == "h"
        session.commit()


def test_a_ciphertext_is_not_stored_in_another_column(engine, model):
    other = select(model.card).where(model.id == 1).scalar_subquery()
    for expression in (model.card, model.card.label("x"), other, func.coalesce(model.card, model.card)):
        with pytest.raises(EncryptedColumnError, match="customer.name isn't encrypted"):
            update(model).values(name=expression).compile(engine)
    with pytest.raises(EncryptedColumnError):
        insert(model).from_select(["id", "name"], select(model.id + 9, model.card)).compile(engine)
    with Session(engine) as session:
        session.execute(update(model).where(model.id == 1).values(name=case((model.card.is_(None), "null"), else_="value")))
        assert session.get(model, 1).name == "value"


TYPES = {
    "a variant of another": lambda t: String().with_variant(t, "sqlite"),
    "with a variant": lambda t: t.with_variant(String(), "sqlite"),
    "decorated": lambda t: type("Decorated", (TypeDecorator,), {"impl": EncryptedText})(t.keystore, t.key),
    "pickled": lambda t: PickleType(impl=EncryptedBytes(t.keystore, t.key)),
    "in an array": lambda t: ARRAY(t),
}


@pytest.mark.parametrize("kind", TYPES)
def test_an_encrypted_type_inside_of_another_is_refused(stored, kind):
    made = TYPES[kind](EncryptedText(stored, stored.create_key().id))
    with pytest.raises(EncryptedColumnError, match="t.card"):
        Table("t", MetaData(), Column("id", Integer), Column("card", made))


def test_tables_without_metadata_are_watched(engine, model):
    light = table("customer", column("id", Integer), column("name", String), column("card", model.card.type))
    for value in (literal("x"), light.c.name, func.lower("X")):
        with pytest.raises(EncryptedColumnError):
            light.update().values(card=value).compile(engine)
    with engine.begin() as connection:
        connection.execute(light.update().values(card=light.c.card))
        connection.execute(light.insert(), [{"id": 9, "card": "as a migration does"}])
    assert card(engine, model, 9) == "as a migration does"


def test_a_statement_inside_of_a_statement_is_watched(model):
    from sqlalchemy.dialects import postgresql

    inner = update(model.__table__).values(card=literal("x")).returning(model.__table__.c.id).cte()
    with pytest.raises(EncryptedColumnError):
        select(inner.c.id).compile(dialect=postgresql.dialect())
    select(insert(model.__table__).values(card="x").returning(model.__table__.c.id).cte().c.id).compile(
        dialect=postgresql.dialect()
    )


QUESTIONS = {
    "order by": lambda m: select(m.id).order_by(m.card),
    "order by name": lambda m: select(m.id, m.card).order_by("card"),
    "order by label": lambda m: select(m.card.label("c")).order_by("c"),
    "order by a name's descent": lambda m: select(m.id, m.card).order_by(desc("card")),
    "order by a name that isn't selected": lambda m: select(m.id).order_by("card"),
    "order by nulls last": lambda m: select(m.id).order_by(desc("card").nulls_last()),
    "order by text": lambda m: select(m.id, m.card).order_by(text("card")),
    "order by longer text": lambda m: select(m.id).order_by(text('name, customer."card" COLLATE nocase DESC NULLS LAST')),
    "order by position": lambda m: select(m.id, m.card).order_by(text("2 DESC")),
    "order by literal column": lambda m: select(m.id).order_by(literal_column("card").desc()),
    "order by text in a join": lambda m: select(m.id).join(m.archive, m.archive.id == m.id).order_by(text("archive.card")),
    "order of a union": lambda m: union_all(select(m.card), select(m.card)).order_by(desc("card")),
    "order of a query": lambda m: select(m).order_by(desc("card")),
    "group by name": lambda m: select(func.count()).select_from(m).group_by("card"),
    "group by text": lambda m: select(func.count()).select_from(m).group_by(text("card")),
    "window by name": lambda m: select(m.id, func.row_number().over(order_by=desc("card"))),
    "order inside of a function": lambda m: select(func.group_concat(m.name).within_group(m.card)),
    "join": lambda m: select(m.id).join(m.archive, m.card == m.archive.card),
    "join with itself": lambda m: (lambda a: select(m.id).join(a, m.card == a.card))(aliased(m)),
    "unequal to another": lambda m: select(m.id).where(m.card != m.archive.card),
    "in a select of ciphertexts": lambda m: select(m.id).where(m.name.in_(select(m.card))),
    "equal to a subquery": lambda m: select(m.id).where(m.name == select(m.card).limit(1).scalar_subquery()),
    "condition of an upsert": lambda m: sqlite.insert(m)
    .values(id=1)
    .on_conflict_do_update(index_elements=["id"], set_={"name": "x"}, where=m.card == m.card),
    "order by function": lambda m: select(m.id).order_by(func.lower(m.card)),
    "max": lambda m: select(func.max(m.card)),
    "min in having": lambda m: select(m.name).group_by(m.name).having(func.min(m.card) > "x"),
    "lower": lambda m: select(func.lower(m.card)),
    "length in where": lambda m: select(m.id).where(func.length(m.card) == 5),
    "distinct": lambda m: select(m.card).distinct(),
    "count distinct": lambda m: select(func.count(distinct(m.card))),
    "group by": lambda m: select(m.card, func.count()).group_by(m.card),
    "union": lambda m: union(select(m.card), select(m.card)),
    "window": lambda m: select(func.row_number().over(order_by=m.card)),
    "partition": lambda m: select(func.row_number().over(partition_by=m.card)),
    "literal on the left": lambda m: select(m.id).where(literal("x") == m.card),
    "cast": lambda m: select(cast(m.card, String)),
    "compared column": lambda m: select(m.id).where(m.name == m.card),
    "in a subquery": lambda m: select(m.id).where(m.id.in_(select(m.id).order_by(m.card).limit(1))),
    "string_agg": lambda m: select(func.group_concat(m.card)),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_about_ciphertexts_is_refused_with_a_hint(engine, model, question):
    with pytest.raises(EncryptedColumnError, match="HMAC"), Session(engine) as session:
        session.execute(QUESTIONS[question](model))


def test_names_and_texts_that_do_not_sort_by_ciphertexts_work(engine, model):
    with Session(engine) as session:
        for order in ("name", desc("name"), text("name DESC"), text("card IS NULL, id"), text("1"), text("customer.id")):
            assert len(session.execute(select(model.id, model.name, model.card).order_by(order)).all()) == 2
        assert len(session.execute(select(model.id, model.card).group_by("id", "card")).all()) == 2
        assert len(session.execute(select(model).where(model.id.in_(select(model.id)))).all()) == 2
        assert session.scalars(select(model.id).where(model.id == select(model.id).where(model.card.is_(None)).scalar_subquery())).one() == 2
        named = select(model.name.label("card"), model.id).order_by(desc("card"))
        assert [row.card for row in session.execute(named)] == ["two", "one"]


@pytest.mark.parametrize(
    "compare",
    [
        lambda c: c == "x",
        lambda c: "x" == c,
        lambda c: c != "x",
        lambda c: c < "x",
        lambda c: c.in_(["x"]),
        lambda c: c.like("x"),
        lambda c: c.contains("x"),
        lambda c: c.between("a", "b"),
        lambda c: c + "x",
        lambda c: c == literal("x"),
        lambda c: c == bindparam("b"),
        lambda c: c.desc(),
        lambda c: c.asc(),
        lambda c: c.distinct(),
        lambda c: c.collate("nocase"),
        lambda c: c.is_("x"),
        lambda c: ~c,
    ],
)
def test_a_comparison_with_a_value_is_refused_with_a_hint(model, compare):
    with pytest.raises(EncryptedColumnError, match="HMAC"):
        compare(model.card)


TABLES = {
    "unique": lambda t: [Column("card", t, unique=True)],
    "index": lambda t: [Column("card", t, index=True)],
    "primary key": lambda t: [Column("card", t, primary_key=True)],
    "foreign key": lambda t: [Column("card", t, ForeignKey("other.id"))],
    "unique constraint": lambda t: [Column("card", t), UniqueConstraint("card")],
    "unique constraint of two": lambda t: [Column("card", t), UniqueConstraint("id", "card")],
    "index constraint": lambda t: [Column("card", t), Index("ix", "card")],
    "server default": lambda t: [Column("card", t, server_default="x")],
    "server default text": lambda t: [Column("card", t, server_default=text("'x'"))],
    "computed": lambda t: [Column("card", t, Computed("name || 'x'"))],
    "default expression": lambda t: [Column("card", t, default=func.lower("X"))],
    "onupdate expression": lambda t: [Column("card", t, onupdate=literal("x"))],
}


@pytest.mark.parametrize("declared", TABLES)
def test_a_table_that_asks_for_more_than_ciphertexts_can_do_is_refused(stored, declared):
    key = stored.create_key()
    with pytest.raises(EncryptedColumnError, match="HMAC|default"):
        made = Table("t", MetaData(), Column("id", Integer), *TABLES[declared](EncryptedText(stored, key.id)))
        made.metadata.create_all(create_engine("sqlite://"))


def test_defaults_of_the_program_are_encrypted(stored):
    key = stored.create_key()
    kind = EncryptedText(stored, key)
    table = Table("t", MetaData(), Column("id", Integer, primary_key=True))
    table.append_column(Column("a", kind, default="constant", onupdate=lambda: "updated"))
    table.append_column(Column("b", kind, default=lambda: "called"))
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        table.create(connection)
        connection.execute(table.insert().values(id=1))
        assert connection.execute(table.select()).one() == (1, "constant", "called")
        connection.execute(table.insert().from_select(["id"], select(table.c.id + 1)))
        connection.execute(table.update().where(table.c.id == 2).values(b="b"))
        assert connection.execute(table.select().where(table.c.id == 2)).one() == (2, "updated", "b")
        assert all(row[0][:4] == MAGIC for row in connection.execute(text("select a from t")))


@pytest.mark.parametrize("stored_value", ["'4111'", "5", "1.5", "x'00'", "x'8b4b4d53'"])
def test_what_was_stored_without_encrypting_is_named(stored, stored_value, tmp_path):
    key = stored.create_key()
    table = Table(
        "t", MetaData(), Column("id", Integer, primary_key=True), Column("card", EncryptedText(stored, key, context="c"))
    )
    engine = create_engine(f"sqlite:///{tmp_path / 'a.db'}")
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(table.insert(), [{"id": 1, "card": "a"}, {"id": 2, "card": "b"}])
        connection.execute(text(f"update t set card = {stored_value} where id = 1"))
        with pytest.raises(libkms.MalformedCiphertext, match="t.card") as caught:
            connection.execute(table.select()).all()
        assert "4111" not in str(caught.value)
    stored.rotate(key.id)
    assert move_rows(engine, table.c.card) == Progress(seen=2, moved=1, failed=1, total=2)


def test_a_row_bound_to_a_former_context_is_counted_and_can_be_moved(stored, tmp_path):
    key = stored.create_key()
    kinds = [EncryptedText(stored, key, context=context) for context in ("card", {"column": "pan", "row": "any"}, None)]
    tables = [Table("t", MetaData(), Column("id", Integer, primary_key=True), Column("card", kind)) for kind in kinds]
    engine = create_engine(f"sqlite:///{tmp_path / 'a.db'}")
    tables[0].create(engine)
    with engine.begin() as connection:
        connection.execute(tables[0].insert(), [{"id": id, "card": f"card {id}"} for id in range(1, 8)])
        connection.execute(tables[1].update().where(tables[1].c.id == 3).values(card="new already"))
    with engine.connect() as connection, pytest.raises(libkms.AuthenticationFailed, match="t.card.*from_context"):
        connection.execute(tables[1].select()).all()
    assert move_rows(engine, tables[1].c.card) == Progress(seen=7, moved=0, failed=6, total=7)
    assert move_rows(engine, tables[1].c.card, from_context="card", batch=2) == Progress(seen=7, moved=6, failed=0, total=7)
    assert move_rows(engine, tables[1].c.card, from_context="card").moved == 0
    with engine.connect() as connection:
        assert connection.execute(tables[1].select()).all()[2:4] == [(3, "new already"), (4, "card 4")]
    former = {"column": "pan", "row": "any"}
    assert move_rows(engine, tables[2].c.card, from_context=former).moved == 7
    with engine.connect() as connection:
        assert len(connection.execute(tables[2].select()).all()) == 7


def test_moving_goes_to_the_key_that_the_alias_names_now(stored, tmp_path):
    first, second = stored.create_key(), stored.create_key()
    stored.create_alias(first.id, "alias/cards")
    kind = EncryptedText(stored, "alias/cards", context="card")
    table = Table("t", MetaData(), Column("id", Integer, primary_key=True), Column("card", kind))
    engine = create_engine(f"sqlite:///{tmp_path / 'a.db'}")
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(table.insert(), [{"id": id, "card": "a"} for id in range(1, 5)])
    stored.update_alias(second.id, "alias/cards")
    with engine.begin() as connection:
        connection.execute(table.insert(), {"id": 5, "card": "a"})
    stored.rotate(second.id)
    assert move_rows(engine, table.c.card) == Progress(seen=5, moved=5, failed=0, total=5, other_key=4)
    assert move_rows(engine, table.c.card) == Progress(seen=5, moved=0, failed=0, total=5)
    with engine.connect() as connection:
        blobs = connection.scalars(text("select card from t")).all()
    assert {(stored.inspect(blob).key_id, stored.inspect(blob).is_primary) for blob in blobs} == {(second.id, True)}
    stored.disable_key(second.id)
    with pytest.raises(libkms.RejectedDisabled):
        move_rows(engine, table.c.card)
    stored.update_alias(first.id, "alias/cards")
    assert move_rows(engine, table.c.card) == Progress(seen=5, moved=0, failed=5, total=5)
    stored.delete_alias("alias/cards")
    with pytest.raises(libkms.AliasNotFound):
        move_rows(engine, table.c.card)
