//! Carries out one operation by the service's JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::answers::{Answer, Named, Page};
use super::carry_out::{Both, Expected, number};
use super::keystore::TestKeystore;
use super::operations::{self as op, Operation};
use super::reference::Context;
use super::rules::Refusal;
use super::values;
use crate::reference::bare;

pub type Response = Result<Value, i32>;

/// A context as JSON text, which can name a key twice.
fn context_text(context: &Context) -> String {
    let quoted = |text: &String| Value::from(text.as_str()).to_string();
    let entries: Vec<_> = context.iter().map(|(name, value)| format!("{}:{}", quoted(name), quoted(value))).collect();
    format!("{{{}}}", entries.join(","))
}

/// PageNumber and PageSize: the requested values, and their meaning if they are allowed.
fn page(number: u8, size: u8) -> (Map<String, Value>, Result<Page, Refusal>) {
    let number = [None, Some(1), Some(2), Some(0)][usize::from(number)];
    let size = [None, Some(2), Some(100), Some(1), Some(0), Some(101), Some(-1), Some(i64::MAX)][usize::from(size)];
    let mut asked = Map::new();
    asked.extend(number.map(|number| ("PageNumber".to_owned(), json!(number))));
    asked.extend(size.map(|size| ("PageSize".to_owned(), json!(size))));
    let page = Page { number: number.unwrap_or(1), size: size.unwrap_or(10) };
    let good = page.number > 0 && (1..=100).contains(&page.size);
    (asked, if good { Ok(page) } else { Err(Refusal::InvalidArgument) })
}

/// An answer if no page argument is wrong; a wrong one fails like any other argument.
fn with_page(expected: Expected, page: &Result<Page, Refusal>) -> Expected {
    match (expected, page) {
        (Err(Refusal::KeyNotFound | Refusal::AliasNotFound) | Ok(_), Err(wrong)) => Err(wrong.clone()),
        (Err(other), Err(wrong)) => Err(Refusal::OneOf(vec![other, wrong.clone()])),
        (expected, Ok(_)) => expected,
    }
}

fn object(fields: Value) -> Map<String, Value> {
    match fields {
        Value::Object(fields) => fields,
        _ => unreachable!("a request is an object"),
    }
}

/// An interval as the model takes it: in the service's own parameter the unit is needed.
fn with_unit(text: &str) -> &str {
    if text.ends_with(|c: char| c.is_ascii_digit()) { "no unit" } else { text }
}

pub fn decoded(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap_or("not there")).unwrap_or_default()
}

impl TestKeystore {
    /// By JSON where it has the operation.
    pub fn carry_out(&mut self, operation: &Operation, json: bool) -> (Both, Option<Page>) {
        self.error_body = None;
        let by_json =
            if json || matches!(operation, Operation::Misspelt { .. }) { self.by_json(operation) } else { None };
        match by_json {
            Some((both, page)) => (both, page),
            None => (self.by_rust(operation), None),
        }
    }

    pub fn call(&mut self, action: &str, request: Value) -> Response {
        self.call_text(action, &request.to_string())
    }

    fn call_text(&mut self, action: &str, request: &str) -> Response {
        match self.kms().call(action, request) {
            Ok(response) => {
                let mut fields: Map<String, Value> = serde_json::from_str(&response).unwrap();
                let id = fields.remove("RequestId");
                assert!(id.is_some_and(|id| id.as_str().is_some_and(|id| id.len() == 36)), "no RequestId: {response}");
                Ok(Value::Object(fields))
            }
            Err(failed) => {
                self.error_body = Some(failed.body.clone());
                Err(number(&failed.error))
            }
        }
    }

    /// The same request with a context, whose text can be wrong JSON.
    pub fn call_with_context(&mut self, action: &str, request: Value, contexts: &[(&str, &Context)]) -> Response {
        let mut text = request.to_string();
        text.pop();
        for (name, context) in contexts {
            if !context.is_empty() {
                text.push_str(&format!(",\"{name}\":{}", context_text(context)));
            }
        }
        self.call_text(action, &(text + "}"))
    }

    /// Takes a ciphertext out of a response, leaving its length.
    pub fn take_blob(response: &mut Value, name: &str) -> Vec<u8> {
        let bytes = decoded(&response[name]);
        response[name] = json!(bytes.len());
        bytes
    }

