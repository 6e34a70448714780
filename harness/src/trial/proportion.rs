//! The estimate of a rate from a few trials, and the comparison of two rates.

use serde::{Deserialize, Serialize};

/// The quantile of the normal distribution that leaves 2.5 % above it: intervals hold with 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// So many successes in so many trials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proportion {
    /// Successes.
    pub found: u32,
    /// Trials.
    pub of: u32,
}

impl Proportion {
    /// Returns the part of trials that succeeded, 0 to 1; 0 without trials.
    #[must_use]
    pub fn rate(self) -> f64 {
        if self.of == 0 { 0.0 } else { f64::from(self.found) / f64::from(self.of) }
    }

    /// Counts another trial.
    pub fn add(&mut self, success: bool) {
        self.of += 1;
        self.found += u32::from(success);
    }

    /// Returns Wilson's score interval of the rate, with 95 %; the whole range without trials.
    ///
    /// With p the rate, n the trials and z the quantile:
    /// `(p + z²/2n ± z·√(p(1-p)/n + z²/4n²)) / (1 + z²/n)`.
    ///
    /// Source: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal of the
    /// American Statistical Association 22 (1927), 209–212; as formula (4) in Brown, Cai and DasGupta, "Interval
    /// Estimation for a Binomial Proportion", Statistical Science 16 (2001), 101–133, who advise it for few trials.
    #[must_use]
    pub fn wilson(self) -> [f64; 2] {
        if self.of == 0 {
            return [0.0, 1.0];
        }
        let (p, n) = (self.rate(), f64::from(self.of));
        let centre = p + Z * Z / (2.0 * n);
        let spread = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + Z * Z / n;
        // At either end the formula gives exactly 0 or 1, but for rounding.
        let low = if self.found == 0 { 0.0 } else { (centre - spread) / scale };
        let high = if self.found == self.of { 1.0 } else { (centre + spread) / scale };
        [low, high]
    }

    /// `9/10 (90 %, 60 to 98 %)`.
    #[must_use]
    pub fn words(self) -> String {
        if self.of == 0 {
            return "not tried".to_owned();
        }
        let [low, high] = self.wilson().map(|bound| bound * 100.0);
        let rate = self.rate() * 100.0;
        format!("{}/{} ({rate:.0} %, {low:.0} to {high:.0} %)", self.found, self.of)
    }

    /// How likely it is to see so few successes, or fewer, here, were the rate here that of `before`.
    ///
    /// Fisher's exact test, one-sided: given the successes of both together, those here are hypergeometric.
    /// Source: R. A. Fisher, "On the Interpretation of χ² from Contingency Tables, and the Calculation of P", Journal of
    /// the Royal Statistical Society 85 (1922), 87–94.
    #[must_use]
    pub fn loss(self, before: Self) -> f64 {
        let (found, of) = (u64::from(self.found), u64::from(self.of));
        let (both_found, both) = (found + u64::from(before.found), of + u64::from(before.of));
        let least = both_found.saturating_sub(u64::from(before.of));
        let all = ln_choose(both, of);
        let chance =
            |here: u64| (ln_choose(both_found, here) + ln_choose(both - both_found, of - here) - all).exp();
        (least..=found).map(chance).sum::<f64>().min(1.0)
    }
}

/// Returns the natural logarithm of the number of ways to choose `k` of `n`; `k` is at most `n`.
fn ln_choose(n: u64, k: u64) -> f64 {
    let ln_factorial = |n: u64| (2..=n).map(|factor| (factor as f64).ln()).sum::<f64>();
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(have: f64, want: f64) {
        assert!((have - want).abs() < 5e-5, "{have} instead of {want}");
    }

    /// Worked out apart from this program, in double precision.
    #[test]
    fn wilsons_interval_is_as_worked_out() {
        for (found, of, low, high) in [
            (0, 10, 0.0, 0.277_533),
            (10, 10, 0.722_467, 1.0),
            (5, 10, 0.236_593, 0.763_407),
            (1, 3, 0.061_492, 0.792_340),
            (19, 20, 0.763_869, 0.991_119),
        ] {
            let [a, b] = Proportion { found, of }.wilson();
            close(a, low);
            close(b, high);
        }
        assert_eq!(Proportion::default().wilson(), [0.0, 1.0]);
    }

    /// By hand: of 20 trials with 15 successes, 5 or fewer in ten are C(15,5)·C(5,5)/C(20,10).
    #[test]
    fn a_loss_is_as_likely_as_fisher_says() {
        let before = Proportion { found: 10, of: 10 };
        close(Proportion { found: 5, of: 10 }.loss(before), 3003.0 / 184_756.0);
        close(Proportion { found: 10, of: 10 }.loss(before), 1.0);
        close(Proportion { found: 0, of: 3 }.loss(Proportion { found: 3, of: 3 }), 0.05);
        // More than before is not a loss.
        assert!(Proportion { found: 9, of: 10 }.loss(Proportion { found: 2, of: 10 }) > 0.99);
        // No trials prove nothing.
        close(Proportion::default().loss(before), 1.0);
    }
}
