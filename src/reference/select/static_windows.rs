//! Windows of frames in which places stay as they are.

use crate::tensor::NONE;

/// The first frame of the window of each of a row's frames, NONE for those that are not among the first `live`.
///
/// `joins` is `[frames, places]`, not 0 where a place is like that of the frame before. The windows, of at most `longest` frames, maximise
/// the sum of (places that join in all frames but the first) x (frames - 1). Of equal sums the shortest last window is taken.
pub fn static_windows(joins: &[u32], frames: usize, longest: usize, live: usize) -> Vec<u32> {
    let live = live.min(frames);
    let places = joins.len().checked_div(frames).unwrap_or(0);
    // The best sum of the frames before each, and the frames of the window that ends there.
    let mut sums = vec![0u64];
    let mut windows = Vec::new();
    for frame in 0..live {
        let mut joined = vec![true; places];
        let (mut best, mut window) = (sums[frame], 1);
        for length in 2..=longest.min(frame + 1) {
            let first = frame + 1 - length;
            joined.iter_mut().enumerate().for_each(|(place, all)| *all &= joins[(first + 1) * places + place] != 0);
            let count = joined.iter().filter(|all| **all).count();
            let sum = sums[first] + (count * (length - 1)) as u64;
            if sum > best {
                (best, window) = (sum, length);
            }
        }
        sums.push(best);
        windows.push(window);
    }
    let mut start = vec![NONE; frames];
    let mut end = live;
    while end > 0 {
        let first = end - windows[end - 1];
        start[first..end].fill(first as u32);
        end = first;
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // One place: as long as it joins.
        assert_eq!(static_windows(&[0, 1, 1, 0, 1], 5, 1024, 5), [0, 0, 0, 3, 3]);
        assert_eq!(static_windows(&[1; 5], 5, 1024, 4), [0, 0, 0, 0, NONE]);
        // Windows of two: a third pair would be worth no more.
        assert_eq!(static_windows(&[1; 5], 5, 2, 5), [0, 0, 2, 2, 4]);
        // Nothing joins, and there are no places.
        assert_eq!(static_windows(&[0; 6], 3, 1024, 9), [0, 1, 2]);
        assert_eq!(static_windows(&[], 3, 1024, 3), [0, 1, 2]);
        // One place four times is worth as much as two once and one twice: the last window is the shorter one.
        assert_eq!(static_windows(&[0, 0, 1, 1, 1, 0, 1, 0, 1, 0], 5, 1024, 5), [0, 0, 2, 2, 2]);
        assert_eq!(static_windows(&[0, 0, 1, 1, 1, 0, 1, 1], 4, 1024, 4), [0, 0, 2, 2]);
    }

    /// Every way to divide few frames gives at most that sum.
    #[test]
    fn no_other_windows_are_better() {
        for seed in 0..40 {
            let (frames, places) = (7, 3);
            let joins: Vec<u32> = (0..frames * places).map(|i| u32::from(crate::random::random_below(seed, i as u64, 10) < 6)).collect();
            let worth = |starts: u32| {
                let bounds: Vec<usize> = (0..=frames).filter(|t| *t == 0 || *t == frames || starts >> t & 1 == 1).collect();
                let window = |w: &[usize]| {
                    let all = |p: &usize| (w[0] + 1..w[1]).all(|t| joins[t * places + p] != 0);
                    (0..places).filter(all).count() * (w[1] - w[0] - 1)
                };
                bounds.windows(2).map(window).sum::<usize>()
            };
            let found = static_windows(&joins, frames, 1024, frames);
            let starts = (0..frames).filter(|t| found[*t] == *t as u32).fold(0, |bits, t| bits | 1 << t);
            assert_eq!(worth(starts), (0..1 << frames).map(worth).max().expect("some"), "{joins:?}");
        }
    }
}