    fn done(&mut self, action: &str, request: Value, expected: Result<(), Refusal>) -> Option<(Both, Option<Page>)> {
        let given = self.call(action, request);
        Some((Some((expected.map(|()| Answer::Done), given.map(Answer::Json))), None))
    }

    fn listed(
        &mut self,
        action: &str,
        mut request: Map<String, Value>,
        (number, size): (u8, u8),
        expected: Expected,
    ) -> Option<(Both, Option<Page>)> {
        let (asked, page) = page(number, size);
        request.extend(asked);
        let given = self.call(action, Value::Object(request)).map(Answer::Json);
        Some((Some((with_page(expected, &page), given)), page.ok()))
    }

    fn by_json(&mut self, operation: &Operation) -> Option<(Both, Option<Page>)> {
        let now = self.now();
        match operation {
            Operation::CreateKey { description, external, interval } => {
                let (description, every) =
                    (values::description(*description), interval.map(|n| values::INTERVALS[usize::from(n)]));
                let mut request = json!({"Description": description});
                if *external {
                    request["Origin"] = json!("EXTERNAL");
                }
                if let Some(every) = every {
                    request["EnableAutomaticRotation"] = json!(true);
                    request["RotationInterval"] = json!(every);
                }
                let given = self.call("CreateKey", request);
                let id = given.clone().map(|shown| shown["KeyMetadata"]["KeyId"].as_str().unwrap_or("").to_owned());
                let (expected, _) = self.made(id, |model, id, now| {
                    model.create_key(id, &description, *external, every.map(with_unit), now)
                });
                Some((Some((expected, given.map(Answer::Json))), None))
            }
            Operation::DescribeKey { key } => {
                let name = self.named(*key);
                let expected = self.model.describe_key(&name).map(Answer::Described);
                let given = self.call("DescribeKey", json!({"KeyId": name})).map(Answer::Json);
                Some((Some((expected, given)), None))
            }
            Operation::ListKeys { page, size, filter, .. } => {
                let (filters, keeps) = filtered(*filter);
                let kept = |id: &String| {
                    let key = &self.model.keys[id];
                    keeps(key.state_at(now, &self.model.rules), key.service)
                };
                let expected = match filters {
                    Some(ref filters) if filters.to_string().contains("Nonsense") => Err(Refusal::InvalidArgument),
                    _ => Ok(Answer::Keys(self.model.keys.keys().filter(|id| kept(id)).cloned().collect())),
                };
                let mut request = Map::new();
                request.extend(filters.map(|filters| ("Filters".to_owned(), filters)));
                self.listed("ListKeys", request, (*page, *size), expected)
            }
            Operation::EnableKey { key } => {
                let name = self.named(*key);
                let expected = self.model.enable_key(&name, now);
                self.done("EnableKey", json!({"KeyId": name}), expected)
            }
            Operation::DisableKey { key } => {
                let name = self.named(*key);
                let expected = self.model.disable_key(&name, now);
                self.done("DisableKey", json!({"KeyId": name}), expected)
            }
            Operation::ScheduleKeyDeletion { key, days } => {
                let name = self.named(*key);
                let expected = self.model.schedule_key_deletion(&name, days.map(i64::from), now);
                let mut request = json!({"KeyId": name});
                if let Some(days) = days {
                    request["PendingWindowInDays"] = json!(days);
                }
                self.done("ScheduleKeyDeletion", request, expected)
            }
            Operation::CancelKeyDeletion { key } => {
                let name = self.named(*key);
                let expected = self.model.cancel_key_deletion(&name, now);
                self.done("CancelKeyDeletion", json!({"KeyId": name}), expected)
            }
            Operation::UpdateKeyDescription { key, description } => {
                let (name, text) = (self.named(*key), values::description(*description));
                let expected = self.model.update_key_description(&name, &text, now);
                self.done("UpdateKeyDescription", json!({"KeyId": name, "Description": text}), expected)
            }
            Operation::SetDeletionProtection { key, protection } => {
                let (name, why) = (self.named(*key), protection.map(values::description));
                let expected = self.model.set_deletion_protection(&name, why.as_deref(), now);
                let mut request = json!({"KeyId": name, "EnableDeletionProtection": why.is_some()});
                if let Some(why) = why {
                    request["DeletionProtectionDescription"] = json!(why);
                }
                self.done("SetDeletionProtection", request, expected)
            }
            Operation::UpdateRotationPolicy { key, interval } => {
                let (name, every) = (self.named(*key), interval.map(|number| values::INTERVALS[usize::from(number)]));
                let expected = self.model.update_rotation_policy(&name, every.map(with_unit), now);
                let mut request = json!({"KeyId": name, "EnableAutomaticRotation": every.is_some()});
                if let Some(every) = every {
                    request["RotationInterval"] = json!(every);
                }
                self.done("UpdateRotationPolicy", request, expected)
            }
            Operation::CreateKeyVersion { key } => {
                let name = self.named(*key);
                let expected = self.model.create_key_version(&name, now);
                let expected = expected.map(|(key, version)| Answer::Version {
                    key,
                    version: Named::Number(version),
                    primary: None,
                });
                let given = self.call("CreateKeyVersion", json!({"KeyId": name})).map(Answer::Json);
                Some((Some((expected, given)), None))
            }
            Operation::DescribeKeyVersion { key, of, version } => {
                let name = self.named(*key);
                let wanted = self.version_named(&name, *of, *version);
                let expected = self.model.describe_key_version(&name, &wanted);
                let expected = expected.map(|(key, version)| Answer::Version {
                    key,
                    version: Named::Number(version),
                    primary: None,
                });
                let request = json!({"KeyId": name, "KeyVersionId": wanted});
                let given = self.call("DescribeKeyVersion", request).map(Answer::Json);
                Some((Some((expected, given)), None))
            }
            Operation::ListKeyVersions { key, page, size, .. } => {
                let name = self.named(*key);
                let expected = self.model.list_key_versions(&name, None, usize::MAX).map(|(key, numbers)| {
                    Answer::Versions { key, versions: numbers.into_iter().map(Named::Number).collect() }
                });
                self.listed("ListKeyVersions", object(json!({"KeyId": name})), (*page, *size), expected)
            }
            Operation::ListAliases { page, size, .. } => {
                let expected = self.model.list_aliases(None, None, usize::MAX).map(Answer::Aliases);
                self.listed("ListAliases", Map::new(), (*page, *size), expected)
            }
            Operation::ListAliasesByKeyId { key, page, size, .. } => {
                let name = self.named(*key);
                let expected = self.model.list_aliases(Some(&name), None, usize::MAX).map(Answer::Aliases);
                self.listed("ListAliasesByKeyId", object(json!({"KeyId": name})), (*page, *size), expected)
            }
            Operation::CreateAlias { key, alias } => {
                let (name, alias) = (self.named(*key), values::alias(*alias));
                let expected = self.model.create_alias(&name, &alias, now);
                self.done("CreateAlias", json!({"KeyId": name, "AliasName": alias}), expected)
            }
            Operation::UpdateAlias { key, alias } => {
                let (name, alias) = (self.named(*key), values::alias(*alias));
                let expected = self.model.update_alias(&name, &alias, now);
                self.done("UpdateAlias", json!({"KeyId": name, "AliasName": alias}), expected)
            }
            Operation::DeleteAlias { alias } => {
                let alias = values::alias(*alias);
                let expected = self.model.delete_alias(&alias);
                self.done("DeleteAlias", json!({"AliasName": alias}), expected)
            }
            Operation::TagResource { key, tags } => {
                let name = self.named(*key);
                let tags: Vec<_> =
                    tags.iter().map(|(name, value)| (values::tag_name(*name), values::tag_value(*value))).collect();
                let expected = self.model.tag_resource(&name, &tags, now);
                let shown: Vec<_> =
                    tags.iter().map(|(name, value)| json!({"TagKey": name, "TagValue": value})).collect();
                self.done("TagResource", json!({"KeyId": name, "Tags": shown}), expected)
            }
            Operation::UntagResource { key, names } => {
                let (name, names): (_, Vec<_>) =
                    (self.named(*key), names.iter().map(|name| values::tag_name(*name)).collect());
                let expected = self.model.untag_resource(&name, &names, now);
                self.done("UntagResource", json!({"KeyId": name, "TagKeys": names}), expected)
            }
            Operation::ListResourceTags { key } => {
                let name = self.named(*key);
                let answer = |tags| Answer::Tags { key: bare(&name).to_ascii_lowercase(), tags };
                let expected = self.model.list_resource_tags(&name).map(answer);
                let given = self.call("ListResourceTags", json!({"KeyId": name})).map(Answer::Json);
                Some((Some((expected, given)), None))
            }
            Operation::Misspelt { key, how } => Some((Some(self.misspelt(*key, *how)), None)),
            _ => Some((Some(self.data_by_json(operation)??), None)),
        }
    }

