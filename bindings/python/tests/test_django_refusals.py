"""Expressions that Django must refuse for an encrypted field, renames, and what must keep working."""

import pytest

import libkms

django = pytest.importorskip("django")

MAGIC = b"\x8bKMS"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    from django.conf import settings

    if not settings.configured:
        folder = tmp_path_factory.mktemp("django")
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

    class Client(models.Model):
        name = models.CharField(max_length=50, default="name")
        email = models.CharField(max_length=50, null=True, unique=True)
        card = EncryptedTextField(null=True)
        photo = EncryptedBinaryField(null=True)
        note = EncryptedTextField(default="none")

        class Meta:
            app_label = "refusals"

    class Order(models.Model):
        client = models.ForeignKey(Client, models.CASCADE)
        total = models.IntegerField(default=1)

        class Meta:
            app_label = "refusals"

    kms = keystore()
    try:
        kms.describe_key("alias/app")
    except libkms.AliasNotFound:
        kms.create_alias(kms.create_key().id, "alias/app")
    with connection.schema_editor() as editor:
        editor.create_model(Client)
        editor.create_model(Order)
    Client.order = Order
    yield Client
    with connection.schema_editor() as editor:
        editor.delete_model(Order)
        editor.delete_model(Client)
    connection.close()
    kms.close()


@pytest.fixture
def model(shop):
    shop.order.objects.all().delete()
    shop.objects.all().delete()
    shop.objects.create(pk=1, name="one", card="first", photo=b"p")
    shop.objects.create(pk=2, name="two")
    yield shop
    for column in ("card", "photo", "note"):
        for value in stored(f"select {column} from refusals_client where {column} is not null"):
            assert isinstance(value, bytes) and value[:4] == MAGIC, f"plaintext was stored: {value!r}"


def stored(sql, *arguments):
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(sql, arguments)
        return [row[0] for row in cursor.fetchall()] if cursor.description else None


def expressions(model):
    from django.db.models import BinaryField, CharField, Case, Exists, ExpressionWrapper, F, Func, Max, OuterRef, Q, Subquery, Value, When
    from django.db.models.expressions import RawSQL
    from django.db.models.functions import Cast, Coalesce, Concat, JSONObject, Lower, NullIf, Now, Upper

    from libkms.django import EncryptedTextField

    other = model.objects.filter(pk=OuterRef("pk"))
    own = model._meta.get_field("card")
    return {
        "F": F("name"),
        "F of another encrypted field": F("photo"),
        "F of another encrypted field of its type": F("note"),
        "value": Value("x"),
        "value of another type": Value("x", output_field=CharField()),
        "value of bytes": Value(b"x", output_field=BinaryField()),
        "value of an unbound field": Value("x", output_field=EncryptedTextField()),
        "value of another encrypted field": Value("x", output_field=model._meta.get_field("note")),
        "function": Lower(Value("X")),
        "function of the field": Upper("card"),
        "function that claims the field": Func(Value("x"), function="lower", output_field=own),
        "sum": F("pk") + 1,
        "concat": Concat(Value("a"), Value("b")),
        "case": Case(When(pk=1, then=Value("x")), default=F("card")),
        "case that claims the field": Case(When(pk=1, then=Value("x")), default=Value("y"), output_field=own),
        "default of a case": Case(When(pk=1, then=F("card")), default=F("name"), output_field=own),
        "coalesce": Coalesce("name", Value("x")),
        "coalesce that claims the field": Coalesce("card", Value("x"), output_field=own),
        "cast": Cast("name", BinaryField()),
        "cast that claims the field": Cast("name", own),
        "wrapper": ExpressionWrapper(F("name"), output_field=own),
        "nullif": NullIf(Value("x"), Value("y")),
        "json": JSONObject(a=Value("x")),
        "now": Now(),
        "raw": RawSQL("'x'", []),
        "raw that claims the field": RawSQL("'x'", [], output_field=own),
        "subquery": Subquery(other.values("name")[:1]),
        "subquery that claims the field": Subquery(other.values("name")[:1], output_field=own),
        "subquery of a function": Subquery(other.values(x=Lower("name"))[:1], output_field=own),
        "union": Subquery(model.objects.values("card").union(model.objects.values("note"), all=True)[:1]),
        "exists": Exists(other),
        "condition": Q(pk=1),
        "max": Subquery(other.values("pk").annotate(x=Max("name")).values("x")),
    }


