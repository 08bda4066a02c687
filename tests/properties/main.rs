//! What holds for any input, on the reference and on every adapter: proptest over shapes, options and seeds.
//!
//! The cases are the same in every run; `PROPTEST_CASES` asks for more of them. A trial is `place::property`. The place `wrong` is the
//! reference with one wrong bit, which each property must see.
#![allow(missing_docs, unreachable_pub, reason = "a test")]

#[path = "../support/mod.rs"]
mod support;

mod cache;
mod kernels;
mod packed;
mod protected;
mod strided;
mod tome;

use std::cell::{Cell, RefCell};
use std::process::ExitCode;
use std::sync::PoisonError;

use libtest_mimic::{Arguments, Failed, Trial};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestRng, TestRunner};
use support::{adapters, data};
use tokenpress::readback::{Context, HostTensors};
use tokenpress::{Error, Graph, HostTensor, Tensor};

/// Executes a graph: the reference, or an adapter.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    pub adapter: Option<&'a Context>,
    /// Changes one bit of one output of each run, each time another.
    wrong: Option<&'a RefCell<data::Random>>,
}

impl Side<'_> {
    pub fn run(self, graph: &Graph, inputs: &HostTensors) -> HostTensors {
        let results = match self.adapter {
            None => graph.run_reference(inputs),
            Some(context) => pollster::block_on(context.run(graph, inputs)),
        };
        let mut results = results.unwrap_or_else(|e| panic!("{e}"));
        let mut filled: Vec<_> = results.values_mut().filter(|t| !t.bytes().is_empty()).collect();
        if let Some(random) = self.wrong.filter(|_| !filled.is_empty()) {
            let which = random.borrow_mut().below(filled.len() as u32) as usize;
            let mut bytes = filled[which].bytes().to_vec();
            self.spoil(&mut bytes);
            *filled[which] = HostTensor::from_bytes(filled[which].desc(), &bytes).expect("as many bytes");
        }
        results
    }

    /// One bit of these, where something is to be wrong.
    pub fn spoil(self, bytes: &mut [u8]) {
        if let Some(random) = self.wrong {
            let mut random = random.borrow_mut();
            let at = random.below(bytes.len() as u32) as usize;
            bytes[at] ^= 1 << random.below(8);
        }
    }

    /// Runs a graph of these inputs; gives its outputs in their order.
    pub fn outputs(
        self,
        inputs: &[&HostTensor],
        build: impl FnOnce(&mut Graph, &[Tensor]) -> Result<Vec<Tensor>, Error>,
    ) -> Vec<HostTensor> {
        let mut feed = Feed::default();
        let tensors: Vec<_> = inputs.iter().enumerate().map(|(i, value)| feed.input(&format!("input {i}"), (*value).clone())).collect();
        let built = build(&mut feed.graph, &tensors).expect("shapes agree");
        for (i, tensor) in built.iter().enumerate() {
            feed.output(&format!("output {i}"), *tensor);
        }
        let mut results = feed.run(self);
        (0..built.len()).map(|i| results.remove(&format!("output {i}")).expect("an output of the graph")).collect()
    }
}

/// A graph and what it is fed, whose outputs are named as they are asked for.
#[derive(Default)]
pub struct Feed {
    pub graph: Graph,
    pub inputs: HostTensors,
}

impl Feed {
    pub fn input(&mut self, name: &str, value: HostTensor) -> Tensor {
        let tensor = self.graph.input(name, value.shape(), value.desc().elem);
        self.inputs.insert(name.to_owned(), value);
        tensor
    }

    pub fn output(&mut self, name: &str, tensor: Tensor) {
        self.graph.output(name, tensor).expect("a new name");
    }

    pub fn run(&self, side: Side<'_>) -> HostTensors {
        side.run(&self.graph, &self.inputs)
    }
}

/// A tensor of standard normal numbers, times a factor.
pub fn normal<const N: usize>(seed: u64, shape: [u32; N], factor: f32) -> HostTensor {
    let values = data::normal(seed, shape.iter().product::<u32>() as usize);
    HostTensor::f32(shape, values.into_iter().map(|v| v * factor).collect())
}

/// Finite numbers of every kind: zeros of both signs, denormals, the extremes of f16.
pub fn finite(seed: u64, len: usize) -> Vec<f32> {
    data::awkward(seed, len).into_iter().map(|v| if v.is_finite() { v } else { 0.5 }).collect()
}

/// Batch row `b` as a batch of its own.
pub fn batch_row(tensor: &HostTensor, b: usize) -> HostTensor {
    let dims = tensor.shape();
    let len = dims.elements() as usize / dims.dims()[0].max(1) as usize;
    let values = tensor.floats()[b * len..(b + 1) * len].to_vec();
    match *dims.dims() {
        [_, n] => HostTensor::f32([1, n], values),
        [_, n, c] => HostTensor::f32([1, n, c], values),
        [_, h, n, c] => HostTensor::f32([1, h, n, c], values),
        _ => unreachable!("two to four dimensions"),
    }
}

