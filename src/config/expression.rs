//! What a rule says: an expression in CEL, cut down to what takes a bounded time.
//!
//! The language is that of <https://github.com/google/cel-spec>, without what loops (`all`, `exists`, `map`, `filter`),
//! without regular expressions, optional values and messages. So an expression looks at each value that it names once for
//! each time that it names it, and it is short: what it costs is bounded by its own length and that of the event.
//!
//! [`Facts`] is what a rule about an event may look at, [`ListenerFacts`] what one about a listener may. Nothing is made into a CEL value before an expression asks for it.
//! The `cel` crate parses. An event is judged by [`program`], which comes to what the crate's interpreter would come to.

mod check;
mod facts;
mod json;
mod program;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use cel::common::ast::{IdedExpr, SourceInfo};
use cel::common::types::CelBool;
use cel::context::VariableResolver;
use cel::parser::Macro;
use cel::{Context, Env, ExecutionError, ParseErrors, Value};

pub use check::{Fields, Reads, Scope};
pub use facts::{EventFacts, Facts, Id, ListenerFacts, Own, PeerFacts};
pub use json::{Claims, MAX_CLAIMS};
pub use program::Known;

use super::problem::closest;
use program::Program;

/// The longest expression; bytes. What needs more is better said in several rules, each with a name of its own.
pub const MAX_BYTES: usize = 1024;

/// The stack on which an expression is parsed; bytes. The parser takes up to 60 KiB of it for each bracket.
const PARSER_STACK: usize = 16 << 20;

/// An expression that was checked.
pub struct Expression {
    root: IdedExpr,
    source: SourceInfo,
    reads: Reads,
    program: Program,
}

/// Why an expression cannot be: what was found and where in it, what to write instead, and what may have been meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub found: String,
    pub mend: String,
    pub did_you_mean: Option<String>,
}

/// Why an expression came to no answer. No text of the event is in it, so that logs may say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It asks for a field that is not there.
    Absent,
    /// An operator or a function that does not take values of these types.
    Type,
    /// A value that cannot be calculated with: a text that is no number, a division by zero, an overflow.
    Value,
    /// It gives something else than true or false.
    NotBoolean,
    /// The interpreter itself failed.
    Broken,
}

impl Failure {
    /// A phrase for logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Failure::Absent => "it asks for a field that is not there",
            Failure::Type => "an operator or a function does not take values of these types",
            Failure::Value => "a value cannot be calculated with",
            Failure::NotBoolean => "it gives something else than true or false",
            Failure::Broken => "the interpreter failed",
        }
    }

    fn of(error: &ExecutionError) -> Self {
        match error {
            ExecutionError::NoSuchKey(_) => Failure::Absent,
            ExecutionError::FunctionError { .. }
            | ExecutionError::DivisionByZero(_)
            | ExecutionError::RemainderByZero(_)
            | ExecutionError::Overflow(..)
            | ExecutionError::IndexOutOfBounds(_)
            | ExecutionError::DuplicateKey(_) => Failure::Value,
            ExecutionError::InternalError(_) => Failure::Broken,
            _ => Failure::Type,
        }
    }
}

/// The functions and types there are. `has` is the only macro.
static ROOT: LazyLock<Context<'static, 'static>> = LazyLock::new(|| Context::with_env(environment()));

fn environment() -> Arc<Env> {
    Arc::new(Env::default().with_optional_support(false).with_stdlib())
}

impl Expression {
    /// Parses and checks an expression that is to be evaluated on facts of this scope.
    pub(super) fn parse(text: &str, scope: Scope) -> Result<Self, Fault> {
        if text.len() > MAX_BYTES {
            return Err(Fault {
                found: format!("an expression of {} bytes; at most {MAX_BYTES} are read", text.len()),
                mend: "say it in several rules, each with a name of its own".into(),
                did_you_mean: None,
            });
        }
        check::before_parsing(text)?;
        let (root, source) = parsed(text)?;
        let reads = check::check(&root, &source, scope)?;
        let program = Program::of(&root);
        Ok(Expression { root, source, reads, program })
    }

    /// What it looks at, apart from what every event and every peer has.
    pub fn reads(&self) -> &Reads {
        &self.reads
    }

