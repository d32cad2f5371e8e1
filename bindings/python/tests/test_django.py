"""Encrypted fields of Django, in a SQLite file."""

import pytest

import libkms

django = pytest.importorskip("django")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from django.conf import settings

    folder = tmp_path_factory.mktemp("django")
    if not settings.configured:
        settings.configure(
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "application.db")}},
            INSTALLED_APPS=[],
            DEFAULT_AUTO_FIELD="django.db.models.AutoField",
            LIBKMS={
                "location": folder / "keys.db",
                "root_key_file": folder / "root.key",
                "create": True,
                "key": "alias/app",
            },
        )
        django.setup()
    from django.db import connection, models

    from libkms.django import EncryptedBinaryField, EncryptedTextField, keystore

    class Customer(models.Model):
        card = EncryptedTextField(null=True)
        photo = EncryptedBinaryField(null=True)

        class Meta:
            app_label = "shop"

    kms = keystore()
    key = kms.create_key()
    kms.create_alias(key.id, "alias/app")
    with connection.schema_editor() as editor:
        editor.create_model(Customer)
    Customer.key_id = key.id
    yield Customer
    connection.close()
    kms.close()


@pytest.fixture(autouse=True)
def empty(model):
    model.objects.all().delete()


def primaries(model):
    from django.db import connection

    from libkms.django import keystore

    with connection.cursor() as cursor:
        cursor.execute("select card from shop_customer where card is not null order by id")
        return [keystore().inspect(row[0]).is_primary for row in cursor.fetchall()]


def test_values_round_trip_and_the_table_holds_ciphertexts(model):
    from django.db import connection

    made = model.objects.create(card="4111 ö", photo=b"\0\xff")
    model.objects.create()
    found = model.objects.get(pk=made.pk)
    assert (found.card, found.photo) == ("4111 ö", b"\0\xff")
    assert model.objects.filter(card__isnull=True).count() == 1
    model.objects.filter(pk=made.pk).update(card="5500")
    assert model.objects.get(pk=made.pk).card == "5500"
    with connection.cursor() as cursor:
        cursor.execute("select card from shop_customer where card is not null")
        assert bytes(cursor.fetchone()[0])[:4] == b"\x8bKMS"


@pytest.mark.parametrize("lookup", ["card", "card__contains", "card__gt", "card__in"])
def test_an_encrypted_field_cannot_be_compared(model, lookup):
    from django.core.exceptions import FieldError

    with pytest.raises(FieldError, match="encrypted field"):
        list(model.objects.filter(**{lookup: "x"}))


def test_a_value_moved_to_another_column_is_refused(model):
    from django.db import connection

    model.objects.create(card="4111")
    with connection.cursor() as cursor:
        cursor.execute("update shop_customer set photo = card")
    with pytest.raises(libkms.AuthenticationFailed):
        list(model.objects.all())


def test_a_migration_can_make_the_field_again(model):
    from libkms.django import EncryptedTextField

    field = EncryptedTextField(null=True, key="alias/other")
    name, path, args, kwargs = field.deconstruct()
    assert path == "libkms.django.EncryptedTextField" and kwargs["key"] == "alias/other"
    assert EncryptedTextField(*args, **kwargs).key == "alias/other"


def test_old_rows_move_to_the_newest_version(model):
    from libkms.django import Progress, keystore, move_rows, move_rows_in_background

    model.objects.bulk_create(model(card=f"card {number}") for number in range(25))
    model.objects.create()
    keystore().rotate(model.key_id)
    model.objects.filter(pk=model.objects.order_by("pk")[7].pk).update(card="new")
    told = []
    assert move_rows(model, "card", batch=10, progress=told.append) == Progress(seen=25, moved=24, failed=0, total=25)
    assert [step.seen for step in told] == [10, 20, 25]
    assert all(primaries(model)) and len(primaries(model)) == 25
    keystore().rotate(model.key_id)
    assert move_rows_in_background(model, "card", batch=10).result(60).moved == 25
    assert all(primaries(model))
    expected = [f"card {number}" if number != 7 else "new" for number in range(25)]
    assert [row.card for row in model.objects.order_by("pk")][:25] == expected
    with pytest.raises(TypeError):
        move_rows(model, "id")