def paths(model, value):
    def bulk():
        made = model.objects.get(pk=1)
        made.card = value
        model.objects.bulk_update([made], ["card"])

    def save():
        made = model.objects.get(pk=1)
        made.card = value
        made.save()

    from django.db.models import Case, When

    return {
        "update": lambda: model.objects.filter(pk=1).update(card=value),
        "update in a case": lambda: model.objects.update(card=Case(When(pk=1, then=value), default=None)),
        "save": save,
        "create": lambda: model.objects.create(card=value),
        "bulk_create": lambda: model.objects.bulk_create([model(card="a"), model(card=value)]),
        "bulk_create that updates": lambda: model.objects.bulk_create(
            [model(pk=1, card=value)], update_conflicts=True, update_fields=["card"], unique_fields=["pk"]
        ),
        "bulk_update": bulk,
        "update_or_create": lambda: model.objects.update_or_create(pk=1, defaults={"card": value}),
        "create of update_or_create": lambda: model.objects.update_or_create(pk=9, defaults={"card": value}),
        "get_or_create": lambda: model.objects.get_or_create(pk=9, defaults={"card": value}),
    }


def test_an_expression_is_refused_on_every_way_in(model):
    from django.core.exceptions import FieldError
    from django.db import transaction

    refused = 0
    for name, expression in expressions(model).items():
        for path, run in paths(model, expression).items():
            try:
                with transaction.atomic():
                    run()
            except FieldError as error:
                refused += "refusals_client.card is encrypted" in str(error)
            except (ValueError, TypeError, AttributeError) as error:
                # Django's own: an insert can't refer to columns.
                assert any(text in str(error) for text in ("Failed to insert", "contains_column_references")), error
            else:
                pytest.fail(f"{name} by {path} is not refused")
            assert model.objects.get(pk=1).card == "first" and model.objects.count() == 2, (name, path)
    assert refused > 200, refused


def test_the_error_says_what_to_write_and_shows_no_value(model):
    from django.core.exceptions import FieldError
    from django.db.models import Value

    with pytest.raises(FieldError, match="output_field=field") as caught:
        model.objects.update(card=Value("4111"))
    assert "4111" not in str(caught.value)


@pytest.mark.parametrize(
    "field, value", [("card", 5), ("card", b"abc"), ("card", ["a"]), ("photo", 5), ("photo", "abc"), ("photo", [1, 2])]
)
def test_a_value_of_another_type_is_refused(model, field, value):
    for write in (
        lambda: model.objects.create(**{field: value}),
        lambda: model.objects.update(**{field: value}),
        lambda: model.objects.bulk_create([model(**{field: value})]),
        lambda: model.objects.bulk_update([model(pk=1, **{field: value})], [field]),
    ):
        with pytest.raises(TypeError, match=f"refusals_client.{field} stores"):
            write()