    /// Requests that are wrong in ways which typed calls can't be.
    fn misspelt(&mut self, key: op::Who, how: u8) -> (Expected, Result<Answer, i32>) {
        use Refusal::{InvalidArgument, MissingParameter, UnknownAction};
        let id = self.named(match key {
            op::Who::Empty => op::Who::UnknownKey,
            who => who,
        });
        let wrong = [
            ("Nonsense", json!({"KeyId": id}), UnknownAction),
            ("encrypt", json!({"KeyId": id}), UnknownAction),
            ("EnableKey", json!({}), MissingParameter),
            ("Encrypt", json!({"KeyId": id}), MissingParameter),
            ("Decrypt", json!({}), MissingParameter),
            ("DescribeKeyVersion", json!({"KeyId": id}), MissingParameter),
            ("DescribeKey", json!({"KeyId": id, "Keyid": id}), InvalidArgument),
            ("Encrypt", json!({"KeyId": id, "Plaintext": "AA==", "DryRun": "true"}), InvalidArgument),
            ("Encrypt", json!({"KeyId": id, "Plaintext": "no Base64!"}), InvalidArgument),
            ("Decrypt", json!({"CiphertextBlob": "no Base64!"}), InvalidArgument),
            ("Encrypt", json!({"KeyId": id, "Plaintext": "AA==", "EncryptionContext": {"a": 1}}), InvalidArgument),
            ("Encrypt", json!({"KeyId": id, "Plaintext": "AA==", "EncryptionContext": ["a"]}), InvalidArgument),
            ("DescribeKey", json!({"KeyId": 7}), InvalidArgument),
            ("CreateKey", json!({"Origin": "external"}), InvalidArgument),
            ("CreateKey", json!({"EnableAutomaticRotation": true}), MissingParameter),
            ("CreateKey", json!({"EnableAutomaticRotation": "maybe", "RotationInterval": "7d"}), InvalidArgument),
            ("ListKeys", json!({"PageSize": "ten"}), InvalidArgument),
            ("ListKeys", json!({"PageSize": 1.5}), InvalidArgument),
            ("GenerateDataKey", json!({"KeyId": id, "KeySpec": "AES_512"}), InvalidArgument),
            ("CreateAlias", json!({"AliasName": "alias/new"}), MissingParameter),
        ];
        let (action, request, refusal) = &wrong[usize::from(how) % wrong.len()];
        let given = self.call(action, request.clone()).map(Answer::Json);
        (Err(refusal.clone()), given)
    }
}

