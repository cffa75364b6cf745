//! What may stand in an expression, and what it reads.

use std::collections::BTreeSet;

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SourceInfo, operators};
use cel::parser::{MacroExprHelper, ParseError};

use super::{Fault, unknown};
use crate::config::problem::any_of;

/// How deep operators, calls and fields stand inside each other. The interpreter calls itself for each, on the stack of a
/// connection's task.
const MAX_DEPTH: usize = 32;

/// Brackets that are opened in one expression, and question marks. The parser calls itself for each
/// before what it made can be looked at.
const MAX_BRACKETS: usize = 40;

/// Other signs in one expression, dots among them. What the parser makes of each may stand inside what it makes of the next.
const MAX_SIGNS: usize = 256;

/// What kind of thing an expression decides, and so what it may look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Whether an event may pass: `peer`, `event`, `now`.
    Event,
    /// Whether a peer hears something in a team: `peer`, `team`, `now`.
    Listener,
}

impl Scope {
    const fn variables(self) -> [&'static str; 3] {
        match self {
            Scope::Event => ["peer", "event", "now"],
            Scope::Listener => ["peer", "team", "now"],
        }
    }

    const fn example_of_has(self) -> &'static str {
        match self {
            Scope::Event => "has(event.taskId)",
            Scope::Listener => "has(peer.claims.plan)",
        }
    }
}

const PEER: [&str; 5] = ["sub", "teams", "roles", "claims", "address"];
const EVENT: [&str; 5] = ["name", "type", "taskId", "timestamp", "payload"];

/// Types, as `type(event.taskId) == string` names them.
const TYPES: [&str; 9] = ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "uint"];

const OPERATORS: [&str; 17] = [
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::SUBSTRACT,
    operators::ADD,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::GREATER_EQUALS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::LESS,
    operators::NEGATE,
    operators::INDEX,
];

/// Functions whose time is bounded by the length of what they are given.
const FUNCTIONS: [&str; 24] = [
    "bool",
    "contains",
    DURATION,
    "double",
    "endsWith",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    HAS,
    operators::IN,
    "int",
    "size",
    "startsWith",
    "string",
    "timestamp",
    "type",
    "uint",
];

const HAS: &str = "has";
const DURATION: &str = "duration";
const LOOPS: [&str; 6] = ["all", "exists", "exists_one", "existsOne", "map", "filter"];
const REGULAR_EXPRESSION: &str = "matches";

/// What an expression looks at beside what every event and every peer has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// The claims that it names as `peer.claims.NAME`.
    pub claims: BTreeSet<Box<str>>,
    /// The fields of the payload.
    pub fields: Fields,
    /// Whether it looks at the team.
    pub team: bool,
}

/// Some fields of a payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// All of them, because the payload is looked at as a whole.
    pub all: bool,
    /// These.
    pub names: BTreeSet<Box<str>>,
}

impl Fields {
    /// Whether this field is among them.
    pub fn contains(&self, name: &str) -> bool {
        self.all || self.names.contains(name)
    }

    /// These and those.
    pub fn extend(&mut self, others: &Fields) {
        self.all |= others.all;
        self.names.extend(others.names.iter().cloned());
    }
}

/// Refuses what would make the parser call itself too often.
pub(super) fn before_parsing(text: &str) -> Result<(), Fault> {
    let count = |of_this_kind: fn(u8) -> bool| text.bytes().filter(|byte| of_this_kind(*byte)).count();
    let brackets = count(|byte| matches!(byte, b'(' | b'[' | b'{' | b'?'));
    let signs = count(|byte| byte.is_ascii_punctuation() && !matches!(byte, b'_' | b'"' | b'\''));
    let found = if brackets > MAX_BRACKETS {
        format!("an expression with {brackets} brackets and question marks; at most {MAX_BRACKETS} are read")
    } else if signs > MAX_SIGNS {
        format!("an expression with {signs} signs; at most {MAX_SIGNS} are read")
    } else {
        return Ok(());
    };
    Err(Fault {
        found,
        mend: "say it in several rules, each with a name of its own".into(),
        did_you_mean: None,
    })
}

/// `has(a.b)`: whether the field is there, as the specification's macro of that name.
pub(super) fn expand_has(
    helper: &mut MacroExprHelper<'_>,
    _: &mut Option<IdedExpr>,
    arguments: &mut Vec<IdedExpr>,
) -> Result<Option<IdedExpr>, ParseError> {
    match arguments.pop() {
        Some(IdedExpr { expr: Expr::Select(mut select), .. }) => {
            select.test = true;
            Ok(Some(helper.next_expr(Expr::Select(select))))
        }
        other => {
            let id = other.map_or(0, |other| other.id);
            Err(helper.new_error(id, "`has` takes a field, as in has(event.taskId)"))
        }
    }
}

/// Looks through the whole expression.
pub(super) fn check(root: &IdedExpr, source: &SourceInfo, scope: Scope) -> Result<Reads, Fault> {
    let mut walk = Walk { source, scope, reads: Reads::default() };
    walk.visit(root, 0)?;
    Ok(walk.reads)
}

