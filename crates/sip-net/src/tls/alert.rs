//! What the alerts of TLS mean (RFC 8446 §6.2), for whoever reads a log.

use rustls::AlertDescription;

/// Whether an alert is about the receiver's certificate.
pub(crate) fn speaks_of_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::AccessDenied
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::NoCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::UnsupportedCertificate
    )
}

/// What an alert about our certificate says of it. The name of the alert is told beside it.
pub(super) fn complaint(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::AccessDenied => "the peer knows our certificate and does not admit it",
        AlertDescription::BadCertificate => {
            "the peer finds our certificate corrupt, not valid yet, or naming somebody else"
        }
        AlertDescription::CertificateExpired => "the peer says that our certificate has expired",
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            "the peer wants a certificate and we presented none"
        }
        AlertDescription::CertificateRevoked => "the peer says that our certificate was revoked",
        AlertDescription::DecryptError => "the peer finds our signature wrong",
        AlertDescription::UnknownCA => "the peer does not trust our certificate",
        AlertDescription::UnsupportedCertificate => "the peer does not take certificates of our kind",
        _ => "the peer does not accept our certificate",
    }
}

/// What would change the mind of a peer that sent this alert.
pub(super) fn remedy(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::AccessDenied => "ask the peer to allow our domain",
        AlertDescription::BadCertificate => {
            "have our certificate name the host and the domain that the peer reaches us by, and compare the clocks"
        }
        AlertDescription::CertificateExpired => "renew our certificate, or compare the clocks of both servers",
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            "configure a certificate for this role"
        }
        AlertDescription::CertificateRevoked => "get a new certificate from our authority",
        AlertDescription::DecryptError => "check that our key belongs to our certificate",
        AlertDescription::UnknownCA => {
            "ask the peer to trust the authority that issued our certificate, and send the intermediate ones with it"
        }
        AlertDescription::UnsupportedCertificate => {
            "get a certificate that is good for serverAuth and clientAuth, with a common kind of key"
        }
        _ => "look at the peer's log for the reason",
    }
}

/// The name that RFC 8446 §6 gives to an alert: `unknown_ca`.
pub(super) fn name(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::UnknownCA => return "unknown_ca".into(),
        AlertDescription::UnknownPSKIdentity => return "unknown_psk_identity".into(),
        AlertDescription::UnrecognisedName => return "unrecognized_name".into(),
        AlertDescription::Unknown(number) => return format!("number {number}"),
        _ => {}
    }
    // The library spells the names of the standard in another case, and nothing else about them differs.
    let mut name = String::new();
    for letter in format!("{alert:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_have_the_names_of_the_standard() {
        for (number, wanted) in [
            (0, "close_notify"),
            (40, "handshake_failure"),
            (42, "bad_certificate"),
            (45, "certificate_expired"),
            (48, "unknown_ca"),
            (49, "access_denied"),
            (51, "decrypt_error"),
            (70, "protocol_version"),
            (112, "unrecognized_name"),
            (116, "certificate_required"),
            (200, "number 200"),
        ] {
            assert_eq!(name(AlertDescription::from(number)), wanted);
        }
    }
}
