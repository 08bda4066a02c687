//! Which tokens are sources, that may merge into another, and which are destinations.

use crate::error::Error;
use crate::graph::{Graph, Tensor, expect_listed};
use crate::pattern::Pattern;
use crate::random::{random_below, random_permutation};
use crate::tensor::{Desc, Elem, HostTensor};

/// Two disjoint lists of token positions: those that may merge into another token, and those that others merge into.
///
/// Both are u32: `[Ns]` and `[Nd]` for the whole batch, or `[B, Ns]` and `[B, Nd]` with lists of its own for every batch row.
///
/// No position may be in a row's lists twice. A merge drops the positions that are in neither list. Positions at or after a
/// row's length are dead, and stay in the lists.
///
/// Cost: no dispatch. The lists are constants of the graph, 4 bytes a position.
///
/// ```
/// use tokenpress::Graph;
/// use tokenpress::kernels::Partition;
///
/// let mut graph = Graph::new();
/// // Of 2 x 4 tokens, the first of each 2 x 2 cell is a destination.
/// let partition = Partition::grid2d(&mut graph, 2, 4, 2, 2, &[])?;
/// graph.output("destinations", partition.destinations)?;
/// graph.output("sources", partition.sources)?;
/// let out = graph.run_reference(&[].into())?;
/// assert_eq!(out["destinations"].integers(), [0, 2]);
/// assert_eq!(out["sources"].integers(), [1, 3, 4, 5, 6, 7]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("bipartite", "tomesd"))]
#[derive(Debug, Clone, Copy)]
pub struct Partition {
    /// Tokens that may merge into a destination.
    pub sources: Tensor,
    /// Tokens that others merge into.
    pub destinations: Tensor,
}

impl Partition {
    /// Even positions of `0..n` are sources, odd ones destinations, both ascending (ToMe).
    pub fn even_odd(graph: &mut Graph, n: u32) -> Self {
        Self { sources: graph.counted([n.div_ceil(2)], 0, 2), destinations: graph.counted([n / 2], 1, 2) }
    }

    /// The last of each group of `stride` positions is a destination, the others are sources (ToMe's k-th variant).
    /// Positions past the last whole group of `0..n` are in neither list; a stride of 0 has no groups.
    pub fn strided(graph: &mut Graph, n: u32, stride: u32) -> Self {
        let groups = n.checked_div(stride).unwrap_or(0);
        let run = stride.saturating_sub(1);
        let sources = Pattern::Runs { first: 0, run: run.max(1), jump: stride };
        Self { sources: graph.pattern(Desc::new([groups * run], Elem::U32), sources), destinations: graph.counted([groups], run, stride) }
    }

    /// The caller's lists, in the caller's order, for the whole batch. A position that is listed twice is an error.
    pub fn lists(graph: &mut Graph, sources: &[u32], destinations: &[u32]) -> Result<Self, Error> {
        let mut all = [sources, destinations].concat();
        all.sort_unstable();
        if let Some(twice) = all.windows(2).find(|pair| pair[0] == pair[1]) {
            let actual = format!("{} twice", twice[0]);
            return Err(Error::Value { argument: "partition: lists", expected: "every position at most once".to_owned(), actual });
        }
        Ok(Self::shared(graph, sources.to_vec(), destinations.to_vec()))
    }

    /// One destination in each whole cell of a grid of tokens, at the cell's own offset `p`: row `p / cell_width`, column
    /// `p % cell_width` of the cell (tomesd). All other positions are sources, those beyond the whole cells included; both
    /// lists ascend. `offsets` has one entry a cell, cells row-major; none for offset 0 everywhere.
    pub fn grid2d(graph: &mut Graph, height: u32, width: u32, cell_height: u32, cell_width: u32, offsets: &[u32]) -> Result<Self, Error> {
        let cells = Cells::new(height, width, cell_height, cell_width)?;
        if offsets.len() as u64 != cells.count() && !offsets.is_empty() {
            let (expected, actual) = (format!("{} offsets, or none", cells.count()), offsets.len().to_string());
            return Err(Error::Value { argument: "partition: offsets", expected, actual });
        }
        if let Some(offset) = offsets.iter().find(|p| u64::from(**p) >= cells.area()) {
            let expected = format!("below {}", cells.area());
            return Err(Error::Value { argument: "partition: offsets", expected, actual: offset.to_string() });
        }
        Ok(cells.partition(graph, |cell| offsets.get(cell as usize).copied().unwrap_or(0)))
    }

