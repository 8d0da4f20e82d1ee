//! Apple's reasons for a refusal ("Handling notification responses from APNs"), each with its status.

use super::options::Mode;

/// Why a push was refused: all that Apple documents. What the simulator does not find by itself, such as what is wrong with
/// a certificate, a script may say; and any other text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    BadCertificate,
    BadCertificateEnvironment,
    BadCollapseId,
    BadDeviceToken,
    BadEnvironmentKeyIdInToken,
    BadExpirationDate,
    BadMessageId,
    BadPath,
    BadPriority,
    BadTopic,
    DeviceTokenNotForTopic,
    DuplicateHeaders,
    ExpiredProviderToken,
    ExpiredToken,
    Forbidden,
    IdleTimeout,
    InternalServerError,
    InvalidProviderToken,
    InvalidPushType,
    MethodNotAllowed,
    MissingDeviceToken,
    MissingProviderToken,
    MissingTopic,
    PayloadEmpty,
    PayloadTooLarge,
    ServiceUnavailable,
    Shutdown,
    TooManyProviderTokenUpdates,
    TooManyRequests,
    TopicDisallowed,
    UnrelatedKeyIdInToken,
    Unregistered,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 32] = [
        Self::BadCertificate,
        Self::BadCertificateEnvironment,
        Self::BadCollapseId,
        Self::BadDeviceToken,
        Self::BadEnvironmentKeyIdInToken,
        Self::BadExpirationDate,
        Self::BadMessageId,
        Self::BadPath,
        Self::BadPriority,
        Self::BadTopic,
        Self::DeviceTokenNotForTopic,
        Self::DuplicateHeaders,
        Self::ExpiredProviderToken,
        Self::ExpiredToken,
        Self::Forbidden,
        Self::IdleTimeout,
        Self::InternalServerError,
        Self::InvalidProviderToken,
        Self::InvalidPushType,
        Self::MethodNotAllowed,
        Self::MissingDeviceToken,
        Self::MissingProviderToken,
        Self::MissingTopic,
        Self::PayloadEmpty,
        Self::PayloadTooLarge,
        Self::ServiceUnavailable,
        Self::Shutdown,
        Self::TooManyProviderTokenUpdates,
        Self::TooManyRequests,
        Self::TopicDisallowed,
        Self::UnrelatedKeyIdInToken,
        Self::Unregistered,
    ];

    /// The status that goes with it.
    pub fn status(self) -> u16 {
        match self {
            Self::BadCollapseId
            | Self::BadDeviceToken
            | Self::BadExpirationDate
            | Self::BadMessageId
            | Self::BadPriority
            | Self::BadTopic
            | Self::DeviceTokenNotForTopic
            | Self::DuplicateHeaders
            | Self::IdleTimeout
            | Self::InvalidPushType
            | Self::MissingDeviceToken
            | Self::MissingTopic
            | Self::PayloadEmpty
            | Self::TopicDisallowed => 400,
            Self::BadCertificate
            | Self::BadCertificateEnvironment
            | Self::BadEnvironmentKeyIdInToken
            | Self::ExpiredProviderToken
            | Self::Forbidden
            | Self::InvalidProviderToken
            | Self::MissingProviderToken
            | Self::UnrelatedKeyIdInToken => 403,
            Self::BadPath => 404,
            Self::MethodNotAllowed => 405,
            Self::ExpiredToken | Self::Unregistered => 410,
            Self::PayloadTooLarge => 413,
            Self::TooManyProviderTokenUpdates | Self::TooManyRequests => 429,
            Self::InternalServerError => 500,
            Self::ServiceUnavailable | Self::Shutdown => 503,
        }
    }

    /// The word on the wire.
    pub fn text(self, mode: Mode) -> &'static str {
        match self {
            // Documented with "Id"; the live service was seen leaving it out.
            Self::BadEnvironmentKeyIdInToken if mode == Mode::AppleLike => "BadEnvironmentKeyInToken",
            other => other.name(),
        }
    }

    /// The documented word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadCertificate => "BadCertificate",
            Self::BadCertificateEnvironment => "BadCertificateEnvironment",
            Self::BadCollapseId => "BadCollapseId",
            Self::BadDeviceToken => "BadDeviceToken",
            Self::BadEnvironmentKeyIdInToken => "BadEnvironmentKeyIdInToken",
            Self::BadExpirationDate => "BadExpirationDate",
            Self::BadMessageId => "BadMessageId",
            Self::BadPath => "BadPath",
            Self::BadPriority => "BadPriority",
            Self::BadTopic => "BadTopic",
            Self::DeviceTokenNotForTopic => "DeviceTokenNotForTopic",
            Self::DuplicateHeaders => "DuplicateHeaders",
            Self::ExpiredProviderToken => "ExpiredProviderToken",
            Self::ExpiredToken => "ExpiredToken",
            Self::Forbidden => "Forbidden",
            Self::IdleTimeout => "IdleTimeout",
            Self::InternalServerError => "InternalServerError",
            Self::InvalidProviderToken => "InvalidProviderToken",
            Self::InvalidPushType => "InvalidPushType",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::MissingDeviceToken => "MissingDeviceToken",
            Self::MissingProviderToken => "MissingProviderToken",
            Self::MissingTopic => "MissingTopic",
            Self::PayloadEmpty => "PayloadEmpty",
            Self::PayloadTooLarge => "PayloadTooLarge",
            Self::ServiceUnavailable => "ServiceUnavailable",
            Self::Shutdown => "Shutdown",
            Self::TooManyProviderTokenUpdates => "TooManyProviderTokenUpdates",
            Self::TooManyRequests => "TooManyRequests",
            Self::TopicDisallowed => "TopicDisallowed",
            Self::UnrelatedKeyIdInToken => "UnrelatedKeyIdInToken",
            Self::Unregistered => "Unregistered",
        }
    }

    /// The status of a documented reason given by name.
    pub fn status_of(name: &str) -> Option<u16> {
        Self::ALL.iter().find(|reason| reason.name() == name).map(|reason| reason.status())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_found_by_its_name() {
        for reason in Reason::ALL {
            assert_eq!(Reason::status_of(reason.name()), Some(reason.status()), "{reason:?}");
            assert_eq!(reason.name(), format!("{reason:?}"));
        }
        assert_eq!(Reason::status_of("NeverHeard"), None);
    }

    #[test]
    fn the_environment_reason_has_two_spellings() {
        let reason = Reason::BadEnvironmentKeyIdInToken;
        assert_eq!(reason.text(Mode::Strict), "BadEnvironmentKeyIdInToken");
        assert_eq!(reason.text(Mode::AppleLike), "BadEnvironmentKeyInToken");
    }
}
