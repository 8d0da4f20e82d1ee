//! `CsPushAccount`: machines of organisations that send push requests over HTTPS.

use crate::cmdlet::{Area, Parameter};
use crate::family::Family;
use crate::family::cmdlet::{cmdlet, joined};
use crate::family::parameters::{FILTER, FORCE, IN_MEMORY, LOCAL_STORE, changed, instance, named, removed, wanted};
use crate::kind::Kind;

const OUTPUTS: &[&str] = &[
    "Identity",
    "Organisation",
    "Enabled",
    "Expires",
    "Secrets",
    "PublicKeys",
    "CertificateNames",
    "CertificateThumbprints",
    "Webhook",
];
/// What its cmdlets share, those of its secrets too.
pub(super) const FAMILY: Family = Family::new("CsPushAccount", Area::Topology, OUTPUTS);
/// Which account.
pub(super) const ACCOUNT: &str = "The account's name, which OAuth calls the client id";
const ORGANISATION: Parameter =
    Parameter::new("Organisation", Kind::Domain, "The organisation that it speaks for: the origin of all it sends");
const MANNER: [Parameter; 6] = [
    Parameter::new("Enabled", Kind::Bool, "Whether it is let in; $True"),
    Parameter::new("Expires", Kind::Text, "Until when it is let in: 2027-01-31, or 2027-01-31T12:00:00Z"),
    Parameter::new(
        "PublicKeys",
        Kind::Modifier(&Kind::Text),
        "Its public keys for signed assertions, each a JWK with a kid: RSA, P-256 or Ed25519",
    ),
    Parameter::new("CertificateNames", Kind::Modifier(&Kind::Domain), "Names in its client certificate"),
    Parameter::new(
        "CertificateThumbprints",
        Kind::Modifier(&Kind::Text),
        "SHA-256 of client certificates, in hexadecimal",
    ),
    Parameter::new("Webhook", Kind::Text, "Where feedback goes instead of by federation: an address with https://"),
];
const AT_ONCE: &str = "A change acts within a second, on access tokens that were given out before too.";

cmdlet!(
    /// `Get-CsPushAccount`
    Get of FAMILY {
        summary: "Shows the machines that may send push requests over HTTPS",
        parameters: &[wanted(Kind::Text, ACCOUNT), FILTER, LOCAL_STORE],
        notes: &["Of secrets their digests are shown, from which nobody learns them."],
    }
);

cmdlet!(
    /// `New-CsPushAccount`
    New of FAMILY {
        summary: "Lets a machine of an organisation send push requests over HTTPS",
        description: "On the publisher's side. The organisation must be an allowed domain, as for federation, and each app \
                      must serve it. The account needs something to prove itself with: a secret \
                      (New-CsPushAccountSecret), public keys, or client certificates of the authorities in \
                      [clearinghouse.rest.tls].",
        parameters: joined![[named(Kind::Text, ACCOUNT), ORGANISATION.required()], MANNER, [IN_MEMORY, FORCE]],
        notes: &[AT_ONCE],
        examples: &[
            ("New-CsPushAccount -Identity contoso-mcx -Organisation contoso.com", "An account of contoso.com."),
            (
                "New-CsPushAccount -Identity contoso-tls -Organisation contoso.com -CertificateNames push.contoso.com",
                "An account that shows a client certificate for push.contoso.com.",
            ),
        ],
    }
);

cmdlet!(
    /// `Set-CsPushAccount`
    Set of FAMILY {
        summary: "Changes how a machine account proves itself, whether it is let in, and where its feedback goes",
        parameters: joined![
            [changed(Kind::Text, ACCOUNT), instance("PushAccount", "The object, as Get-CsPushAccount gives it"), ORGANISATION],
            MANNER,
            [FORCE],
        ],
        notes: &[AT_ONCE],
        examples: &[("Set-CsPushAccount -Identity contoso-mcx -Enabled $False", "Shuts the account out.")],
    }
);

cmdlet!(
    /// `Remove-CsPushAccount`
    Remove of FAMILY {
        summary: "Removes a machine account, its secrets and its access tokens",
        parameters: &[removed(Kind::Text, ACCOUNT), FORCE],
    }
);
