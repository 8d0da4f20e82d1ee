//! A script as the parser has understood it.
//!
//! What can be long is a list here and never a chain of boxes (operators, members, `elseif`), so that only what is
//! nested has depth, and [`crate::parser::NESTING_MAX`] bounds that.

use std::fmt;

use crate::span::Span;

/// Statements in order: a script, or what stands between braces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block {
    /// The statements.
    pub statements: Vec<Statement>,
    /// Where it stands, with its brackets if it has some.
    pub span: Span,
}

/// One statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// What it does.
    pub kind: StatementKind,
    /// Where it stands.
    pub span: Span,
}

impl Statement {
    /// The expression, if the statement is nothing else.
    pub fn expression(&self) -> Option<&Expression> {
        match &self.kind {
            StatementKind::Pipeline(Pipeline { elements, .. }) => match &elements[..] {
                [Element::Expression(expression)] => Some(expression),
                _ => None,
            },
            _ => None,
        }
    }
}

/// What a statement does.
#[derive(Clone, Debug, PartialEq)]
pub enum StatementKind {
    /// `$x = …`.
    Assign {
        /// What is set.
        target: Target,
        /// How.
        how: Assign,
        /// The new value.
        value: Box<Statement>,
    },
    /// `break`.
    Break,
    /// `continue`.
    Continue,
    /// `exit`, with its status.
    Exit(Option<Pipeline>),
    /// `foreach ($x in …) {…}`.
    Foreach {
        /// The variable that takes each value.
        variable: Variable,
        /// The values.
        over: Pipeline,
        /// What is done with each.
        body: Block,
    },
    /// `if … elseif … else`.
    If {
        /// Conditions with what they lead to.
        arms: Vec<(Pipeline, Block)>,
        /// What is done otherwise.
        otherwise: Option<Block>,
    },
    /// Commands and expressions.
    Pipeline(Pipeline),
}

/// What can stand on the left of an assignment.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The variable.
    pub variable: Variable,
    /// The type that the value is made of first.
    pub cast: Option<Type>,
    /// The way from the variable's value to what is set; empty for the variable itself.
    pub steps: Vec<Step>,
}

/// How a value is set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Assign {
    /// `=`.
    Set,
    /// `+=`.
    Add,
    /// `-=`.
    Subtract,
    /// `*=`.
    Multiply,
    /// `/=`.
    Divide,
}

/// What stands between `|`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// The first may be an expression, the others are commands. Never empty.
    pub elements: Vec<Element>,
    /// Where it stands.
    pub span: Span,
}

/// One part of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub enum Element {
    /// A command with its arguments.
    Command(Command),
    /// An expression.
    Expression(Expression),
}

/// A command with its arguments as written; which are a parameter's value is known when the command is.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Its name or alias.
    pub name: String,
    /// Where the name stands.
    pub name_span: Span,
    /// The arguments.
    pub arguments: Vec<Argument>,
    /// Where all of it stands.
    pub span: Span,
}

/// One argument.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    /// `-Name`, or `-Name:value`.
    Parameter {
        /// The name, without the hyphen.
        name: String,
        /// Where hyphen and name stand.
        span: Span,
        /// The value after a colon.
        value: Option<Expression>,
    },
    /// A value.
    Value(Expression),
}

/// Something that has a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    /// What it is.
    pub kind: ExpressionKind,
    /// Where it stands.
    pub span: Span,
}