def test_what_carries_ciphertexts_of_the_field_works(model):
    from django.db.models import Case, Count, Exists, F, OuterRef, Subquery, Value, When
    from django.db.models.functions import Coalesce
    from django.utils.translation import gettext_lazy

    own = model._meta.get_field("card")
    get = lambda pk: model.objects.get(pk=pk).card  # noqa: E731
    typed = Value("typed", output_field=own)
    model.objects.filter(pk=2).update(card=typed)
    assert get(2) == "typed"
    model.objects.update(card=Case(When(pk=2, then=Value("two", output_field=own)), default=F("card")))
    assert (get(1), get(2)) == ("first", "two")
    model.objects.filter(pk=2).update(card=Subquery(model.objects.filter(pk=1).values("card")))
    assert get(2) == "first"
    model.objects.filter(pk=2).update(card=Coalesce(Value(None), typed))
    model.objects.filter(pk=1).update(card=Value(None))
    assert (get(1), get(2)) == (None, "typed")
    made = [model.objects.get(pk=1), model.objects.get(pk=2)]
    made[0].card, made[1].card = "bulk", None
    assert model.objects.bulk_update(made, ["card", "name"]) == 2
    assert (get(1), get(2)) == ("bulk", None)
    model.objects.bulk_create(
        [model(pk=1, card="upserted")], update_conflicts=True, update_fields=["card"], unique_fields=["pk"]
    )
    assert get(1) == "upserted"
    assert model.objects.update_or_create(pk=1, defaults={"card": "defaults"})[0].card == "defaults"
    assert model.objects.get_or_create(pk=3, defaults={"card": gettext_lazy("lazy")})[0].pk == 3 and get(3) == "lazy"
    model.order.objects.create(client_id=1)
    model.order.objects.create(client_id=1)
    assert model.objects.annotate(count=Count("pk")).get(pk=1).card == "defaults"
    assert model.order.objects.values("client").annotate(count=Count("pk")).get()["count"] == 2
    assert model.objects.aggregate(Count("card"))["card__count"] == 2
    assert model.objects.distinct().count() == 3
    assert [found.card for found in model.objects.filter(pk=1).distinct()] == ["defaults"]
    assert model.order.objects.select_related("client").distinct().count() == 2
    assert list(model.objects.order_by("pk").values_list("card", flat=True)) == ["defaults", None, "lazy"]
    assert model.objects.annotate(again=F("card")).get(pk=1).again == "defaults"
    assert model.objects.exclude(card__isnull=True).count() == model.objects.exclude(card=None).count() == 2
    assert model.objects.get_or_create(card=None)[1] is False
    own_card = model.objects.filter(pk=OuterRef("client_id")).values("card")
    assert model.order.objects.annotate(card=Subquery(own_card)).first().card == "defaults"
    assert model.order.objects.select_related("client").first().client.card == "defaults"
    assert model.order.objects.values_list("client__card", flat=True).first() == "defaults"
    assert model.objects.defer("card").get(pk=1).card == "defaults"
    assert model.objects.only("card").get(pk=1).name == "one"
    both = model.objects.filter(pk__lt=3)
    assert model.objects.values("pk", "card").union(both.values("pk", "card")).count() == 3
    assert model.objects.values("card").union(both.values("card"), all=True).count() == 5
    assert {row.card for row in model.objects.union(both)} == {"defaults", None, "lazy"}
    assert [row["pk"] for row in model.objects.values("pk", "card").union(both.values("pk", "card")).order_by("-pk")] == [3, 2, 1]
    assert model.objects.filter(pk__in=both).count() == model.objects.filter(pk__in=both.values("pk")).count() == 2
    assert model.order.objects.filter(client__in=model.objects.all()).count() == 2
    assert model.order.objects.exclude(client__card=None).count() == 2
    assert model.objects.filter(Exists(model.objects.filter(pk=OuterRef("pk"), card__isnull=False))).count() == 2
    assert model.order.objects.annotate(card=Subquery(own_card)).filter(card__isnull=False).order_by("pk").count() == 2
    named = model.objects.filter(pk=OuterRef("pk")).annotate(x=F("card")).values("name")
    assert model.objects.filter(name__in=model.objects.values("name")).update(name=Subquery(named)) == 3
    assert model.objects.extra(order_by=["-refusals_client.name", "id"]).first().pk == 2
    assert model.objects.extra(select={"note": "1"}).extra(order_by=["note", "pk"]).first().pk == 1
    assert model.objects.order_by(Case(When(card__isnull=True, then=1), default=0), "name").count() == 3
    assert model().note == "none" and model.objects.raw("select * from refusals_client where id = 1")[0].card == "defaults"