struct Walk<'a> {
    source: &'a SourceInfo,
    scope: Scope,
    reads: Reads,
}

impl Walk<'_> {
    fn visit(&mut self, expr: &IdedExpr, depth: usize) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            let found = format!("more than {MAX_DEPTH} operators inside each other");
            return Err(self.fault(expr, &found, "say it in several rules, each with a name of its own"));
        }
        if let Some(path) = path(expr) {
            return self.path(expr, &path);
        }
        match &expr.expr {
            Expr::Literal(_) | Expr::Ident(_) => Ok(()),
            Expr::Select(select) => self.visit(&select.operand, depth + 1),
            Expr::Call(call) => {
                self.function(expr, call)?;
                call.target.iter().try_for_each(|target| self.visit(target, depth + 1))?;
                call.args.iter().try_for_each(|argument| self.visit(argument, depth + 1))
            }
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.visit(element, depth + 1)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.visit(&entry.key, depth + 1)?;
                    self.visit(&entry.value, depth + 1)
                }
                EntryExpr::StructField(field) => self.visit(&field.value, depth + 1),
            }),
            Expr::Struct(_) | Expr::Comprehension(_) | Expr::Unspecified => Err(self.fault(
                expr,
                "a message",
                "a rule compares fields; write one such as '\"editor\" in peer.roles'",
            )),
        }
    }

    fn path(&mut self, expr: &IdedExpr, path: &[&str]) -> Result<(), Fault> {
        match *path {
            ["now"] => Ok(()),
            [name @ ("peer" | "event" | "team"), ..] if !self.scope.variables().contains(&name) => {
                Err(self.no_variable(expr, name))
            }
            ["team"] => {
                self.reads.team = true;
                Ok(())
            }
            ["team", ..] => {
                Err(self.fault(expr, "`team` is a text and has no fields", "write `team` by itself"))
            }
            [name] if TYPES.contains(&name) => Ok(()),
            [name @ ("peer" | "event")] => {
                let fields: &[&str] = if name == "peer" { &PEER } else { &EVENT };
                let mend = format!("name a field of it: {}", any_of(fields.iter().copied()));
                Err(self.fault(expr, &format!("`{name}` as a whole"), &mend))
            }
            ["peer", "claims"] => Err(self.fault(
                expr,
                "`peer.claims` as a whole, of which only the claims that rules name are kept",
                "name the claim, as in peer.claims.plan; has(peer.claims.plan) asks whether it is there",
            )),
            ["peer", "claims", claim, ..] => {
                self.reads.claims.insert(claim.into());
                Ok(())
            }
            ["event", "payload"] => {
                self.reads.fields.all = true;
                Ok(())
            }
            ["event", "payload", field, ..] => {
                self.reads.fields.names.insert(field.into());
                Ok(())
            }
            ["peer", field, ..] => self.field(expr, "peer", field, &PEER),
            ["event", field, ..] => self.field(expr, "event", field, &EVENT),
            [name, ..] => Err(self.no_variable(expr, name)),
            [] => Ok(()),
        }
    }

    fn no_variable(&self, expr: &IdedExpr, name: &str) -> Fault {
        let variables = self.scope.variables();
        let found = format!("{}: `{name}` is no variable", place(expr, self.source));
        unknown(found, name, variables, format!("write {}", any_of(variables)))
    }

    fn field(&self, expr: &IdedExpr, of: &str, field: &str, fields: &[&'static str]) -> Result<(), Fault> {
        if fields.contains(&field) {
            return Ok(());
        }
        let found = format!("{}: `{of}` has no field `{field}`", place(expr, self.source));
        let known = || fields.iter().copied();
        Err(unknown(found, field, known().collect::<Vec<_>>(), format!("write {}", any_of(known()))))
    }

    fn function(&self, expr: &IdedExpr, call: &CallExpr) -> Result<(), Fault> {
        let name = call.func_name.as_str();
        if OPERATORS.contains(&name) {
            return Ok(());
        }
        let place = self.place_of_name(expr, name);
        let refused = |found: &str, mend: &str| {
            Err(Fault { found: format!("{place}: {found}"), mend: mend.into(), did_you_mean: None })
        };
        match name {
            _ if LOOPS.contains(&name) => refused(
                &format!("`{name}` does something for each element, and a rule's time is bounded"),
                "write `in`, as in \"editor\" in peer.roles",
            ),
            REGULAR_EXPRESSION => refused(
                "`matches` takes a regular expression, and a rule's time is bounded",
                "write `startsWith`, `endsWith`, `contains` or `in`",
            ),
            HAS => {
                refused("`has` takes one field", &format!("write it as in {}", self.scope.example_of_has()))
            }
            DURATION if !matches!(call.args.as_slice(), [IdedExpr { expr: Expr::Literal(_), .. }]) => {
                refused(
                    "`duration` of something else than a text that is written out",
                    "write it as in duration(\"24h\")",
                )
            }
            _ if FUNCTIONS.contains(&name) => Ok(()),
            _ => {
                let mend = "known here: `in`, `has`, `size`, `contains`, `startsWith`, `endsWith`, conversions such as \
                            `int` and `timestamp`, and parts of a time such as now.getHours()";
                let found = format!("{place}: there is no function `{name}`");
                Err(unknown(found, name, FUNCTIONS, mend.into()))
            }
        }
    }

    /// Where a function's name stands: before what the parser remembers of a call, its bracket.
    fn place_of_name(&self, call: &IdedExpr, name: &str) -> String {
        let bracket = self.source.offset_for(call.id).map_or(0, |(start, _)| start as usize);
        let before = self.source.source.get(..bracket).unwrap_or_default();
        place_at(before.rfind(name).unwrap_or(bracket), self.source)
    }

    fn fault(&self, expr: &IdedExpr, found: &str, mend: &str) -> Fault {
        let place = place(expr, self.source);
        Fault { found: format!("{place}: {found}"), mend: mend.into(), did_you_mean: None }
    }
}

