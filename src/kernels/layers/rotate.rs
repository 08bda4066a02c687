//! Rotary embeddings, and their change by a distance.

use crate::checks::expect;
use crate::compare::Comparison;
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::kernels::operands::lengths_or_full;
pub use crate::reference::RotaryPairs;
use crate::reference::{self, DIGITS, LEVELS};
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params {
        /// B * N.
        rows: u32,
        tokens: u32,
        channels: u32,
        pairs: u32,
        interleaved: u32,
    }
}

pub(super) static ROTATE: Shader = Shader {
    name: "rotate",
    source: include_str!("../../../shaders/layers/rotate.wgsl"),
    includes: &[Include::Order],
    headers: &[Header::F32, Header::F16],
    inputs: &[
        ("x", BindingElem::Elem),
        ("source", BindingElem::U32),
        ("goal", BindingElem::U32),
        ("turns", BindingElem::F32),
        ("lengths", BindingElem::U32),
    ],
    outputs: &[("y", BindingElem::Elem)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// Their table of 8 KiB each fills the largest binding that WebGPU promises.
const MOST_PAIRS: u32 = 16384;

/// A rotary embedding: how far each pair of channels turns from one position to the next.
///
/// ```text
/// (y1, y2) = (x1 cos a - x2 sin a, x2 cos a + x1 sin a)        a = (to - from) frequencies[c]
/// ```
///
/// With [`rotate`](Self::rotate) queries and keys get their embedding, and keys that have one move to another position: a cache that was
/// compacted gets the positions 0, 1, 2 ... without a look at what the keys were before.
///
/// Su et al., `https://arxiv.org/abs/2104.09864`. Angles are computed on the host in f64, as digits of the distance; the GPU multiplies. So
/// the error does not grow with the position, as it does where an angle is an f32 (at a million positions 0.06 rad), and no device's sine
/// matters. Variants that scale frequencies (linear, NTK, YaRN, Llama 3) give theirs to [`Rope::of`]. YaRN's factor of the attention is in
/// keys already when they move, and is not applied again.
///
/// ```
/// use tokenpress::kernels::{RotaryPairs, Rope};
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let rope = Rope::new(10_000.0, 4, RotaryPairs::Half);
/// let keys = graph.input("keys", [1, 2, 4], Elem::F32);
/// let (old, new) = (graph.constant(HostTensor::u32([1, 2], vec![0, 9])), graph.constant(HostTensor::u32([1, 2], vec![0, 1])));
/// let moved = rope.rotate(&mut graph, keys, Some(old), new, None)?;
/// let back = rope.rotate(&mut graph, moved, Some(new), old, None)?;
/// graph.output("back", back)?;
/// let keys = HostTensor::f32([1, 2, 4], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
/// let back = graph.run_reference(&[("keys".to_owned(), keys.clone())].into())?["back"].floats();
/// assert!(back.iter().zip(keys.floats()).all(|(a, b)| (a - b).abs() < 1e-5));
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("rope", "rotary_embedding", "rerotate"))]
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Radians from a position to the next, for each pair of channels. Channels after `2 * frequencies.len()` are left as they are.
    pub frequencies: Vec<f64>,
    /// Which channels make a pair.
    pub pairs: RotaryPairs,
}

impl Rope {
    /// The usual frequencies of so many channels: `base^(-2 c / channels)` for pair c.
    pub fn new(base: f64, channels: u32, pairs: RotaryPairs) -> Self {
        let frequency = |c: u32| base.powf(-2.0 * f64::from(c) / f64::from(channels));
        // More are refused when they are used.
        Self { frequencies: (0..(channels / 2).min(MOST_PAIRS + 1)).map(frequency).collect(), pairs }
    }

    /// Frequencies of your own: a model's `inv_freq`, scaled or not.
    pub fn of(frequencies: Vec<f64>, pairs: RotaryPairs) -> Self {
        Self { frequencies, pairs }
    }

    /// Turns each row from its position in `from` to that in `to`.
    ///
    /// `x` is f32, f16 or bf16 `[B, N, D]` with D at least twice the pairs; the result is like it. `from` and `to` are u32 `[B, N]`; `None` is 0
    /// everywhere, for rows that have no embedding yet. The first `lengths[b]` rows are alive (u32 `[B]`, all for `None`); dead rows
    /// give 0.
    ///
    /// - A row that stays where it is is copied, bit for bit, and so are channels after the pairs.
    /// - A pair with a NaN or an infinity that moves gives NaN.
    /// - Every distance below 2^32 is right to about 1e-6 of the pair's size.
    ///
    /// Cost: one dispatch; one read and one write of x, and a table of 8 KiB a pair, made once.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Elem`] for other tensors, [`Error::Value`] for a frequency that is not finite, and for more than 16384 pairs.
    pub fn rotate(&self, graph: &mut Graph, x: Tensor, from: Option<Tensor>, to: Tensor, lengths: Option<Tensor>) -> Result<Tensor, Error> {
        self.rotate_averaged(graph, x, from, to, lengths, 1)
    }

