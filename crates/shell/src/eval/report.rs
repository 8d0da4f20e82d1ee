//! An error as it is thrown, kept in `$Error`, and printed in PowerShell's own form.

use reveille_admin::cmdlet::{Name, Verb};
use reveille_admin::{Category, Failure, Object, Value};

use crate::error::Fault;
use crate::span::{self, Span};
use crate::visible::visible;

/// A terminating error of a statement.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    /// Who has failed, as printed before the message; empty for the language itself.
    pub(crate) command: String,
    /// The name of the type at the end of the error's id; empty for the language itself.
    pub(crate) type_name: String,
    /// What the mark stands behind: the command's name, or the operator.
    pub(crate) at: Span,
    pub(crate) failure: Failure,
}

impl Report {
    /// A failure of a cmdlet.
    pub(crate) fn of_cmdlet(name: Name, at: Span, failure: Failure) -> Self {
        let space = match name.verb {
            // The name that seed documents and monitoring rules know.
            Verb::Test => "Microsoft.Rtc.Management.SyntheticTransactions",
            _ => "Reveille.Management",
        };
        Self { command: name.to_string(), type_name: format!("{space}.{}Cmdlet", name.type_name()), at, failure }
    }

    /// A failure of a command of the shell itself.
    pub(crate) fn of_builtin(name: &str, at: Span, failure: Failure) -> Self {
        let type_name = format!("Reveille.Commands.{}Command", name.replace('-', ""));
        Self { command: name.to_owned(), type_name, at, failure }
    }

    /// A failure of an expression.
    pub(crate) fn of_language(at: Span, category: Category, id: &str, message: impl Into<String>) -> Self {
        let mut failure = Failure::new(category, id, message);
        failure.exception = "RuntimeException".into();
        Self { command: String::new(), type_name: String::new(), at, failure }
    }

    /// Whether a command has done its work and found that it cannot be: not one that was written wrong, and not one that
    /// nobody has answered, whose nothing must not be taken for an answer.
    pub(super) fn is_of_work(&self) -> bool {
        let unanswered = [Category::InvalidArgument, Category::PermissionDenied, Category::ResourceUnavailable];
        !self.command.is_empty() && !unanswered.contains(&self.failure.category)
    }

    fn category(&self) -> String {
        let Failure { category, target, exception, .. } = &self.failure;
        let target = if target.is_empty() { ":".to_owned() } else { format!("{target}:String") };
        format!("{}: ({target}) [{}], {exception}", category.as_str(), self.command)
    }

    fn id(&self) -> String {
        match self.type_name.as_str() {
            "" => self.failure.id.to_string(),
            type_name => format!("{},{type_name}", self.failure.id),
        }
    }

    /// As printed: message, place, the line with `<<<<` behind the command's name, category, id.
    pub(crate) fn render(&self, script: &str) -> String {
        let place = span::position(script, self.at.end);
        let (line, start) = span::line(script, self.at.end);
        let (before, after) = line.split_at(self.at.end.saturating_sub(start).min(line.len()));
        let marked = format!("{before} <<<< {after}");
        let said = match self.command.as_str() {
            "" => self.failure.message.clone(),
            command => format!("{command} : {}", self.failure.message),
        };
        let mut text = format!(
            "{said}\nAt line:{} char:{}\n+ {}\n    + CategoryInfo          : {}\n    + FullyQualifiedErrorId : {}\n",
            place.line,
            place.char,
            marked.trim_end(),
            self.category(),
            self.id()
        );
        // A test that stops prints the documents' five lines and no other; the remedy is in its -Detailed.
        if let (Some(advice), false) = (&self.failure.advice, self.failure.category == Category::OperationStopped) {
            text.push_str(&format!("    + Remedy                : {advice}\n"));
        }
        visible(&text).into_owned()
    }

    /// As `$Error[0]` holds it.
    pub(crate) fn to_value(&self) -> Value {
        let Failure { message, exception, target, advice, .. } = &self.failure;
        let mut record = Object::new("ErrorRecord")
            .with("Exception", Object::new(exception.clone()).with("Message", message.clone()))
            .with("TargetObject", target.to_string())
            .with("CategoryInfo", self.category())
            .with("FullyQualifiedErrorId", self.id());
        if let Some(advice) = advice {
            record.set("Remedy", advice.to_string());
        }
        record.into()
    }
}

impl From<Fault> for Report {
    fn from(fault: Fault) -> Self {
        Self::of_language(fault.span, Category::InvalidArgument, fault.id, fault.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_stops_prints_the_documents_five_lines() {
        let script = "Test-CsMcxPushNotification -AccessEdgeFqdn lyncedge.mydomain.com";
        let mut failure = Failure::new(
            Category::OperationStopped,
            "WorkflowNotCompleted",
            "A 504 (Server time-out) response was received from the network and the operation failed. See the exception \
             details for more information.",
        );
        failure.exception = "FailureResponseException".into();
        let name = Name::new(Verb::Test, "CsMcxPushNotification");
        let report = Report::of_cmdlet(name, Span::new(0, 26), failure.advise("Get-CsMcxConfiguration"));
        assert_eq!(
            report.render(script),
            "Test-CsMcxPushNotification : A 504 (Server time-out) response was received from the network and the \
             operation failed. See the exception details for more information.\nAt line:1 char:27\n+ \
             Test-CsMcxPushNotification <<<<  -AccessEdgeFqdn lyncedge.mydomain.com\n    + CategoryInfo          : \
             OperationStopped: (:) [Test-CsMcxPushNotification], FailureResponseException\n    + \
             FullyQualifiedErrorId : WorkflowNotCompleted,Microsoft.Rtc.Management.SyntheticTransactions.\
             TestMcxPushNotificationCmdlet\n"
        );
    }

    #[test]
    fn nothing_in_a_servers_answer_or_in_the_script_commands_the_terminal() {
        let failure =
            Failure::new(Category::ObjectNotFound, "NotFound", "No \u{1b}[2J.").of("a\u{9b}b").advise("x\u{202e}");
        let report = Report::of_builtin("Get-Help", Span::new(0, 8), failure);
        let printed = report.render("Get-Help '\u{85}\u{7f}'");
        assert!(!printed.contains(crate::visible::is_obeyed), "{printed:?}");
        assert!(printed.contains("No \u{fffd}[2J.") && printed.contains("(a\u{fffd}b:String)"), "{printed}");
    }

    #[test]
    fn what_can_be_mended_names_the_command() {
        let failure = Failure::new(Category::ObjectNotFound, "NotFound", "There is none.").of("x").advise("New-X");
        let report = Report::of_builtin("Get-Help", Span::new(4, 12), failure);
        let printed = report.render("a\n; Get-Help x");
        assert!(printed.contains("At line:2 char:11\n+ ; Get-Help <<<<  x\n"), "{printed}");
        assert!(printed.contains("ObjectNotFound: (x:String) [Get-Help]"), "{printed}");
        assert!(printed.ends_with("    + Remedy                : New-X\n"), "{printed}");
    }
}
