//! What methods ask about protected tokens.

use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{Compacted, Limit, Statistic, Threshold, ThresholdInputs, compact, concat_rows, gather_rows, keep_live, mark, reduce};
use crate::methods::parts::keep::{keep_listed, keep_range};
use crate::methods::parts::lists::{choose, each_row, first_entries, live_mask, marks_of};
use crate::methods::parts::places::{ImageRange, Images, Protect};
use crate::pattern::Pattern;
use crate::tensor::{Desc, Elem};
use crate::token_map::{Compressed, Tokens, capped, count_by_length};

/// The protected tokens of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Protected {
    /// The first so many of each row, no more than the capacity.
    Leading(u32),
    /// All but those of a range, of so many.
    Outside(ImageRange, u32),
    /// Each row its own.
    OfRows {
        /// Ascending positions, `[batch, most]` u32, `NONE` after the last.
        list: Tensor,
        /// How many, `[batch]` u32.
        counts: Tensor,
        /// `mark::PROTECTED` or `mark::CANDIDATE` for each token, `[batch, tokens]` u32.
        marks: Tensor,
    },
}

impl Protected {
    pub(crate) fn of(graph: &mut Graph, tokens: &Tokens, protect: Protect) -> Result<Self, Error> {
        let [batch, capacity, _] = tokens.checked()?;
        match protect {
            Protect::Leading(count) => Ok(Self::Leading(count.min(capacity))),
            Protect::Listed(list) => {
                if let Some(count) = leading(graph, list) {
                    return Ok(Self::Leading(count.min(capacity)));
                }
                let list = for_each_row(graph, "protect: list", list, batch, None)?;
                let entries = list.shape().dims().last().copied().unwrap_or(0);
                let marks = marks_of(graph, list, capacity, mark::PROTECTED)?;
                Self::marked(graph, tokens, marks, entries)
            }
            Protect::Marked { marks, most } => {
                let marks = marks_of_rows(graph, "protect: marks", marks, tokens)?;
                Self::marked(graph, tokens, marks, most)
            }
            Protect::AllBut(images) => Self::all_but(graph, tokens, images, ["protect: image"; 2], 0),
        }
    }

