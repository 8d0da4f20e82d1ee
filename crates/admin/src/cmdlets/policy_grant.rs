//! `CsPolicyGrant`: who has a mobility policy of their own. `Grant-CsMobilityPolicy` gives and takes them.

use crate::cmdlet::{About, Area, Name, Parameter, Pipeline, Verb};
use crate::family::Family;
use crate::family::parameters::{FILTER, FIND, LOCAL_STORE, cmdlet};
use crate::kind::Kind;

const OUTPUTS: &[&str] = &["Identity", "MobilityPolicy"];
/// Records that only Grant makes and takes away.
pub(super) const GRANTS: Family = Family::new("PolicyGrant", OUTPUTS);

cmdlet!(
    /// `Get-CsPolicyGrant`
    Get,
    GRANTS,
    get,
    About {
        name: Name::new(Verb::Get, "CsPolicyGrant"),
        summary: "Shows who has a mobility policy of their own",
        parameters: &[
            Parameter::new("Identity", Kind::Text, "The user, as user@domain").at(2).of(&["Identity"]).from(Pipeline::ByName),
            FILTER,
            LOCAL_STORE,
        ],
        sets: FIND,
        outputs: OUTPUTS,
        area: Area::Topology,
        notes: &["Get-CsMobilityPolicy -ApplicableTo shows the policy that holds for one user, whoever has it."],
        examples: &[("Get-CsPolicyGrant | Where-Object MobilityPolicy -eq NoPush", "Whose phones are left alone.")],
        ..About::DEFAULT
    }
);
