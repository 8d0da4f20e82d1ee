//! `cargo xtask peers`: what a push to APNs costs others and us, on the same simulator in the same run.
//!
//! The others only send. Ours takes a SIP request over mutual TLS, syncs it to disk, sends it, and writes down what
//! became of it. What counts is the processor's time for each push, which a busy machine changes least; several rounds
//! are run, and medians told.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::partners;
use crate::shell::{run as execute, say};

/// What the clearing house may cost, against the bare loop around the h2 crate.
const RATIO_MAX: f64 = 2.2;
/// A noisy moment of the machine decides nothing: medians are told.
const ROUNDS: usize = 3;
/// The place of the bare loop among the senders.
const BARE: usize = 3;
/// Pushes under way at once: what APNs allows on one connection.
const IN_FLIGHT: usize = 1000;
/// The alert that each of them sends: 306 bytes as JSON.
const BODY_BYTES: usize = 306;

/// What one sender has used.
struct Cost {
    name: &'static str,
    pushes: usize,
    cpu_us: f64,
    seconds: f64,
}

impl Cost {
    fn each(&self) -> f64 {
        self.cpu_us / self.pushes as f64
    }
}

/// Installs, builds, measures, and prints the table. Fails if ours costs too much.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let pushes = match arguments {
        [] => 100_000,
        [pushes] => pushes.parse().with_context(|| format!("{pushes} is no number of pushes"))?,
        _ => bail!("one argument at most: how many pushes"),
    };
    let root = crate::root();
    let folder = partners::install_peers()?;
    execute(&root, "cargo", &["build", "--release", "--package", "reveille", "--package", "bare-h2"], &[])?;
    let bench = Bench::start(root.join("target/release"), folder)?;
    let mut rounds = Vec::new();
    for round in 1..=ROUNDS {
        say(&format!("── round {round} of {ROUNDS}"));
        rounds.push([
            bench.h2load(pushes)?,
            // These take far longer for each.
            bench.told("node-apn", Path::new("node"), &["node-apn/send.js"], pushes / 5)?,
            bench.told("aioapns", &bench.folder.join("aioapns/venv/bin/python"), &["aioapns/send.py"], pushes / 10)?,
            // One right after the other: what else the machine does falls on both.
            bench.told("the h2 crate, bare", &bench.release.join("bare-h2"), &[], pushes)?,
            bench.ours(pushes)?,
        ]);
    }
    let (table, ratio) = told(&rounds);
    say(&table);
    ensure!(ratio <= RATIO_MAX, "ours costs {ratio:.2} times the bare loop; at most {RATIO_MAX} are meant");
    say(&format!("ours costs {ratio:.2} times the bare loop; at most {RATIO_MAX} are meant"));
    Ok(())
}