    /// All but image tokens, of which so many are to stay.
    pub(crate) fn all_but(
        graph: &mut Graph,
        tokens: &Tokens,
        images: Images,
        arguments: [&'static str; 2],
        keep: u32,
    ) -> Result<Self, Error> {
        let [_, capacity, _] = tokens.checked()?;
        match images {
            Images::Range { start, tokens } => Ok(Self::Outside(ImageRange::new(arguments, start, tokens, keep, capacity)?, capacity)),
            Images::Marked { marks, others: most } => {
                let marks = marks_of_rows(graph, "images: marks", marks, tokens)?;
                let others = choose(graph, marks, 1, [1, 0])?;
                Self::marked(graph, tokens, others, most)
            }
        }
    }

    /// The first `most` tokens of each row whose mark, u32 `[batch, tokens]`, is not 0.
    pub(crate) fn marked(graph: &mut Graph, tokens: &Tokens, marks: Tensor, most: u32) -> Result<Self, Error> {
        let capacity = tokens.capacity();
        let most = most.min(capacity);
        let Compacted { indices, counts, ranks } = compact(graph, marks, Some(tokens.lengths))?;
        let list = first_entries(graph, indices, most)?;
        let counts = if most < capacity { capped(graph, counts, most)? } else { counts };
        let marks = choose(graph, ranks, most, [mark::PROTECTED, mark::CANDIDATE])?;
        Ok(Self::OfRows { list, counts, marks })
    }

    /// How many there are in a row at most.
    pub(crate) fn most(&self) -> u32 {
        match self {
            Self::Leading(count) => *count,
            Self::Outside(image, capacity) => capacity - (image.end - image.start),
            Self::OfRows { list, .. } => list.shape().dims().last().copied().unwrap_or(0),
        }
    }

    /// Marks that make a selection keep them: `[tokens]` or `[batch, tokens]` u32.
    pub(crate) fn marks(&self, graph: &mut Graph, tokens: &Tokens) -> Tensor {
        match self {
            Self::Leading(count) => {
                let marks = Pattern::split(*count, mark::PROTECTED, mark::CANDIDATE);
                graph.pattern(Desc::new([tokens.capacity()], Elem::U32), marks)
            }
            Self::Outside(image, capacity) => image.others_protected(graph, *capacity),
            Self::OfRows { marks, .. } => *marks,
        }
    }

    /// Their positions, ascending, `[batch, most]` u32, and how many they are, `[batch]`.
    pub(crate) fn listed(&self, graph: &mut Graph, tokens: &Tokens) -> Result<(Tensor, Tensor), Error> {
        match *self {
            Self::Leading(count) => {
                let list = graph.counted([tokens.batch(), count], 0, 1);
                let counts = capped(graph, tokens.lengths, count)?;
                Ok((if tokens.is_full(graph) { list } else { keep_live(graph, list, counts)? }, counts))
            }
            Self::Outside(image, capacity) => {
                let list = image.others(graph, [tokens.batch(), capacity]);
                let (counts, _) = count_by_length(graph, tokens.lengths, capacity, |live| live - image.live(live))?;
                Ok((if tokens.is_full(graph) { list } else { keep_live(graph, list, counts)? }, counts))
            }
            Self::OfRows { list, counts, .. } => Ok((list, counts)),
        }
    }

    /// All other live tokens.
    pub(crate) fn others(&self, graph: &mut Graph, tokens: &Tokens) -> Result<Compacted, Error> {
        let flags = match self {
            Self::Leading(count) => graph.pattern(Desc::new([tokens.batch(), tokens.capacity()], Elem::U32), Pattern::split(*count, 0, 1)),
            Self::Outside(image, capacity) => image.marks(graph, [tokens.batch(), *capacity]),
            Self::OfRows { marks, .. } => choose(graph, *marks, 1, [1, 0])?,
        };
        compact(graph, flags, Some(tokens.lengths))
    }

    /// `count` of how many other live tokens each row has, `[batch]` u32, and the largest that any row can have.
    pub(crate) fn of_others(&self, graph: &mut Graph, tokens: &Tokens, count: impl Fn(u32) -> u32) -> Result<(Tensor, u32), Error> {
        let capacity = tokens.capacity();
        match self {
            Self::Leading(leading) => count_by_length(graph, tokens.lengths, capacity, |live| count(live.saturating_sub(*leading))),
            Self::Outside(image, _) => count_by_length(graph, tokens.lengths, capacity, |live| count(image.live(live))),
            Self::OfRows { .. } => {
                let others = self.others(graph, tokens)?.counts;
                count_by_length(graph, others, capacity, count)
            }
        }
    }

    /// The most that any row keeps, if of its others so many stay: with each one more, as many or one more. So it is a full row with as
    /// many protected tokens as there may be.
    pub(crate) fn most_left(&self, capacity: u32, left: impl Fn(u32) -> u32) -> u32 {
        let protected = self.most().min(capacity);
        protected + left(capacity - protected)
    }

    /// How many tokens stay of each row if of its others `keep(others)` do, `[batch]` u32, and the most that any row can have.
    pub(crate) fn kept(&self, graph: &mut Graph, tokens: &Tokens, keep: impl Fn(u32) -> u32) -> Result<(Tensor, u32), Error> {
        let capacity = tokens.capacity();
        let keep = |others: u32| keep(others).min(others);
        match *self {
            Self::Leading(leading) => {
                let stay = |live: u32| live.min(leading) + keep(live.saturating_sub(leading));
                count_by_length(graph, tokens.lengths, capacity, stay)
            }
            Self::Outside(image, _) => {
                let stay = |live: u32| live - image.live(live) + keep(image.live(live));
                count_by_length(graph, tokens.lengths, capacity, stay)
            }
            Self::OfRows { counts, .. } => {
                let (others, _) = self.of_others(graph, tokens, keep)?;
                Ok((of_two_counts(graph, [counts, others], Statistic::Sum)?, self.most_left(capacity, keep)))
            }
        }
    }

    /// For each of a list of so many sources, of which those that are protected come first: marks that keep them from merging.
    pub(crate) fn excluded(&self, graph: &mut Graph, tokens: &Tokens, sources: u32) -> Result<Tensor, Error> {
        if let Self::Leading(count) = *self {
            let marks = Pattern::split(count, mark::EXCLUDED, mark::CANDIDATE);
            return Ok(graph.pattern(Desc::new([sources], Elem::U32), marks));
        }
        let (_, counts) = self.listed(graph, tokens)?;
        let first = live_mask(graph, counts, sources)?;
        choose(graph, first, 1, [mark::CANDIDATE, mark::EXCLUDED])
    }

    /// They, and all others, each as tokens of their own.
    pub(crate) fn apart(&self, graph: &mut Graph, tokens: &Tokens) -> Result<[Compressed; 2], Error> {
        let capacity = tokens.capacity();
        match *self {
            Self::Leading(count) => Ok([keep_range(graph, tokens, 0..count)?, keep_range(graph, tokens, count..capacity)?]),
            _ => {
                let (list, counts) = self.listed(graph, tokens)?;
                let others = self.others(graph, tokens)?;
                Ok([keep_listed(graph, tokens, list, counts)?, keep_listed(graph, tokens, others.indices, others.counts)?])
            }
        }
    }
}

/// The sum, the larger or the smaller of two counts of each row, u32 `[batch]`.
pub(crate) fn of_two_counts(graph: &mut Graph, counts: [Tensor; 2], statistic: Statistic) -> Result<Tensor, Error> {
    let [batch] = counts[0].shape().exactly("counts", "[batch]")?;
    let [first, second] = counts.map(|counts| graph.reshape(counts, [batch, 1]));
    let (both, _) = concat_rows(graph, (first?, None), (second?, None))?;
    reduce(graph, both, 1, statistic, None)
}

/// Marks of tokens, `[tokens]` or `[batch, tokens]` of any type, as `[batch, tokens]` u32: any number but 0 is a mark.
pub(crate) fn marks_of_rows(graph: &mut Graph, argument: &'static str, marks: Tensor, tokens: &Tokens) -> Result<Tensor, Error> {
    let marks = for_each_row(graph, argument, marks, tokens.batch(), Some(tokens.capacity()))?;
    match marks.elem() {
        Elem::U32 => Ok(marks),
        // NaN is not above anything.
        _ => Threshold::default().build(graph, ThresholdInputs::new(marks, Limit::Constant(0.0))),
    }
}

/// How many positions a list has, if it is known to be 0, 1, 2 .. for all rows, in any order.
fn leading(graph: &Graph, list: Tensor) -> Option<u32> {
    /// Longer lists are no class tokens and registers.
    const MOST: u64 = 1 << 12;
    let width = *list.shape().dims().last()?;
    if list.shape().elements() > MOST || width == 0 {
        return None;
    }
    let entries: Vec<u32> = graph.known(list)?.entries().collect();
    let is_leading = |row: &[u32]| {
        let mut row = row.to_vec();
        row.sort_unstable();
        row.into_iter().eq(0..width)
    };
    (!entries.is_empty() && entries.chunks(width as usize).all(is_leading)).then_some(width)
}

/// A list or marks `[entries]` or `[batch, entries]` as `[batch, entries]`.
fn for_each_row(graph: &mut Graph, argument: &'static str, list: Tensor, batch: u32, entries: Option<u32>) -> Result<Tensor, Error> {
    let shape = list.shape();
    let wrong = || {
        let entries = entries.map_or("entries".to_owned(), |entries| entries.to_string());
        Error::Shape { argument, expected: format!("[{entries}] or [{batch}, {entries}]"), actual: shape }
    };
    let (width, shared) = match *shape.dims() {
        [width] => (width, true),
        [rows, width] if rows == batch => (width, false),
        _ => return Err(wrong()),
    };
    if entries.is_some_and(|entries| entries != width) {
        return Err(wrong());
    }
    if entries.is_none() && list.elem() != Elem::U32 {
        return Err(Error::Elem { argument, expected: "u32", actual: list.elem() });
    }
    if !shared {
        return Ok(list);
    }
    let known: Option<Vec<u32>> = graph.known(list).filter(|_| width <= 1 << 12).map(|known| known.entries().collect());
    if let Some(known) = known {
        return each_row(graph, batch, &known);
    }
    let one = graph.reshape(list, [1, 1, width])?;
    let first = graph.filled([batch], 0);
    let all = gather_rows(graph, one, first, None)?;
    graph.reshape(all, [batch, width])
}
