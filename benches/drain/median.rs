//! Medians and quantiles of the figures of several runs.

/// Returns the median; of an even number of figures the upper of the two in the middle.
pub(crate) fn median<T: Copy + PartialOrd>(figures: impl IntoIterator<Item = T>) -> T {
    quantile(&sorted(figures), 0.5)
}

/// Returns the figures in ascending order. None of them may be NaN.
pub(crate) fn sorted<T: Copy + PartialOrd>(figures: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut figures: Vec<T> = figures.into_iter().collect();
    figures.sort_by(|a, b| a.partial_cmp(b).expect("figures can be compared"));
    figures
}

/// Returns the figure below which the fraction `part` of the sorted figures lies.
pub(crate) fn quantile<T: Copy>(sorted: &[T], part: f64) -> T {
    let index = (sorted.len() as f64 * part) as usize;
    sorted[index.min(sorted.len() - 1)]
}
