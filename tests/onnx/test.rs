//! A test's data, the calls that are asked for, and how the results are compared.

use std::collections::BTreeMap;
use std::path::Path;

use half::{bf16, f16};
use libtest_mimic::Failed;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use tokenpress::readback::HostTensors;
use tokenpress::{Desc, Elem, Graph, HostData, HostTensor, Shape, Tensor};

/// A tensor of a test.
#[derive(Clone)]
pub struct Data {
    pub dims: Vec<u32>,
    pub dtype: Dtype,
    /// Every number is one of f64.
    pub numbers: Vec<f64>,
}

impl Data {
    pub fn elements(&self) -> u32 {
        self.dims.iter().product()
    }

    /// The dimensions before the axis, of the axis, and after it.
    pub fn around(&self, axis: usize) -> [u32; 3] {
        [self.dims[..axis].iter().product(), self.dims[axis], self.dims[axis + 1..].iter().product()]
    }

    pub fn floats(&self) -> Vec<f32> {
        self.numbers.iter().map(|&x| x as f32).collect()
    }

    /// The numbers as they are in f32; an error if one is not.
    fn exact_floats(&self) -> Result<Vec<f32>, Failed> {
        let floats = self.floats();
        let same = floats.iter().zip(&self.numbers).all(|(f, x)| f64::from(*f).to_bits() == x.to_bits() || x.is_nan());
        if same { Ok(floats) } else { Err("numbers that f32 does not have".into()) }
    }
}

/// A node with its attributes, inputs and outputs.
pub struct Test {
    pub name: String,
    pub operator: String,
    attributes: BTreeMap<String, Value>,
    /// Names as the node has them, empty where an input is not there.
    inputs: Vec<String>,
    outputs: Vec<String>,
    values: BTreeMap<String, Data>,
    expected: BTreeMap<String, Data>,
}

impl Test {
    /// Every test of every file of a folder.
    pub fn all(folder: &Path) -> Result<Vec<Self>, Box<dyn std::error::Error>> {
        let mut paths: Vec<_> = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?;
        paths.sort();
        let mut all = Vec::new();
        for path in paths {
            let bytes = std::fs::read(&path)?;
            let operator = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let file = SafeTensors::deserialize(&bytes)?;
            let (_, header) = SafeTensors::read_metadata(&bytes)?;
            for (name, text) in header.metadata().clone().unwrap_or_default() {
                if name.starts_with("test_") {
                    all.push(Self::read(&file, name, operator.clone(), &text)?);
                }
            }
        }
        all.sort_by(|a, b| (&a.operator, &a.name).cmp(&(&b.operator, &b.name)));
        Ok(all)
    }

    fn read(file: &SafeTensors<'_>, name: String, operator: String, text: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let node: BTreeMap<String, Value> = serde_json::from_str(text)?;
        let names = |key: &str| -> Vec<String> {
            let list = node.get(key).and_then(Value::as_array).into_iter().flatten();
            list.map(|name| name.as_str().unwrap_or_default().to_owned()).collect()
        };
        let tensors = |side: &str| -> Result<BTreeMap<String, Data>, Box<dyn std::error::Error>> {
            let prefix = format!("{name}/{side}/");
            let found = file.iter().filter_map(|(tensor, view)| Some((tensor.strip_prefix(&prefix)?.to_owned(), view)));
            found
                .map(|(tensor, view)| {
                    let dims = view.shape().iter().map(|&d| u32::try_from(d)).collect::<Result<_, _>>()?;
                    Ok((tensor, Data { dims, dtype: view.dtype(), numbers: numbers(view.dtype(), view.data())? }))
                })
                .collect()
        };
        let attributes = node.get("attributes").and_then(Value::as_object).cloned().unwrap_or_default().into_iter().collect();
        let (inputs, outputs, values, expected) = (names("inputs"), names("outputs"), tensors("in")?, tensors("out")?);
        Ok(Self { name, operator, attributes, inputs, outputs, values, expected })
    }

    pub fn integer(&self, attribute: &str, default: i64) -> i64 {
        self.attributes.get(attribute).and_then(Value::as_i64).unwrap_or(default)
    }

    pub fn flag(&self, attribute: &str) -> bool {
        self.integer(attribute, 0) != 0
    }

    pub fn float(&self, attribute: &str) -> Option<f64> {
        self.attributes.get(attribute).and_then(Value::as_f64)
    }

    pub fn text(&self, attribute: &str, default: &'static str) -> &str {
        self.attributes.get(attribute).and_then(Value::as_str).unwrap_or(default)
    }

    pub fn integers(&self, attribute: &str) -> Option<Vec<u32>> {
        let list = self.attributes.get(attribute)?.as_array()?;
        Some(list.iter().filter_map(|n| n.as_u64().and_then(|n| u32::try_from(n).ok())).collect())
    }

    /// A whole axis: negative ones count from the last dimension.
    pub fn axis(&self, default: i64, rank: usize) -> usize {
        let axis = self.integer("axis", default);
        (if axis < 0 { axis + rank as i64 } else { axis }) as usize
    }

    /// The i-th input, if it is there.
    pub fn optional(&self, i: usize) -> Option<&Data> {
        self.values.get(self.inputs.get(i)?)
    }

    pub fn input(&self, i: usize) -> Result<&Data, Failed> {
        self.optional(i).ok_or_else(|| format!("there is no input {i}").into())
    }

    /// The name of the i-th output, if it is asked for.
    pub fn output(&self, i: usize) -> Option<&str> {
        self.outputs.get(i).map(String::as_str).filter(|name| !name.is_empty())
    }

