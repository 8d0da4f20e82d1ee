//! What the shell asks of the world: a server that runs cmdlets, and somebody or something at the other end.

use std::future::Future;
use std::pin::Pin;

use reveille_admin::cmdlet::Name;
use reveille_admin::{Cmdlet, Failure, Object, Outcome, Secret};
use reveille_core::Timestamp;

/// A cmdlet under way on the server.
pub type Invocation<'a> = Pin<Box<dyn Future<Output = Result<Outcome, Failure>> + Send + 'a>>;

/// The server.
pub trait Host: Send + Sync {
    /// The cmdlets that it knows.
    fn cmdlets(&self) -> &[&'static dyn Cmdlet] {
        reveille_admin::cmdlets::CMDLETS
    }

    /// Runs a cmdlet with parameters of whole names.
    fn invoke<'a>(&'a self, name: Name, parameters: &'a Object) -> Invocation<'a>;
}

/// Where output goes, and who can be asked.
///
/// Texts come with whatever characters the server's strings have. Who shows them to a person sees to it that none of them
/// commands the terminal.
pub trait Terminal: Send {
    /// Takes data: standard output.
    fn out(&mut self, text: &str);

    /// Takes errors, warnings and what is said besides: standard error.
    fn say(&mut self, text: &str);

    /// Clears the screen, if there is one.
    fn clear(&mut self) {}

    /// Asks for a line. Nobody is there to answer unless this gives something.
    fn ask(&mut self, prompt: &str) -> Option<String>;

    /// Whether the person has pressed Ctrl-C instead of an answer.
    fn gave_up(&self) -> bool {
        false
    }

    /// Asks for a line that is not shown while it is typed.
    fn ask_secret(&mut self, prompt: &str) -> Option<Secret>;

    /// How many characters fit on a line.
    fn width(&self) -> usize {
        120
    }

    /// The time by the wall.
    fn now(&self) -> Timestamp;

    /// The value of an environment variable.
    fn environment(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}