/// The bytes of batch row `b`.
pub fn row_bytes(tensor: &HostTensor, b: usize) -> &[u8] {
    let len = tensor.bytes().len() / tensor.shape().dims()[0].max(1) as usize;
    &tensor.bytes()[b * len..(b + 1) * len]
}

type Property<T> = fn(T, Side<'_>) -> TestCaseResult;

/// Runs a property over its cases: many on the reference, some on an adapter.
fn check<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>, property: Property<T>, side: Side<'_>) -> Result<(), Failed> {
    let all = Config::default().cases;
    let cases = if side.adapter.is_none() { all } else { all.div_ceil(4) };
    let mut config = Config { cases, failure_persistence: None, ..Config::default() };
    if side.wrong.is_some() {
        config.max_shrink_iters = 0;
    }
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    SPOILT.set(side.wrong.is_some());
    let result = runner.run(&strategy, |case| property(case, side)).map_err(|e| e.to_string());
    SPOILT.set(false);
    match side.wrong {
        Some(_) if result.is_ok() => Err("a wrong bit is not seen".into()),
        Some(_) => Ok(()),
        None => Ok(result?),
    }
}

thread_local! {
    /// Whether this thread runs with a wrong bit: a panic is then one way to see it, and is not printed.
    static SPOILT: Cell<bool> = const { Cell::new(false) };
}

/// A property over all its cases.
type Check = fn(Side<'_>) -> Result<(), Failed>;

/// Means of equal numbers are exact in the f64 of the reference alone.
const OF_THE_REFERENCE: [&str; 1] = ["merge_undoes_unmerge"];

/// On the reference all is dense.
const OF_ADAPTERS: [&str; 1] = ["a_strided_view_equals_its_dense_copy"];

/// Every property by its name.
fn properties() -> Vec<(&'static str, Check)> {
    macro_rules! all {
        ($($module:ident::$strategy:ident: $($property:ident)*;)*) => {
            vec![$($((stringify!($property), |side| check($module::$strategy(), $module::$property, side)),)*)*]
        };
    }
    all! {
        tome::merge_cases: a_batch_row_is_as_it_is_alone channels_do_not_meet powers_of_two_change_nothing_but_the_scale sizes_add_up
            every_token_gets_its_parents_row_back merge_undoes_unmerge maps_compose;
        kernels::select_cases: a_selection_is_the_head_of_a_sort;
        kernels::attention_cases: attention_adds_up a_scale_may_be_in_the_queries an_attention_row_is_as_it_is_alone;
        kernels::layout_cases: shuffle_undoes_unshuffle;
        protected::batches: protected_tokens_survive_unchanged leading_tokens_may_be_counted_listed_or_marked;
        protected::prompts: images_may_be_anywhere;
        packed::sequences: packed_sequences_are_what_they_are_alone;
        packed::images: packed_images_are_what_they_are_alone;
        cache::caches: attention_over_what_is_left_hides_the_rest a_row_of_caches_is_as_it_is_alone sinks_and_latest_tokens_stay
            a_whole_budget_is_the_identity evictions_compose moving_back_undoes_moving logits_depend_on_distances_alone
            what_is_forgotten_is_what_attention_lost what_went_is_merged_by_the_rule
            steps_are_as_of_a_cache_that_never_moved a_query_attends_to_its_best_pages;
        strided::cases: a_strided_view_equals_its_dense_copy;
    }
}

fn main() -> ExitCode {
    let adapters = adapters::all();
    let mut trials = adapters::missing(&adapters);
    for (name, property) in properties() {
        let of_adapters = OF_ADAPTERS.contains(&name);
        if !of_adapters {
            trials.push(Trial::test(format!("reference::{name}"), move || property(Side { adapter: None, wrong: None })));
        }
        let first = adapters.first().filter(|_| of_adapters).cloned();
        if first.is_some() || !of_adapters {
            trials.push(Trial::test(format!("wrong::{name}"), move || {
                let _turn = first.as_ref().map(|adapter| adapter.turn.lock().unwrap_or_else(PoisonError::into_inner));
                let random = RefCell::new(data::Random::new(1));
                property(Side { adapter: first.as_ref().map(|adapter| &adapter.context), wrong: Some(&random) })
            }));
        }
        for adapter in adapters.iter().filter(|_| !OF_THE_REFERENCE.contains(&name)).cloned() {
            trials.push(Trial::test(format!("{}::{name}", adapter.name), move || {
                let _turn = adapter.turn.lock().unwrap_or_else(PoisonError::into_inner);
                property(Side { adapter: Some(&adapter.context), wrong: None })
            }));
        }
    }
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !SPOILT.get() {
            hook(panic);
        }
    }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