    pub fn expected(&self, output: &str) -> Result<&Data, Failed> {
        self.expected.get(output).ok_or_else(|| format!("there is no output {output}").into())
    }
}

fn numbers(dtype: Dtype, bytes: &[u8]) -> Result<Vec<f64>, Box<dyn std::error::Error>> {
    fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.chunks_exact(N).filter_map(|chunk| chunk.try_into().ok()).map(number).collect()
    }
    Ok(match dtype {
        Dtype::BOOL | Dtype::U8 => each(bytes, |[byte]| f64::from(byte)),
        Dtype::F16 => each(bytes, |chunk| f16::from_le_bytes(chunk).to_f64()),
        Dtype::BF16 => each(bytes, |chunk| bf16::from_le_bytes(chunk).to_f64()),
        Dtype::F32 => each(bytes, |chunk| f64::from(f32::from_le_bytes(chunk))),
        Dtype::I64 => each(bytes, |chunk| i64::from_le_bytes(chunk) as f64),
        Dtype::U64 => each(bytes, |chunk| u64::from_le_bytes(chunk) as f64),
        other => return Err(format!("no numbers of {other:?}").into()),
    })
}

/// A shape; dimensions beyond the crate's rank are joined with the last.
pub fn shape(dims: &[u32]) -> Shape {
    match *dims {
        [] => [1].into(),
        [a] => [a].into(),
        [a, b] => [a, b].into(),
        [a, b, c] => [a, b, c].into(),
        [a, b, c, d] => [a, b, c, d].into(),
        [a, b, c, d, ref rest @ ..] => [a, b, c, d, rest.iter().product()].into(),
    }
}

/// What a device has.
#[derive(Clone, Copy)]
pub struct Place {
    /// Without it such tensors are f32.
    pub f16: bool,
    /// Whether an attention has a window in any case, so that all are of one variant.
    pub limited: bool,
}

/// The calls for a test, with what they are fed and what they must give.
pub struct Asked {
    pub graph: Graph,
    pub inputs: HostTensors,
    pub place: Place,
    /// Numbers in row-major order, and how far off they may be: absolutely, and relatively.
    expected: BTreeMap<String, (Vec<f64>, [f64; 2])>,
}

impl Asked {
    /// Nothing yet.
    pub fn new(place: Place) -> Self {
        Self { graph: Graph::new(), inputs: HostTensors::new(), place, expected: BTreeMap::new() }
    }

    /// The element type of floats of this type. Integers are f32 too, which has all those of the tests.
    fn elem(&self, dtype: Dtype) -> Elem {
        if dtype == Dtype::F16 && self.place.f16 { Elem::F16 } else { Elem::F32 }
    }

    /// Feeds a tensor.
    pub fn feed(&mut self, name: &str, value: HostTensor) -> Tensor {
        let tensor = self.graph.input(name, value.shape(), value.desc().elem);
        self.inputs.insert(name.to_owned(), value);
        tensor
    }

    /// The i-th input of the test as floats of this shape.
    pub fn input(&mut self, test: &Test, i: usize, dims: &[u32]) -> Result<Tensor, Failed> {
        let data = test.input(i)?;
        let value = HostTensor::from_floats(Desc::new(shape(dims), self.elem(data.dtype)), data.exact_floats()?);
        Ok(self.feed(&test.inputs[i], value))
    }

    /// The i-th input as whole numbers.
    pub fn integers(&mut self, test: &Test, i: usize, dims: &[u32]) -> Result<Tensor, Failed> {
        let data = test.input(i)?;
        Ok(self.feed(&test.inputs[i], HostTensor::u32(shape(dims), data.numbers.iter().map(|&x| x as u32).collect())))
    }

    /// This tensor is the test's i-th output, if the test has it.
    pub fn output(&mut self, test: &Test, i: usize, tensor: Tensor) -> Result<(), Failed> {
        let Some(name) = test.output(i) else { return Ok(()) };
        let expected = test.expected(name)?;
        // As ONNX compares f32. What is stored as f16 was rounded at each step.
        let tolerance = if expected.dtype == Dtype::F16 { [1e-3, 4e-3] } else { [1e-7, 1e-3] };
        self.expect(name, tensor, expected.numbers.clone(), tolerance)
    }

    /// This tensor must be so.
    pub fn expect(&mut self, name: &str, tensor: Tensor, numbers: Vec<f64>, tolerance: [f64; 2]) -> Result<(), Failed> {
        self.graph.output(name, tensor)?;
        self.expected.insert(name.to_owned(), (numbers, tolerance));
        Ok(())
    }

    /// Compares all that was expected.
    pub fn check(&self, outputs: &HostTensors) -> Result<(), Failed> {
        if self.expected.is_empty() {
            return Err("nothing was asked for".into());
        }
        for (name, (expected, [absolute, relative])) in &self.expected {
            let actual = outputs.get(name).ok_or_else(|| format!("no output {name}"))?;
            let actual: Vec<f64> = match actual.data() {
                HostData::U32(integers) => integers.iter().map(|&n| f64::from(n)).collect(),
                _ => actual.floats().into_iter().map(f64::from).collect(),
            };
            let near = |(e, a): (&f64, &f64)| e == a || (e.is_nan() && a.is_nan()) || (e - a).abs() <= absolute + relative * e.abs();
            if actual.len() != expected.len() || !expected.iter().zip(&actual).all(near) {
                return Err(format!("{name} is {actual:?}, not {expected:?}").into());
            }
        }
        Ok(())
    }
}