    /// [`Partition::grid2d`] with the offset of each cell drawn by [`random_below`] with the cell's number as its counter.
    pub fn grid2d_random(graph: &mut Graph, height: u32, width: u32, cell_height: u32, cell_width: u32, seed: u32) -> Result<Self, Error> {
        let cells = Cells::new(height, width, cell_height, cell_width)?;
        let area = cells.area() as u32;
        Ok(cells.partition(graph, |cell| random_below(seed, cell, area)))
    }

    /// A [`random_permutation`] of `0..n` for each batch row, whose number is the stream: the last `destinations` of it are
    /// destinations, what is before them sources, both in its order (ToMe's random variant).
    pub fn random(graph: &mut Graph, batch: u32, n: u32, destinations: u32, seed: u32) -> Result<Self, Error> {
        let Some(sources) = n.checked_sub(destinations) else {
            let expected = format!("at most {n} tokens");
            return Err(Error::Value { argument: "partition: destinations", expected, actual: destinations.to_string() });
        };
        expect_listed("partition: positions", [batch, n].into())?;
        let (mut from, mut to) = (Vec::new(), Vec::new());
        for b in 0..batch {
            let permutation = random_permutation(seed, b, n);
            let (first, rest) = permutation.split_at(sources as usize);
            from.extend_from_slice(first);
            to.extend_from_slice(rest);
        }
        let sources = graph.constant(HostTensor::u32([batch, sources], from));
        let destinations = graph.constant(HostTensor::u32([batch, destinations], to));
        Ok(Self { sources, destinations })
    }

    fn shared(graph: &mut Graph, sources: Vec<u32>, destinations: Vec<u32>) -> Self {
        let mut list = |positions: Vec<u32>| graph.constant(HostTensor::u32([positions.len() as u32], positions));
        Self { sources: list(sources), destinations: list(destinations) }
    }
}

/// A grid of tokens, divided into cells.
struct Cells {
    height: u32,
    width: u32,
    cell_height: u32,
    cell_width: u32,
}

impl Cells {
    fn new(height: u32, width: u32, cell_height: u32, cell_width: u32) -> Result<Self, Error> {
        let area = |h: u32, w: u32| u64::from(h) * u64::from(w);
        if area(height, width) >= u64::from(u32::MAX) {
            let actual = format!("{height} x {width}");
            return Err(Error::Value { argument: "partition: grid", expected: "fewer than 2^32 - 1 tokens".to_owned(), actual });
        }
        expect_listed("partition: grid", [height, width].into())?;
        if cell_height == 0 || cell_width == 0 || area(cell_height, cell_width) > u64::from(u32::MAX) {
            let actual = format!("{cell_height} x {cell_width}");
            return Err(Error::Value { argument: "partition: cell", expected: "1 to 2^32 - 1 tokens".to_owned(), actual });
        }
        Ok(Self { height, width, cell_height, cell_width })
    }

    fn count(&self) -> u64 {
        u64::from(self.height / self.cell_height) * u64::from(self.width / self.cell_width)
    }

    fn area(&self) -> u64 {
        u64::from(self.cell_height) * u64::from(self.cell_width)
    }

