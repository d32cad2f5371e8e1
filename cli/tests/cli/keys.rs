//! `kms key`: names, states, plans.

use crate::support::Place;

#[test]
fn keys_are_named_by_alias_id_or_resource_name() {
    let place = Place::with_key();
    let id = place.json(["key", "show", "cards"])["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    let arn = place.json(["key", "show", &id])["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
    for name in ["alias/cards", &id, &id.to_uppercase(), &arn] {
        assert_eq!(place.json(["key", "show", name])["KeyMetadata"]["KeyId"], id.as_str(), "{name}");
    }
    place.fails(3, "kms key list", ["key", "show", "nobody"]);
    place.fails(3, "kms key show alias/cards", ["key", "create", "cards"]);
    assert_eq!(place.json(["key", "list"])["TotalCount"], 1, "a refused name left a key without one");
}

#[test]
fn a_key_that_is_made_but_not_named_is_reported() {
    let place = Place::new();
    place.fails(2, "kms key tag", ["key", "create", "x", "--tag", "bad=va lue"]);
    assert_eq!(place.json(["key", "list"])["TotalCount"], 1);
}

#[test]
fn a_deletion_shows_its_plan_and_asks() {
    let place = Place::with_key();
    let plan = place.fails(8, "--yes", ["key", "delete", "cards"]);
    assert!(plan.contains("alias/cards") && plan.contains("kms key undelete"), "{plan}");
    place.ok(["key", "delete", "cards", "--dry-run"]);
    place.ok(["key", "delete", "cards", "--dry-run", "--yes"]);
    assert_eq!(place.json(["key", "show", "cards"])["KeyMetadata"]["KeyState"], "Enabled");
    place.ok(["key", "delete", "cards", "--yes", "--days", "7"]);
    place.write("note", "x");
    place.fails(4, "kms key undelete", ["encrypt", "note", "--key", "cards"]);
    assert!(place.ok(["status"]).contains("Deletions"));
    place.ok(["key", "undelete", "cards"]);
    place.ok(["key", "disable", "cards"]);
    place.fails(4, "kms key enable", ["encrypt", "note", "--key", "cards"]);
}

#[test]
fn several_keys_change_only_if_all_names_exist() {
    let place = Place::with_key();
    place.ok(["key", "create", "orders"]);
    place.fails(3, "", ["key", "disable", "cards", "nobody"]);
    assert_eq!(place.json(["key", "list", "--state", "disabled"])["TotalCount"], 0);
    place.ok(["key", "disable", "cards", "orders"]);
    assert_eq!(place.json(["key", "list", "--state", "disabled"])["TotalCount"], 2);
}

#[test]
fn aliases_move_only_when_asked() {
    let place = Place::with_key();
    place.ok(["key", "create", "orders"]);
    place.fails(3, "--move", ["key", "alias", "orders", "cards"]);
    place.ok(["key", "alias", "orders", "cards", "--move"]);
    place.fails(3, "", ["key", "alias", "cards", "--remove", "nobody"]);
    assert_eq!(place.json(["key", "alias", "cards"])["Aliases"], serde_json::json!(["alias/cards", "alias/orders"]));
    place.ok(["key", "alias", "orders", "--remove", "cards"]);
}

#[test]
fn control_characters_of_descriptions_do_not_reach_the_terminal() {
    let place = Place::new();
    place.ok(["key", "create", "x", "--description", "a\x1b[31mb\x07c"]);
    for shown in [place.ok(["key", "list"]), place.ok(["key", "show", "x"])] {
        assert!(!shown.contains(['\x1b', '\x07']), "{shown:?}");
    }
}

#[test]
fn material_is_imported_raw_or_as_base64() {
    let place = Place::new();
    for (name, material) in [("raw", vec![9; 32]), ("text", b"CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=\n".to_vec())]
    {
        place.ok(["key", "create", name, "--external"]);
        place.write(name, material);
        place.ok(["key", "import", name, name, "--expires", "2099-12-31"]);
        assert_eq!(place.json(["key", "show", name])["KeyMetadata"]["MaterialExpireTime"], "2099-12-31T00:00:00Z");
    }
    place.ok(["key", "create", "short", "--external"]);
    place.write("short", [1; 31]);
    place.fails(5, "", ["key", "import", "short", "short"]);
}
