//! What the words mean that a parameter can be given: a sentence for each, shown beside it while it is chosen.

/// What a word means for the parameter of that name; nothing where the parameter's own help says enough.
pub(super) fn meaning(parameter: &str, word: &str) -> Option<&'static str> {
    WORDS.iter().find(|(of, known, _)| *of == parameter && *known == word).map(|(.., said)| *said)
}

/// Parameter, word, meaning.
const WORDS: &[(&str, &str, &str)] = &[
    ("VerificationLevel", "AlwaysVerifiable", "All of their users count as verified, whatever the partner says"),
    ("VerificationLevel", "AlwaysUnverifiable", "None of their users counts as verified: only contacts get through"),
    ("VerificationLevel", "UseSourceVerification", "What the partner says of each of its users counts"),
    ("UnassertedSource", "MarkUnverified", "Lets it through as unverified: only contacts get through"),
    ("UnassertedSource", "Reject", "Refuses it"),
    ("ExposedWebURL", "Internal", "The address within the organisation's network"),
    ("ExposedWebURL", "External", "The address that is reached from everywhere"),
    ("Action", "Allow", "The link passes, and can be followed"),
    ("Action", "Block", "The message is refused"),
    ("Action", "Warn", "The link cannot be followed by a click, and a warning stands before it"),
    ("Outcome", "Begun", "Its end was never written down: the server stopped first"),
    ("Outcome", "Done", "It was done"),
    ("Outcome", "Failed", "It was allowed, and went wrong"),
    ("Outcome", "Refused", "The caller may not, or had the wrong password"),
    ("Outcome", "WhatIf", "It was only asked what would be done"),
];

#[cfg(test)]
mod tests {
    use reveille_admin::cmdlets::CMDLETS;

    use super::*;

    #[test]
    fn each_meaning_is_of_a_word_that_some_parameter_takes_and_no_word_beside_it_is_left_out() {
        for (parameter, word, said) in WORDS {
            let takes = CMDLETS.iter().filter_map(|cmdlet| cmdlet.about().parameter(parameter));
            let words: Vec<_> = takes.map(|it| it.kind.words()).filter(|words| words.contains(word)).collect();
            assert!(!words.is_empty(), "no parameter -{parameter} takes {word}");
            for beside in words.concat() {
                assert!(meaning(parameter, beside).is_some(), "-{parameter} {beside}");
            }
            assert!(!said.ends_with('.') && said.len() < 90, "{said}");
        }
    }
}