def questions(model):
    from django.db.models import Case, Count, Exists, F, Max, Min, OuterRef, Q, Subquery, Value, When, Window
    from django.db.models.functions import Length, Lower, Rank, Concat
    from django.db.models.lookups import Exact

    objects = model.objects
    return {
        "filter": lambda: objects.filter(card="x"),
        "exclude": lambda: objects.exclude(card="x"),
        "contains": lambda: objects.filter(card__contains="x"),
        "in": lambda: objects.filter(card__in=["x"]),
        "transform": lambda: objects.filter(card__lower="x"),
        "get_or_create": lambda: objects.get_or_create(card="x"),
        "order_by": lambda: objects.order_by("card"),
        "order_by descending": lambda: objects.order_by("name", "-card"),
        "order_by F": lambda: objects.order_by(F("card").desc()),
        "order_by of a relation": lambda: model.order.objects.order_by("client__card"),
        "order_by of values": lambda: objects.values("pk").order_by("card"),
        "order_by function": lambda: objects.order_by(Lower("card")),
        "order_by annotation": lambda: objects.annotate(c=F("card")).order_by("c"),
        "latest": lambda: objects.latest("card"),
        "max": lambda: objects.aggregate(Max("card")),
        "min of groups": lambda: objects.values("name").annotate(x=Min("card")),
        "max of a relation": lambda: model.order.objects.aggregate(Max("client__card")),
        "distinct": lambda: objects.values("card").distinct(),
        "distinct of a list": lambda: objects.values_list("card", "name").distinct(),
        "distinct of a relation": lambda: model.order.objects.values("pk", "client__card").distinct(),
        "count of distinct": lambda: objects.aggregate(Count("card", distinct=True)),
        "count after distinct": lambda: objects.values("card").distinct().count(),
        "group by": lambda: objects.values("card").annotate(n=Count("pk")),
        "function": lambda: objects.annotate(x=Lower("card")),
        "function in values": lambda: objects.values(x=Length("card")),
        "function in filter": lambda: objects.alias(x=Lower("card")).filter(x="x"),
        "concat": lambda: objects.annotate(x=Concat("card", Value("x"))),
        "compared with a column": lambda: objects.filter(name=F("card")),
        "compared by an expression": lambda: objects.filter(Exact(F("card"), Value("x"))),
        "outer reference": lambda: objects.filter(Exists(model.objects.filter(name=OuterRef("card")))),
        "condition": lambda: objects.filter(Q(pk=1) | ~Q(name=F("card"))),
        "window": lambda: objects.annotate(x=Window(Rank(), order_by=F("card").asc())),
        "partition": lambda: objects.annotate(x=Window(Rank(), partition_by=[F("card")])),
        "order in a subquery": lambda: objects.filter(pk__in=model.objects.order_by("card").values("pk")[:1]),
        "subquery": lambda: objects.annotate(x=Subquery(model.objects.values(y=Max("card"))[:1])),
        "union": lambda: objects.values("card").union(objects.values("card")),
        "union of annotations": lambda: objects.values(c=F("card")).union(objects.values(c=F("card"))),
        "values of a union": lambda: objects.union(objects.filter(pk=1)).values("card"),
        "union inside of a union": lambda: objects.values("name").union(objects.values("card").union(objects.values("card")), all=True),
        "intersection": lambda: objects.values("card").intersection(objects.values("card")),
        "difference": lambda: objects.values("card").difference(objects.values("card")),
        "count of a union": lambda: objects.values("card").union(objects.values("card")).count(),
        "union in a subquery": lambda: objects.filter(pk__in=objects.values("card").union(objects.values("name"))),
        "order of a union": lambda: objects.values("card").union(objects.values("card"), all=True).order_by("card"),
        "order of a union of annotations": lambda: objects.values(c=F("card")).union(objects.values(c=F("card")), all=True).order_by("c"),
        "in a select of ciphertexts": lambda: objects.filter(name__in=objects.values("card")),
        "not in a select of ciphertexts": lambda: objects.exclude(name__in=objects.values_list("card", flat=True)),
        "in a select from elsewhere": lambda: model.order.objects.filter(total__in=objects.values("card")),
        "in a select of annotations": lambda: objects.filter(name__in=objects.values(c=F("card"))),
        "equal to a subquery": lambda: objects.filter(name=Subquery(objects.values("card")[:1])),
        "equal to a query": lambda: objects.filter(name=objects.values("card")[:1]),
        "equal to an annotated subquery": lambda: objects.annotate(c=Subquery(objects.values("card")[:1])).filter(name=F("c")),
        "order by a subquery": lambda: model.order.objects.order_by(Subquery(objects.values("card")[:1])),
        "order by an annotated subquery": lambda: model.order.objects.annotate(c=Subquery(objects.values("card")[:1])).order_by("c"),
        "max of a subquery": lambda: model.order.objects.annotate(c=Subquery(objects.values("card")[:1])).aggregate(Max("c")),
        "function of a subquery": lambda: model.order.objects.annotate(x=Lower(Subquery(objects.values("card")[:1]))),
        "condition of an annotation": lambda: model.order.objects.annotate(
            x=Case(When(total__in=objects.values("card"), then=1), default=0)
        ),
        "extra order_by": lambda: objects.extra(order_by=["card"]),
        "extra order_by descending": lambda: objects.extra(order_by=["name", "-card"]),
        "extra order_by of a table": lambda: objects.values("pk").extra(order_by=["-refusals_client.card"]),
        "subquery in another field": lambda: objects.update(name=Subquery(objects.values("card")[:1])),
        "query in another field": lambda: objects.update(name=objects.values("card")[:1]),
        "subquery in a case": lambda: objects.update(name=Case(When(pk=1, then=Subquery(objects.values("card")[:1])), default=Value("x"))),
        "subquery of a new row": lambda: objects.create(name=Subquery(objects.values("card")[:1])),
        "subquery of new rows": lambda: objects.bulk_create([model(), model(name=Lower(Subquery(objects.values("card")[:1])))]),
        "deleted by a subquery": lambda: objects.filter(name__in=objects.values("card")).delete(),
        "stored in another field": lambda: objects.update(name=F("card")),
        "stored in another field by a function": lambda: objects.update(name=Lower("card")),
        "in_bulk": lambda: objects.in_bulk(["x"], field_name="card"),
    }


