//! An expression made ready: what the interpreter finds out anew for each event, found out once.
//!
//! The `cel` crate's interpreter looks functions and variables up by name, and makes an error ready for each comparison before
//! it knows whether there is one. Here every operator stands for itself, and calls what the crate's own values offer for
//! it: what equals, contains or comes before what is theirs to say. Whatever has no form of its own here is left to the
//! interpreter, part by part, so that both come to the same answer; a test holds them to that.

use std::cmp::Ordering;

use cel::common::ast::{CallExpr, Expr, IdedExpr, operators};
use cel::common::types::{CelBool, CelInt, CelList, CelMap, CelString, CelType, Kind};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::{ExecutionError, Value};

use super::{Failure, ROOT};

/// The facts that expressions are evaluated on.
pub trait Known: VariableResolver {
    /// The texts of a list that is a field of `peer`; `None` where it is no such list.
    fn names(&self, field: &str) -> Option<&[std::sync::Arc<str>]>;

    /// The same facts for the interpreter.
    fn as_resolver(&self) -> &dyn VariableResolver;
}

/// One part of an expression, and the parts within it.
pub(super) enum Program {
    /// A value that is written out, or made of such values.
    Constant(Box<dyn Val>),
    /// `peer`, `event`, `team` or `now`.
    Variable(String),
    /// `a.b`, `a["b"]`.
    Select(Box<Program>, CelString<'static>),
    /// `has(a.b)`.
    Has(Box<Program>, CelString<'static>),
    /// `a[b]`.
    Index(Box<Program>, Box<Program>),
    And(Box<Program>, Box<Program>),
    Or(Box<Program>, Box<Program>),
    Not(Box<Program>),
    Conditional(Box<[Program; 3]>),
    /// `==`, or `!=` where it is not to be so.
    Equals(Box<Program>, Box<Program>, bool),
    /// `<` and its like: which orders make it true.
    Compare(Box<Program>, Box<Program>, fn(Ordering) -> bool),
    In(Box<Program>, Box<Program>),
    /// `a in peer.roles`.
    InNames(Box<Program>, String, Box<Program>),
    Calculate(Box<Program>, Box<Program>, Operator),
    /// `startsWith` and its like, of a text and a text, and for other values the whole call.
    Text(Box<Program>, Box<Program>, fn(&str, &str) -> bool, Box<IdedExpr>),
    /// `size` of a text, list or map, and for other values the whole call.
    Size(Box<Program>, Box<IdedExpr>),
    /// `type`.
    Type(Box<Program>),
    /// What the interpreter does.
    Interpreted(Box<IdedExpr>),
}

#[derive(Clone, Copy)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

type Evaluated<'b, 'v> = Result<CowVal<'b, 'v>, Failure>;

impl Program {
    /// Makes an expression ready.
    pub fn of(expr: &IdedExpr) -> Self {
        let boxed = |expr: &IdedExpr| Box::new(Program::of(expr));
        if let Some(constant) = constant(expr) {
            return Program::Constant(constant);
        }
        match &expr.expr {
            Expr::Ident(name) if ["peer", "event", "team", "now"].contains(&name.as_str()) => {
                Program::Variable(name.clone())
            }
            Expr::Select(select) => {
                let operand = boxed(&select.operand);
                let field = CelString::from(select.field.clone());
                if select.test { Program::Has(operand, field) } else { Program::Select(operand, field) }
            }
            Expr::Call(call) => Program::of_call(expr, call),
            _ => Program::Interpreted(Box::new(expr.clone())),
        }
    }

    fn of_call(expr: &IdedExpr, call: &CallExpr) -> Self {
        let boxed = |expr: &IdedExpr| Box::new(Program::of(expr));
        let whole = || Box::new(expr.clone());
        let compare = |one, two, holds: fn(Ordering) -> bool| Program::Compare(boxed(one), boxed(two), holds);
        let calculate = |one, two, operator| Program::Calculate(boxed(one), boxed(two), operator);
        let text =
            |one, two, holds: fn(&str, &str) -> bool| Program::Text(boxed(one), boxed(two), holds, whole());
        match (call.func_name.as_str(), call.target.as_deref(), call.args.as_slice()) {
            (operators::LOGICAL_AND, None, [one, two]) => Program::And(boxed(one), boxed(two)),
            (operators::LOGICAL_OR, None, [one, two]) => Program::Or(boxed(one), boxed(two)),
            (operators::LOGICAL_NOT, None, [one]) => Program::Not(boxed(one)),
            (operators::CONDITIONAL, None, [which, one, two]) => {
                Program::Conditional(Box::new([which, one, two].map(Program::of)))
            }
            (operators::EQUALS, None, [one, two]) => Program::Equals(boxed(one), boxed(two), true),
            (operators::NOT_EQUALS, None, [one, two]) => Program::Equals(boxed(one), boxed(two), false),
            (operators::LESS, None, [one, two]) => compare(one, two, Ordering::is_lt),
            (operators::LESS_EQUALS, None, [one, two]) => compare(one, two, Ordering::is_le),
            (operators::GREATER, None, [one, two]) => compare(one, two, Ordering::is_gt),
            (operators::GREATER_EQUALS, None, [one, two]) => compare(one, two, Ordering::is_ge),
            (operators::ADD, None, [one, two]) => calculate(one, two, Operator::Add),
            (operators::SUBSTRACT, None, [one, two]) => calculate(one, two, Operator::Subtract),
            (operators::MULTIPLY, None, [one, two]) => calculate(one, two, Operator::Multiply),
            (operators::DIVIDE, None, [one, two]) => calculate(one, two, Operator::Divide),
            (operators::MODULO, None, [one, two]) => calculate(one, two, Operator::Remainder),
            (operators::INDEX, None, [one, two]) => Program::Index(boxed(one), boxed(two)),
            (operators::IN, None, [one, two]) => match Program::of(two) {
                Program::Select(operand, field) if matches!(&*operand, Program::Variable(name) if name == "peer") =>
                {
                    let name = field.inner().to_owned();
                    Program::InNames(boxed(one), name, Box::new(Program::Select(operand, field)))
                }
                list => Program::In(boxed(one), Box::new(list)),
            },
            ("startsWith", Some(one), [two]) => text(one, two, |one, two| one.starts_with(two)),
            ("endsWith", Some(one), [two]) => text(one, two, |one, two| one.ends_with(two)),
            ("contains", Some(one), [two]) => text(one, two, |one, two| one.contains(two)),
            ("size", None, [one]) => Program::Size(boxed(one), whole()),
            ("type", None, [one]) => Program::Type(boxed(one)),
            _ => Program::Interpreted(whole()),
        }
    }

    /// Its value, if that is true or false; `None` for any other.
    pub fn test(&self, facts: &dyn Known) -> Result<Option<bool>, Failure> {
        match self {
            Program::And(one, two) => decide(one.test(facts), || two.test(facts), false),
            Program::Or(one, two) => decide(one.test(facts), || two.test(facts), true),
            Program::Not(one) => one.test(facts)?.ok_or(Failure::Type).map(|boolean| Some(!boolean)),
            Program::Conditional(parts) => {
                let [which, one, two] = &**parts;
                let chosen = if which.test(facts)?.ok_or(Failure::Type)? { one } else { two };
                chosen.test(facts)
            }
            Program::Has(operand, field) => has(&*operand.value(facts)?, field).map(Some),
            Program::Equals(one, two, equal) => {
                let (one, two) = (one.value(facts)?, two.value(facts)?);
                Ok(Some(one.equals(&*two) == *equal))
            }
            Program::Compare(one, two, holds) => {
                let (one, two) = (one.value(facts)?, two.value(facts)?);
                let comparer = one.as_comparer().ok_or(Failure::Type)?;
                comparer.compare(&*two).map(|order| Some(holds(order))).map_err(failure)
            }
            Program::In(one, list) => {
                let (one, list) = (one.value(facts)?, list.value(facts)?);
                list.as_container().ok_or(Failure::Type)?.contains(&*one).map(Some).map_err(failure)
            }
            Program::InNames(one, field, list) => {
                let one = one.value(facts)?;
                let Some(names) = facts.names(field) else {
                    let list = list.value(facts)?;
                    return list
                        .as_container()
                        .ok_or(Failure::Type)?
                        .contains(&*one)
                        .map(Some)
                        .map_err(failure);
                };
                // Only a text equals a text.
                let one = one.downcast_ref::<CelString>();
                Ok(Some(one.is_some_and(|one| names.iter().any(|name| **name == *one.inner()))))
            }
            Program::Text(one, two, holds, whole) => {
                // The interpreter looks at the argument before it looks at what is asked.
                let two = two.value(facts)?;
                let one = one.value(facts)?;
                match (one.downcast_ref::<CelString>(), two.downcast_ref::<CelString>()) {
                    (Some(one), Some(two)) => Ok(Some(holds(one.inner(), two.inner()))),
                    _ => boolean(&*interpret(whole, facts)?),
                }
            }
            _ => boolean(&*self.value(facts)?),
        }
    }

    fn value<'b, 'v: 'b>(&'b self, facts: &'b (dyn Known + 'v)) -> Evaluated<'b, 'b> {
        match self {
            Program::Constant(value) => Ok(CowVal::Borrowed(&**value)),
            Program::Variable(name) => facts.resolve(name).ok_or(Failure::Type),
            Program::Select(operand, field) => select(operand.value(facts)?, field),
            Program::Index(operand, index) => {
                let operand = operand.value(facts)?;
                let index = index.value(facts)?;
                get(operand, &*index, Failure::Type)
            }
            Program::Calculate(one, two, operator) => {
                let (one, two) = (one.value(facts)?, two.value(facts)?);
                operator.apply(&*one, &*two).map(CowVal::Owned)
            }
            Program::Size(one, whole) => {
                let one = one.value(facts)?;
                let sized = one.downcast_ref::<CelString>().is_some()
                    || one.downcast_ref::<CelList>().is_some()
                    || one.downcast_ref::<CelMap>().is_some();
                match one.as_sizer().filter(|_| sized) {
                    Some(sizer) => Ok(CowVal::owned(CelInt::from(*sizer.size().inner()))),
                    None => interpret(whole, facts),
                }
            }
            Program::Type(one) => Ok(CowVal::owned(CelType::new(one.value(facts)?.get_type().name()))),
            Program::Conditional(parts) => {
                let [which, one, two] = &**parts;
                let chosen = if which.test(facts)?.ok_or(Failure::Type)? { one } else { two };
                chosen.value(facts)
            }
            Program::Interpreted(whole) => interpret(whole, facts),
            _ => {
                // Everything else is true or false.
                let boolean = self.test(facts)?.ok_or(Failure::Broken)?;
                Ok(CowVal::owned(CelBool::from(boolean)))
            }
        }
    }
}

