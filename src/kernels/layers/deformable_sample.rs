//! Feature grids read between their tokens.

use crate::checks::expect;
use crate::compare::Comparison;
use crate::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::reference::{self, DeformableSampling};
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params {
        /// Of y, in elems.
        elements: u32,
        /// D, in elems.
        channels: u32,
        heads: u32,
        queries: u32,
        tokens: u32,
        /// S.
        samples: u32,
        /// Points of a level.
        per_level: u32,
        softmax: u32,
        referenced: u32,
        /// From a batch row to the next, 0 where all have the same.
        reference_stride: u32,
    }
}

pub(super) static DEFORMABLE_SAMPLE: Shader = Shader {
    name: "deformable_sample",
    source: include_str!("../../../shaders/layers/deformable_sample.wgsl"),
    includes: &[Include::Order],
    headers: &[Header::F32, Header::F16, Header::F32x4, Header::F16x4],
    inputs: &[
        ("value", BindingElem::Elem),
        ("points", BindingElem::Scalar),
        ("weights", BindingElem::Scalar),
        ("reference", BindingElem::F32),
        ("levels", BindingElem::U32),
    ],
    outputs: &[("y", BindingElem::Elem)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// Where a query reads: `[B, Q, H, S, 2]` numbers (x, y) for S points of each query and head.
#[derive(Debug, Clone, Copy)]
pub enum Points {
    /// As parts of the level: (0, 0) is the upper left corner of its first token, (1, 1) the lower right one of its last.
    Locations(Tensor),
    /// In tokens of the level, from the query's reference point.
    Offsets {
        /// The points themselves.
        offsets: Tensor,
        /// Locations of the queries, f32 `[Q, 2]`, or `[B, Q, 2]`.
        reference: Tensor,
    },
}

/// What [`DeformableSample`] reads.
#[derive(Debug, Clone, Copy)]
pub struct DeformableInputs {
    /// The tokens of all levels one after the other, f32, f16 or bf16 `[B, N, H, D]`.
    pub value: Tensor,
    /// Where each query reads, in value's element type.
    pub points: Points,
    /// What each point counts, `[B, Q, H, S]` in value's element type.
    pub weights: Tensor,
}

/// The sampling of deformable attention: each query reads a few points of each level, between the tokens, instead of all tokens.
///
/// ```text
/// y[b,q,h] = sum_s w[b,q,h,s] * sample(value[b,:,h], pixel[b,q,h,s])
/// pixel    = location * (width, height) - 1/2      or  reference * (width, height) + offset - 1/2
/// ```
///
/// A sample is bilinear between four tokens, and beyond the grid lie zeros (`grid_sample` with `align_corners=False`). A pixel that
/// is further out than one token adds nothing, nor does a NaN.
///
/// Weights are taken as they are, or as logits, which must be finite, of a softmax over the S points of all levels. Everything is
/// computed in f32, whatever the storage. Locations in f16 are no finer than 1/2048. Gives `[B, Q, H * D]`.
///
/// Zhu et al., "Deformable DETR: Deformable Transformers for End-to-End Object Detection" (ICLR 2021),
/// `https://arxiv.org/abs/2010.04159`.
///
/// Cost: one dispatch, about `10 S` operations and 4 S cached reads for each element of the result.
///
/// ```
/// use tokenpress::kernels::{DeformableInputs, DeformableSample, Points};
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let value = graph.input("value", [1, 4, 1, 1], Elem::F32);
/// let points = Points::Locations(graph.constant(HostTensor::f32([1, 1, 1, 1, 2], vec![0.5, 0.5])));
/// let weights = graph.constant(HostTensor::f32([1, 1, 1, 1], vec![2.0]));
/// let sampling = DeformableSample { levels: vec![[2, 2]], softmax: false };
/// let y = sampling.build(&mut graph, DeformableInputs { value, points, weights })?;
/// graph.output("y", y)?;
/// let value = HostTensor::f32([1, 4, 1, 1], vec![1.0, 2.0, 3.0, 4.0]);
/// assert_eq!(graph.run_reference(&[("value".to_owned(), value)].into())?["y"].floats(), [5.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
#[doc(alias("grid_sample", "deformable_attention", "ms_deform_attn"))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeformableSample {
    /// `[h, w]` of each level, at least one; the points of a query are as many for each, level by level.
    pub levels: Vec<[u32; 2]>,
    /// Whether the weights are logits.
    pub softmax: bool,
}

impl DeformableSample {
    /// Reads the points of every query.
    pub fn build(&self, graph: &mut Graph, inputs: DeformableInputs) -> Result<Tensor, Error> {
        let mut table = Vec::new();
        let mut first = 0u32;
        for &[height, width] in &self.levels {
            table.extend([height, width, first]);
            first = height.checked_mul(width).and_then(|tokens| first.checked_add(tokens)).ok_or_else(|| self.wrong_levels())?;
        }
        let levels = graph.constant(HostTensor::u32([self.levels.len() as u32, 3], table));
        let (points, reference) = match inputs.points {
            Points::Locations(locations) => (locations, None),
            Points::Offsets { offsets, reference } => (offsets, Some(reference)),
        };
        let inputs: Vec<_> = [inputs.value, points, inputs.weights, levels].into_iter().chain(reference).collect();
        Ok(graph.call(self.clone(), &inputs)?[0])
    }

    /// The old name of `build`.
    #[deprecated(note = "it is `build` now, as everywhere")]
    pub fn sample(&self, graph: &mut Graph, inputs: DeformableInputs) -> Result<Tensor, Error> {
        self.build(graph, inputs)
    }

    fn wrong_levels(&self) -> Error {
        let expected = "at least one, of fewer than 2^32 tokens together".to_owned();
        Error::Value { argument: "deformable_sample: levels", expected, actual: format!("{:?}", self.levels) }
    }

    /// A checked call on the host.
    fn with_sampling<T>(&self, inputs: &[&HostTensor], run: impl FnOnce(&DeformableSampling<'_>) -> T) -> T {
        let [_, queries, _, samples] = inputs[2].dims();
        let (value, points, weights) = (inputs[0].floats(), inputs[1].floats(), inputs[2].floats());
        let reference = inputs.get(4).map(|r| r.floats());
        run(&DeformableSampling {
            value: &value,
            points: &points,
            weights: &weights,
            reference: reference.as_deref(),
            levels: &self.levels,
            softmax: self.softmax,
            dims: inputs[0].dims(),
            queries,
            samples,
        })
    }
}

impl Kernel for DeformableSample {
    fn name(&self) -> &'static str {
        "deformable_sample"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["y"]
    }

    fn input_count(&self) -> std::ops::RangeInclusive<usize> {
        4..=5
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let (value, points, weights) = (inputs[0], inputs[1], inputs[2]);
        let elem = value.elem;
        if !elem.is_float() {
            return Err(Error::Elem { argument: "deformable_sample: value", expected: "f32, f16 or bf16", actual: elem });
        }
        let [batch, tokens, heads, channels] = value.shape.exactly("deformable_sample: value", "[B, N, H, D]")?;
        let held = self.levels.iter().fold(0u64, |held, [h, w]| held.saturating_add(u64::from(*h) * u64::from(*w)));
        if self.levels.is_empty() {
            return Err(self.wrong_levels());
        }
        if held != u64::from(tokens) {
            let expected = format!("[B, {held}, H, D]");
            return Err(Error::Shape { argument: "deformable_sample: value", expected, actual: value.shape });
        }
        let [_, queries, _, samples] = weights.shape.exactly("deformable_sample: weights", "[B, Q, H, S]")?;
        if !(samples as usize).is_multiple_of(self.levels.len()) {
            let expected = format!("as many points for each of {} levels", self.levels.len());
            return Err(Error::Shape { argument: "deformable_sample: weights", expected, actual: weights.shape });
        }
        expect("deformable_sample: weights", weights, Desc::new([batch, queries, heads, samples], elem))?;
        expect("deformable_sample: points", points, Desc::new([batch, queries, heads, samples, 2], elem))?;
        expect("deformable_sample: levels", inputs[3], Desc::new([self.levels.len() as u32, 3], Elem::U32))?;
        if let Some(reference) = inputs.get(4) {
            let own = reference.shape.dims().len() == 3;
            let expected = if own { Desc::new([batch, queries, 2], Elem::F32) } else { Desc::new([queries, 2], Elem::F32) };
            expect("deformable_sample: reference", *reference, expected)?;
        }
        let Some(wide) = heads.checked_mul(channels) else {
            let expected = "fewer than 2^32 channels".to_owned();
            return Err(Error::Shape { argument: "deformable_sample: value", expected, actual: value.shape });
        };
        Ok(vec![Desc::new([batch, queries, wide], elem)])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let [batch, queries, heads, _] = inputs[2].dims();
        let [_, _, _, channels] = inputs[0].dims();
        let y = Desc::new([batch, queries, heads * channels].map(|d| d as u32), inputs[0].desc().elem);
        let sums = self.with_sampling(inputs, reference::deformable_sample);
        vec![HostTensor::from_floats(y, sums.into_iter().map(|v| v as f32).collect())]
    }

    fn compare(&self, inputs: &[&HostTensor], expected: &[HostTensor], actual: &[HostTensor]) -> Vec<Comparison> {
        let elem = expected[0].desc().elem;
        let bounds = self.with_sampling(inputs, |sampling| reference::deformable_sample_bound(sampling, elem));
        vec![Comparison::ranged(&expected[0], &actual[0], &self.with_sampling(inputs, reference::deformable_sample), &bounds)]
    }

    fn batched_inputs(&self, inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(inputs.iter().enumerate().map(|(i, desc)| i < 3 || (i == 4 && desc.shape.dims().len() == 3)).collect())
    }

    fn flops(&self, inputs: &[Desc]) -> u64 {
        10 * inputs[2].shape.elements() * u64::from(inputs[0].shape.dims()[3])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [_, tokens, heads, channels] = lowering.input(0).shape.exactly("deformable_sample: value", "[B, N, H, D]")?;
        let [_, queries, _, samples] = lowering.input(2).shape.exactly("deformable_sample: weights", "[B, Q, H, S]")?;
        let header = Header::vector(lowering.input(0).elem, channels.into(), lowering.alignment(&[Slot::Input(0), Slot::Output(0)]));
        let elements = lowering.output(0).bytes() / header.size();
        let referenced = lowering.inputs() > 4;
        let own = referenced && lowering.input(4).shape.dims().len() == 3;
        let reference = if referenced { Slot::Input(4) } else { lowering.scratch(0, Elem::F32) };
        lowering.dispatch(Call {
            shader: &DEFORMABLE_SAMPLE,
            header,
            constants: &[],
            slots: &[Slot::Input(0), Slot::Input(1), Slot::Input(2), reference, Slot::Input(3), Slot::Output(0)],
            params: Params {
                elements: elements as u32,
                channels: channels / header.width(),
                heads,
                queries,
                tokens,
                samples,
                per_level: (samples / self.levels.len() as u32).max(1),
                softmax: self.softmax.into(),
                referenced: referenced.into(),
                reference_stride: if own { queries * 2 } else { 0 },
            },
            groups: elements.div_ceil(64),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_tensors_and_levels_are_refused() {
        let mut graph = Graph::new();
        let value = graph.input("value", [2, 7, 3, 4], Elem::F32);
        let half = graph.input("half", [2, 7, 3, 4], Elem::F16);
        let offsets = graph.input("points", [2, 5, 3, 4, 2], Elem::F32);
        let weights = graph.input("weights", [2, 5, 3, 4], Elem::F32);
        let odd = graph.input("odd", [2, 5, 3, 3], Elem::F32);
        let reference = graph.input("reference", [5, 2], Elem::F32);
        let own = graph.input("own", [2, 5, 2], Elem::F32);
        let wrong = graph.input("wrong", [1, 5, 2], Elem::F32);
        let mut error = |levels: &[[u32; 2]], value, points, weights| {
            let sampling = DeformableSample { levels: levels.to_vec(), softmax: true };
            sampling.build(&mut graph, DeformableInputs { value, points, weights }).err()
        };
        let (levels, locations) = ([[2, 3], [1, 1]], Points::Locations(offsets));
        for points in [locations, Points::Offsets { offsets, reference }, Points::Offsets { offsets, reference: own }] {
            assert_eq!(error(&levels, value, points, weights), None);
        }
        let shape = |error: Option<Error>, name: &str| matches!(error, Some(Error::Shape { argument, .. }) if argument == name);
        let anchored = Points::Offsets { offsets, reference: wrong };
        assert!(shape(error(&levels, value, anchored, weights), "deformable_sample: reference"));
        assert!(shape(error(&levels[..1], value, locations, weights), "deformable_sample: value"));
        assert!(shape(error(&levels, value, locations, odd), "deformable_sample: weights"));
        assert!(shape(error(&levels, value, Points::Locations(weights), weights), "deformable_sample: points"));
        assert!(matches!(error(&levels, half, locations, weights), Some(Error::Elem { argument: "deformable_sample: weights", .. })));
        for levels in [&[][..], &[[1 << 16, 1 << 16]], &[[1 << 16, 1 << 15]; 2]] {
            assert!(matches!(error(levels, value, locations, weights), Some(Error::Value { argument: "deformable_sample: levels", .. })));
        }
    }
}
