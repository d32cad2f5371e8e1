use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::{Keystore, Options};

fn kms() -> Keystore {
    Keystore::open("memory:", &Options::new().root_key(&[7; 32])).unwrap()
}

fn place(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(place(path)).unwrap()
}

/// Every function of the header.
fn functions() -> BTreeSet<String> {
    let header = read("include/kms.h");
    let code: String = header.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.rsplit("*/").nth(1).unwrap();
    let names = code.match_indices("kms_").filter_map(|(at, _)| {
        let before = code[..at].chars().next_back().unwrap_or(' ');
        let name: String = code[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let called = code[at + name.len()..].starts_with('(');
        (called && !before.is_ascii_alphanumeric() && before != '_').then_some(name)
    });
    names.collect()
}

#[test]
fn every_function_of_the_header_has_an_action_or_a_reason() {
    let functions = functions();
    assert!(functions.len() > 60, "the header was not understood");
    let mut acted: BTreeSet<&str> = BTreeSet::new();
    for action in ACTIONS {
        acted.extend(action.functions);
    }
    let excepted =
        |name: &str| NOT_ACTIONS.iter().any(|(not, _)| name == *not || (not.ends_with('_') && name.starts_with(not)));
    for name in &functions {
        assert!(
            acted.contains(name.as_str()) != excepted(name),
            "{name} needs either an action in src/service/call/table.rs or a reason in NOT_ACTIONS"
        );
    }
    for name in acted {
        assert!(functions.contains(name), "{name} is no function of kms.h");
    }
    for (not, _) in NOT_ACTIONS {
        assert!(functions.iter().any(|name| name.starts_with(not)), "{not} is no function of kms.h");
    }
}

#[test]
fn every_action_of_the_service_is_there() {
    let names = "CreateKey DescribeKey ListKeys EnableKey DisableKey ScheduleKeyDeletion CancelKeyDeletion \
        UpdateKeyDescription SetDeletionProtection UpdateRotationPolicy CreateKeyVersion DescribeKeyVersion \
        ListKeyVersions Encrypt Decrypt ReEncrypt GenerateDataKey GenerateDataKeyWithoutPlaintext ExportDataKey \
        GenerateAndExportDataKey GetParametersForImport ImportKeyMaterial DeleteKeyMaterial CreateAlias UpdateAlias \
        DeleteAlias ListAliases ListAliasesByKeyId TagResource UntagResource ListResourceTags";
    let of_service: BTreeSet<&str> = ACTIONS.iter().filter(|a| a.of_service).map(|a| a.name).collect();
    assert_eq!(of_service, names.split_whitespace().collect());
    let all: BTreeSet<&str> = ACTIONS.iter().map(|action| action.name).collect();
    assert_eq!(all.len(), ACTIONS.len(), "a name stands twice");
}

/// A value of the right form.
fn example(kind: Kind) -> Value {
    match kind {
        Kind::KeyId | Kind::Key | Kind::VersionId => json!("ffffffff-ffff-4fff-bfff-ffffffffffff"),
        Kind::Alias => json!("alias/x"),
        Kind::Text => json!("x"),
        Kind::Path => json!("/nowhere/x"),
        Kind::Base64 => json!("eHg="),
        Kind::Integer => json!(1),
        Kind::Flag => json!(true),
        Kind::Map => json!({ "a": "b" }),
        Kind::List => json!([]),
    }
}

/// The text of an action's refusal.
fn refusal(kms: &Keystore, action: &Action, request: &Value) -> String {
    match kms.call(action.name, &request.to_string()) {
        Ok(done) => panic!("{} accepted {request}: {done}", action.name),
        Err(failed) => failed.error.to_string(),
    }
}

#[test]
fn actions_take_exactly_the_parameters_of_the_table() {
    let kms = kms();
    for action in ACTIONS {
        let needed: Vec<&Parameter> = action.parameters.iter().filter(|p| p.required).collect();
        let request = |also: Option<&Parameter>| {
            let named = needed.iter().copied().chain(also).map(|p| (p.name.to_owned(), example(p.kind)));
            named.collect::<serde_json::Map<_, _>>()
        };
        for parameter in action.parameters {
            // Wrong for every kind: an action that doesn't take it would call it unknown.
            let mut wrong = request(Some(parameter));
            wrong.insert(parameter.name.into(), json!({ "a": [] }));
            let text = refusal(&kms, action, &Value::Object(wrong));
            assert!(!text.contains("unknown here"), "{}: {text}", action.name);
            if parameter.required {
                let mut without = request(None);
                without.remove(parameter.name);
                let text = refusal(&kms, action, &Value::Object(without));
                assert!(text.contains(parameter.name) && text.contains("missing"), "{}: {text}", action.name);
            }
        }
        let mut more = request(None);
        more.insert("Misspelt".into(), json!("x"));
        let text = refusal(&kms, action, &Value::Object(more));
        assert!(text.contains("no parameter Misspelt") && text.contains(action.name), "{text}");
        assert!(action.parameters.iter().all(|parameter| text.contains(parameter.name)), "{text}");
    }
}

#[test]
fn list_actions_returns_the_table() {
    let listed: Value = serde_json::from_str(&kms().call("ListActions", "").unwrap()).unwrap();
    let listed = listed["Actions"]["Action"].as_array().unwrap();
    assert_eq!(listed.len(), ACTIONS.len());
    for (shown, action) in listed.iter().zip(ACTIONS) {
        assert_eq!((&shown["Name"], &shown["Service"]), (&json!(action.name), &json!(action.of_service)));
        let parameters = shown["Parameters"]["Parameter"].as_array().unwrap();
        let needed = action.parameters.iter().filter(|parameter| parameter.required).count();
        assert_eq!(parameters.len(), action.parameters.len());
        assert_eq!(parameters.iter().filter(|shown| shown["Required"] == true).count(), needed);
    }
}

/// `docs/actions.md`.
fn page() -> String {
    let mut page = String::from(
        "# Actions\n\n\
         Made from `src/service/call/table.rs` by `make actions`; a test fails when the two differ.\n\n\
         `kms_call` carries an operation out by the name of its action, with JSON. *The service* is Alibaba Cloud KMS\n\
         (API 2016-01-20, \"classic CMK\"): its actions have its names, parameters, responses and errors, and\n\
         [`contract.md`](contract.md) says where libkms deviates. The other actions are libkms's own, in the same style.\n\
         `ListActions` returns this table as JSON.\n\n\
         A key id, alias or both may also be a resource name (`acs:kms:local:libkms:key/ID`, `acs:kms:local:libkms:alias/NAME`).\n\
         Base64 is that of the bytes. A boolean or an integer may be a text, and an object or an array other than Records a text that holds\n\
         JSON.\n\
         Each response also has RequestId; an error body has HttpStatus, Code, Message and RequestId.\n\
         Root keys, passphrases and plaintexts in a request are wiped from the library's memory; wiping the request is up to\n\
         the caller. A batch answers KMS_OK also where records failed: each has its own result.\n\n\
         | action | C function | of the service | what it does |\n|---|---|---|---|\n",
    );
    for action in ACTIONS {
        let functions: Vec<String> = action.functions.iter().map(|name| format!("`{name}`")).collect();
        let of_service = if action.of_service { "yes" } else { "no" };
        let name = action.name;
        writeln!(
            page,
            "| [{name}](#{}) | {} | {of_service} | {} |",
            name.to_lowercase(),
            functions.join(", "),
            action.summary
        )
        .unwrap();
    }
    page += "\n## Functions without an action\n\n| C function | why |\n|---|---|\n";
    for (name, why) in NOT_ACTIONS {
        let any = if name.ends_with('_') { "..." } else { "" };
        writeln!(page, "| `{name}{any}` | {why} |").unwrap();
    }
    page += "\n## Parameters and responses\n";
    for action in ACTIONS {
        writeln!(page, "\n### {}\n\n{}\n", action.name, action.summary).unwrap();
        if !action.parameters.is_empty() {
            page += "| parameter | type | needed | |\n|---|---|---|---|\n";
        }
        for Parameter { name, kind, required, note } in action.parameters {
            let required = if *required { "yes" } else { "" };
            writeln!(page, "| {name} | {} | {required} | {note} |", kind.name()).unwrap();
        }
        let response = if action.response.is_empty() { "RequestId only" } else { action.response };
        writeln!(page, "{}Response: {response}.", if action.parameters.is_empty() { "" } else { "\n" }).unwrap();
    }
    page
}

const FIRST: &str = "/// The actions, each with its C function:\n";
const LAST: &str = "#[unsafe(no_mangle)]";

/// `src/ffi/call.rs` with the list of actions that `kms_call`'s text has.
fn source(old: &str) -> String {
    let (head, rest) = old.split_once(FIRST).unwrap();
    let (_, tail) = rest.split_once(LAST).unwrap();
    let mut list = String::from("///\n");
    for action in ACTIONS {
        let functions = if action.functions.is_empty() { "-".to_owned() } else { action.functions.join(", ") };
        writeln!(list, "///   {:<32}{functions}", action.name).unwrap();
    }
    format!("{head}{FIRST}{list}{LAST}{tail}")
}

#[test]
fn the_documents_have_the_table() {
    let old = read("src/ffi/call.rs");
    for (path, wanted) in [("docs/actions.md", page()), ("src/ffi/call.rs", source(&old))] {
        if std::env::var_os("KMS_UPDATE_ACTIONS").is_some() {
            std::fs::write(place(path), wanted).unwrap();
            continue;
        }
        let found = std::fs::read_to_string(place(path)).unwrap_or_default();
        assert!(found == wanted, "{path} is not what src/service/call/table.rs says; run: make actions");
    }
}
