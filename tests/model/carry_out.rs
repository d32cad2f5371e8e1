//! Carries out one operation by the model and by the Rust calls.

use kms::{CreateKey, Interval, Keystore, Origin, Time};

use super::answers::{Answer, Named};
use super::keystore::{Parameters, TestKeystore, header};
use super::operations::{self as op, Operation, Wrapped};
use super::reference::{Context, Sealed, TickReport, Token};
use super::rules::{Millis, Refusal};
use super::values;
use super::wrapping;
use crate::reference::bare;

pub type Expected = Result<Answer, Refusal>;
pub type Given = Result<Answer, i32>;

/// How an operation ended on both sides; `None`: it wasn't carried out.
pub type Both = Option<(Expected, Given)>;

pub fn number(error: &kms::Error) -> i32 {
    error.status() as i32
}

fn done(result: kms::Result<()>) -> Given {
    result.map(|()| Answer::Done).map_err(|error| number(&error))
}

pub fn pairs(context: &Context) -> Vec<(&str, &str)> {
    context.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn interval(text: Option<&str>) -> kms::Result<Option<Interval>> {
    text.map(Interval::parse).transpose()
}

/// Unix seconds.
pub fn expiry(number: u8, now: Millis) -> Option<i64> {
    let from_now = [None, Some(3600), Some(10 * 86_400), Some(1), Some(0), Some(-1), Some(-400 * 86_400)];
    from_now[usize::from(number)].map(|seconds| now.div_euclid(1000) + seconds)
}

/// How many bytes the padding leaves, if the public key is one.
pub fn fits(public_key: u8, padding: u8) -> Option<usize> {
    (public_key < 2).then_some(wrapping::PADDINGS[usize::from(padding)].1)
}

/// The answer of an encryption.
pub fn sealed_answer(sealed: &Sealed) -> Answer {
    let length = sealed.plaintext.len() + 80;
    Answer::Sealed { key: sealed.key.clone(), version: Named::Number(sealed.version), length }
}

/// The header of a new ciphertext.
pub fn sealed_given(blob: &[u8]) -> Answer {
    let (key, version) = header(blob);
    Answer::Sealed { key, version: Named::Id(version), length: blob.len() }
}

/// The material as the operation wraps it, and the result of unwrapping it with the token's key.
pub fn wrapped(
    keystore: &TestKeystore,
    parameters: &Parameters,
    wrapped: Wrapped,
    material: u8,
) -> (Vec<u8>, Option<Vec<u8>>) {
    let material = values::material(material);
    let well = |parameters: &Parameters| wrapping::wrap(&parameters.public_key, parameters.padding, &material);
    match wrapped {
        Wrapped::Well => (well(parameters), Some(material)),
        Wrapped::WithTheKeyOfAnother(number) => {
            let other = &keystore.parameters[usize::from(number) % keystore.parameters.len()];
            let same = other.public_key == parameters.public_key;
            (wrapping::wrap(&other.public_key, parameters.padding, &material), same.then_some(material))
        }
        Wrapped::Damaged => {
            let mut bytes = well(parameters);
            bytes[100] ^= 1;
            (bytes, None)
        }
        Wrapped::Empty => (Vec::new(), None),
    }
}

/// What ImportKeyMaterial is given.
pub struct Import {
    pub wrapped: Vec<u8>,
    pub unwrapped: Option<Vec<u8>>,
    pub token: Vec<u8>,
    pub meaning: Token,
}

pub fn import(keystore: &TestKeystore, token: u8, token_damaged: bool, how: Wrapped, material: u8) -> Import {
    if keystore.parameters.is_empty() {
        return Import { wrapped: vec![1; 256], unwrapped: None, token: b"no token".to_vec(), meaning: Token::Damaged };
    }
    let parameters = &keystore.parameters[usize::from(token) % keystore.parameters.len()];
    let (wrapped, unwrapped) = wrapped(keystore, parameters, how, material);
    let (mut token, mut meaning) = (parameters.token.clone(), parameters.meaning.clone());
    if token_damaged {
        let middle = token.len() / 2;
        token[middle] ^= 1;
        meaning = Token::Damaged;
    }
    Import { wrapped, unwrapped, token, meaning }
}

impl TestKeystore {
    /// Keeps a ciphertext that both sides made, to be compared and used later.
    pub fn keep(&mut self, blob: &[u8], sealed: &Sealed) {
        self.fresh_blobs.push((blob.to_vec(), sealed.clone()));
    }

    /// Keeps the ciphertext of a data key whose bytes the model can't know.
    pub fn keep_data_key(&mut self, blob: &[u8], mut sealed: Sealed, plaintext: &[u8]) -> Expected {
        sealed.plaintext = plaintext.to_vec();
        self.keep(blob, &sealed);
        Ok(sealed_answer(&sealed))
    }

    pub fn by_rust(&mut self, operation: &Operation) -> Both {
        match operation {
            Operation::CreateKey { description, external, interval: every } => {
                let (description, every) =
                    (values::description(*description), every.map(|n| values::INTERVALS[usize::from(n)]));
                let made = interval(every).and_then(|rotate_every| {
                    let origin = external.then_some(Origin::External);
                    self.kms().create_key(&CreateKey { description: description.clone(), origin, rotate_every })
                });
                let made = made.map(|id| id.to_string()).map_err(|error| number(&error));
                Some(self.made(made, |model, id, now| model.create_key(id, &description, *external, every, now)))
            }
            Operation::CreateServiceKey { name } => {
                let name = values::SERVICES[usize::from(*name)];
                let made = self.kms().create_service_key(name).map(|id| id.to_string()).map_err(|error| number(&error));
                Some(self.made(made, |model, id, now| model.create_service_key(id, name, now)))
            }
            Operation::ListKeys { after, limit, .. } => {
                let after = after.map(|who| self.named(who));
                let expected = self.model.list_keys(after.as_deref(), usize::from(*limit)).map(Answer::Keys);
                let mut shown = Vec::new();
                let given = self.kms().list_keys(after.as_deref(), usize::from(*limit), |key| {
                    shown.push(key.id.to_string());
                    true
                });
                Some((expected, done(given).map(|_| Answer::Keys(shown))))
            }
            Operation::Tick => {
                let now = self.now();
                let expected = Ok(Answer::TickReport(self.model.tick(now)));
                let given = self.kms().tick().map_err(|error| number(&error));
                let given = given.map(|ticked| TickReport { rotated: ticked.rotated, destroyed: ticked.destroyed });
                Some((expected, given.map(Answer::TickReport)))
            }
            Operation::Clock(to) => {
                self.move_clock(*to);
                None
            }
            Operation::Reopen => {
                self.reopen();
                None
            }
            Operation::Misspelt { .. } => None,
            _ => self.key_by_rust(operation).or_else(|| self.data_by_rust(operation)),
        }
    }

    /// A new key gets the id that the keystore generated.
    pub fn made(
        &mut self,
        given: Result<String, i32>,
        expected: impl FnOnce(&mut super::reference::Model, &str, Millis) -> Result<String, Refusal>,
    ) -> (Expected, Given) {
        let (id, now) = (given.clone().unwrap_or_else(|_| "refused".to_owned()), self.now());
        let expected = expected(&mut self.model, &id, now);
        if given.is_ok() && !self.keys.contains(&id) {
            self.keys.push(id);
        }
        (expected.map(Answer::Made), given.map(Answer::Made))
    }

    fn change(
        &mut self,
        who: op::Who,
        expected: impl FnOnce(&mut super::reference::Model, &str, Millis) -> Result<(), Refusal>,
        given: impl FnOnce(&Keystore, &str) -> kms::Result<()>,
    ) -> Both {
        let (name, now) = (self.named(who), self.now());
        let expected = expected(&mut self.model, &name, now).map(|()| Answer::Done);
        Some((expected, done(given(self.kms(), &name))))
    }

    /// The operations that read one key or change it.
    fn key_by_rust(&mut self, operation: &Operation) -> Both {
        match operation {
            Operation::DescribeKey { key } => {
                let name = self.named(*key);
                let given = self.kms().describe_key(&name).map(|key| Answer::Described(key.id.to_string()));
                Some((self.model.describe_key(&name).map(Answer::Described), given.map_err(|error| number(&error))))
            }
            Operation::EnableKey { key } => {
                self.change(*key, |model, id, now| model.enable_key(id, now), |kms, id| kms.enable_key(id))
            }
            Operation::DisableKey { key } => {
                self.change(*key, |model, id, now| model.disable_key(id, now), |kms, id| kms.disable_key(id))
            }
            Operation::ScheduleKeyDeletion { key, days } => self.change(
                *key,
                |model, id, now| model.schedule_key_deletion(id, days.map(i64::from), now),
                |kms, id| kms.schedule_key_deletion(id, days.unwrap_or(30)),
            ),
            Operation::CancelKeyDeletion { key } => self.change(
                *key,
                |model, id, now| model.cancel_key_deletion(id, now),
                |kms, id| kms.cancel_key_deletion(id),
            ),
            Operation::UpdateKeyDescription { key, description } => {
                let text = values::description(*description);
                self.change(
                    *key,
                    |model, id, now| model.update_key_description(id, &text, now),
                    |kms, id| kms.update_key_description(id, &text),
                )
            }
            Operation::SetDeletionProtection { key, protection } => {
                let why = protection.map(values::description);
                self.change(
                    *key,
                    |model, id, now| model.set_deletion_protection(id, why.as_deref(), now),
                    |kms, id| kms.set_deletion_protection(id, why.as_deref()),
                )
            }
            Operation::UpdateRotationPolicy { key, interval: every } => {
                let every = every.map(|number| values::INTERVALS[usize::from(number)]);
                self.change(
                    *key,
                    |model, id, now| model.update_rotation_policy(id, every, now),
                    |kms, id| kms.update_rotation_policy(id, interval(every)?),
                )
            }
            Operation::CreateKeyVersion { key } => {
                let (name, now) = (self.named(*key), self.now());
                let expected = self.model.create_key_version(&name, now);
                let given = self.kms().rotate(&name).map_err(|error| number(&error));
                let of = expected.clone().map_or(String::new(), |(key, _)| key);
                let version = |version: Named| Answer::Version { key: of.clone(), version, primary: None };
                let expected = expected.map(|(_, made)| version(Named::Number(made)));
                Some((expected, given.map(|made| version(Named::Id(made.to_string())))))
            }
            Operation::DescribeKeyVersion { key, of, version } => {
                let name = self.named(*key);
                let wanted = self.version_named(&name, *of, *version);
                let expected = self.model.describe_key_version(&name, &wanted);
                let given = self.kms().describe_key_version(&name, &wanted).map_err(|error| number(&error));
                let owner = expected.clone().map_or(String::new(), |(key, _)| key);
                let answer = |version: Named, primary: bool| Answer::Version {
                    key: owner.clone(),
                    version,
                    primary: Some(primary),
                };
                let expected = expected
                    .map(|(key, found)| answer(Named::Number(found), found == self.model.keys[&key].versions.len()));
                Some((expected, given.map(|found| answer(Named::Id(found.id.to_string()), found.is_primary))))
            }
            Operation::ListKeyVersions { key, before, limit, .. } => {
                let (name, before) = (self.named(*key), before.map(u64::from));
                let expected = self.model.list_key_versions(&name, before, usize::from(*limit));
                let mut versions = Vec::new();
                let given = self.kms().list_key_versions(&name, before, usize::from(*limit), |version, _| {
                    versions.push(Named::Id(version.id.to_string()));
                    true
                });
                let key = expected.clone().map_or(String::new(), |(key, _)| key);
                let numbers = |numbers: Vec<usize>| numbers.into_iter().map(Named::Number).collect();
                let expected = expected.map(|(key, found)| Answer::Versions { key, versions: numbers(found) });
                Some((expected, done(given).map(|_| Answer::Versions { key, versions })))
            }
            Operation::ImportRawKeyMaterial { key, material, expires } => {
                let (material, expires) = (values::material(*material), expiry(*expires, self.now()));
                self.change(
                    *key,
                    |model, id, now| model.import_raw_key_material(id, &material, expires.map(|at| at * 1000), now),
                    |kms, id| {
                        kms.import_raw_key_material(id, &material, expires.map(|at| Time::from_millis(at * 1000)))
                    },
                )
            }
            Operation::ImportKeyMaterial { key, token, token_damaged, wrapped, material, expires } => {
                let what = import(self, *token, *token_damaged, *wrapped, *material);
                let expires = expiry(*expires, self.now()).map(|at| at * 1000);
                self.change(
                    *key,
                    |model, id, now| {
                        model.import_key_material(id, what.unwrapped.as_deref(), &what.meaning, expires, now)
                    },
                    |kms, id| kms.import_key_material(id, &what.wrapped, &what.token, expires.map(Time::from_millis)),
                )
            }
            Operation::DeleteKeyMaterial { key } => {
                self.change(*key, |model, id, _| model.delete_key_material(id), |kms, id| kms.delete_key_material(id))
            }
            Operation::GetParametersForImport { key, wrapping: padding } => {
                let (name, now) = (self.named(*key), self.now());
                let expected = self.model.get_parameters_for_import(&name, now);
                if expected.is_ok() {
                    self.rsa_keys_left = self.rsa_keys_left.checked_sub(1)?;
                }
                let given = self.kms().get_parameters_for_import(&name, wrapping::typed(*padding));
                if let (Ok((meaning, _)), Ok(parameters)) = (&expected, &given) {
                    self.parameters.push(Parameters {
                        token: parameters.token.clone(),
                        public_key: parameters.public_key.clone(),
                        padding: *padding,
                        meaning: meaning.clone(),
                    });
                }
                let given = given.map(|parameters| Answer::Parameters { expires: parameters.expires.millis() });
                let expected = expected.map(|(_, expires)| Answer::Parameters { expires });
                Some((expected, given.map_err(|error| number(&error))))
            }
            Operation::CreateAlias { key, alias } => {
                let alias = values::alias(*alias);
                self.change(
                    *key,
                    |model, id, now| model.create_alias(id, &alias, now),
                    |kms, id| kms.create_alias(id, &alias),
                )
            }
            Operation::UpdateAlias { key, alias } => {
                let alias = values::alias(*alias);
                self.change(
                    *key,
                    |model, id, now| model.update_alias(id, &alias, now),
                    |kms, id| kms.update_alias(id, &alias),
                )
            }
            Operation::DeleteAlias { alias } => {
                let alias = values::alias(*alias);
                let expected = self.model.delete_alias(&alias).map(|()| Answer::Done);
                Some((expected, done(self.kms().delete_alias(&alias))))
            }
            Operation::ListAliases { after, limit, .. } => self.aliases_by_rust(None, *after, *limit),
            Operation::ListAliasesByKeyId { key, after, limit, .. } => {
                self.aliases_by_rust(Some(self.named(*key)), *after, *limit)
            }
            Operation::TagResource { key, tags } => {
                let tags: Vec<_> =
                    tags.iter().map(|(name, value)| (values::tag_name(*name), values::tag_value(*value))).collect();
                self.change(
                    *key,
                    |model, id, now| model.tag_resource(id, &tags, now),
                    |kms, id| kms.tag_resource(id, &pairs(&tags)),
                )
            }
            Operation::UntagResource { key, names } => {
                let names: Vec<_> = names.iter().map(|name| values::tag_name(*name)).collect();
                let texts: Vec<_> = names.iter().map(String::as_str).collect();
                self.change(
                    *key,
                    |model, id, now| model.untag_resource(id, &names, now),
                    |kms, id| kms.untag_resource(id, &texts),
                )
            }
            Operation::ListResourceTags { key } => {
                let name = self.named(*key);
                let answer = |tags| Answer::Tags { key: bare(&name).to_ascii_lowercase(), tags };
                let given = self.kms().list_resource_tags(&name).map(answer).map_err(|error| number(&error));
                Some((self.model.list_resource_tags(&name).map(answer), given))
            }
            _ => None,
        }
    }

    fn aliases_by_rust(&mut self, key: Option<String>, after: Option<u8>, limit: u8) -> Both {
        let after = after.map(values::alias);
        let (key, after, limit) = (key.as_deref(), after.as_deref(), usize::from(limit));
        let mut shown = Vec::new();
        let given = self.kms().list_aliases(key, after, limit, |alias, id| {
            shown.push((alias.to_owned(), id.to_string()));
            true
        });
        let given = done(given).map(|_| Answer::Aliases(shown));
        Some((self.model.list_aliases(key, after, limit).map(Answer::Aliases), given))
    }
}
