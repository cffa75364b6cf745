//! Whatever an expression is, it comes to what the crate's own interpreter makes of it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cel::common::ast::SelectExpr;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use serde_json::json;

use super::*;
use crate::config::expression::check::{Reads, Scope};
use crate::config::expression::{Claims, EventFacts, Expression, Facts, Id, Own, PeerFacts};

/// One event and its sender, in all their shapes.
#[derive(Clone, Debug)]
struct World {
    subject: Option<&'static str>,
    teams: Vec<Arc<str>>,
    roles: Vec<Arc<str>>,
    claims: Option<serde_json::Value>,
    kind: Option<Own<'static, &'static str>>,
    task_id: Option<Own<'static, Id<'static>>>,
    timestamp: Option<Own<'static, SystemTime>>,
    json: &'static str,
}

const NOON: Duration = Duration::from_secs(1_772_366_400);

fn world() -> impl Strategy<Value = World> {
    let names =
        || prop::collection::vec(prop::sample::select(vec!["a", "b", "red"]).prop_map(Arc::from), 0..3);
    let ids = vec![
        None,
        Some(Own::Read(Id::Integer("3"))),
        Some(Own::Read(Id::Integer("-12345678901234567890"))),
        Some(Own::Read(Id::Text("a"))),
        Some(Own::Json("1.5")),
        Some(Own::Json("[1]")),
        Some(Own::Json(r#""\ud800""#)),
    ];
    let times = vec![
        None,
        Some(Own::Read(UNIX_EPOCH + NOON - Duration::from_secs(30))),
        Some(Own::Read(UNIX_EPOCH)),
        Some(Own::Json(r#""noon""#)),
    ];
    let payloads = vec![
        r#"{"type":"a","x":1,"y":"b","z":[1,"a"],"w":{"x":2.5,"y":null}}"#,
        r#"{"x":"1","y":2,"z":{"x":1},"w":[]}"#,
        r#"{"x":-9223372036854775808,"y":true,"z":0.5}"#,
        r#"{"x":1,"x":2}"#,
        "{}",
        "[1]",
    ];
    let claims = json!({ "x": 1, "y": ["a", "b"], "z": { "x": "a" }, "w": 1.5 });
    (
        prop::sample::select(vec![None, Some("a")]),
        names(),
        names(),
        prop::option::of(Just(claims)),
        prop::sample::select(vec![None, Some(Own::Read("a")), Some(Own::Json("7"))]),
        prop::sample::select(ids),
        prop::sample::select(times),
        prop::sample::select(payloads),
    )
        .prop_map(|(subject, teams, roles, claims, kind, task_id, timestamp, json)| World {
            subject,
            teams,
            roles,
            claims,
            kind,
            task_id,
            timestamp,
            json,
        })
}

impl World {
    /// What `run` makes of these facts.
    fn with<T>(&self, reads: &Reads, run: impl FnOnce(&Facts<'_>) -> T) -> T {
        let claims = self.claims.as_ref().map(|claims| {
            Claims::keep(claims.as_object().unwrap(), reads.claims.iter().map(|claim| &**claim)).unwrap()
        });
        let peer = PeerFacts {
            subject: self.subject,
            teams: &self.teams,
            roles: &self.roles,
            claims: claims.as_ref(),
            address: [192, 0, 2, 7].into(),
        };
        let event = EventFacts {
            name: "database-change",
            kind: self.kind,
            task_id: self.task_id,
            timestamp: self.timestamp,
            json: self.json,
            fields: &reads.fields,
        };
        run(&Facts::new(peer, event, UNIX_EPOCH + NOON))
    }
}

/// What both make of a part of an expression: the same, value for value and failure for failure.
fn same(part: &IdedExpr, facts: &Facts<'_>) -> Result<Option<bool>, Failure> {
    let mut scope = ROOT.new_inner_scope();
    scope.set_variable_resolver(facts);
    let interpreted = Value::resolve_val(part, &scope).map_err(failure);
    let program = Program::of(part);
    let evaluated = program.value(facts);
    match (&evaluated, &interpreted) {
        (Ok(one), Ok(two)) => {
            assert_eq!(one.get_type().name(), two.get_type().name(), "{part:?}");
            // What is not a number equals nothing.
            let alike = one.equals(&**two) || format!("{:?}", &**one) == format!("{:?}", &**two);
            assert!(alike, "{one:?} is not {two:?}\n{part:?}");
        }
        _ => assert_eq!(evaluated.as_ref().err(), interpreted.as_ref().err(), "{part:?}"),
    }
    let interpreted = interpreted.and_then(|value| boolean(&*value));
    assert_eq!(program.test(facts), interpreted, "{part:?}");
    interpreted
}

/// What both make of an expression; `None` where it is none.
fn both(text: &str, world: &World) -> Option<Result<bool, Failure>> {
    let expression = Expression::parse(text, Scope::Event).ok()?;
    Some(world.with(expression.reads(), |facts| {
        let interpreted = same(&expression.root, facts);
        let evaluated = expression.evaluate(facts);
        assert_eq!(
            evaluated,
            interpreted.and_then(|value| value.ok_or(Failure::NotBoolean)),
            "{text}\n{world:?}"
        );
        evaluated
    }))
}

/// Something of each kind there is, and the ends of the numbers.
const LEAVES: [&str; 57] = [
    "true",
    "false",
    "null",
    "0",
    "1",
    "-1",
    "3",
    "9223372036854775807",
    "-9223372036854775808",
    "0u",
    "1u",
    "18446744073709551615u",
    "0.0",
    "0.5",
    "-0.5",
    "3.0",
    "1e308",
    "9223372036854775808.0",
    "0.0 / 0.0",
    "\"\"",
    "\"a\"",
    "\"3\"",
    "\"red\"",
    "\"größe\"",
    "\"true\"",
    "\"2026-03-01T12:00:00Z\"",
    "\"90s\"",
    "b\"a\"",
    "b\"\\xff\"",
    "[]",
    "[1, \"a\", 2.5]",
    "[\"a\", \"red\"]",
    "[[1], [1u]]",
    "{}",
    "{\"x\": 1}",
    "{1: \"a\"}",
    "{1u: 2}",
    "duration(\"1m\")",
    "duration(\"-2h\")",
    "duration(\"0s\")",
    "timestamp(\"2026-03-01T12:00:00Z\")",
    "timestamp(\"0001-01-01T00:00:00Z\")",
    "timestamp(\"9999-12-31T23:59:59Z\")",
    "int",
    "string",
    "now",
    "peer.sub",
    "peer.teams",
    "peer.claims.x",
    "peer.claims.nothing",
    "event.type",
    "event.taskId",
    "event.timestamp",
    "event.payload.x",
    "event.payload.z",
    "event.payload.w",
    "event.payload",
];

const BINARY: [&str; 15] = [
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::LESS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::GREATER_EQUALS,
    operators::IN,
    operators::ADD,
    operators::SUBSTRACT,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::INDEX,
];

const UNARY: [&str; 9] =
    [operators::LOGICAL_NOT, operators::NEGATE, "size", "type", "int", "uint", "double", "bool", "string"];

const METHODS: [&str; 4] = ["startsWith", "endsWith", "contains", "getHours"];

const METHODS_OF_NOTHING: [&str; 12] = [
    "size",
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
    "startsWith",
];

fn call(name: &str, target: Option<&IdedExpr>, args: &[&IdedExpr]) -> IdedExpr {
    let call = CallExpr {
        func_name: name.to_owned(),
        target: target.cloned().map(Box::new),
        args: args.iter().map(|&arg| arg.clone()).collect(),
    };
    IdedExpr { id: 0, expr: Expr::Call(call) }
}

/// Every operator and function there is, on something of each kind, and of each two kinds.
#[test]
fn every_operator_and_function_comes_to_what_the_interpreter_does() {
    let worlds = [
        World {
            subject: Some("a"),
            teams: vec!["a".into(), "red".into()],
            roles: vec!["a".into()],
            claims: Some(json!({ "x": 1 })),
            kind: Some(Own::Read("a")),
            task_id: Some(Own::Read(Id::Integer("3"))),
            timestamp: Some(Own::Read(UNIX_EPOCH + NOON - Duration::from_secs(30))),
            json: r#"{"x":1,"z":[1,"a"],"w":{"x":2.5,"y":null}}"#,
        },
        World {
            subject: None,
            teams: vec![],
            roles: vec![],
            claims: None,
            kind: Some(Own::Json("7")),
            task_id: Some(Own::Json("\"\\ud800\"")),
            timestamp: None,
            json: r#"{"x":1,"x":2}"#,
        },
    ];
    let leaves: Vec<Expression> =
        LEAVES.iter().map(|leaf| Expression::parse(leaf, Scope::Event).unwrap()).collect();
    let mut reads = Reads { claims: ["x".into()].into(), ..Reads::default() };
    reads.fields.names = ["x", "z", "w"].map(Into::into).into();
    for all in [false, true] {
        reads.fields.all = all;
        for world in &worlds {
            world.with(&reads, |facts| {
                for (at, one) in leaves.iter().map(|leaf| &leaf.root).enumerate() {
                    same(one, facts).ok();
                    // The values of calculations of the written out are the same whatever the world is.
                    for name in UNARY {
                        same(&call(name, None, &[one]), facts).ok();
                    }
                    for name in METHODS_OF_NOTHING {
                        same(&call(name, Some(one), &[]), facts).ok();
                    }
                    same(&call("timestamp", None, &[one]), facts).ok();
                    for test in [false, true] {
                        let select = SelectExpr { operand: Box::new(one.clone()), field: "x".into(), test };
                        same(&IdedExpr { id: 0, expr: Expr::Select(select) }, facts).ok();
                    }
                    for two in leaves.iter().map(|leaf| &leaf.root).skip(if all { at } else { 0 }) {
                        for name in BINARY {
                            same(&call(name, None, &[one, two]), facts).ok();
                        }
                        for name in METHODS {
                            same(&call(name, Some(one), &[two]), facts).ok();
                        }
                        same(&call(operators::CONDITIONAL, None, &[one, two, one]), facts).ok();
                    }
                }
            });
        }
    }
}

/// Expressions that give a value of a kind, mostly.
#[derive(Clone, Copy)]
enum Gives {
    Truth,
    Number,
    Text,
    List,
    Time,
    Span,
}

fn giving(kind: Gives, depth: u32) -> BoxedStrategy<String> {
    use Gives::{List, Number, Span, Text, Time, Truth};
    let leaves = match kind {
        Truth => &[
            "true",
            "false",
            "has(peer.sub)",
            "has(event.taskId)",
            "has(event.payload.w.x)",
            "event.payload.y",
        ][..],
        Number => &[
            "0",
            "1",
            "3",
            "-2",
            "1u",
            "0.5",
            "event.payload.x",
            "peer.claims.x",
            "event.taskId",
            "peer.claims.w",
        ],
        Text => &[
            "\"a\"",
            "\"\"",
            "\"red\"",
            "peer.sub",
            "event.type",
            "peer.address",
            "event.name",
            "peer.claims.z.x",
            "event.payload.y",
        ],
        List => &["[]", "[1, \"a\"]", "peer.teams", "peer.roles", "peer.claims.y", "event.payload.z"],
        Time => &["now", "event.timestamp", "timestamp(\"2026-03-01T12:00:00Z\")"],
        Span => &["duration(\"1m\")", "duration(\"-2h\")"],
    };
    let leaf = prop::sample::select(leaves.to_vec()).prop_map(str::to_owned).boxed();
    let Some(depth) = depth.checked_sub(1) else { return leaf };
    let of = |kind| giving(kind, depth);
    let joined = |one: Gives, operators: &[&'static str], two: Gives| {
        (of(one), prop::sample::select(operators.to_vec()), of(two))
            .prop_map(|(one, operator, two)| format!("({one} {operator} {two})"))
            .boxed()
    };
    let around = |before: &'static str, kind: Gives, after: &'static str| {
        of(kind).prop_map(move |inner| format!("{before}{inner}{after}")).boxed()
    };
    let chosen =
        (of(Truth), of(kind), of(kind)).prop_map(|(which, one, two)| format!("({which} ? {one} : {two})"));
    let mut forms = vec![leaf.clone(), leaf, chosen.boxed()];
    forms.extend(match kind {
        Truth => vec![
            joined(Truth, &["&&", "||"], Truth),
            joined(Truth, &["&&", "||", "=="], Truth),
            around("!", Truth, ""),
            joined(Number, &["==", "!=", "<", "<=", ">", ">="], Number),
            joined(Text, &["==", "!=", "<", "in"], Text),
            joined(Text, &["in"], List),
            joined(Number, &["in"], List),
            joined(List, &["==", "!="], List),
            joined(Time, &["<", ">=", "=="], Time),
            joined(Span, &["<", ">"], Span),
            (of(Text), prop::sample::select(vec!["startsWith", "endsWith", "contains"]), of(Text))
                .prop_map(|(one, name, two)| format!("{one}.{name}({two})"))
                .boxed(),
            of(Text).prop_map(|one| format!("type({one}) == string")).boxed(),
        ],
        Number => vec![
            joined(Number, &["+", "-", "*", "/", "%"], Number),
            around("-(", Number, ")"),
            around("size(", Text, ")"),
            around("size(", List, ")"),
            around("int(", Number, ")"),
            around("double(", Number, ")"),
            around("", Time, ".getHours()"),
        ],
        Text => vec![joined(Text, &["+"], Text), around("string(", Number, ")"), around("", List, "[0]")],
        List => vec![joined(List, &["+"], List), around("[", Text, "]"), around("[1, ", Number, "]")],
        Time => vec![joined(Time, &["+", "-"], Span), around("timestamp(", Text, ")")],
        Span => vec![joined(Time, &["-"], Time), joined(Span, &["+", "-"], Span)],
    });
    prop::strategy::Union::new(forms).boxed()
}

/// Anything at all of what can be read, most of which has no answer.
fn anything() -> impl Strategy<Value = String> {
    let leaves = vec![
        "true",
        "false",
        "null",
        "0",
        "1",
        "3",
        "-2",
        "1u",
        "0.5",
        "3.0",
        "\"a\"",
        "\"\"",
        "\"red\"",
        "b\"a\"",
        "peer.sub",
        "peer.teams",
        "peer.roles",
        "peer.address",
        "peer.claims.x",
        "peer.claims.y",
        "peer.claims.z.x",
        "peer.claims.nothing",
        "event.name",
        "event.type",
        "event.taskId",
        "event.timestamp",
        "event.payload.x",
        "event.payload.y",
        "event.payload.z",
        "event.payload.w",
        "event.payload.w.x",
        "event.payload.z.x",
        "event.payload[\"x\"]",
        "event.payload.nothing",
        "event.payload",
        "now",
        "[]",
        "[1, \"a\", 2.5]",
        "[peer.sub]",
        "{\"x\": 1}",
        "duration(\"1m\")",
        "duration(\"-2h\")",
        "timestamp(\"2026-03-01T12:00:00Z\")",
        "int",
        "string",
        "has(peer.sub)",
        "has(peer.claims.x)",
        "has(peer.claims.nothing.x)",
        "has(event.taskId)",
        "has(event.timestamp)",
        "has(event.payload.x)",
        "has(event.payload.w.x)",
        "has(event.payload.nothing)",
        "now.getHours()",
        "now.getHours(\"Europe/Berlin\")",
        "size(peer.teams)",
    ];
    let leaf = prop::sample::select(leaves).prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        let binary = vec![
            "&&", "||", "==", "!=", "<", "<=", ">", ">=", "in", "+", "-", "*", "/", "%", "&&", "||", "==", "in",
        ];
        let unary = vec!["!", "-", "size", "type", "int", "string", "double", "bool"];
        let methods = vec!["startsWith", "endsWith", "contains"];
        prop_oneof![
            5 => (inner.clone(), prop::sample::select(binary), inner.clone())
                .prop_map(|(one, operator, two)| format!("({one} {operator} {two})")),
            2 => (prop::sample::select(unary), inner.clone()).prop_map(|(name, one)| format!("{name}({one})")),
            1 => (inner.clone(), prop::sample::select(methods), inner.clone())
                .prop_map(|(one, name, two)| format!("{one}.{name}({two})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(one, two)| format!("{one}[{two}]")),
            1 => (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(one, two, three)| format!("({one} ? {two} : {three})")),
            1 => inner.clone().prop_map(|one| format!("{one}.x")),
            1 => inner.prop_map(|one| format!("has({one}.x)")),
        ]
    })
}

/// Whether every part has a form of its own, but for those functions that the crate alone knows.
fn is_ready(program: &Program) -> bool {
    match program {
        Program::Interpreted(_) => false,
        Program::Constant(_) | Program::Variable(_) => true,
        Program::Select(one, _)
        | Program::Has(one, _)
        | Program::Not(one)
        | Program::InNames(one, ..)
        | Program::Size(one, _)
        | Program::Type(one) => is_ready(one),
        Program::Index(one, two)
        | Program::And(one, two)
        | Program::Or(one, two)
        | Program::Equals(one, two, _)
        | Program::Compare(one, two, _)
        | Program::In(one, two)
        | Program::Calculate(one, two, _)
        | Program::Text(one, two, ..) => is_ready(one) && is_ready(two),
        Program::Conditional(parts) => parts.iter().all(is_ready),
    }
}

/// What people write does not come to the interpreter.
#[test]
fn ordinary_rules_are_ready() {
    for text in [
        r#""red" in peer.teams && !("guest" in peer.roles)"#,
        r#"!has(event.timestamp) || now - event.timestamp < duration("1m")"#,
        r#"has(event.payload.title) && size(event.payload.title) <= 200 && !event.payload.title.startsWith("x")"#,
        r#"has(peer.claims.plan) && peer.claims.plan in ["team", "enterprise"]"#,
        r#"type(event.taskId) == int && event.taskId % 2 == 0"#,
        r#"event.type == "task-moved" ? peer.sub != "ben" : peer.teams[0] == "a""#,
        r#"event.payload.tags.x[0] + 1 > -3"#,
        r#"timestamp("2026-03-01T12:00:00Z") < now"#,
    ] {
        let expression = Expression::parse(text, Scope::Event).unwrap();
        assert!(is_ready(&expression.program), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn whatever_is_written_comes_to_what_the_interpreter_makes_of_it(text in anything(), world in world()) {
        both(&text, &world);
    }

    #[test]
    fn what_makes_sense_comes_to_what_the_interpreter_makes_of_it(text in giving(Gives::Truth, 3), world in world()) {
        both(&text, &world);
    }
}

/// Enough of what is generated is an expression that has an answer, or the tests above would show nothing.
#[test]
fn much_of_what_is_tried_is_an_expression() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut counts = [0; 4];
    for _ in 0..1000 {
        let (text, world) = (giving(Gives::Truth, 3), world()).new_tree(&mut runner).unwrap().current();
        counts[match both(&text, &world) {
            None => 0,
            Some(Ok(true)) => 1,
            Some(Ok(false)) => 2,
            Some(Err(_)) => 3,
        }] += 1;
    }
    assert!(counts[1] > 100 && counts[2] > 100 && counts[3] > 100, "{counts:?}");
}
