"""Encrypted columns of SQLAlchemy, in SQLite files."""

import pytest
from sqlalchemy import LargeBinary, create_engine, select, text, type_coerce
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import libkms
from libkms.sqlalchemy import EncryptedBytes, EncryptedText, Progress, Stopped, move_rows, move_rows_in_background


@pytest.fixture
def model(stored):
    key = stored.create_key()

    class Base(DeclarativeBase):
        pass

    class Customer(Base):
        __tablename__ = "customer"
        id: Mapped[int] = mapped_column(primary_key=True)
        card: Mapped[str | None] = mapped_column(EncryptedText(stored, key.id, context={"column": "card"}))
        photo: Mapped[bytes | None] = mapped_column(EncryptedBytes(lambda: stored, key.id))

    Customer.key_id = key.id
    return Customer


@pytest.fixture
def engine(model, tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path / 'application.db'}")
    model.metadata.create_all(engine)
    yield engine
    engine.dispose()


def fill(engine, model, count):
    with Session(engine) as session:
        session.add_all(model(id=number, card=f"card {number}") for number in range(1, count + 1))
        session.commit()


def cards(engine, model):
    with Session(engine) as session:
        return [row.card for row in session.scalars(select(model).order_by(model.id))]


def primaries(engine, model, kms):
    with engine.connect() as connection:
        blobs = connection.scalars(select(type_coerce(model.card, LargeBinary)).where(model.card.is_not(None)))
        return [kms.inspect(blob).is_primary for blob in blobs]


def test_values_round_trip_and_the_file_holds_ciphertexts(engine, model, tmp_path):
    with Session(engine) as session:
        session.add(model(id=1, card="4111 ö", photo=b"\0\xff"))
        session.add(model(id=2))
        session.commit()
    with Session(engine) as session:
        first, second = session.get(model, 1), session.get(model, 2)
        assert (first.card, first.photo, second.card, second.photo) == ("4111 ö", b"\0\xff", None, None)
        assert session.scalars(select(model.id).where(model.card.is_(None))).all() == [2]
        raw = session.execute(text("select card from customer where id = 1")).scalar_one()
    assert b"4111" not in raw and raw[:4] == b"\x8bKMS"
    assert b"4111" not in (tmp_path / "application.db").read_bytes()


def test_a_value_moved_to_another_column_is_refused(engine, model):
    fill(engine, model, 1)
    with engine.begin() as connection:
        connection.execute(text("update customer set photo = card"))
    with Session(engine) as session, pytest.raises(libkms.AuthenticationFailed):
        session.scalars(select(model.photo)).all()


@pytest.mark.parametrize("comparison", [lambda c: c == "x", lambda c: c < "x", lambda c: c.like("x"), lambda c: c.desc()])
def test_an_encrypted_column_cannot_be_compared(model, comparison):
    with pytest.raises(TypeError, match="encrypted column"):
        comparison(model.card)


def test_old_rows_move_to_the_newest_version(engine, model, stored):
    fill(engine, model, 25)
    with engine.begin() as connection:
        connection.execute(text("insert into customer (id) values (26)"))
    stored.rotate(model.key_id)
    with Session(engine) as session:
        session.get(model, 7).card = "new"
        session.commit()
    told = []
    done = move_rows(engine, model.card, batch=10, progress=told.append)
    assert done == Progress(seen=25, moved=24, failed=0, total=25)
    assert [step.seen for step in told] == [10, 20, 25]
    assert all(primaries(engine, model, stored)) and len(primaries(engine, model, stored)) == 25
    assert cards(engine, model) == [f"card {n}" if n != 7 else "new" for n in range(1, 26)] + [None]
    assert move_rows(engine, model.card).moved == 0


def test_a_move_loses_nothing_that_is_written_meanwhile(engine, model, stored):
    fill(engine, model, 20)
    stored.rotate(model.key_id)
    original = stored.reencrypt_batch
    blob = stored.encrypt(model.key_id, b"written meanwhile", {"column": "card"})

    def write_first(blobs, *arguments):
        result = original(blobs, *arguments)
        with engine.begin() as connection:
            connection.execute(text("update customer set card = :card where id = 3"), {"card": blob})
            connection.execute(text("delete from customer where id = 4"))
        return result

    class Watched:
        encrypt, describe_key, inspect = stored.encrypt, stored.describe_key, stored.inspect
        reencrypt_batch = staticmethod(write_first)

    kind = model.__table__.c.card.type
    kind.the_keystore = lambda: Watched()
    try:
        done = move_rows(engine, model.card)
    finally:
        del kind.the_keystore
    assert done.moved == 18, "a row that the program changed or deleted was overwritten"
    assert cards(engine, model)[2] == "written meanwhile" and len(cards(engine, model)) == 19


def test_a_damaged_row_is_counted_and_left(engine, model, stored):
    fill(engine, model, 3)
    stored.rotate(model.key_id)
    with engine.begin() as connection:
        connection.execute(text("update customer set card = x'00' where id = 2"))
    assert move_rows(engine, model.card) == Progress(seen=3, moved=2, failed=1, total=3)


def test_a_move_in_the_background_can_be_stopped_and_begun_again(engine, model, stored):
    fill(engine, model, 60)
    stored.rotate(model.key_id)
    moving = None

    def progress(step):
        while moving is None:
            pass
        moving.stop()

    moving = move_rows_in_background(engine, model.card, batch=10, progress=progress)
    with pytest.raises(Stopped):
        moving.result(60)
    assert primaries(engine, model, stored).count(True) == 10
    assert move_rows_in_background(engine, model.card, batch=10).result(60).moved == 50
    assert all(primaries(engine, model, stored))


def test_what_progress_raises_ends_the_move(engine, model):
    fill(engine, model, 2)

    def progress(step):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        move_rows_in_background(engine, model.card, progress=progress).result(60)


def test_only_encrypted_columns_move(engine, model):
    with pytest.raises(TypeError):
        move_rows(engine, model.id)
