//! Intake, journal, lanes, verdicts, feedback.
