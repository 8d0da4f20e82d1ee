//! The values of `apns-push-type` and what each asks of topic and payload ("Sending notification requests to APNs").

use serde::Serialize;

/// What kind of push it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PushType {
    Alert,
    Background,
    Complication,
    Controls,
    FileProvider,
    LiveActivity,
    Location,
    Mdm,
    PushToTalk,
    Voip,
    Widgets,
}

impl PushType {
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        Some(match value {
            b"alert" => Self::Alert,
            b"background" => Self::Background,
            b"complication" => Self::Complication,
            b"controls" => Self::Controls,
            b"fileprovider" => Self::FileProvider,
            b"liveactivity" => Self::LiveActivity,
            b"location" => Self::Location,
            b"mdm" => Self::Mdm,
            b"pushtotalk" => Self::PushToTalk,
            b"voip" => Self::Voip,
            b"widgets" => Self::Widgets,
            _ => return None,
        })
    }

    /// What must follow the bundle id in `apns-topic`.
    pub fn topic_suffix(self) -> &'static str {
        match self {
            // mdm: the topic is the UID of the certificate's subject and has no suffix.
            Self::Alert | Self::Background | Self::Mdm => "",
            Self::Complication => ".complication",
            Self::Controls => ".push-type.controls",
            Self::FileProvider => ".pushkit.fileprovider",
            Self::LiveActivity => ".push-type.liveactivity",
            Self::Location => ".location-query",
            Self::PushToTalk => ".voip-ptt",
            Self::Voip => ".voip",
            Self::Widgets => ".push-type.widgets",
        }
    }

    /// The largest payload, in bytes.
    pub fn payload_bytes_max(self) -> usize {
        if self == Self::Voip { 5120 } else { 4096 }
    }

    /// The app's bundle id in a topic of this type, if the topic has the form that the type asks for.
    pub(super) fn bundle_id(self, topic: &str) -> Option<&str> {
        let bundle_id = topic.strip_suffix(self.topic_suffix())?;
        let plain = bundle_id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
        (plain && !bundle_id.is_empty()).then_some(bundle_id)
    }

    /// Whether the topic ends as only another type's topics do.
    pub(super) fn is_foreign(self, topic: &str) -> bool {
        SUFFIXED.iter().any(|other| *other != self && topic.ends_with(other.topic_suffix()))
    }
}

const SUFFIXED: [PushType; 8] = [
    PushType::Complication,
    PushType::Controls,
    PushType::FileProvider,
    PushType::LiveActivity,
    PushType::Location,
    PushType::PushToTalk,
    PushType::Voip,
    PushType::Widgets,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_its_suffix_and_limit() {
        let rows: [(&str, &str, usize); 11] = [
            ("alert", "", 4096),
            ("background", "", 4096),
            ("complication", ".complication", 4096),
            ("controls", ".push-type.controls", 4096),
            ("fileprovider", ".pushkit.fileprovider", 4096),
            ("liveactivity", ".push-type.liveactivity", 4096),
            ("location", ".location-query", 4096),
            ("mdm", "", 4096),
            ("pushtotalk", ".voip-ptt", 4096),
            ("voip", ".voip", 5120),
            ("widgets", ".push-type.widgets", 4096),
        ];
        for (name, suffix, limit) in rows {
            let push_type = PushType::parse(name.as_bytes()).unwrap();
            assert_eq!((push_type.topic_suffix(), push_type.payload_bytes_max()), (suffix, limit), "{name}");
            assert_eq!(serde_json::to_value(push_type).unwrap(), name);
        }
        assert_eq!(PushType::parse(b"Alert"), None);
    }

    #[test]
    fn the_bundle_id_is_the_topic_without_its_suffix() {
        assert_eq!(PushType::Voip.bundle_id("com.example.app.voip"), Some("com.example.app"));
        assert_eq!(PushType::Voip.bundle_id("com.example.app"), None);
        assert_eq!(PushType::Voip.bundle_id(".voip"), None);
        assert_eq!(PushType::Alert.bundle_id("com.example app"), None);
        assert!(PushType::Alert.is_foreign("com.example.app.voip"));
        assert!(!PushType::Voip.is_foreign("com.example.app.voip"));
    }
}
