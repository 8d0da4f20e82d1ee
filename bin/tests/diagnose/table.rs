//! What the test says of each way in which the road breaks, as a table that grows over one scene.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::scene::{Part, Scene};

/// How the test is called, unless its row says otherwise.
pub(crate) const INNER: &str = "accessproxy.contoso.com";
/// Whatever is wrong, nobody waits longer for the test's word.
const MOST: Duration = Duration::from_secs(45);

/// What a test said, for the table.
pub(crate) struct Row {
    case: &'static str,
    stage: String,
    fault: String,
    pub(crate) sentence: String,
    remedy: String,
}

/// The table as it grows, over the scene that it is about.
pub(crate) struct Table {
    pub(crate) scene: Scene,
    pub(crate) rows: Vec<Row>,
}

impl Table {
    /// An empty one.
    pub(crate) const fn over(scene: Scene) -> Self {
        Self { scene, rows: Vec::new() }
    }

    pub(crate) fn text(object: &Value, name: &str) -> String {
        object[name].as_str().unwrap_or_default().to_owned()
    }

    /// What `-Detailed` gives.
    pub(crate) fn detailed(&self) -> Result<Value> {
        let parameters = json!({ "AccessEdgeFqdn": INNER, "Detailed": true });
        let outcome = self.scene.cmdlet(Part::Contoso, "Test-CsMcxPushNotification", &parameters)?;
        let outcome = outcome.map_err(|problem| anyhow::anyhow!("-Detailed is always an object: {problem}"))?;
        outcome["objects"][0].as_object().context("an object")?;
        Ok(outcome["objects"][0].clone())
    }

    /// The test fails at `stage` with this in its sentence and in its remedy. Answers the remedy.
    pub(crate) fn fails(&mut self, case: &'static str, stage: &str, sentence: &str, remedy: &str) -> Result<String> {
        let begun = std::time::Instant::now();
        let object = self.detailed().with_context(|| case)?;
        ensure!(begun.elapsed() < MOST, "{case}: it took {:?}", begun.elapsed());
        let found = Row {
            case,
            stage: Self::text(&object, "FailedStage"),
            fault: Self::text(&object, "Fault"),
            sentence: Self::text(&object, "Sentence"),
            remedy: Self::text(&object, "Remedy"),
        };
        ensure!(found.stage == stage, "{case}: it ends at {}: {object:#}", found.stage);
        ensure!(found.sentence.contains(sentence), "{case}: {}", found.sentence);
        ensure!(found.remedy.contains(remedy), "{case}: {}", found.remedy);
        ensure!(object["Result"] == "Failure" && !found.fault.is_empty(), "{case}: {object:#}");
        let remedy = found.remedy.clone();
        self.rows.push(found);
        Ok(remedy)
    }

    /// The test succeeds now.
    pub(crate) fn succeeds(&self, case: &str) -> Result<Value> {
        let object = self.detailed().with_context(|| format!("{case}: after the remedy"))?;
        ensure!(object["Result"] == "Success", "{case}: after the remedy: {object:#}");
        Ok(object)
    }

    /// A setting is changed; the test says so at `stage`; the command that it names makes it succeed.
    pub(crate) fn mended_by_its_command(
        &mut self,
        case: &'static str,
        breaks: &str,
        expected: (&str, &str, &str),
    ) -> Result<()> {
        self.scene.types(Part::Contoso, breaks)?;
        let remedy = self.fails(case, expected.0, expected.1, expected.2)?;
        self.scene.types(Part::Contoso, &remedy)?;
        self.succeeds(case)?;
        Ok(())
    }

    /// No two failures read alike: that is what the test is for.
    pub(crate) fn told_apart(&self, least: usize) -> Result<()> {
        ensure!(self.rows.len() >= least, "{} rows", self.rows.len());
        let mut sentences: Vec<&str> = self.rows.iter().map(|row| row.sentence.as_str()).collect();
        sentences.sort_unstable();
        sentences.dedup();
        ensure!(sentences.len() == self.rows.len(), "two of them read alike: {sentences:#?}");
        Ok(())
    }

    /// Prints the rows, where that is asked for.
    pub(crate) fn show(&self) -> Result<()> {
        if std::env::var_os("REVEILLE_SHOW").is_none() {
            return Ok(());
        }
        let mut table = "| provoked | stage | fault | sentence | remedy |\n|---|---|---|---|---|\n".to_owned();
        for Row { case, stage, fault, sentence, remedy } in &self.rows {
            let _ = writeln!(table, "| {case} | {stage} | {fault} | {sentence} | `{remedy}` |");
        }
        Ok(std::io::stderr().write_all(table.as_bytes())?)
    }
}