/// `&&` and `||`: which of the two values `deciding` alone. An error or another value on one side does no harm if the
/// other side decides; else the right side's comes first, as in the interpreter.
fn decide(
    one: Result<Option<bool>, Failure>,
    two: impl FnOnce() -> Result<Option<bool>, Failure>,
    deciding: bool,
) -> Result<Option<bool>, Failure> {
    if one == Ok(Some(deciding)) {
        return Ok(Some(deciding));
    }
    let two = two()?;
    match (one, two) {
        (_, Some(two)) if two == deciding => Ok(Some(deciding)),
        (Err(failure), _) => Err(failure),
        (Ok(Some(_)), Some(two)) => Ok(Some(two)),
        (Ok(None), _) | (_, None) => Err(Failure::Type),
    }
}

impl Operator {
    fn apply<'v>(self, one: &(dyn Val + 'v), two: &(dyn Val + 'v)) -> Result<Box<dyn Val + 'v>, Failure> {
        let result = match self {
            Operator::Add => one.as_adder().ok_or(Failure::Type)?.add(two),
            Operator::Subtract => one.as_subtractor().ok_or(Failure::Type)?.sub(two),
            Operator::Multiply => one.as_multiplier().ok_or(Failure::Type)?.mul(two),
            Operator::Divide => one.as_divider().ok_or(Failure::Type)?.div(two),
            Operator::Remainder => one.as_modder().ok_or(Failure::Type)?.modulo(two),
        };
        result.map(CowVal::into_owned).map_err(failure)
    }
}

