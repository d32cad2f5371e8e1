//! The parameters of a call: taken out by name, checked, and refused if the action does not know them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::Response;
use super::action::{Action, Parameter};
use crate::error::{Error, OUT_OF_MEMORY, Result, Status, shown};
use crate::sys::memory;

/// A JSON object, emptied as its parameters are taken; what is left is wiped, because a plaintext may be among it.
pub struct Request {
    left: Map<String, Value>,
    /// What the body of an error says besides.
    explanation: Response,
}

impl Drop for Request {
    fn drop(&mut self) {
        self.left.values_mut().for_each(super::wipe);
    }
}

pub fn invalid(name: &str) -> Error {
    Status::InvalidArgument.error(format!("the parameter {name} is not valid"))
}

pub fn missing(name: &str) -> Error {
    Status::MissingParameter.error(format!("the parameter {name} is missing"))
}

/// Names the parameters that the action has: the unknown one is mostly one of them, misspelt.
fn unknown(name: &str, action: &Action) -> Error {
    let known: Vec<&str> = action.parameters.iter().map(|parameter| parameter.name).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Status::InvalidArgument.error(format!("{} has no parameter {}; its parameters: {known}", action.name, shown(name)))
}

/// The text with the escapes of Base64's signs undone, if it has any escape: serde_json unescapes into its own
/// buffer, which it doesn't wipe, and a secret is Base64.
fn without_escapes(text: &str) -> Result<Option<Zeroizing<String>>> {
    if !text.contains('\\') {
        return Ok(None);
    }
    let mut plain = Zeroizing::new(String::new());
    plain.try_reserve_exact(text.len()).map_err(|_| memory::out_of_memory())?;
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        let length = match escape.get(1..6) {
            _ if escape.starts_with("\\/") => 2,
            Some("u002b" | "u002B" | "u002f" | "u002F" | "u003d" | "u003D") => 6,
            // Includes the escaped character, which may be a backslash.
            _ => 1 + escape.chars().nth(1).map_or(0, char::len_utf8),
        };
        let (escape, after) = escape.split_at(length);
        plain.push_str(before);
        plain.push_str(match escape.get(1..).unwrap_or_default() {
            "/" | "u002f" | "u002F" => "/",
            "u002b" | "u002B" => "+",
            "u003d" | "u003D" => "=",
            _ => escape,
        });
        rest = after;
    }
    plain.push_str(rest);
    Ok(Some(plain))
}

/// JSON in which no object names a key twice; serde_json alone would keep the last and forget the others.
fn unique(text: &str) -> Result<Option<Value>> {
    let Shape { values, depth } = Shape::of(text);
    if depth > DEPTH {
        return Ok(None);
    }
    // serde_json's own buffer holds the longest text with an escape in it, and may be twice as long as that. The values
    // around the texts are small; but not this many of them.
    memory::headroom_of(3 * text.len() + VALUE_BYTES * values + memory::TRANSACTION)?;
    match serde_json::from_str::<Unique>(text) {
        Ok(unique) => Ok(Some(unique.0)),
        Err(_) => memory::headroom_of(2 * text.len() + memory::TRANSACTION).map(|()| None),
    }
}

/// How deeply a request may be nested, with room to spare: each level takes a kilobyte and more of the stack.
const DEPTH: usize = 16;

/// How many values a JSON text has at most, and how deeply they are nested.
struct Shape {
    values: usize,
    depth: usize,
}

impl Shape {
    fn of(text: &str) -> Self {
        let (mut values, mut depth, mut deepest) = (1, 0usize, 0);
        let (mut quoted, mut escaped) = (false, false);
        for byte in text.bytes() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ if quoted => {}
                b'[' | b'{' => {
                    values += 1;
                    depth += 1;
                    deepest = deepest.max(depth);
                }
                b']' | b'}' => depth = depth.saturating_sub(1),
                b',' | b':' => values += 1,
                _ => {}
            }
        }
        Self { values, depth: deepest }
    }
}

