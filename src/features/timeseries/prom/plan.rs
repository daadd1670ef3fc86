//! The plan of a query: a validated syntax tree with supported parts only.

use std::time::Duration;

use promql_parser::label::{MatchOp, Matcher, Matchers};
use promql_parser::parser::{
    AggregateExpr, BinModifier, BinaryExpr, Call, Expr, LabelModifier, MatrixSelector, Offset, VectorMatchCardinality,
    VectorSelector,
};

use super::error::PromError;
use super::expressions;
use super::value::LabelSet;
use super::window::SampleRange;
use super::{aggregation, binary, window};
use crate::features::timeseries::influx::influx_key::NAME_LABEL;

/// The maximum depth of a query: far more than people write, few enough for the stack.
const MAX_DEPTH: usize = 100;

/// A validated query with its selections.
#[derive(Debug)]
pub(super) struct Plan {
    pub root: Node,
    pub selections: Vec<Selection>,
    /// The maximum age in milliseconds at which the newest sample is still the current value.
    lookback: i64,
}

/// The selected series, and the range of them that each step reads.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    pub matchers: Vec<Matcher>,
    /// The length of the range in milliseconds; the range ends at the step.
    pub range: i64,
    /// The milliseconds by which all steps are moved to the past.
    pub offset: i64,
}

/// A node of the syntax tree. Selections are indexes in the list of the plan.
#[derive(Debug)]
pub(super) enum Node {
    Number(f64),
    Latest(usize),
    Window {
        function: fn(&SampleRange<'_>) -> Option<f64>,
        rank: Option<Box<Node>>,
        selection: usize,
        /// Whether the results are values of the metric, so that they keep its name.
        keeps_name: bool,
    },
    Aggregate {
        operator: fn(&mut [f64], f64) -> f64,
        rank: Option<Box<Node>>,
        by: LabelSet,
        of: Box<Node>,
    },
    Binary {
        operator: fn(f64, f64) -> f64,
        matching: LabelSet,
        left: Box<Node>,
        right: Box<Node>,
    },
    Negative(Box<Node>),
    /// The samples of a range; only as a whole query.
    Samples(usize),
}

impl Plan {
    /// # Errors
    /// `execution` that names an unsupported part.
    pub(super) fn new(query: &Expr, lookback: i64) -> Result<Self, PromError> {
        let mut plan = Self { root: Node::Number(0.0), selections: Vec::new(), lookback };
        plan.root = plan.node(query, 0)?;
        Ok(plan)
    }

    /// The plan of a query at one time, which can also be a range of samples, such as `m[5m]`.
    ///
    /// # Errors
    /// `execution` that names an unsupported part.
    pub(super) fn instant(query: &Expr, lookback: i64) -> Result<Self, PromError> {
        let Expr::MatrixSelector(MatrixSelector { vs, range }) = query else { return Self::new(query, lookback) };
        let mut plan = Self { root: Node::Samples(0), selections: Vec::new(), lookback };
        plan.select(vs, millis(*range)?)?;
        Ok(plan)
    }

    fn node(&mut self, expr: &Expr, depth: usize) -> Result<Node, PromError> {
        let depth = depth + 1;
        if depth > MAX_DEPTH {
            return Err(PromError::execution(format!("the query must have at most {MAX_DEPTH} nested levels")));
        }
        match expr {
            Expr::NumberLiteral(number) => Ok(Node::Number(number.val)),
            Expr::Paren(paren) => self.node(&paren.expr, depth),
            Expr::Unary(unary) => Ok(Node::Negative(self.boxed(&unary.expr, depth)?)),
            Expr::VectorSelector(selector) => Ok(Node::Latest(self.select(selector, self.lookback)?)),
            Expr::Call(call) => self.call(call, depth),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate, depth),
            Expr::Binary(binary) => self.binary(binary, depth),
            Expr::MatrixSelector(_) => Err(PromError::unsupported("a range without a function")),
            Expr::Subquery(_) => Err(PromError::unsupported("a subquery")),
            Expr::StringLiteral(_) => Err(PromError::unsupported("text")),
            Expr::Extension(_) => Err(PromError::unsupported("an extension")),
        }
    }

    fn boxed(&mut self, expr: &Expr, depth: usize) -> Result<Box<Node>, PromError> {
        self.node(expr, depth).map(Box::new)
    }

