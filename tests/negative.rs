//! Negative controls: whatever judges the kernels must be able to say no.
#![allow(missing_docs, reason = "a test")]

mod support;

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, PoisonError};

use libtest_mimic::{Arguments, Failed, Trial};
use safetensors::{Dtype, SafeTensors};
use support::adapters::{self, Adapter, MODES};
use support::data;
use support::double::Double;
use support::goldens::{self, Golden, Side, Tolerance};
use tokenpress::compare::Comparison;
use tokenpress::device::{BindingElem, Call, Header, Include, Lowering, Shader, Slot};
use tokenpress::kernels::Kernel;
use tokenpress::readback::HostTensors;
use tokenpress::verify::{Reference, StepReport};
use tokenpress::{Desc, Elem, Error, Graph, HostTensor};

fn require(condition: bool, claim: &str) -> Result<(), Failed> {
    if condition { Ok(()) } else { Err(claim.into()) }
}

// --- comparers --------------------------------------------------------------------------------------------

fn floats(values: &[f32]) -> HostTensor {
    HostTensor::f32([values.len() as u32], values.to_vec())
}

fn indices(values: &[u32]) -> HostTensor {
    HostTensor::u32([values.len() as u32], values.to_vec())
}

/// The next float away from zero.
fn next(value: f32) -> f32 {
    f32::from_bits(value.to_bits() + 1)
}

fn bounds_are_kept_to_the_last_bit() -> Result<(), Failed> {
    let expected = floats(&[1.0, -2.0, 0.0, 1e-30, f32::INFINITY, f32::NAN]);
    // Powers of two: expected and bound add up exactly.
    let bounds = [2f64.powi(-20), 2f64.powi(-19), 2f64.powi(-40), 0.0, 0.0, 0.0];
    let at = |index: usize, value: f32| {
        let mut actual = expected.floats();
        actual[index] = value;
        Comparison::within(&expected, &floats(&actual), &bounds)
    };
    let on = |index: usize| expected.floats()[index] + bounds[index] as f32 * if index == 1 { -1.0 } else { 1.0 };
    require(at(0, 1.0).passed(), "equal tensors agree")?;
    for index in 0..3 {
        require(at(index, on(index)).passed(), "a value on its bound agrees")?;
        let over = at(index, next(on(index)));
        require(over.failures == 1, "a value just over its bound fails")?;
        require(over.worst.is_some_and(|w| w.index == index && w.ratio() > 1.0), "the worst element is named")?;
    }
    for (index, value) in [
        (3, next(1e-30)),
        (0, f32::NAN),
        (0, f32::INFINITY),
        (4, f32::MAX),
        (4, f32::NEG_INFINITY),
        (4, f32::NAN),
        (5, 0.0),
        (5, f32::INFINITY),
    ] {
        require(!at(index, value).passed(), &format!("{value} at {index} fails"))?;
    }
    let unbounded = Comparison::within(&expected, &floats(&[1.5, -2.0, 0.0, 1e-30, f32::INFINITY, f32::NAN]), &[f64::NAN; 6]);
    require(!unbounded.passed(), "a bound that is NaN allows nothing")
}

fn exact_means_bits() -> Result<(), Failed> {
    let expected = indices(&[4, 2, 7, 0]);
    require(Comparison::exact(&expected, &expected).passed(), "equal indices agree")?;
    for wrong in [[2, 4, 7, 0], [4, 4, 7, 0], [4, 2, 7, 1], [4, 2, 7, u32::MAX]] {
        require(!Comparison::exact(&expected, &indices(&wrong)).passed(), &format!("{wrong:?} fails"))?;
    }
    let values = floats(&[0.0, 1.0, f32::NAN]);
    require(Comparison::exact(&values, &values).passed(), "a NaN is bit-equal to itself")?;
    require(!Comparison::exact(&values, &floats(&[-0.0, 1.0, f32::NAN])).passed(), "-0 is not 0, bit for bit")?;
    require(!Comparison::exact(&values, &floats(&[0.0, next(1.0), f32::NAN])).passed(), "one unit in the last place is a difference")
}