/// What a value of a request takes in memory at most, besides its text.
const VALUE_BYTES: usize = 256;

/// A key of an object.
struct FieldName(String);

impl<'de> Deserialize<'de> for FieldName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = FieldName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E: serde::de::Error>(self, key: &str) -> std::result::Result<FieldName, E> {
                memory::text(key).map(FieldName).map_err(|_| E::custom(OUT_OF_MEMORY))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without a key given twice")
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> std::result::Result<Value, E> {
        memory::text(value).map(Value::String).map_err(|_| E::custom(OUT_OF_MEMORY))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Unique(value)) = seq.next_element()? {
            values.try_reserve(1).map_err(|_| A::Error::custom(OUT_OF_MEMORY))?;
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((FieldName(key), Unique(value))) = map.next_entry::<FieldName, Unique>()? {
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom("a key is given twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

/// An encryption context as the caller wrote it.
#[derive(Default)]
pub struct ContextMap(Vec<(String, String)>);

impl ContextMap {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    pub fn entries(&self) -> Vec<(&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }
}

impl Request {
    fn of(left: Map<String, Value>) -> Self {
        Self { left, explanation: Response::new() }
    }

    /// Checks the names against the action's: none unknown, none missing that is needed.
    pub fn check(&self, action: &Action) -> Result<()> {
        let known = |name: &str| action.parameters.iter().any(|parameter| parameter.name == name);
        if let Some(name) = self.left.keys().find(|name| !known(name)) {
            return Err(unknown(name, action));
        }
        let given = |parameter: &Parameter| self.left.get(parameter.name).is_some_and(|value| !value.is_null());
        match action.parameters.iter().find(|parameter| parameter.required && !given(parameter)) {
            Some(parameter) => Err(missing(parameter.name)),
            None => Ok(()),
        }
    }

    /// Says of a parameter that is missing or not valid what it is to be.
    pub fn described(error: Error, action: &Action) -> Error {
        let about = |parameter: &&Parameter| [invalid(parameter.name), missing(parameter.name)].contains(&error);
        let Some(Parameter { kind, note, .. }) = action.parameters.iter().find(about) else { return error };
        let note = if note.is_empty() { String::new() } else { format!(", {}", note.replace('`', "")) };
        error.status().error(format!("{error}; {} takes {}{note}", action.name, kind.name()))
    }

    /// Puts fields into the body of the error that follows.
    pub fn explain(&mut self, fields: Response) {
        self.explanation = fields;
    }

    pub fn explanation(&mut self) -> Response {
        std::mem::take(&mut self.explanation)
    }

    /// Reads the object; an empty text is an empty object.
    pub fn parse(text: &str) -> Result<Self> {
        if text.trim().is_empty() {
            return Ok(Self::of(Map::new()));
        }
        let plain = without_escapes(text)?;
        match unique(plain.as_ref().map_or(text, |plain| plain))? {
            Some(Value::Object(object)) => Ok(Self::of(object)),
            _ => Err(Status::InvalidArgument.error(
                "the request is not a JSON object, or has a name twice; pass an object of the action's parameters",
            )),
        }
    }

    /// Complains about what no action has taken. To be called before anything is done.
    pub fn finish(&self) -> Result<()> {
        match self.left.keys().next() {
            Some(name) => Err(Status::InvalidArgument.error(format!("the parameter {} is unknown here", shown(name)))),
            None => Ok(()),
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name).filter(|value| !value.is_null())
    }

    pub fn optional_text(&mut self, name: &str) -> Result<Option<String>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) if !text.contains('\0') => Ok(Some(text)),
            Some(_) => Err(invalid(name)),
        }
    }

    pub fn text(&mut self, name: &str) -> Result<String> {
        self.optional_text(name)?.ok_or_else(|| missing(name))
    }

    /// `true` or `false`, also as text.
    pub fn optional_flag(&mut self, name: &str) -> Result<Option<bool>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(Value::String(text)) if text == "true" => Ok(Some(true)),
            Some(Value::String(text)) if text == "false" => Ok(Some(false)),
            Some(_) => Err(invalid(name)),
        }
    }

    pub fn flag(&mut self, name: &str) -> Result<bool> {
        self.optional_flag(name)?.ok_or_else(|| missing(name))
    }

    /// An integer, also as text.
    pub fn optional_integer(&mut self, name: &str) -> Result<Option<i64>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Number(number)) => number.as_i64().map(Some).ok_or_else(|| invalid(name)),
            Some(Value::String(text)) => text.parse().map(Some).map_err(|_| invalid(name)),
            Some(_) => Err(invalid(name)),
        }
    }

    /// Base64 of bytes.
    pub fn bytes(&mut self, name: &str) -> Result<Zeroizing<Vec<u8>>> {
        self.optional_bytes(name)?.ok_or_else(|| missing(name))
    }

    pub fn optional_bytes(&mut self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let Some(text) = self.optional_text(name)?.map(Zeroizing::new) else { return Ok(None) };
        let mut bytes = Zeroizing::new(memory::zeroed(base64::decoded_len_estimate(text.len()))?);
        let len = STANDARD.decode_slice(text.as_bytes(), &mut bytes).map_err(|_| invalid(name))?;
        bytes.truncate(len);
        Ok(Some(bytes))
    }

    /// An array of objects, never as a text: see [`without_escapes`]. What isn't one is wiped like what is.
    pub fn records(&mut self, name: &str) -> Result<Vec<Self>> {
        let Some(mut value) = self.take(name) else { return Err(missing(name)) };
        let objects = match &value {
            Value::Array(records) => records.iter().all(Value::is_object),
            _ => false,
        };
        match value {
            Value::Array(records) if objects => Ok(records
                .into_iter()
                .filter_map(|record| match record {
                    Value::Object(record) => Some(Self::of(record)),
                    _ => None,
                })
                .collect()),
            _ => {
                super::wipe(&mut value);
                Err(invalid(name))
            }
        }
    }

    /// JSON, or a text that holds JSON, as the service's query parameters do.
    pub fn json(&mut self, name: &str) -> Result<Option<Value>> {
        match self.take(name) {
            Some(Value::String(text)) => {
                let text = Zeroizing::new(text);
                unique(&text)?.map(Some).ok_or_else(|| invalid(name))
            }
            other => Ok(other),
        }
    }

    /// An encryption context: an object of texts.
    pub fn context(&mut self, name: &str) -> Result<ContextMap> {
        match self.json(name)? {
            None => Ok(ContextMap::default()),
            Some(Value::Object(object)) => object
                .into_iter()
                .map(|(key, value)| match value {
                    Value::String(value) => Ok((key, value)),
                    _ => Err(invalid(name)),
                })
                .collect::<Result<_>>()
                .map(ContextMap),
            Some(_) => Err(invalid(name)),
        }
    }

    /// A value that must be one of a few, or absent.
    pub fn only(&mut self, name: &str, allowed: &[&str]) -> Result<()> {
        match self.optional_text(name)? {
            Some(text) if !allowed.contains(&text.as_str()) => Err(invalid(name)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_signs_of_base64_are_unescaped() {
        let plain = |text: &str| without_escapes(text).unwrap().map(|plain| plain.to_string());
        assert_eq!(plain(r#"{"a":"b/+="}"#), None);
        for (text, wanted) in [
            (r#"\/\u002b\u002B\u002f\u002F\u003d\u003D"#, "/++//=="),
            (r#"\\/\\u002b"#, r#"\\/\\u002b"#),
            (r#"\"\n\u0041\u002"#, r#"\"\n\u0041\u002"#),
            ("\\", "\\"),
            ("\\\u{1F511}x", "\\\u{1F511}x"),
        ] {
            assert_eq!(plain(text).as_deref(), Some(wanted), "{text}");
        }
    }
}