    fn partition(&self, graph: &mut Graph, offset: impl Fn(u64) -> u32) -> Partition {
        let columns = self.width / self.cell_width;
        let mut is_destination = vec![false; (self.height * self.width) as usize];
        for cell in 0..self.count() {
            let (p, cell) = (offset(cell), cell as u32);
            let row = cell / columns * self.cell_height + p / self.cell_width;
            let column = cell % columns * self.cell_width + p % self.cell_width;
            is_destination[(row * self.width + column) as usize] = true;
        }
        let (destinations, sources) = (0..self.height * self.width).partition(|i| is_destination[*i as usize]);
        Partition::shared(graph, sources, destinations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(graph: &Graph, partition: Partition) -> (Vec<u32>, Vec<u32>) {
        let list = |tensor| graph.constant_value(tensor).expect("a constant").integers().to_vec();
        (list(partition.sources), list(partition.destinations))
    }

    #[test]
    fn even_odd() {
        let mut graph = Graph::new();
        for (n, sources, destinations) in
            [(0, vec![], vec![]), (1, vec![0], vec![]), (5, vec![0, 2, 4], vec![1, 3]), (4, vec![0, 2], vec![1, 3])]
        {
            let partition = Partition::even_odd(&mut graph, n);
            assert_eq!(lists(&graph, partition), (sources, destinations));
        }
    }

    #[test]
    fn strided() {
        let mut graph = Graph::new();
        let partition = Partition::strided(&mut graph, 11, 3);
        assert_eq!(lists(&graph, partition), (vec![0, 1, 3, 4, 6, 7], vec![2, 5, 8]));
        let partition = Partition::strided(&mut graph, 3, 1);
        assert_eq!(lists(&graph, partition), (vec![], vec![0, 1, 2]));
        for (n, stride) in [(5, 0), (5, 6), (0, 2)] {
            let partition = Partition::strided(&mut graph, n, stride);
            assert_eq!(lists(&graph, partition), (vec![], vec![]));
        }
    }

    #[test]
    fn lists_must_be_disjoint() {
        let mut graph = Graph::new();
        let partition = Partition::lists(&mut graph, &[4, 0], &[7, 2]).expect("disjoint");
        assert_eq!(lists(&graph, partition), (vec![4, 0], vec![7, 2]));
        assert!(matches!(Partition::lists(&mut graph, &[4, 0], &[0, 2]), Err(Error::Value { .. })));
        assert!(matches!(Partition::lists(&mut graph, &[4, 4], &[2]), Err(Error::Value { .. })));
    }

    #[test]
    fn grid2d() {
        let mut graph = Graph::new();
        // 3 x 5 tokens in cells of 2 x 2: the last row and column are sources.
        let partition = Partition::grid2d(&mut graph, 3, 5, 2, 2, &[3, 1]).expect("valid");
        assert_eq!(lists(&graph, partition), (vec![0, 1, 2, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14], vec![3, 6]));
        let partition = Partition::grid2d(&mut graph, 2, 4, 2, 2, &[]).expect("valid");
        assert_eq!(lists(&graph, partition), (vec![1, 3, 4, 5, 6, 7], vec![0, 2]));
        let partition = Partition::grid2d(&mut graph, 2, 2, 3, 3, &[]).expect("valid");
        assert_eq!(lists(&graph, partition), (vec![0, 1, 2, 3], vec![]));
        for (cell, offsets) in [((0, 2), &[][..]), ((2, 2), &[1]), ((2, 2), &[4, 0])] {
            assert!(matches!(Partition::grid2d(&mut graph, 3, 5, cell.0, cell.1, offsets), Err(Error::Value { .. })));
        }
        assert!(matches!(Partition::grid2d(&mut graph, 1 << 16, 1 << 16, 2, 2, &[]), Err(Error::Value { .. })));
    }

    #[test]
    fn random_grids_have_one_destination_a_cell() {
        let mut graph = Graph::new();
        let partition = Partition::grid2d_random(&mut graph, 9, 11, 2, 3, 5).expect("valid");
        let (sources, destinations) = lists(&graph, partition);
        assert_eq!(sources.len() + destinations.len(), 99);
        let mut cells: Vec<u32> = destinations.iter().map(|i| i / 11 / 2 * 3 + i % 11 / 3).collect();
        cells.sort_unstable();
        assert_eq!(cells, (0..12).collect::<Vec<_>>());
        assert!(destinations.is_sorted() && sources.is_sorted());
    }

    #[test]
    fn random_lists_are_a_permutation_in_each_row() {
        let mut graph = Graph::new();
        let partition = Partition::random(&mut graph, 3, 10, 4, 1).expect("valid");
        let (sources, destinations) = lists(&graph, partition);
        for b in 0..3 {
            let mut row = [&sources[b * 6..][..6], &destinations[b * 4..][..4]].concat();
            row.sort_unstable();
            assert_eq!(row, (0..10).collect::<Vec<_>>());
        }
        assert_ne!(sources[..6], sources[6..12]);
        assert!(matches!(Partition::random(&mut graph, 3, 10, 11, 1), Err(Error::Value { .. })));
    }
}
