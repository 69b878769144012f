//! How far a value moved, as a whole number of decimal units: a counter's step in one or two bytes instead of eight.

/// The most decimal places of a unit: nanoseconds, in which clocks are read.
pub const MAX_PLACES: u8 = 9;

/// Up to here every whole number is a double: 2^53.
const MAX_UNITS: f64 = 9_007_199_254_740_992.0;

/// The places that a sender uses: whole numbers, the kernel's ticks, milli-, micro- and nanoseconds. Fewer kinds make
/// fewer lists in a message.
const SENT_PLACES: [u8; 5] = [0, 2, 3, 6, 9];

/// Units in one, by decimal places.
const SCALES: [f64; MAX_PLACES as usize + 1] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// A step from one value to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growth {
    /// A unit is 10^-places; at most [`MAX_PLACES`].
    pub places: u8,
    /// How many units; below zero when the value fell.
    pub units: i64,
}

impl Growth {
    /// The step that gives exactly the bits of `to` to whoever holds `from`, in the largest unit that does. `None` when
    /// there is none: a value that is no decimal fraction of at most nine places, −0, or beyond 2^53 units.
    pub fn between(from: f64, to: f64) -> Option<Self> {
        SENT_PLACES.into_iter().find_map(|places| {
            let units = units(to, places)? - units(from, places)?;
            Some(Growth { places, units })
        })
    }

    /// The value after this step. `None` when `from` is no whole number of these units, or the result none of at most
    /// 2^53: such a step was not made by [`Growth::between`].
    pub fn after(self, from: f64) -> Option<f64> {
        let sum = units(from, self.places)?.checked_add(self.units)?;
        let value = sum as f64 / SCALES.get(usize::from(self.places))?;
        (units(value, self.places) == Some(sum)).then_some(value)
    }
}

/// How many units make up exactly this value. Product and quotient are rounded as IEEE 754 says, so both ends agree.
fn units(value: f64, places: u8) -> Option<i64> {
    let scale = SCALES.get(usize::from(places))?;
    let units = (value * scale).round();
    let fits = units.abs() <= MAX_UNITS;
    (fits && (units as i64 as f64 / scale).to_bits() == value.to_bits()).then_some(units as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_step_is_a_whole_number_of_the_largest_unit_that_is_exact() {
        let step = |places, units| Some(Growth { places, units });
        for (from, to, expected) in [
            (1e9, 1e9 + 4096.0, step(0, 4096)),
            (5.0, 3.0, step(0, -2)),
            (0.25, 0.5, step(2, 25)),
            (1234.56, 1244.57, step(2, 1001)),
            (1_763_735_000.125, 1_763_735_010.126, step(3, 10_001)),
            (159.886802, 159.886803, step(6, 1)),
            (-0.3, 0.3, step(2, 60)),
            (9_007_199_254_740_991.0, 9_007_199_254_740_992.0, step(0, 1)),
            (9_007_199_254_740_992.0, 9_007_199_254_740_994.0, None),
            (0.0, -0.0, None),
            (-0.0, 1.0, None),
            (1.0, f64::NAN, None),
            (f64::INFINITY, 1.0, None),
            (0.0, f64::MIN_POSITIVE, None),
            (0.5, 1.0 / 3.0, None),
        ] {
            let found = Growth::between(from, to);
            assert_eq!(found, expected, "{from} to {to}");
            if let Some(growth) = found {
                assert_eq!(growth.after(from).map(f64::to_bits), Some(to.to_bits()), "{from} to {to}");
            }
        }
    }

    #[test]
    fn steps_that_nobody_makes_give_nothing() {
        let step = |places, units| Growth { places, units };
        for (from, step) in [
            (1.0, step(10, 1)),
            (0.5, step(0, 1)),
            (-0.0, step(0, 1)),
            (1.0 / 3.0, step(9, 1)),
            (2.0, step(0, i64::MAX)),
            (-2.0, step(0, i64::MIN)),
            (9_007_199_254_740_992.0, step(0, 1)),
            (1e300, step(0, 1)),
        ] {
            assert_eq!(step.after(from), None, "{from} {step:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_step_is_found_gives_the_exact_bits(from in any::<f64>(), to in any::<f64>()) {
            if let Some(growth) = Growth::between(from, to) {
                prop_assert_eq!(growth.after(from).map(f64::to_bits), Some(to.to_bits()));
            }
        }

        #[test]
        fn decimal_fractions_have_a_step(a in -(1i64 << 40)..1 << 40, b in -(1i64 << 40)..1 << 40, places in 0usize..10) {
            let (from, to) = (a as f64 / SCALES[places], b as f64 / SCALES[places]);
            prop_assume!(from.abs() < 1e6 && to.abs() < 1e6);
            let growth = Growth::between(from, to).unwrap();
            prop_assert_eq!(growth.after(from).map(f64::to_bits), Some(to.to_bits()));
        }
    }
}