    /// Its answer on facts of the scope that it was parsed for.
    ///
    /// # Errors
    /// Where it comes to none. CEL's `&&` and `||` have an answer if either side alone decides it.
    pub fn evaluate(&self, facts: &dyn Known) -> Result<bool, Failure> {
        // Whatever a client can make of an event must not end its connection's task, nor those of others that wait for
        // locks; the values and the interpreter are not ours.
        let evaluated = catch_unwind(AssertUnwindSafe(|| self.program.test(facts)));
        evaluated.unwrap_or(Err(Failure::Broken))?.ok_or(Failure::NotBoolean)
    }

    /// The whole, and what its logical operators join: each of them has to be true or false by itself.
    pub(super) fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        check::operands(&self.root).into_iter().map(|part| Part { part, source: &self.source })
    }
}

/// A part of an expression that has to be true or false.
pub(super) struct Part<'a> {
    part: &'a IdedExpr,
    source: &'a SourceInfo,
}

impl Part<'_> {
    /// Where it begins.
    pub(super) fn place(&self) -> String {
        check::place(self.part, self.source)
    }

    /// Whether one of the paths in it, such as `["event", "payload", "title"]`, is of this kind.
    pub(super) fn any_path(&self, mut of_this_kind: impl FnMut(&[&str]) -> bool) -> bool {
        check::any_path(self.part, &mut of_this_kind)
    }

    /// Evaluates it on what no client sent, so that the error may be quoted. Only for the time of loading.
    pub(super) fn try_on(&self, facts: &dyn VariableResolver) -> Result<(), (Failure, String)> {
        let tried = catch_unwind(AssertUnwindSafe(|| match resolve(self.part, facts) {
            Ok(Answer { boolean: Some(_), .. }) => Ok(()),
            Ok(answer) => Err((Failure::NotBoolean, answer.kind)),
            Err(error) => Err((Failure::of(&error), error.to_string())),
        }));
        tried.unwrap_or_else(|_| Err((Failure::Broken, "the interpreter failed".into())))
    }
}

/// What the interpreter makes of an expression.
struct Answer {
    boolean: Option<bool>,
    /// The name of its type.
    kind: String,
}

fn resolve(root: &IdedExpr, facts: &dyn VariableResolver) -> Result<Answer, ExecutionError> {
    let mut scope = ROOT.new_inner_scope();
    scope.set_variable_resolver(facts);
    let value = Value::resolve_val(root, &scope)?;
    match value.downcast_ref::<CelBool>() {
        Some(boolean) => Ok(Answer { boolean: Some(*boolean.inner()), kind: String::new() }),
        None => Ok(Answer { boolean: None, kind: value.get_type().name().to_owned() }),
    }
}

/// Parses on a stack of its own. The parser is large and made of generated code: a defect of it ends that thread, and is
/// said as one.
fn parsed(text: &str) -> Result<(IdedExpr, SourceInfo), Fault> {
    let parse = || {
        let mut env = Env::default();
        // It is refused only where the same macro is there already.
        let _ = env.add_macro(Macro::global("has", 1, check::expand_has));
        let parser = env.with_optional_support(false).parser();
        parser.parse_with_source_info(text).map_err(|errors| syntax(&errors))
    };
    let failed = || not_cel(String::new(), "it cannot be read");
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(PARSER_STACK).spawn_scoped(scope, parse);
        thread.map_err(|_| failed())?.join().unwrap_or_else(|_| Err(failed()))
    })
}

fn syntax(errors: &ParseErrors) -> Fault {
    let Some(first) = errors.errors.first() else { return not_cel(String::new(), "it cannot be read") };
    let place = match first.pos {
        (1, column) if column > 0 => format!("column {column}"),
        (line, column) if line > 0 && column > 0 => format!("line {line}, column {column}"),
        _ => String::new(),
    };
    not_cel(place, first.msg.trim_start_matches("Syntax error: "))
}

/// The parser's words quote the text and list every token that could have come; their beginning is what helps.
fn not_cel(place: String, why: &str) -> Fault {
    const ENOUGH: usize = 120;
    let why = why.split(" expecting ").next().unwrap_or_default().chars().take(ENOUGH);
    let why: String = why.map(|c| if c.is_control() { ' ' } else { c }).collect();
    let at = if place.is_empty() { String::new() } else { format!(" at {place}") };
    Fault {
        found: format!("not an expression in CEL{at}: {why}"),
        mend: r#"write one such as '"editor" in peer.roles'"#.into(),
        did_you_mean: None,
    }
}

fn unknown<'a>(
    found: String,
    name: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
    mend: String,
) -> Fault {
    Fault { found, mend, did_you_mean: closest(name, known) }
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Expression").field(&self.source.source).finish()
    }
}

#[cfg(test)]
mod tests;