def test_a_question_about_ciphertexts_is_refused_with_a_hint(model):
    from django.core.exceptions import FieldError

    for name, ask in questions(model).items():
        try:
            found = ask()
            found = list(found) if hasattr(found, "query") else found
        except FieldError as error:
            assert "HMAC" in str(error), (name, error)
        except ValueError as error:
            assert "in_bulk" in str(error), (name, error)
        else:
            pytest.fail(f"{name} is not refused")


def declared(**options):
    from django.db import models

    from libkms.django import EncryptedTextField

    declared.count = getattr(declared, "count", 0) + 1
    meta = {"app_label": "refusals", **options.pop("meta", {})}
    fields = {"name": models.CharField(max_length=9), "day": models.DateField(), "card": EncryptedTextField(**options)}
    if not options.get("primary_key"):
        fields["id"] = models.AutoField(primary_key=True)
    return type(f"Declared{declared.count}", (models.Model,), {**fields, "Meta": type("Meta", (), meta), "__module__": __name__})


@pytest.mark.parametrize(
    "id, make",
    [
        (None, lambda m, f: declared(null=True, default="x")),
        (950, lambda m, f: declared(unique=True)),
        (950, lambda m, f: declared(unique_for_date="day")),
        (951, lambda m, f: declared(db_index=True)),
        (952, lambda m, f: declared(primary_key=True)),
        (953, lambda m, f: declared(meta={"unique_together": [("name", "card")]})),
        (953, lambda m, f: declared(meta={"constraints": [m.UniqueConstraint(fields=["card", "name"], name="c")]})),
        (953, lambda m, f: declared(meta={"constraints": [m.UniqueConstraint(f.Lower("card"), name="c")]})),
        (953, lambda m, f: declared(meta={"constraints": [m.UniqueConstraint(fields=["name"], condition=m.Q(card="x"), name="c")]})),
        (953, lambda m, f: declared(meta={"constraints": [checked(m, ~m.Q(name="a") | m.Q(card__contains="x"))]})),
        (953, lambda m, f: declared(meta={"constraints": [checked(m, m.Q(name=m.F("card")))]})),
        (953, lambda m, f: declared(meta={"constraints": [checked(m, exact(m.F("card"), "x"))]})),
        (953, lambda m, f: declared(meta={"constraints": [checked(m, m.Q(exact(m.F("card"), "x")))]})),
        (957, lambda m, f: declared(default=5)),
        (957, lambda m, f: declared(default=b"x")),
        (None, lambda m, f: declared(default=gettext_lazy("x"))),
        (None, lambda m, f: declared(default=lambda: 5)),
        (None, lambda m, f: declared(null=True, default=None)),
        (None, lambda m, f: declared(meta={"constraints": [checked(m, m.Q(name="a") | m.Q(card__isnull=False))]})),
        (None, lambda m, f: declared(meta={"indexes": [m.Index(fields=["name"], condition=m.Q(card=None), name="i")]})),
        (954, lambda m, f: declared(meta={"indexes": [m.Index(fields=["name"], condition=m.Q(card="x"), name="i")]})),
        (954, lambda m, f: declared(meta={"indexes": [m.Index(fields=["-card"], name="i")]})),
        (954, lambda m, f: declared(meta={"indexes": [m.Index(f.Lower("card").desc(), name="i")]})),
        (955, lambda m, f: declared(meta={"ordering": ["name", "-card"]})),
        (955, lambda m, f: declared(meta={"ordering": [m.F("card").desc()]})),
        (955, lambda m, f: declared(meta={"get_latest_by": "card"})),
        (956, lambda m, f: declared(db_default="x")),
        (956, lambda m, f: declared(db_default=m.Value("x"))),
    ],
)
def test_system_checks_name_what_an_encrypted_field_cannot_be(shop, id, make):
    from django.db import models
    from django.db.models import functions

    if id == 956 and not hasattr(models.Field, "has_db_default"):
        pytest.skip("Django before 5 has no db_default")
    found = make(models, functions)
    errors = [error for error in found.check(databases=["default"]) if error.id.startswith("fields.E95")]
    assert [error.id for error in errors] == ([] if id is None else [f"fields.E{id}"])
    assert all(error.hint for error in errors)


