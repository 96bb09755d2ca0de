//! Figures of several runs as one.

/// The middle one; of an even number the upper of the two.
pub(crate) fn median<T: Copy + PartialOrd>(figures: impl IntoIterator<Item = T>) -> T {
    quantile(&sorted(figures), 0.5)
}

/// From the smallest to the largest. None of them may be a NaN.
pub(crate) fn sorted<T: Copy + PartialOrd>(figures: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut figures: Vec<T> = figures.into_iter().collect();
    figures.sort_by(|a, b| a.partial_cmp(b).expect("figures can be compared"));
    figures
}

/// The figure below which `part` of the sorted figures lie.
pub(crate) fn quantile<T: Copy>(sorted: &[T], part: f64) -> T {
    let index = (sorted.len() as f64 * part) as usize;
    sorted[index.min(sorted.len() - 1)]
}
