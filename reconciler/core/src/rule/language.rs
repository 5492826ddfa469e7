//! The language: CEL's standard library, with arithmetic in which integers and floats meet as people expect, patterns
//! that are bounded, and sums of lists.

use std::sync::{Arc, LazyLock};

use cel::common::ast::operators;
use cel::common::types::{CelBool, CelDouble, CelInt, CelString, DYN_TYPE, LIST_TYPE, STRING_TYPE};
use cel::common::value::CowVal;
use cel::{Env, ExecutionError, Value};

/// The functions that a rule may call.
pub(super) const FUNCTIONS: &[&str] = &[
    "bool",
    "bytes",
    "contains",
    "double",
    "duration",
    "dyn",
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
    "int",
    "matches",
    "max",
    "min",
    "size",
    "startsWith",
    "string",
    "sum",
    "timestamp",
    "type",
    "uint",
];

/// Names that stand for types, as in `type(x) == int`.
pub(super) const TYPES: &[&str] = &[
    "bool",
    "bytes",
    "double",
    "duration",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "timestamp",
    "type",
    "uint",
];

/// How much a compiled pattern may take: enough for what people write, and compiled within a millisecond.
const PATTERN_BYTES: usize = 256 << 10;

/// The operators of arithmetic, and the functions that take their place.
pub(super) const ARITHMETIC: &[(&str, &str)] = &[
    (operators::ADD, "@add"),
    (operators::SUBSTRACT, "@subtract"),
    (operators::MULTIPLY, "@multiply"),
    (operators::DIVIDE, "@divide"),
];

/// The environment in which all rules are evaluated.
pub(super) static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    let two = || vec![DYN_TYPE, DYN_TYPE];
    let added = [
        env.add_overload("@add", "lockstep_add", two(), add),
        env.add_overload("@subtract", "lockstep_subtract", two(), subtract),
        env.add_overload("@multiply", "lockstep_multiply", two(), multiply),
        env.add_overload("@divide", "lockstep_divide", two(), divide),
        env.add_overload(
            "matches",
            "lockstep_matches",
            vec![STRING_TYPE, STRING_TYPE],
            matches,
        ),
        env.add_member_overload(
            "matches",
            "lockstep_text_matches",
            STRING_TYPE,
            vec![STRING_TYPE],
            matches,
        ),
        env.add_member_overload("sum", "lockstep_list_sum", LIST_TYPE, Vec::new(), sum),
        env.add_member_overload("min", "lockstep_list_min", LIST_TYPE, Vec::new(), least),
        env.add_member_overload("max", "lockstep_list_max", LIST_TYPE, Vec::new(), greatest),
    ];
    debug_assert!(
        added.iter().all(Result::is_ok),
        "each name is declared once: {added:?}"
    );
    Arc::new(env)
});

type Answer<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;

/// Two numbers of which one is an integer and the other is not, as floats.
fn mixed(args: &[CowVal<'_, '_>]) -> Option<(f64, f64)> {
    let [one, other] = args else { return None };
    let integer = |value: &CowVal<'_, '_>| value.downcast_ref::<CelInt>().map(|int| *int.inner());
    let float = |value: &CowVal<'_, '_>| value.downcast_ref::<CelDouble>().map(|float| *float.inner());
    // What is lost beyond 2^53 is lost in every language that people compare this with.
    #[expect(clippy::cast_precision_loss, reason = "as CEL's own `double()`")]
    match (integer(one), float(one), integer(other), float(other)) {
        (Some(one), _, _, Some(other)) => Some((one as f64, other)),
        (_, Some(one), Some(other), _) => Some((one, other as f64)),
        _ => None,
    }
}

fn float<'b, 'v>(value: f64) -> Answer<'b, 'v> {
    Ok(CowVal::owned(CelDouble::from(value)))
}

fn no_overload(operator: &str, args: &[CowVal<'_, '_>]) -> ExecutionError {
    let types = args.iter().map(|arg| arg.get_type().name().to_owned()).collect();
    ExecutionError::no_such_overload(operator, types)
}