/// The table of medians, and how many times the bare loop ours costs: the median of what each round says.
fn told(rounds: &[[Cost; 5]]) -> (String, f64) {
    let mut table = format!("{:<48}{:>10}{:>12}{:>10}   each round\n", "", "CPU µs", "pushes/s", "× bare h2");
    let mut ratio = 0.0;
    for (sender, first) in rounds[0].iter().enumerate() {
        let of = |figure: &dyn Fn(&[Cost; 5]) -> f64| median(rounds.iter().map(figure).collect());
        let each = of(&|round| round[sender].each());
        let rate = of(&|round| round[sender].pushes as f64 / round[sender].seconds);
        // The last one is ours in the end.
        ratio = of(&|round| round[sender].each() / round[BARE].each());
        let single: Vec<String> = rounds.iter().map(|round| format!("{:.1}", round[sender].each())).collect();
        table += &format!("{:<48}{each:>10.1}{rate:>12.0}{ratio:>10.2}   {}\n", first.name, single.join(" "));
    }
    (table, ratio)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The simulator, and what every sender is told of it.
struct Bench {
    release: PathBuf,
    folder: PathBuf,
    simulator: Child,
    told: Vec<(&'static str, String)>,
}

impl Bench {
    fn start(release: PathBuf, folder: PathBuf) -> Result<Self> {
        let mut simulator = Command::new(release.join("reveille"))
            .args(["simulate", "apns", "--count-only", "--dir"])
            .arg(folder.join("apns"))
            .stdout(Stdio::piped())
            .spawn()
            .context("the simulator cannot be started")?;
        let output = simulator.stdout.take().context("the simulator has an output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let said: Value = serde_json::from_str(&line).context("the simulator does not say where it is")?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("a text");
        let body = folder.join("body.json");
        std::fs::write(&body, alert())?;
        let mut bench = Self {
            told: vec![
                ("APNS_ADDRESS", text(&said["apns"]["address"])?),
                ("APNS_CA", text(&said["ca"])?),
                ("APNS_KEY", text(&said["apns"]["key"])?),
                ("APNS_KEY_ID", text(&said["apns"]["key_id"])?),
                ("APNS_TEAM_ID", text(&said["apns"]["team"])?),
                ("APNS_TOPIC", "org.reveille.one".into()),
                ("APNS_BODY", body.to_string_lossy().into_owned()),
                ("IN_FLIGHT", IN_FLIGHT.to_string()),
            ],
            release,
            folder,
            simulator,
        };
        let jwt = bench.output(&bench.folder.join("aioapns/venv/bin/python"), &["aioapns/send.py", "jwt"], 0)?;
        bench.told.push(("APNS_JWT", jwt.trim().to_owned()));
        Ok(bench)
    }

    /// What a program prints that is told where the simulator is.
    fn output(&self, program: &Path, args: &[&str], pushes: usize) -> Result<String> {
        let output = Command::new(program)
            .args(args)
            .current_dir(&self.folder)
            .envs(self.told.iter().map(|(name, value)| (*name, value)))
            .env("COUNT", pushes.to_string())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        ensure!(output.status.success(), "{} {} failed with {}", program.display(), args.join(" "), output.status);
        String::from_utf8(output.stdout).with_context(|| format!("{} does not print text", program.display()))
    }

    /// A sender that says itself what it has used.
    fn told(&self, name: &'static str, program: &Path, args: &[&str], pushes: usize) -> Result<Cost> {
        say(&format!("── {name}: {pushes} pushes"));
        let said: Value = serde_json::from_str(&self.output(program, args, pushes)?)?;
        let number = |key: &str| said[key].as_f64().with_context(|| format!("{name} does not say {key}"));
        ensure!(number("accepted")? == pushes as f64, "{name} has not had all its pushes accepted");
        Ok(Cost { name, pushes, cpu_us: number("cpu_us")?, seconds: number("seconds")? })
    }

    /// h2load says nothing of processors; the shell that starts it does.
    fn h2load(&self, pushes: usize) -> Result<Cost> {
        say(&format!("── h2load: {pushes} pushes"));
        let paths: String = (0..1000).map(|number| format!("/3/device/{number:064x}\n")).collect();
        std::fs::write(self.folder.join("paths"), paths)?;
        let script = "TIMEFORMAT='%R %U %S'; { time h2load --requests=$COUNT --clients=1 --threads=1 \
                      --max-concurrent-streams=$IN_FLIGHT --input-file=paths --base-uri=https://$APNS_ADDRESS \
                      --data=$APNS_BODY --header=\"authorization: bearer $APNS_JWT\" \
                      --header=\"apns-topic: $APNS_TOPIC\" --header='apns-push-type: alert' \
                      --header='apns-priority: 10' --header='apns-expiration: 0'; } 2>&1";
        let said = self.output(Path::new("bash"), &["-c", script], pushes)?;
        let accepted = format!("{pushes} 2xx");
        ensure!(said.contains(&accepted), "h2load has not had all its pushes accepted:\n{said}");
        let times = said.lines().last().unwrap_or_default();
        let times: Vec<f64> = times.split(' ').filter_map(|time| time.parse().ok()).collect();
        let [seconds, user, system] = times[..] else { bail!("the shell does not say what h2load has used:\n{said}") };
        Ok(Cost { name: "h2load", pushes, cpu_us: (user + system) * 1e6, seconds })
    }

    /// The whole clearing house, measured as always.
    fn ours(&self, pushes: usize) -> Result<Cost> {
        let name = "Reveille: SIP in, journal synced, APNs, verdict";
        say(&format!("── {name}: {pushes} pushes"));
        let count = pushes.to_string();
        let program = self.release.join("reveille");
        let said = self.output(&program, &["bench", "clearinghouse", "--json", "--pushes", &count], pushes)?;
        let said: Value = serde_json::from_str(&said)?;
        let number = |key: &str| said[key].as_f64().with_context(|| format!("the benchmark does not say {key}"));
        let (each, rate) = (number("cpu_us_per_unit")?, number("rate_per_s")?);
        Ok(Cost { name, pushes, cpu_us: each * pushes as f64, seconds: pushes as f64 / rate })
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Nothing is kept there; what remains to be done is done by the system.
        let _ = self.simulator.kill();
        let _ = self.simulator.wait();
    }
}

/// An alert of the size that the figures of DESIGN.md §14 were taken with.
fn alert() -> String {
    let text = |fill: usize| {
        let body = "x".repeat(fill);
        serde_json::json!({ "aps": { "alert": { "loc-key": "NEW_MESSAGE", "body": body }, "badge": 3, "sound": "default" } })
            .to_string()
    };
    text(BODY_BYTES - text(0).len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_noisy_round_decides_nothing() {
        let round = |bare: f64, ours: f64| {
            let cost = |name, each| Cost { name, pushes: 1000, cpu_us: each * 1000.0, seconds: 0.1 };
            [cost("h2load", 2.0), cost("node", 80.0), cost("aio", 200.0), cost("bare", bare), cost("ours", ours)]
        };
        let (table, ratio) = told(&[round(10.0, 20.0), round(30.0, 90.0), round(10.0, 21.0)]);
        assert!((ratio - 2.1).abs() < 1e-9, "{ratio}");
        let ours = table.lines().last().unwrap();
        assert!(ours.contains("21.0") && ours.ends_with("20.0 90.0 21.0"), "{ours}");
    }

    #[test]
    fn the_alert_has_the_size_that_is_meant() {
        assert_eq!(alert().len(), BODY_BYTES);
    }
}
