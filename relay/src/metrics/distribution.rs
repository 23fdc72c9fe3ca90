//! How often a value was how large: a histogram that takes no memory.

/// Each is a series, and those of ten are no better guide than those of five.
const BUCKETS: usize = 5;

/// Upper bounds, rising.
pub(crate) type Bounds = [f64; BUCKETS];

/// Counts by upper bound, each without those of the bounds below.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Distribution {
    bounds: &'static Bounds,
    counts: [u64; BUCKETS],
    count: u64,
    sum: f64,
}

impl Distribution {
    pub(crate) fn new(bounds: &'static Bounds) -> Self {
        Self { bounds, counts: [0; BUCKETS], count: 0, sum: 0.0 }
    }

    pub(crate) fn observe(&mut self, value: f64) {
        if let Some(place) = self.bounds.iter().position(|bound| value <= *bound) {
            self.counts[place] += 1;
        }
        self.count += 1;
        self.sum += value;
    }

    /// Adds the counts of another with the same bounds.
    pub(crate) fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.count += other.count;
        self.sum += other.sum;
    }

    /// Each bound with how many lay at it or below.
    pub(crate) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let counts = self.counts.iter().scan(0, |below, count| {
            *below += count;
            Some(*below)
        });
        self.bounds.iter().copied().zip(counts)
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn sum(&self) -> f64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_counted_at_its_bound_and_at_every_one_above() {
        static BOUNDS: Bounds = [1.0, 2.0, 3.0, 4.0, 5.0];
        let mut one = Distribution::new(&BOUNDS);
        [0.0, 2.0, 2.1, 5.5].iter().for_each(|value| one.observe(*value));
        let mut two = one;
        two.add(&one);
        let counts: Vec<u64> = two.cumulative().map(|(_, count)| count).collect();
        assert_eq!(counts, [2, 4, 6, 6, 6]);
        assert_eq!((two.count(), two.sum()), (8, 19.2));
    }
}
