//! What an action is: its name, its parameters, what it answers.

use super::Run;

/// One action.
pub struct Action {
    pub name: &'static str,
    /// Whether it is the service's; otherwise it is libkms's own, in the same style.
    pub of_service: bool,
    pub functions: &'static [&'static str],
    pub summary: &'static str,
    pub parameters: &'static [Parameter],
    /// The fields of the response, besides RequestId.
    pub response: &'static str,
    pub run: Run,
}

/// One parameter of an action.
pub struct Parameter {
    pub name: &'static str,
    pub kind: Kind,
    pub required: bool,
    pub note: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    KeyId,
    Key,
    VersionId,
    Alias,
    Text,
    Path,
    Base64,
    Integer,
    Flag,
    Map,
    List,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::KeyId => "key id",
            Self::Key => "key id or alias",
            Self::VersionId => "version id",
            Self::Alias => "alias",
            Self::Text => "text",
            Self::Path => "path",
            Self::Base64 => "Base64",
            Self::Integer => "integer",
            Self::Flag => "boolean",
            Self::Map => "object of texts",
            Self::List => "array",
        }
    }
}