/// The kinds of expressions.
#[derive(Clone, Debug, PartialEq)]
pub enum ExpressionKind {
    /// `$x.Name[0].ToLower()`.
    Access {
        /// Where the way begins.
        of: Box<Expression>,
        /// The way. Never empty.
        steps: Vec<Step>,
    },
    /// `@( … )`.
    Array(Block),
    /// `{ … }`.
    Block(Block),
    /// `[int]$x`.
    Cast {
        /// The type.
        to: Type,
        /// The value.
        of: Box<Expression>,
    },
    /// Operators of one precedence with what stands between, from left to right.
    Chain {
        /// The first operand.
        first: Box<Expression>,
        /// Each operator with its right side. Never empty.
        rest: Vec<(Binary, Expression)>,
    },
    /// `"text $with $(values)"`, and bare words with values.
    Expand(Vec<Part>),
    /// `@{ Name = value }`.
    Hashtable(Vec<(Expression, Statement)>),
    /// `a, b`.
    List(Vec<Expression>),
    /// A number.
    Number(Number),
    /// `( … )`.
    Paren(Box<Pipeline>),
    /// `$( … )`.
    Sub(Block),
    /// Text without values.
    Text(String),
    /// A type, on the right of `-is`.
    Type(Type),
    /// `-not $x`.
    Unary {
        /// The operator.
        operator: Unary,
        /// What it is for.
        of: Box<Expression>,
    },
    /// `$x`.
    Variable(Variable),
}

/// A number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A whole one.
    Int(i64),
    /// Any other.
    Double(f64),
}

/// A piece of text that is put together.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// What `$( … )` gives.
    Sub(Block),
    /// Text.
    Text(String),
    /// A variable's value.
    Variable(Variable, Span),
}

/// A variable.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Variable {
    /// `$env:NAME`.
    Environment(String),
    /// `$name`.
    Name(String),
}

/// One step from a value to another.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// `[ … ]`.
    Index(Expression),
    /// `.Name( … )`.
    Method {
        /// The name.
        name: String,
        /// Where it stands.
        span: Span,
        /// What it is given.
        arguments: Vec<Expression>,
    },
    /// `.Name`, `.'Name'`, `.$name`.
    Property {
        /// The name.
        name: Box<Expression>,
    },
}

/// Operators with two sides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs, reason = "each is its own word")]
pub enum Binary {
    Add,
    And,
    /// A comparison, and whether upper and lower case differ for it.
    Compare(Comparison, bool),
    Divide,
    Format,
    Is,
    IsNot,
    Join,
    Multiply,
    Or,
    Range,
    Remainder,
    /// And whether upper and lower case differ.
    Replace(bool),
    /// And whether upper and lower case differ.
    Split(bool),
    Subtract,
    Xor,
}

/// What is compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs, reason = "each is its own word")]
pub enum Comparison {
    Contains,
    Eq,
    Ge,
    Gt,
    In,
    Le,
    Like,
    Lt,
    Match,
    Ne,
    NotContains,
    NotIn,
    NotLike,
    NotMatch,
}

/// Operators with one side.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unary {
    /// `-join`.
    Join,
    /// `-`.
    Minus,
    /// `-not`, `!`.
    Not,
    /// `+`.
    Plus,
    /// `-split`.
    Split,
}

/// The types that can be named.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs, reason = "each is its own word")]
pub enum Type {
    Array,
    Bool,
    /// `[pscustomobject]`: properties in the order in which they were written.
    Custom,
    DateTime,
    Double,
    Hashtable,
    Int,
    IntArray,
    String,
    StringArray,
}

impl Type {
    /// The type of that name, in any case, as written between brackets.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let name = name.strip_prefix("system.").unwrap_or(&name);
        Some(match name {
            "array" | "object[]" => Self::Array,
            "bool" | "boolean" => Self::Bool,
            "datetime" => Self::DateTime,
            "decimal" | "double" | "float" | "single" => Self::Double,
            "hashtable" | "collections.hashtable" => Self::Hashtable,
            "int" | "int32" | "int64" | "long" | "uint32" => Self::Int,
            "int[]" | "int32[]" | "int64[]" | "long[]" => Self::IntArray,
            "pscustomobject" | "psobject" => Self::Custom,
            "string" => Self::String,
            "string[]" => Self::StringArray,
            _ => return None,
        })
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "$env:{name}"),
            Self::Name(name) => write!(f, "${name}"),
        }
    }
}