fn the_goldens_judge_is_strict() -> Result<(), Failed> {
    let near = Tolerance::parse("indices exact; floats rtol 1e-4 atol 1e-5").map_err(|e| e.to_string())?;
    require(near == Tolerance::Near { relative: 1e-4, absolute: 1e-5 }, "a tolerance is read")?;
    let exact = Tolerance::parse("output exact permutation of the input (bitwise)").map_err(|e| e.to_string())?;
    require(exact == Tolerance::Exact, "bitwise is exact")?;
    require(Tolerance::parse("about right").is_err(), "an unclear tolerance is an error")?;
    let expected = floats(&[100.0, 0.0]);
    let judge =
        |tolerance: Tolerance, actual: &HostTensor| tolerance.compare(&expected, actual).map(|c| c.passed()).map_err(|e| e.to_string());
    require(judge(near, &floats(&[100.01, 0.0]))?, "within")?;
    require(!judge(near, &floats(&[100.02, 0.0]))?, "outside the relative part")?;
    require(!judge(near, &floats(&[100.0, 2e-5]))?, "outside the absolute part")?;
    require(!judge(near, &floats(&[100.0, f32::NAN]))?, "a NaN")?;
    require(!judge(exact, &floats(&[next(100.0), 0.0]))?, "one unit in the last place")?;
    require(judge(near, &floats(&[100.0])).is_err(), "another shape")?;
    require(judge(near, &indices(&[100, 0])).is_err(), "another type")?;
    let swapped = near.compare(&indices(&[1, 2]), &indices(&[2, 1])).map_err(|e| e.to_string())?;
    require(!swapped.passed(), "swapped indices")
}

/// Every tensor `out.*` of a file, with the place of its last word, and whether that is a float.
fn last_words(golden: &Golden) -> Result<Vec<(String, usize, bool)>, String> {
    let (header, metadata) = SafeTensors::read_metadata(&golden.bytes).map_err(|e| e.to_string())?;
    let outputs =
        metadata.tensors().into_iter().filter(|(name, info)| name.starts_with("out.") && info.data_offsets.0 < info.data_offsets.1);
    Ok(outputs.map(|(name, info)| (name, 8 + header + info.data_offsets.1 - 4, info.dtype == Dtype::F32)).collect())
}

/// One wrong element in any output of any case is a failure, and so is an output that nothing computes.
fn a_wrong_golden_is_caught() -> Result<(), Failed> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let goldens = goldens::folder(&folder).map_err(|e| e.to_string())?;
    // Large files take long, and tell no more.
    let small = goldens.iter().filter(|g| g.is_known() && g.bytes.len() < 12_000);
    let mut caught = 0;
    for golden in small {
        golden.check(Side::Reference)?;
        for (output, at, float) in last_words(golden)? {
            let mut wrong = golden.bytes.clone();
            let word = &mut wrong[at..at + 4];
            let old = [word[0], word[1], word[2], word[3]];
            let (number, index) = (f32::from_le_bytes(old), u32::from_le_bytes(old));
            word.copy_from_slice(&if float {
                (number + 0.01 * (1.0 + number.abs())).to_le_bytes()
            } else {
                index.wrapping_add(1).to_le_bytes()
            });
            let changed = Golden::parse(golden.name.clone(), wrong).map_err(|e| e.to_string())?;
            require(changed.check(Side::Reference).is_err(), &format!("{}: a wrong element of {output}", golden.name))?;

            let mut renamed = golden.bytes.clone();
            let (from, to) = (format!("\"{output}\""), format!("\"out.{}\"", "?".repeat(output.len() - 4)));
            let at = renamed.windows(from.len()).position(|w| w == from.as_bytes()).ok_or("a name in the header")?;
            renamed[at..at + from.len()].copy_from_slice(to.as_bytes());
            let changed = Golden::parse(golden.name.clone(), renamed).map_err(|e| e.to_string())?;
            require(changed.check(Side::Reference).is_err_and(|e| e.contains("not computed")), &format!("{}: no {output}", golden.name))?;
            caught += 1;
        }
    }
    require(caught > 100, "the folder has cases")
}

// --- kernels ----------------------------------------------------------------------------------------------

static WRONG_TIE: Shader = Shader {
    name: "wrong_tie",
    source: include_str!("shaders/wrong_tie.wgsl"),
    includes: &[Include::Order],
    headers: &[Header::F32],
    inputs: &[("x", BindingElem::Elem)],
    outputs: &[("index", BindingElem::U32)],
    params: &[("rows", "u32"), ("columns", "u32")],
    tunings: &[&[]],
};

/// Index of each row's largest value; the shader breaks ties the wrong way.
#[derive(Debug)]
struct WrongTie;