fn add<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    if let Some((one, other)) = mixed(&args) {
        return float(one + other);
    }
    let adder = args[0].as_adder().ok_or_else(|| no_overload("+", &args))?;
    Ok(CowVal::Owned(adder.add(args[1].as_ref())?.into_owned()))
}

fn subtract<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    if let Some((one, other)) = mixed(&args) {
        return float(one - other);
    }
    let subtractor = args[0].as_subtractor().ok_or_else(|| no_overload("-", &args))?;
    Ok(CowVal::Owned(subtractor.sub(args[1].as_ref())?.into_owned()))
}

fn multiply<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    if let Some((one, other)) = mixed(&args) {
        return float(one * other);
    }
    let multiplier = args[0].as_multiplier().ok_or_else(|| no_overload("*", &args))?;
    Ok(CowVal::Owned(multiplier.mul(args[1].as_ref())?.into_owned()))
}

fn divide<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    if let Some((one, other)) = mixed(&args) {
        return float(one / other);
    }
    let divider = args[0].as_divider().ok_or_else(|| no_overload("/", &args))?;
    Ok(CowVal::Owned(divider.div(args[1].as_ref())?.into_owned()))
}

fn matches<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    let (Some(text), Some(pattern)) = (
        args[0].downcast_ref::<CelString<'_>>(),
        args[1].downcast_ref::<CelString<'_>>(),
    ) else {
        return Err(no_overload("matches", &args));
    };
    let compiled = regex::RegexBuilder::new(pattern.inner())
        .size_limit(PATTERN_BYTES)
        .dfa_size_limit(PATTERN_BYTES)
        .nest_limit(32)
        .build()
        .map_err(|error| ExecutionError::function_error("matches", error))?;
    Ok(CowVal::owned(CelBool::from(compiled.is_match(text.inner()))))
}

/// Numbers of a list, as integers where all are.
enum Numbers {
    Integers(Vec<i64>),
    Floats(Vec<f64>),
}

fn numbers(function: &str, args: &[CowVal<'_, '_>]) -> Result<Numbers, ExecutionError> {
    let Value::List(entries) = Value::try_from(args[0].as_ref())? else {
        return Err(no_overload(function, args));
    };
    let integers: Option<Vec<i64>> = entries
        .iter()
        .map(|entry| match entry {
            Value::Int(integer) => Some(*integer),
            _ => None,
        })
        .collect();
    if let Some(integers) = integers {
        return Ok(Numbers::Integers(integers));
    }
    #[expect(clippy::cast_precision_loss, reason = "as CEL's own `double()`")]
    let floats = entries.iter().map(|entry| match entry {
        Value::Int(integer) => Ok(*integer as f64),
        Value::Float(float) => Ok(*float),
        _ => Err(ExecutionError::function_error(
            function,
            "the list holds something that is no number",
        )),
    });
    Ok(Numbers::Floats(floats.collect::<Result<_, _>>()?))
}

fn integer<'b, 'v>(value: i64) -> Answer<'b, 'v> {
    Ok(CowVal::owned(CelInt::from(value)))
}

fn sum<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    match numbers("sum", &args)? {
        Numbers::Integers(all) => {
            let sum = all.into_iter().try_fold(0_i64, i64::checked_add);
            integer(sum.ok_or_else(|| ExecutionError::function_error("sum", "the sum is too large"))?)
        }
        Numbers::Floats(all) => float(all.into_iter().sum()),
    }
}

fn least<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    extreme("min", &args, |all| all.iter().min().copied(), f64::min)
}

fn greatest<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    extreme("max", &args, |all| all.iter().max().copied(), f64::max)
}

fn extreme<'b, 'v>(
    function: &str,
    args: &[CowVal<'b, 'v>],
    of_integers: impl Fn(&[i64]) -> Option<i64>,
    of_floats: impl Fn(f64, f64) -> f64,
) -> Answer<'b, 'v> {
    let empty = || ExecutionError::function_error(function, "the list is empty");
    match numbers(function, args)? {
        Numbers::Integers(all) => integer(of_integers(&all).ok_or_else(empty)?),
        Numbers::Floats(all) => float(all.into_iter().reduce(of_floats).ok_or_else(empty)?),
    }
}
