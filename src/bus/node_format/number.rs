//! Numbers as JavaScript writes them.

use std::io::Write;

/// The largest integer up to which every integer is a double of its own, 2⁵³.
pub(super) const SAFE: f64 = 9_007_199_254_740_992.0;

/// Appends what `JSON.stringify` makes of a number: ECMA-262, `Number::toString` with radix 10, and `null` for what is not finite.
pub(super) fn push(out: &mut Vec<u8>, value: f64) {
    if !value.is_finite() {
        return out.extend_from_slice(b"null");
    }
    if value.fract() == 0.0 && value.abs() <= SAFE {
        // Also -0, which has no sign there.
        return append(out, value as i64);
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    // The shortest digits that are read back as the same number, `d.ddde±x`: the ones that JavaScript asks for.
    let scientific = format!("{:e}", value.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    let exponent: i32 = exponent.parse().unwrap_or_default();
    // Where the decimal point stands: after so many digits. The standard's n; `digits.len()` is its k.
    let point = exponent + 1;
    match point {
        1..=21 if digits.len() <= point as usize => {
            out.extend_from_slice(&digits);
            out.resize(out.len() + point as usize - digits.len(), b'0');
        }
        1..=21 => {
            let (whole, rest) = digits.split_at(point as usize);
            out.extend_from_slice(whole);
            out.push(b'.');
            out.extend_from_slice(rest);
        }
        -5..=0 => {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + point.unsigned_abs() as usize, b'0');
            out.extend_from_slice(&digits);
        }
        _ => {
            let (first, rest) = digits.split_at(1);
            out.extend_from_slice(first);
            if !rest.is_empty() {
                out.push(b'.');
                out.extend_from_slice(rest);
            }
            out.extend_from_slice(if exponent < 0 { b"e" } else { b"e+" });
            append(out, exponent.into());
        }
    }
}

fn append(out: &mut Vec<u8>, integer: i64) {
    // Writing to a vector does not fail.
    let _ = write!(out, "{integer}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(value: f64) -> String {
        let mut out = Vec::new();
        push(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn as_javascript_writes_them() {
        // What `JSON.stringify` in Node 20 gave for each.
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (f64::from(0.1_f32), "0.10000000149011612"),
            (9_007_199_254_740_993.0, "9007199254740992"),
            (18_446_744_073_709_551_615.0, "18446744073709552000"),
            (1e20, "100000000000000000000"),
            (-123456789012345680000.0, "-123456789012345680000"),
            (1e21, "1e+21"),
            (1.5e21, "1.5e+21"),
            (1e-6, "0.000001"),
            (1.25e-6, "0.00000125"),
            (1e-7, "1e-7"),
            (-1.5e-7, "-1.5e-7"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (123.456, "123.456"),
            (f64::NAN, "null"),
            (f64::NEG_INFINITY, "null"),
        ];
        for (value, text) in cases {
            assert_eq!(written(value), text);
        }
    }

    proptest! {
        #[test]
        fn every_number_is_read_back(bits: u64) {
            let value = f64::from_bits(bits);
            let back: Option<f64> = serde_json::from_str(&written(value)).unwrap();
            prop_assert_eq!(back, value.is_finite().then_some(value));
        }
    }
}
