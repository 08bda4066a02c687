//! Counts that published code makes of a ratio of two counts.

use crate::checks::expect;
use crate::device::{BindingElem::U32, Call, Header, Lowering, Shader, Slot, params};
use crate::error::Error;
use crate::graph::{Graph, Kernel, Tensor};
use crate::reference;
use crate::tensor::{Desc, Elem, HostTensor};

params! {
    struct Params { rows: u32, most: u32 }
}

pub(super) static FLOAT_RATIO: Shader = Shader {
    name: "float_ratio",
    source: include_str!("../../../shaders/select/float_ratio.wgsl"),
    includes: &[],
    headers: &[Header::U32],
    inputs: &[("n", U32), ("m", U32)],
    outputs: &[("product", U32), ("inverse", U32)],
    params: Params::NAMES,
    tunings: &[&[]],
};

/// The largest number of which the shader knows what its float is.
const MOST: u32 = 1 << 26;

/// What 64-bit floats make of counts on the GPU.
#[derive(Debug, Clone, Copy)]
struct FloatRatioOf {
    most: u32,
}

/// What [`float_ratio`] gives, u32 `[B]` each.
#[derive(Debug, Clone, Copy)]
pub struct FloatRatio {
    /// `floor(m (n / m))`: n, or one less.
    pub product: Tensor,
    /// `floor(1 / (n / m))`; [`NONE`](crate::NONE) where n is 0.
    pub inverse: Tensor,
}

/// `product[b] = floor(m (n / m))` and `inverse[b] = floor(1 / (n / m))` with every quotient and product rounded to a 64-bit float, on a GPU
/// that has none.
///
/// It is what published code does that turns a number of tokens into a share and back: how many tokens the share keeps, and how far apart
/// they lie. Of 49 tokens a share of one keeps none, as 49 (1 / 49) is just below 1.
///
/// | tensor | shape | |
/// |---|---|---|
/// | `n` | u32 `[B]` | an n above m counts as m |
/// | `m` | u32 `[B]` | an m above `most` counts as `most`, which is at most 2^26 |
/// | `product`, `inverse` | u32 `[B]` | of n = 0 they are 0 and [`NONE`](crate::NONE) |
///
/// Exact: found in whole numbers, without a table of every n and m. Cost: one dispatch, some hundred operations and 16 bytes a row.
///
/// ```
/// use tokenpress::kernels::float_ratio;
/// use tokenpress::{Elem, Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// let [n, m] = ["n", "m"].map(|name| graph.input(name, [3], Elem::U32));
/// let ratio = float_ratio(&mut graph, n, m, 1000)?;
/// graph.output("product", ratio.product)?;
/// graph.output("inverse", ratio.inverse)?;
/// let inputs = [("n", vec![1, 3, 0]), ("m", vec![49, 10, 7])];
/// let inputs = inputs.map(|(name, counts)| (name.to_owned(), HostTensor::u32([3], counts)));
/// let out = graph.run_reference(&inputs.into())?;
/// assert_eq!(out["product"].integers(), [0, 3, 0]);
/// assert_eq!(out["inverse"].integers(), [49, 3, tokenpress::NONE]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
pub fn float_ratio(graph: &mut Graph, n: Tensor, m: Tensor, most: u32) -> Result<FloatRatio, Error> {
    let outputs = graph.call(FloatRatioOf { most }, &[n, m])?;
    Ok(FloatRatio { product: outputs[0], inverse: outputs[1] })
}

impl Kernel for FloatRatioOf {
    fn name(&self) -> &'static str {
        "float_ratio"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["product", "inverse"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        if self.most > MOST {
            let expected = format!("at most {MOST}");
            return Err(Error::Value { argument: "float_ratio: most", expected, actual: self.most.to_string() });
        }
        let [rows] = inputs[0].shape.exactly("float_ratio: n", "[B]")?;
        let desc = Desc::new([rows], Elem::U32);
        expect("float_ratio: n", inputs[0], desc)?;
        expect("float_ratio: m", inputs[1], desc)?;
        Ok(vec![desc, desc])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let rows = inputs[0].integers().iter().zip(inputs[1].integers());
        let (product, inverse) = rows.map(|(n, m)| reference::float_ratio(*n, *m, self.most)).unzip();
        [product, inverse].map(|counts| HostTensor::u32(inputs[0].shape(), counts)).into()
    }

    fn batched_inputs(&self, _inputs: &[Desc]) -> Option<Vec<bool>> {
        Some(vec![true, true])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let rows = lowering.output(0).shape.elements();
        lowering.dispatch(Call {
            shader: &FLOAT_RATIO,
            header: Header::U32,
            constants: &[],
            slots: &[Slot::Input(0), Slot::Input(1), Slot::Output(0), Slot::Output(1)],
            params: Params { rows: rows as u32, most: self.most },
            groups: rows.div_ceil(64),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_more_than_it_knows_the_floats_of_it_says_no() {
        let mut graph = Graph::new();
        let [n, m] = ["n", "m"].map(|name| graph.input(name, [2], Elem::U32));
        assert!(float_ratio(&mut graph, n, m, MOST).is_ok());
        let error = float_ratio(&mut graph, n, m, MOST + 1).err();
        assert!(matches!(error, Some(Error::Value { argument: "float_ratio: most", .. })), "{error:?}");
    }
}
