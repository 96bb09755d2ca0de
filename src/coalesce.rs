//! Values of which only the newest counts, on their way through a queue: while one waits, the next one joins it instead of taking up
//! more memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// A value that waits in a queue. The sender may still change it.
#[derive(Debug)]
pub(crate) struct Waiting<T>(Arc<Mutex<Option<T>>>);

impl<T> Waiting<T> {
    /// Takes the value. From then on the sender has to send another one.
    pub(crate) fn take(&self) -> Option<T> {
        lock(&self.0).take()
    }
}

/// The sender's view of the value that it sent last.
#[derive(Debug)]
pub(crate) struct Coalescer<T>(Weak<Mutex<Option<T>>>);

impl<T> Default for Coalescer<T> {
    fn default() -> Self {
        Self(Weak::new())
    }
}

impl<T> Coalescer<T> {
    /// Joins `value` to the one sent last, if that still waits and nothing was sent after it; `join` gets the waiting one and `value`.
    /// Otherwise returns what has to be sent.
    pub(crate) fn add(&mut self, value: T, join: impl FnOnce(T, T) -> T) -> Option<Waiting<T>> {
        if let Some(last) = self.0.upgrade() {
            let mut last = lock(&last);
            if let Some(waiting) = last.take() {
                *last = Some(join(waiting, value));
                return None;
            }
        }
        let waiting = Waiting(Arc::new(Mutex::new(Some(value))));
        self.0 = Arc::downgrade(&waiting.0);
        Some(waiting)
    }

    /// Leaves the value sent last as it is: something else is sent after it.
    pub(crate) fn seal(&mut self) {
        self.0 = Weak::new();
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest(_: i32, newer: i32) -> i32 {
        newer
    }

    #[test]
    fn joins_values_until_the_first_is_taken() {
        let mut coalescer = Coalescer::default();
        let waiting = coalescer.add(1, newest).unwrap();
        assert!(coalescer.add(2, newest).is_none());
        assert!(coalescer.add(3, |older, newer| older + newer).is_none());
        assert_eq!(waiting.take(), Some(5));
        let waiting = coalescer.add(4, newest).unwrap();
        assert_eq!(waiting.take(), Some(4));
    }

    #[test]
    fn does_not_join_a_value_before_something_else() {
        let mut coalescer = Coalescer::default();
        let first = coalescer.add(1, newest).unwrap();
        coalescer.seal();
        let second = coalescer.add(2, newest).unwrap();
        assert_eq!((first.take(), second.take()), (Some(1), Some(2)));
    }

    #[test]
    fn does_not_join_a_value_whose_queue_is_gone() {
        let mut coalescer = Coalescer::default();
        drop(coalescer.add(1, newest));
        assert!(coalescer.add(2, newest).is_some());
    }
}
