//! The one way in which options are checked: an error names the option, what would be right, and what came.

use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::error::Error;

fn wrong<T>(argument: &'static str, expected: impl Into<String>, actual: impl Display) -> Result<T, Error> {
    Err(Error::Value { argument, expected: expected.into(), actual: actual.to_string() })
}

/// A number between two others or one of them; not NaN.
pub(crate) fn between(argument: &'static str, least: f64, most: f64, number: f64) -> Result<(), Error> {
    if (least..=most).contains(&number) { Ok(()) } else { wrong(argument, format!("{least} to {most}"), number) }
}

/// A share, from 0 to 1; not NaN.
pub(crate) fn share(argument: &'static str, share: f64) -> Result<(), Error> {
    between(argument, 0.0, 1.0, share)
}

/// A share of something that must not be nothing, above 0 and at most 1.
pub(crate) fn positive_share(argument: &'static str, share: f64) -> Result<(), Error> {
    if share > 0.0 && share <= 1.0 { Ok(()) } else { wrong(argument, "above 0 and at most 1", share) }
}

/// A threshold: any number, infinities among them, which nothing or everything passes; not NaN.
pub(crate) fn threshold(argument: &'static str, threshold: f32) -> Result<(), Error> {
    if threshold.is_nan() { wrong(argument, "a number", threshold) } else { Ok(()) }
}

/// A finite number from a least one on.
pub(crate) fn at_least(argument: &'static str, least: f64, number: f64) -> Result<(), Error> {
    if number >= least && number.is_finite() { Ok(()) } else { wrong(argument, format!("a finite number, at least {least}"), number) }
}

/// A finite number.
pub(crate) fn finite(argument: &'static str, number: f32) -> Result<(), Error> {
    if number.is_finite() { Ok(()) } else { wrong(argument, "a finite number", number) }
}

/// A whole number in a range.
pub(crate) fn within(argument: &'static str, range: RangeInclusive<u32>, number: u32) -> Result<(), Error> {
    match range.contains(&number) {
        true => Ok(()),
        false if *range.end() == u32::MAX => wrong(argument, format!("at least {}", range.start()), number),
        false => wrong(argument, format!("{} to {}", range.start(), range.end()), number),
    }
}