    /// The mean of the rows turned to `to`, `to + 1` .. of so many positions, at least 1.
    pub(crate) fn rotate_averaged(
        &self,
        graph: &mut Graph,
        x: Tensor,
        from: Option<Tensor>,
        to: Tensor,
        lengths: Option<Tensor>,
        positions: u32,
    ) -> Result<Tensor, Error> {
        let [batch, tokens, channels] = x.shape().exactly("rotate: x", "[B, N, D]")?;
        if self.frequencies.len() as u64 > u64::from(MOST_PAIRS) {
            let (expected, actual) = (format!("at most {MOST_PAIRS}"), format!("{} or more", self.frequencies.len()));
            return Err(Error::Value { argument: "rotate: frequencies", expected, actual });
        }
        if self.frequencies.len() as u64 * 2 > u64::from(channels) {
            let expected = format!("[B, N, D] with D at least {}", 2 * self.frequencies.len());
            return Err(Error::Shape { argument: "rotate: x", expected, actual: x.shape() });
        }
        if let Some(wrong) = self.frequencies.iter().find(|frequency| !frequency.is_finite()) {
            let expected = "finite numbers".to_owned();
            return Err(Error::Value { argument: "rotate: frequencies", expected, actual: wrong.to_string() });
        }
        let turns = graph.constant(self.turns(positions));
        let from = from.unwrap_or_else(|| graph.filled([batch, tokens], 0));
        let lengths = lengths_or_full(graph, lengths, batch, tokens);
        Ok(graph.call(Rotate { pairs: self.pairs }, &[x, from, to, turns, lengths])?[0])
    }

    /// Cosines and sines `[4, 256, pairs, 2]` of every digit of a distance, and in the lowest digit the mean over some positions from there
    /// on.
    fn turns(&self, positions: u32) -> HostTensor {
        let pairs = self.frequencies.len();
        let mean = |frequency: f64, part: fn(f64) -> f64| {
            (0..positions).map(|p| part(f64::from(p) * frequency)).sum::<f64>() / f64::from(positions)
        };
        let means: Vec<_> = self.frequencies.iter().map(|f| [mean(*f, f64::cos), mean(*f, f64::sin)]).collect();
        let mut turns = Vec::with_capacity(LEVELS * DIGITS * pairs * 2);
        for level in 0..LEVELS {
            for digit in 0..DIGITS {
                for (frequency, mean) in self.frequencies.iter().zip(&means) {
                    let (sin, cos) = ((digit << (8 * level)) as f64 * frequency).sin_cos();
                    let [re, im] = if level == 0 { *mean } else { [1.0, 0.0] };
                    turns.extend([(cos * re - sin * im) as f32, (cos * im + sin * re) as f32]);
                }
            }
        }
        HostTensor::f32([LEVELS as u32, DIGITS as u32, pairs as u32, 2], turns)
    }
}

/// The kernel call: rows, their positions before and after, turns, and lengths.
#[derive(Debug, Clone, Copy)]
struct Rotate {
    pairs: RotaryPairs,
}

impl Rotate {
    /// Exact values and bounds.
    fn values(&self, inputs: &[&HostTensor]) -> (Vec<f64>, Vec<f64>) {
        let [_, tokens, channels] = inputs[0].dims();
        let rotation = reference::Rotation {
            turns: &inputs[3].floats(),
            pairs: inputs[3].shape().dims()[2] as usize,
            of: self.pairs,
            from: inputs[1].integers(),
            to: inputs[2].integers(),
            lengths: inputs[4].integers(),
            tokens,
            channels,
        };
        reference::rotate(&inputs[0].floats(), &rotation, inputs[0].desc().elem)
    }
}