impl Kernel for WrongTie {
    fn name(&self) -> &'static str {
        "wrong_tie"
    }

    fn output_names(&self) -> &'static [&'static str] {
        &["index"]
    }

    fn outputs(&self, inputs: &[Desc]) -> Result<Vec<Desc>, Error> {
        let [rows, _] = inputs[0].shape.exactly("wrong_tie: x", "[rows, columns]")?;
        Ok(vec![Desc::new([rows], Elem::U32)])
    }

    fn reference(&self, inputs: &[&HostTensor]) -> Vec<HostTensor> {
        let values = inputs[0].floats();
        let rows = inputs[0].shape().dims()[0];
        let largest = |row: &[f32]| (0..row.len()).rev().max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0) as u32;
        vec![HostTensor::u32([rows], values.chunks(values.len() / rows as usize).map(largest).collect())]
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<(), Error> {
        let [rows, columns] = lowering.input(0).shape.exactly("wrong_tie: x", "[rows, columns]")?;
        let slots = [Slot::Input(0), Slot::Output(0)];
        let call = Call { shader: &WRONG_TIE, header: Header::F32, constants: &[], slots: &slots, params: [rows, columns], groups: 1 };
        lowering.dispatch(call)
    }
}

/// Every step of a graph in every mode that the adapter has.
fn run(adapter: &Adapter, graph: &Graph, inputs: &HostTensors) -> Result<Vec<StepReport>, Failed> {
    let _turn = adapter.turn.lock().unwrap_or_else(PoisonError::into_inner);
    let mut reports = Vec::new();
    // With strided tensors the plan writes the output, and what a kernel writes beside it is scratch memory.
    for mode in MODES.iter().filter(|mode| !mode.placement.apart && adapter.lacks(mode, "own").is_none()) {
        let gpu = adapter.context.gpu.with_policy(mode.policy);
        reports.extend(pollster::block_on(Reference::new(graph, inputs)?.steps(&adapter.context, &gpu, mode.placement))?);
    }
    Ok(reports)
}

fn largest_of(values: Vec<f32>) -> Result<(Graph, HostTensors), Error> {
    let mut graph = Graph::new();
    let x = graph.input("x", [4, 8], Elem::F32);
    let index = graph.call(WrongTie, &[x])?[0];
    graph.output("index", index)?;
    Ok((graph, [("x".to_owned(), HostTensor::f32([4, 8], values))].into()))
}

fn a_wrong_tie_rule_is_caught(adapter: &Adapter) -> Result<(), Failed> {
    let (graph, inputs) = largest_of(data::ties(3, 32))?;
    require(run(adapter, &graph, &inputs)?.iter().all(|r| !r.passed() && r.guards.passed()), "ties are told apart")?;
    // Without ties the same kernel is right: it is the rule that was caught.
    let (graph, inputs) = largest_of(data::normal(3, 32))?;
    require(run(adapter, &graph, &inputs)?.iter().all(StepReport::passed), "without ties it passes")
}

fn a_trespass_is_caught(adapter: &Adapter) -> Result<(), Failed> {
    for (elem, trespass) in [(Elem::F32, 0), (Elem::F32, 1), (Elem::F32, 8), (Elem::F16, 0), (Elem::F16, 1)] {
        if elem == Elem::F16 && !adapter.f16() {
            continue; // the plan converts, and the kernel's trespass is in scratch memory
        }
        for elements in [1, 63, 64, 65] {
            let mut graph = Graph::new();
            let x = graph.input("x", [elements], elem);
            let y = Double { trespass, ..Double::default() }.call(&mut graph, x)?;
            graph.output("y", y)?;
            let x = data::tensor([elements], elem, &data::normal(5, elements as usize));
            let reports = run(adapter, &graph, &[("x".to_owned(), x)].into())?;
            let caught = reports.iter().all(|r| r.guards.trespasses > 0);
            let clean = reports.iter().all(StepReport::passed);
            require(if trespass > 0 { caught } else { clean }, &format!("{elem}[{elements}] and {trespass} more: {reports:?}"))?;
            require(reports.iter().all(|r| r.outputs.iter().all(|(_, c)| c.passed())), "the output itself is right")?;
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let adapters = adapters::all();
    let mut trials = adapters::missing(&adapters);
    trials.push(Trial::test("bounds_are_kept_to_the_last_bit", bounds_are_kept_to_the_last_bit));
    trials.push(Trial::test("exact_means_bits", exact_means_bits));
    trials.push(Trial::test("the_goldens_judge_is_strict", the_goldens_judge_is_strict));
    trials.push(Trial::test("a_wrong_golden_is_caught", a_wrong_golden_is_caught));
    type OnAdapter = fn(&Adapter) -> Result<(), Failed>;
    let controls: [(&str, OnAdapter); 2] =
        [("a_wrong_tie_rule_is_caught", a_wrong_tie_rule_is_caught), ("a_trespass_is_caught", a_trespass_is_caught)];
    for adapter in &adapters {
        for (name, control) in controls {
            let adapter: Arc<Adapter> = adapter.clone();
            trials.push(Trial::test(format!("{}::{name}", adapter.name), move || control(&adapter)));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
