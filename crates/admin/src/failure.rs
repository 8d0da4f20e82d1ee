//! Why a cmdlet did not do what was asked, as the shell prints it and the API answers it.

use serde::{Deserialize, Serialize};

/// What kind of failure it is: the names of PowerShell's error categories, as far as they occur.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum Category {
    /// An argument cannot be what it is.
    InvalidArgument,
    /// A value contradicts a rule or another record.
    InvalidData,
    /// Nothing of that name.
    ObjectNotFound,
    /// Something of that name exists already.
    ResourceExists,
    /// Somebody else has changed it meanwhile, or there is too much at once.
    ResourceBusy,
    /// A part that is needed is not there or not reachable.
    ResourceUnavailable,
    /// A test that could not come to its end.
    OperationStopped,
    /// The caller may not.
    PermissionDenied,
    /// A fault of this program or machine.
    NotSpecified,
}

impl Category {
    /// Its name as printed after `CategoryInfo`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "InvalidArgument",
            Self::InvalidData => "InvalidData",
            Self::ObjectNotFound => "ObjectNotFound",
            Self::ResourceExists => "ResourceExists",
            Self::ResourceBusy => "ResourceBusy",
            Self::ResourceUnavailable => "ResourceUnavailable",
            Self::OperationStopped => "OperationStopped",
            Self::PermissionDenied => "PermissionDenied",
            Self::NotSpecified => "NotSpecified",
        }
    }

    /// Whether the same call may succeed later without anybody doing anything.
    pub const fn retry_helps(self) -> bool {
        match self {
            Self::ResourceBusy | Self::ResourceUnavailable => true,
            Self::InvalidArgument
            | Self::InvalidData
            | Self::ObjectNotFound
            | Self::ResourceExists
            | Self::OperationStopped
            | Self::PermissionDenied
            | Self::NotSpecified => false,
        }
    }
}

/// A terminating error of one cmdlet.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
#[error("{message}")]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The sentence that an administrator reads: what happened, to which name or value, and what to do.
    pub message: String,
    /// What kind of failure it is.
    pub category: Category,
    /// The name that it happened to; may be empty.
    #[serde(default)]
    pub target: Box<str>,
    /// The name of the exception as printed, for instance `SyntheticTransactionException`.
    pub exception: Box<str>,
    /// The stable name of this failure, printed after `FullyQualifiedErrorId` and before the cmdlet's type.
    pub id: Box<str>,
    /// The command that would mend it, complete, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<Box<str>>,
    /// What the cmdlet had to say before it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trail: Option<Box<Trail>>,
}

/// What a cmdlet says besides its error, as [`crate::Outcome`] has it for one that ends well.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Trail {
    /// What the administrator should know in any case.
    pub warnings: Vec<String>,
    /// The steps up to the error, for `-Verbose`.
    pub verbose: Vec<String>,
}

impl Failure {
    /// A failure of that category; its exception is named as PowerShell's own cmdlets do.
    pub fn new(category: Category, id: &str, message: impl Into<String>) -> Self {
        let exception = match category {
            Category::InvalidArgument => "ParameterBindingException",
            Category::OperationStopped => "SyntheticTransactionException",
            Category::PermissionDenied => "UnauthorizedAccessException",
            Category::InvalidData
            | Category::NotSpecified
            | Category::ObjectNotFound
            | Category::ResourceBusy
            | Category::ResourceExists
            | Category::ResourceUnavailable => "ManagementException",
        };
        Self {
            message: message.into(),
            category,
            target: Box::default(),
            exception: exception.into(),
            id: id.into(),
            advice: None,
            trail: None,
        }
    }

    /// The failure with the name that it happened to.
    #[must_use]
    pub fn of(mut self, target: impl Into<Box<str>>) -> Self {
        self.target = target.into();
        self
    }

    /// The failure with what the cmdlet had to say before it.
    #[must_use]
    pub fn after(mut self, trail: Trail) -> Self {
        self.trail = Some(Box::new(trail));
        self
    }

    /// The failure with the command that would mend it.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<Box<str>>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}