def exact(left, right):
    from django.db.models.lookups import Exact

    return Exact(left, right)


def gettext_lazy(text):
    from django.utils.translation import gettext_lazy

    return gettext_lazy(text)


def checked(models, condition):
    try:
        return models.CheckConstraint(condition=condition, name="c")
    except TypeError:
        return models.CheckConstraint(check=condition, name="c")


def test_an_encrypted_field_is_not_the_output_of_a_generated_one(shop):
    from django.db import models
    from django.db.models.functions import Upper

    from libkms.django import EncryptedTextField

    if not hasattr(models, "GeneratedField"):
        pytest.skip("Django before 5 has no GeneratedField")

    class Generated(models.Model):
        name = models.CharField(max_length=9)
        card = models.GeneratedField(expression=Upper("name"), output_field=EncryptedTextField(), db_persist=True)

        class Meta:
            app_label = "refusals"

    errors = Generated.check(databases=["default"])
    assert [error.id for error in errors] == ["fields.E223"]
    assert "fields.E956" in errors[0].msg and "without the keystore" in errors[0].msg


@pytest.mark.parametrize("value", ["4111", 5, 1.5, b"\0", MAGIC])
def test_what_was_stored_without_encrypting_is_named(model, value):
    from django.db import connection

    from libkms.django import Progress, keystore, move_rows

    model.objects.filter(pk=2).update(card="second")
    stored("update refusals_client set card = %s where id = 1", value)
    with pytest.raises(libkms.MalformedCiphertext, match="refusals_client.card") as caught:
        list(model.objects.all())
    assert "4111" not in str(caught.value)
    keystore().rotate("alias/app")
    assert move_rows(model, "card") == Progress(seen=2, moved=1, failed=1, total=2)
    assert connection.in_atomic_block is False
    stored("update refusals_client set card = null where id = 1")


def test_moving_goes_to_the_key_that_the_alias_names_now(model):
    from libkms.django import Progress, keystore, move_rows

    kms = keystore()
    before = kms.describe_key("alias/app").id
    kms.update_alias(kms.create_key().id, "alias/app")
    try:
        model.objects.filter(pk=2).update(card="second")
        assert move_rows(model, "card") == Progress(seen=2, moved=1, failed=0, total=2, other_key=1)
        assert move_rows(model, "card") == Progress(seen=2, moved=0, failed=0, total=2)
        keys = {kms.inspect(blob).key_id for blob in stored("select card from refusals_client")}
        assert keys == {kms.describe_key("alias/app").id}
    finally:
        kms.update_alias(before, "alias/app")


class Rename:
    """An app's state, migrated step by step."""

    def __init__(self, label):
        from django.db.migrations.state import ProjectState

        self.label, self.state, self.past = label, ProjectState(), []

    def apply(self, *operations):
        from django.db import connection

        for operation in operations:
            after = self.state.clone()
            operation.state_forwards(self.label, after)
            with connection.schema_editor() as editor:
                operation.database_forwards(self.label, editor, self.state, after)
            self.past.append((operation, self.state))
            self.state = after

    def undo(self):
        from django.db import connection

        operation, before = self.past.pop()
        with connection.schema_editor() as editor:
            operation.database_backwards(self.label, editor, self.state, before)
        self.state = before

    def model(self, name):
        return self.state.apps.get_model(self.label, name)


@pytest.fixture
def app(shop, request):
    from django.db import connection, migrations, models

    from libkms.django import EncryptedTextField

    made = Rename(request.node.name[:30].rstrip("_"))
    made.apply(
        migrations.CreateModel(
            "Person", [("id", models.AutoField(primary_key=True)), ("card", EncryptedTextField(null=True))]
        )
    )
    made.model("Person").objects.bulk_create(made.model("Person")(card=f"card {number}") for number in range(5))
    yield made
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            if table.startswith(made.label):
                cursor.execute(f"drop table {table}")


def cards(model, field):
    return list(model.objects.order_by("pk").values_list(field, flat=True))