type Keeps = fn(super::rules::State, bool) -> bool;

/// Filters of ListKeys, and the states and service-managed keys that they keep.
fn filtered(number: u8) -> (Option<Value>, Keeps) {
    use super::rules::State;
    let of = |key: &str, values: &[&str]| json!({"Key": key, "Values": values});
    let (filters, keeps): (Vec<Value>, Keeps) = match number {
        0 | 1 => return (None, |_, _| true),
        2 => (vec![of("KeyState", &["Enabled"])], |state, _| state == State::Enabled),
        3 => (vec![of("KeyState", &["Disabled", "PendingImport"])], |state, _| {
            matches!(state, State::Disabled | State::PendingImport)
        }),
        4 => (vec![of("KeyState", &["Enabled"]), of("KeyState", &["PendingDeletion"])], |state, _| {
            matches!(state, State::Enabled | State::PendingDeletion)
        }),
        5 => (vec![of("CreatorType", &["Service"])], |_, service| service),
        6 => (vec![of("CreatorType", &["User"]), of("KeyState", &["Enabled"])], |state, service| {
            !service && state == State::Enabled
        }),
        7 => (vec![of("KeyUsage", &["SIGN/VERIFY"])], |_, _| false),
        _ => (vec![of("Nonsense", &["x"])], |_, _| true),
    };
    (Some(json!(filters)), keeps)
}