fn select<'b, 'v>(operand: CowVal<'b, 'v>, field: &CelString<'static>) -> Evaluated<'b, 'v> {
    let missing = if operand.get_type().kind() == Kind::Map { Failure::Absent } else { Failure::Type };
    get(operand, field, missing)
}

fn get<'b, 'v>(operand: CowVal<'b, 'v>, index: &dyn Val, missing: Failure) -> Evaluated<'b, 'v> {
    match operand {
        CowVal::Borrowed(operand) => operand.as_indexer().ok_or(missing)?.get(index).map_err(failure),
        CowVal::Owned(operand) => {
            let got = operand.as_indexer().ok_or(missing)?.get(index);
            got.map(|value| CowVal::Owned(value.into_owned())).map_err(failure)
        }
    }
}

fn has(operand: &dyn Val, field: &CelString<'static>) -> Result<bool, Failure> {
    match operand.as_indexer().ok_or(Failure::Type)?.get(field) {
        Ok(_) => Ok(true),
        Err(ExecutionError::NoSuchKey(_)) => Ok(false),
        Err(error) => Err(failure(error)),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err hands it over")]
fn failure(error: ExecutionError) -> Failure {
    Failure::of(&error)
}

fn boolean(value: &dyn Val) -> Result<Option<bool>, Failure> {
    Ok(value.downcast_ref::<CelBool>().map(|boolean| *boolean.inner()))
}

fn interpret<'b>(expr: &'b IdedExpr, facts: &'b dyn Known) -> Evaluated<'b, 'b> {
    let mut scope = ROOT.new_inner_scope();
    scope.set_variable_resolver(facts.as_resolver());
    let value = Value::resolve_val(expr, &scope).map_err(failure)?;
    Ok(CowVal::Owned(value.into_owned()))
}

/// The value of an expression that looks at nothing. One that fails is left to fail for each event.
fn constant(expr: &IdedExpr) -> Option<Box<dyn Val>> {
    if super::check::any_path(expr, &mut |path| ["peer", "event", "team", "now"].contains(&path[0])) {
        return None;
    }
    let value = Value::resolve_val(expr, &ROOT).ok()?;
    Some(value.into_owned())
}

#[cfg(test)]
mod tests;