CARDS = [f"card {number}" for number in range(5)]


def test_a_renamed_column_is_counted_and_an_operation_re_encrypts_it(app):
    from django.db import migrations

    from libkms.django import Progress, ReencryptField, move_rows

    app.apply(migrations.RenameField("Person", "card", "pan"))
    table = f"{app.label}_person"
    with pytest.raises(libkms.AuthenticationFailed, match=f"{table}.pan.*from_context"):
        cards(app.model("Person"), "pan")
    assert move_rows(app.model("Person"), "pan") == Progress(seen=5, moved=0, failed=5, total=5)
    wrong = ReencryptField("Person", "pan", from_context={"table": table, "column": "other"})
    with pytest.raises(RuntimeError, match="5 of 5 rows"):
        app.apply(wrong)
    app.apply(ReencryptField("Person", "pan", from_context="never", allow_failed=True))
    app.apply(ReencryptField("Person", "pan", from_context={"table": table, "column": "card"}, batch=2))
    assert cards(app.model("Person"), "pan") == CARDS
    app.undo()
    app.undo()
    with pytest.raises(libkms.AuthenticationFailed):
        cards(app.model("Person"), "pan")
    app.undo()
    assert cards(app.model("Person"), "card") == CARDS


def test_a_context_survives_renames_of_field_column_and_table(app):
    from django.db import connection, migrations, models

    from libkms.django import EncryptedTextField

    table = f"{app.label}_person"
    kept = {"table": table, "column": "card"}
    with connection.schema_editor(collect_sql=True) as editor:
        after = app.state.clone()
        operation = migrations.AlterField("Person", "card", EncryptedTextField(null=True, context=kept))
        operation.state_forwards(app.label, after)
        operation.database_forwards(app.label, editor, app.state, after)
        assert editor.collected_sql == [], "a context isn't part of the schema"
    app.apply(operation, migrations.RenameField("Person", "card", "pan"), migrations.RenameModel("Person", "Human"))
    assert cards(app.model("Human"), "pan") == CARDS
    app.apply(migrations.AlterField("Human", "pan", EncryptedTextField(null=True, context=kept, db_column="p")))
    app.apply(migrations.AlterModelTable("Human", f"{app.label}_people"))
    app.model("Human").objects.create(pan="new")
    assert cards(app.model("Human"), "pan") == [*CARDS, "new"]
    app.apply(migrations.AddField("Human", "note", EncryptedTextField(default="a default", context="note")))
    app.apply(migrations.AddField("Human", "age", models.IntegerField(default=1)))
    assert cards(app.model("Human"), "note") == ["a default"] * 6 and cards(app.model("Human"), "pan") == [*CARDS, "new"]
    app.apply(migrations.AlterField("Human", "pan", EncryptedTextField(default="", context=kept, db_column="p")))
    assert cards(app.model("Human"), "pan") == [*CARDS, "new"]


def test_a_former_context_moves_to_a_named_one(app):
    from django.db import migrations

    from libkms.django import EncryptedTextField, ReencryptField

    kept = {"table": f"{app.label}_person", "column": "card"}
    app.apply(migrations.AlterField("Person", "card", EncryptedTextField(null=True, context="person.card")))
    app.apply(ReencryptField("Person", "card", from_context=kept))
    assert cards(app.model("Person"), "card") == CARDS
    sealed = stored(f"select card from {app.label}_person")[0]
    from libkms.django import keystore

    assert keystore().decrypt(sealed, {"column": "person.card"}) == b"card 0"


def test_migrations_can_be_written(shop):
    from django.db.migrations.writer import MigrationWriter, OperationWriter

    from libkms.django import EncryptedTextField, ReencryptField

    kept = {"table": "t", "column": "c"}
    text, imports = OperationWriter(ReencryptField("Person", "pan", from_context=kept, batch=9, allow_failed=True)).serialize()
    assert "libkms.django.ReencryptField" in text and "import libkms.django" in imports
    field = EncryptedTextField(context=kept, key=keystore_key())
    assert MigrationWriter.serialize(field)[0].count("context={'column': 'c', 'table': 't'}") == 1
    name, path, args, kwargs = field.deconstruct()
    again = EncryptedTextField(*args, **kwargs)
    assert path == "libkms.django.EncryptedTextField" and again.context == kept and again.key == field.key


def keystore_key():
    from libkms.django import keystore

    return keystore().describe_key("alias/app")
