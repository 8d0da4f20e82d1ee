//! `CsPolicyGrant`: who has a mobility policy of their own. `Grant-CsMobilityPolicy` gives and takes them.

use crate::cmdlet::Area;
use crate::family::Family;
use crate::family::cmdlet::cmdlet;
use crate::family::parameters::{FILTER, LOCAL_STORE, wanted};
use crate::kind::Kind;

const OUTPUTS: &[&str] = &["Identity", "MobilityPolicy"];
/// Records that only Grant makes and takes away.
pub(super) const GRANTS: Family = Family::new("CsPolicyGrant", Area::Topology, OUTPUTS);

cmdlet!(
    /// `Get-CsPolicyGrant`
    Get of GRANTS {
        summary: "Shows who has a mobility policy of their own",
        parameters: &[wanted(Kind::Text, "The user, as user@domain"), FILTER, LOCAL_STORE],
        notes: &["Get-CsMobilityPolicy -ApplicableTo shows the policy that holds for one user, whoever has it."],
        examples: &[("Get-CsPolicyGrant | Where-Object MobilityPolicy -eq NoPush", "Whose phones are left alone.")],
    }
);