    fn select(&mut self, selector: &VectorSelector, range: i64) -> Result<usize, PromError> {
        if selector.at.is_some() {
            return Err(PromError::unsupported("the modifier `@`"));
        }
        let offset = match &selector.offset {
            None => 0,
            Some(Offset::Pos(length)) => millis(*length)?,
            Some(Offset::Neg(length)) => -millis(*length)?,
        };
        self.selections.push(Selection { matchers: matchers(selector)?, range, offset });
        Ok(self.selections.len() - 1)
    }

    fn call(&mut self, call: &Call, depth: usize) -> Result<Node, PromError> {
        let name = call.func.name;
        let function =
            window::function(name).ok_or_else(|| PromError::unsupported(&format!("the function `{name}`")))?;
        let (rank, range) = match call.args.args.as_slice() {
            [range] => (None, range),
            [rank, range] => (Some(self.boxed(rank, depth)?), range),
            _ => return Err(PromError::unsupported(&format!("`{name}` with these arguments"))),
        };
        let mut range: &Expr = range;
        while let Expr::Paren(paren) = range {
            range = &paren.expr;
        }
        let Expr::MatrixSelector(MatrixSelector { vs, range }) = range else {
            return Err(PromError::unsupported(&format!("`{name}` of a subquery")));
        };
        let selection = self.select(vs, millis(*range)?)?;
        Ok(Node::Window { function, rank, selection, keeps_name: name == "last_over_time" })
    }

    fn aggregate(&mut self, aggregate: &AggregateExpr, depth: usize) -> Result<Node, PromError> {
        let name = aggregate.op.to_string();
        let operator =
            aggregation::operator(&name).ok_or_else(|| PromError::unsupported(&format!("the aggregation `{name}`")))?;
        let rank = aggregate.param.as_deref().map(|param| self.boxed(param, depth)).transpose()?;
        let by = aggregate.modifier.as_ref().map_or(LabelSet::Only(Vec::new()), label_set);
        Ok(Node::Aggregate { operator, rank, by, of: self.boxed(&aggregate.expr, depth)? })
    }

    fn binary(&mut self, binary: &BinaryExpr, depth: usize) -> Result<Node, PromError> {
        let name = binary.op.to_string();
        let operator =
            binary::operator(&name).ok_or_else(|| PromError::unsupported(&format!("the operator `{name}`")))?;
        let matching = matching(binary.modifier.as_ref())?;
        let (left, right) = (self.boxed(&binary.lhs, depth)?, self.boxed(&binary.rhs, depth)?);
        Ok(Node::Binary { operator, matching, left, right })
    }
}

fn matching(modifier: Option<&BinModifier>) -> Result<LabelSet, PromError> {
    let Some(modifier) = modifier else { return Ok(LabelSet::Without(Vec::new())) };
    if modifier.card != VectorMatchCardinality::OneToOne {
        return Err(PromError::unsupported("many-to-one matching (`group_left`, `group_right`)"));
    }
    if modifier.fill_values.lhs.is_some() || modifier.fill_values.rhs.is_some() {
        return Err(PromError::unsupported("the modifier `fill`"));
    }
    Ok(modifier.matching.as_ref().map_or(LabelSet::Without(Vec::new()), label_set))
}

fn label_set(modifier: &LabelModifier) -> LabelSet {
    match modifier {
        LabelModifier::Include(labels) => LabelSet::Only(labels.labels.clone()),
        LabelModifier::Exclude(labels) => LabelSet::Without(labels.labels.clone()),
    }
}

/// The conditions of a selector, including the one on the metric name.
///
/// # Errors
/// `execution` if the selector uses `or`, which is not supported; those of [`expressions::limited`].
pub(super) fn matchers(selector: &VectorSelector) -> Result<Vec<Matcher>, PromError> {
    let Matchers { matchers, or_matchers } = &selector.matchers;
    if !or_matchers.is_empty() {
        return Err(PromError::unsupported("`or` between label matchers"));
    }
    let name = selector.name.iter().map(|name| Matcher::new(MatchOp::Equal, NAME_LABEL, name));
    name.chain(matchers.iter().cloned()).map(expressions::limited).collect()
}

fn millis(length: Duration) -> Result<i64, PromError> {
    i64::try_from(length.as_millis())
        .ok()
        .filter(|ms| *ms <= super::super::series::MAX_TIMESTAMP)
        .ok_or_else(|| PromError::execution("a duration is too long"))
}