impl Kernel for Rotate {
    fn name(&self) -> &'static str {
        "rotate"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["y"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let x = inputs[0];
        let [batch, tokens, _] = x.shape.exactly("rotate: x", "[B, N, D]")?;
        if !x.elem.is_float() {
            return Err(Error::Elem { argument: "rotate: x", expected: "f32, f16 or bf16", actual: x.elem });
        }
        expect("rotate: from", inputs[1], Desc::new([batch, tokens], Elem::U32))?;
        expect("rotate: to", inputs[2], Desc::new([batch, tokens], Elem::U32))?;
        expect("rotate: lengths", inputs[4], Desc::new([batch], Elem::U32))?;
        Ok(vec![x])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let (values, _) = self.values(inputs);
        vec![HostTensor::from_floats(inputs[0].desc(), values.into_iter().map(|value| value as f32).collect())]
    }

    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let (values, bounds) = self.values(inputs);
        vec![Comparison::ranged(&expected[0], &actual[0], &values, &bounds)]
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true, true, true, false, true])
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        3 * inputs[0].shape.elements()
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [batch, tokens, channels] = lowering.input(0).shape.exactly("rotate: x", "[B, N, D]")?;
        let pairs = lowering.input(3).shape.dims()[2];
        let rows = u64::from(batch) * u64::from(tokens);
        lowering.dispatch(Call {
            shader: &ROTATE,
            header: Header::of(lowering.input(0).elem),
            constants: &[],
            slots: &[Slot::Input(0), Slot::Input(1), Slot::Input(2), Slot::Input(3), Slot::Input(4), Slot::Output(0)],
            params: Params { rows: rows as u32, tokens, channels, pairs, interleaved: (self.pairs == RotaryPairs::Interleaved).into() },
            groups: (rows * u64::from(channels - pairs)).div_ceil(128),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against sines of the whole angle, far beyond where an f32 angle would do.
    #[test]
    fn any_distance_is_right() {
        for pairs in [RotaryPairs::Half, RotaryPairs::Interleaved] {
            let rope = Rope::new(10_000.0, 6, pairs);
            for (from, to) in [(0u32, 1u32), (3, 3), (900, 7), (0, 70_000), (5, 16_777_216), (u32::MAX, 0), (0, u32::MAX)] {
                let mut graph = Graph::new();
                let x: Vec<f32> = (1..8).map(|c| c as f32).collect();
                let row = graph.constant(HostTensor::f32([1, 1, 7], x.clone()));
                let [start, end] = [from, to].map(|p| graph.constant(HostTensor::u32([1, 1], vec![p])));
                let turned = rope.rotate(&mut graph, row, Some(start), end, None).unwrap();
                graph.output("y", turned).unwrap();
                let y = graph.run_reference(&[].into()).unwrap()["y"].floats();
                for (c, frequency) in rope.frequencies.iter().enumerate() {
                    let [first, second] = pairs.channels(c, 3);
                    let (sin, cos) = ((f64::from(to) - f64::from(from)) * frequency).sin_cos();
                    let [a, b] = [first, second].map(|channel| f64::from(x[channel]));
                    for (place, expected) in [(first, a * cos - b * sin), (second, b * cos + a * sin)] {
                        // Entries are rounded to f32, and an f64 angle of 2^32 is known to 2^-21 rad.
                        assert!((f64::from(y[place]) - expected).abs() < 4e-6 * a.hypot(b), "{pairs:?} {from} {to} {c}");
                    }
                }
                assert_eq!(y[6], 7.0);
            }
        }
    }

    #[test]
    fn what_is_wrong_has_a_name() {
        let mut graph = Graph::new();
        let (x, at) = (graph.input("x", [1, 2, 4], Elem::F32), graph.input("at", [1, 2], Elem::U32));
        let wide = Rope::new(10_000.0, 6, RotaryPairs::Half).rotate(&mut graph, x, None, at, None);
        assert!(matches!(wide, Err(Error::Shape { argument: "rotate: x", .. })));
        let endless = Rope::of(vec![f64::INFINITY], RotaryPairs::Half).rotate(&mut graph, x, None, at, None);
        assert!(matches!(endless, Err(Error::Value { argument: "rotate: frequencies", .. })));
        // Of memory for all of them the process ended.
        let many = Rope::new(10_000.0, u32::MAX, RotaryPairs::Half).rotate(&mut graph, x, None, at, None);
        assert!(matches!(many, Err(Error::Value { argument: "rotate: frequencies", .. })));
        let rope = Rope::new(10_000.0, 4, RotaryPairs::Half);
        assert!(matches!(rope.rotate(&mut graph, x, Some(x), at, None), Err(Error::Elem { argument: "rotate: from", .. })));
        assert!(matches!(rope.rotate(&mut graph, at, None, at, None), Err(Error::Shape { argument: "rotate: x", .. })));
    }
}