/// `event.payload.title` as its names, also where one is written as an index: `peer.claims["https://app.example/plan"]`.
fn path(expr: &IdedExpr) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    let mut at = expr;
    loop {
        match &at.expr {
            Expr::Ident(name) => {
                names.push(name.as_str());
                names.reverse();
                return Some(names);
            }
            Expr::Select(select) => {
                names.push(select.field.as_str());
                at = &select.operand;
            }
            Expr::Call(call) if call.func_name == operators::INDEX => match call.args.as_slice() {
                [operand, IdedExpr { expr: Expr::Literal(LiteralValue::String(name)), .. }] => {
                    names.push(name.inner());
                    at = operand;
                }
                _ => return None,
            },
            _ => return None,
        }
    }
}

/// Whether one of the paths in the expression is of this kind. A path that goes on with a calculated index counts as one
/// that ends with `[]`.
pub(super) fn any_path(expr: &IdedExpr, of_this_kind: &mut dyn FnMut(&[&str]) -> bool) -> bool {
    if let Some(path) = path(expr) {
        return of_this_kind(&path);
    }
    match &expr.expr {
        Expr::Select(select) => any_path(&select.operand, of_this_kind),
        Expr::Call(call) => {
            if call.func_name == operators::INDEX
                && let Some(mut path) = call.args.first().and_then(path)
            {
                path.push("[]");
                if of_this_kind(&path) {
                    return true;
                }
            }
            call.target.iter().any(|target| any_path(target, of_this_kind))
                || call.args.iter().any(|argument| any_path(argument, of_this_kind))
        }
        Expr::List(list) => list.elements.iter().any(|element| any_path(element, of_this_kind)),
        Expr::Map(map) => map.entries.iter().any(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => {
                any_path(&entry.key, of_this_kind) || any_path(&entry.value, of_this_kind)
            }
            EntryExpr::StructField(field) => any_path(&field.value, of_this_kind),
        }),
        _ => false,
    }
}

/// What the logical operators at the top of the expression join, or the expression itself where there are none.
pub(super) fn operands(expr: &IdedExpr) -> Vec<&IdedExpr> {
    const LOGICAL: [&str; 4] =
        [operators::LOGICAL_AND, operators::LOGICAL_OR, operators::LOGICAL_NOT, operators::CONDITIONAL];
    match &expr.expr {
        Expr::Call(call) if LOGICAL.contains(&call.func_name.as_str()) => {
            call.args.iter().flat_map(operands).collect()
        }
        _ => vec![expr],
    }
}

/// Where a part of an expression begins: `column 5`, and the line where there are several.
pub(super) fn place(expr: &IdedExpr, source: &SourceInfo) -> String {
    place_at(beginning(expr, source), source)
}

/// The place of what begins at this byte.
fn place_at(start: usize, source: &SourceInfo) -> String {
    let before = source.source.get(..start).unwrap_or_default();
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    match before.matches('\n').count() {
        0 => format!("column {column}"),
        lines => format!("line {}, column {column}", lines + 1),
    }
}

/// The first byte of a part. The parser remembers where an operator stands, which is behind its left operand.
fn beginning(expr: &IdedExpr, source: &SourceInfo) -> usize {
    let own = source.offset_for(expr.id).map_or(usize::MAX, |(start, _)| start as usize);
    // Of a call it remembers the bracket.
    let own = match &expr.expr {
        Expr::Call(CallExpr { func_name, target: None, .. })
            if source.source.get(..own).is_some_and(|before| before.ends_with(func_name)) =>
        {
            own - func_name.len()
        }
        _ => own,
    };
    let inner = match &expr.expr {
        Expr::Select(select) if !select.test => beginning(&select.operand, source),
        Expr::Call(call) => {
            let parts = call.target.iter().map(|target| beginning(target, source));
            parts.chain(call.args.iter().map(|part| beginning(part, source))).min().unwrap_or(usize::MAX)
        }
        _ => usize::MAX,
    };
    match own.min(inner) {
        usize::MAX => 0,
        start => start,
    }
}
