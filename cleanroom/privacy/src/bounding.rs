//! One shopper's vector, bounded in its L2 norm on exact integers.

/// Σ x² of one shopper's vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Norm {
    /// The exact sum of squares.
    Squared(u128),
    /// The sum of squares does not fit into 128 bits: the norm is at least 2⁶⁴.
    Beyond,
}

/// Σ x², exactly.
///
/// Where every |x| is below 2³² and there are fewer than 2³² of them, partial sums are kept in 128 bits without any
/// check; the general case is checked.
pub fn sum_of_squares(values: &[i64]) -> Norm {
    let mut sum: u128 = 0;
    for &value in values {
        let magnitude = u128::from(value.unsigned_abs());
        match sum.checked_add(magnitude * magnitude) {
            Some(next) => sum = next,
            None => return Norm::Beyond,
        }
    }
    Norm::Squared(sum)
}

/// Shrinks `values` to an L2 norm of at most `bound`, in place; true if anything had to shrink. A vector within the
/// bound is left untouched.
///
/// The rule, in integers: n = ⌈√Σx²⌉; if n > bound, every x becomes x · bound / n rounded towards zero. A vector with
/// Σx² ≥ 2¹²⁸ is first halved (towards zero) until its squares can be added.
///
/// # Guarantee
/// Whatever the input, Σx² ≤ bound² afterwards: |trunc(x·b/n)| ≤ |x|·b/n and n² ≥ Σx², hence
/// Σ trunc(x·b/n)² ≤ b²·Σx²/n² ≤ b². The result depends on this one shopper's vector only, so adding or removing the
/// shopper moves the sum over all shoppers by at most `bound` in L2. It never fails and reads no other state.
pub fn clip_l2(values: &mut [i64], bound: u64) -> bool {
    let limit = u128::from(bound) * u128::from(bound);
    let sum = match sum_of_squares(values) {
        Norm::Squared(sum) if sum <= limit => return false,
        Norm::Squared(sum) => sum,
        Norm::Beyond => halve_until_countable(values),
    };
    if sum > limit {
        let norm = ceil_sqrt(sum) as i128; // at most 2⁶⁴
        for value in values {
            // |x| ≤ n, so the quotient is no longer than x and fits; x · bound fits, being below 2⁶³ · 2⁶⁴.
            *value = i64::try_from(i128::from(*value) * i128::from(bound) / norm).unwrap_or(0);
        }
    }
    true
}

/// Halves the vector, towards zero, until Σx² fits; returns Σx².
fn halve_until_countable(values: &mut [i64]) -> u128 {
    loop {
        for value in values.iter_mut() {
            *value /= 2;
        }
        if let Norm::Squared(sum) = sum_of_squares(values) {
            return sum;
        }
    }
}

/// The smallest n with n² ≥ `square`.
fn ceil_sqrt(square: u128) -> u128 {
    let floor = square.isqrt();
    if floor * floor == square { floor } else { floor + 1 }
}
