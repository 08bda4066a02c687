//! The model of `examples/vit`, with tiny weights drawn here, and the example's refusals.
#![allow(missing_docs, reason = "a test")]

#[path = "../examples/vit/adaptive.rs"]
mod adaptive;
#[path = "../examples/shared/budgets.rs"]
#[allow(dead_code, reason = "what is printed is the example's")]
mod budgets;
#[path = "../examples/shared/chains.rs"]
#[allow(dead_code, reason = "the help is the example's")]
mod chains;
#[path = "../examples/shared/chart.rs"]
#[allow(dead_code, reason = "pictures are the example's")]
mod chart;
#[path = "../examples/vit/cifar10.rs"]
#[allow(dead_code, reason = "photos are the example's")]
mod cifar10;
#[path = "support/example.rs"]
mod example;
#[path = "../examples/vit/methods.rs"]
mod methods;
#[path = "../examples/vit/model.rs"]
#[allow(dead_code, reason = "files are the example's")]
mod model;
#[path = "../examples/shared/stages.rs"]
#[allow(dead_code, reason = "times are the example's")]
mod stages;
#[path = "../examples/shared/weights.rs"]
#[allow(dead_code, reason = "files are the example's")]
mod weights;

use cifar10::Probe;
use methods::{METHODS, chain};
use model::{Model, Wanted, bicubic};
use tokenpress::random::random_u32;
use tokenpress::readback::{Context, HostTensors};
use tokenpress::{HostTensor, NONE, wgpu};

const CHANNELS: u32 = 8;
const PATCH: u32 = 2;
const GRID: u32 = 4;
const DECODER: [u32; 4] = [CHANNELS, 6, 4, 3];

/// Numbers between -1/2 and 1/2.
fn noise(seed: u32, count: u32) -> Vec<f32> {
    (0..count).map(|i| random_u32(seed, i.into()) as f32 / u32::MAX as f32 - 0.5).collect()
}

/// A model of three layers, as its file would have it.
fn weights() -> HostTensors {
    let mut shapes: Vec<(String, Vec<u32>)> = vec![
        ("backbone.embeddings.cls_token".into(), vec![1, 1, CHANNELS]),
        ("backbone.embeddings.position_embeddings".into(), vec![1, 26, CHANNELS]),
        ("decoder.final_conv.weight".into(), vec![1, DECODER[3], 1, 1]),
        ("decoder.final_conv.bias".into(), vec![1]),
    ];
    let mut affine = |name: String, shape: Vec<u32>, outputs: u32| {
        shapes.extend([(format!("{name}.weight"), shape), (format!("{name}.bias"), vec![outputs])]);
    };
    affine("backbone.embeddings.patch_embeddings.projection".into(), vec![CHANNELS, 3, PATCH, PATCH], CHANNELS);
    affine("backbone.layernorm".into(), vec![CHANNELS], CHANNELS);
    for (stage, pair) in (1..).zip(DECODER.windows(2)) {
        let (inputs, outputs) = (pair[0], pair[1]);
        affine(format!("decoder.upconv{stage}"), vec![inputs, outputs, 4, 4], outputs);
        affine(format!("decoder.bn{stage}"), vec![outputs], outputs);
    }
    for layer in 0..3 {
        let mut affine = |name: &str, shape: Vec<u32>, outputs| affine(format!("backbone.encoder.layer.{layer}.{name}"), shape, outputs);
        for name in ["attention.attention.query", "attention.attention.key", "attention.attention.value", "attention.output.dense"] {
            affine(name, vec![CHANNELS; 2], CHANNELS);
        }
        affine("mlp.fc1", vec![4 * CHANNELS, CHANNELS], 4 * CHANNELS);
        affine("mlp.fc2", vec![CHANNELS, 4 * CHANNELS], CHANNELS);
        affine("norm1", vec![CHANNELS], CHANNELS);
        affine("norm2", vec![CHANNELS], CHANNELS);
    }
    for layer in 0..3 {
        shapes.extend([1, 2].map(|half| (format!("backbone.encoder.layer.{layer}.layer_scale{half}.lambda1"), vec![CHANNELS])));
    }
    for (stage, outputs) in DECODER.into_iter().enumerate().skip(1) {
        shapes.extend(["running_mean", "running_var"].map(|part| (format!("decoder.bn{stage}.{part}"), vec![outputs])));
    }
    let tensor = |(seed, (name, shape)): (usize, (String, Vec<u32>))| {
        let mut values = noise(seed as u32, shape.iter().product());
        if name.ends_with("running_var") {
            values.iter_mut().for_each(|v| *v += 1.0);
        }
        let values = match *shape {
            [a] => HostTensor::f32([a], values),
            [a, b] => HostTensor::f32([a, b], values),
            [a, b, c] => HostTensor::f32([a, b, c], values),
            _ => HostTensor::f32([shape[0], shape[1], shape[2], shape[3]], values),
        };
        (name, values)
    };
    shapes.into_iter().enumerate().map(tensor).collect()
}

fn model() -> Model {
    Model::new(weights(), 2, GRID * PATCH).expect("whole")
}

fn inputs(model: &Model) -> HostTensors {
    inputs_with(model, 99)
}

/// With a photo of this seed.
fn inputs_with(model: &Model, seed: u32) -> HostTensors {
    let side = GRID * PATCH;
    let photo = HostTensor::f32([1, side, side, 3], noise(seed, side * side * 3).iter().map(|v| 4.0 * v).collect());
    model.weights().iter().map(|(name, tensor)| (name.clone(), tensor.clone())).chain([("photo".to_owned(), photo)]).collect()
}

/// What a graph gives for the photo of this seed.
fn run_graph(model: &Model, built: &stages::Built, seed: u32) -> HostTensors {
    let mut given = inputs_with(model, seed);
    given.retain(|name, _| built.graph.inputs().any(|(input, _)| input == name));
    built.graph.run_reference(&given).expect("a run")
}

/// The outputs on the reference with this compression.
fn run(compress: &str) -> HostTensors {
    let model = model();
    let steps = if compress.is_empty() { Vec::new() } else { chain(compress, model.layers).expect("a chain") };
    model.build(&steps, Wanted::Saliency).expect("a graph").graph.run_reference(&inputs(&model)).expect("a run")
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn the_head_is_its_transposed_convolutions() {
    let (weights, outputs) = (weights(), run(""));
    let mut side = GRID as usize;
    let mut x = outputs["features"].floats()[CHANNELS as usize..].to_vec();
    for (stage, pair) in (1..).zip(DECODER.windows(2)) {
        let (inputs, channels) = (pair[0] as usize, pair[1] as usize);
        let read = |name: &str| weights[&format!("decoder.{name}")].floats();
        let (kernel, bias) = (read(&format!("upconv{stage}.weight")), read(&format!("upconv{stage}.bias")));
        let [gamma, beta, mean, variance] =
            ["weight", "bias", "running_mean", "running_var"].map(|part| read(&format!("bn{stage}.{part}")));
        let mut wide: Vec<f32> = (0..4 * side * side).flat_map(|_| bias.clone()).collect();
        // Every place of the input adds to 4 x 4 places of the output.
        for (place, tap) in (0..side * side).flat_map(|place| (0..16).map(move |tap| (place, tap))) {
            let (row, column) = (2 * (place / side) + tap / 4, 2 * (place % side) + tap % 4);
            if !(1..=2 * side).contains(&row) || !(1..=2 * side).contains(&column) {
                continue;
            }
            for (i, o) in (0..inputs).flat_map(|i| (0..channels).map(move |o| (i, o))) {
                wide[((row - 1) * 2 * side + column - 1) * channels + o] += x[place * inputs + i] * kernel[(i * channels + o) * 16 + tap];
            }
        }
        let normal = |(i, v): (usize, &f32)| {
            let o = i % channels;
            ((v - mean[o]) / (variance[o] + 1e-5).sqrt() * gamma[o] + beta[o]).max(0.0)
        };
        x = wide.iter().enumerate().map(normal).collect();
        side *= 2;
    }
    let (weight, bias) = (weights["decoder.final_conv.weight"].floats(), weights["decoder.final_conv.bias"].floats());
    let map: Vec<f32> = x.chunks(weight.len()).map(|x| x.iter().zip(&weight).map(|(a, b)| a * b).sum::<f32>() + bias[0]).collect();
    // 32 x 32 places for 8 x 8 pixels: a pixel's middle is between the middle two of its four.
    let pixel = |i: usize| {
        let at = |dy: usize, dx: usize| map[(i / 8 * 4 + dy) * side + i % 8 * 4 + dx];
        (at(1, 1) + at(1, 2) + at(2, 1) + at(2, 2)) / 4.0
    };
    let expected: Vec<f32> = (0..64).map(pixel).collect();
    assert!(largest_difference(&outputs["logits"].floats(), &expected) < 1e-5);
}

#[test]
fn positions_are_interpolated() {
    let ramp: Vec<f32> = (0..25).flat_map(|i| [(i / 5) as f32, (i % 5) as f32]).collect();
    assert_eq!(bicubic(&ramp, 5, 5, 2), ramp);
    // Twice as many: a quarter of a step to the left and to the right of each, but for the edges.
    let wide = bicubic(&ramp, 5, 10, 2);
    let rows: Vec<f32> = (0..10).map(|i| wide[(i * 10 + 5) * 2]).collect();
    for (i, row) in rows.iter().enumerate().take(7).skip(3) {
        assert!((row - (i as f32 / 2.0 - 0.25)).abs() < 0.05, "{rows:?}");
    }
}

#[test]
fn compression_of_nothing_changes_nothing() {
    let (whole, same) = (run(""), run("tome:r=0"));
    assert_eq!(same["features"], whole["features"]);
    assert_eq!(same["parent.2"].integers(), (0..17).collect::<Vec<_>>());
    let kept = run("topk:keep=16+evit:keep=1");
    assert!(largest_difference(&kept["saliency"].floats(), &whole["saliency"].floats()) < 1e-6);
}

#[test]
fn tokens_behind_every_method() {
    let left = |compress: &str, layer: usize| {
        let outputs = run(compress);
        let parent = outputs[&format!("parent.{}", layer - 1)].integers();
        assert!(outputs["saliency"].floats().iter().all(|v| v.is_finite()));
        let dropped = parent.iter().filter(|p| **p == NONE).count();
        (parent.iter().filter(|p| **p != NONE).max().map_or(0, |last| last + 1), dropped)
    };
    assert_eq!([1, 2, 3].map(|layer| left("tome:r=3", layer)), [(14, 0), (11, 0), (8, 0)]);
    assert_eq!(left("tome:threshold=1.5", 3), (17, 0));
    assert_eq!(left("topk:layer=2,keep=5", 2), (6, 11));
    assert_eq!(left("random:keep=5", 3), (6, 11));
    assert_eq!(left("evit:layer=1/2,keep=0.5", 2), (1 + 5 + 1, 0));
    assert_eq!(left("pool:layer=1", 1), (5, 0));
    assert_eq!(left("tome:layer=2,r=4+topk:layer=2,keep=5", 2).0, 6);
}

#[test]
fn the_class_token_alone() {
    let model = model();
    let steps = chain("tome:r=3", model.layers).expect("a chain");
    let mut inputs = inputs(&model);
    inputs.retain(|name, _| !name.starts_with("decoder"));
    let alone = model.build(&steps, Wanted::ClassToken).expect("a graph").graph.run_reference(&inputs).expect("a run");
    assert_eq!(alone["features"].floats(), run("tome:r=3")["features"].floats()[..CHANNELS as usize]);
}

#[test]
fn a_searched_schedule_is_within_its_budget() {
    let model = model();
    let space = adaptive::space(&model);
    let names = space.alone();
    let chains: Vec<_> = [Vec::new()].into_iter().chain(names.iter().map(|name| chain(name, model.layers).expect("a chain"))).collect();
    let all = model.build_all(&chains, Wanted::Saliency).expect("a graph");
    // What is equal runs once: all layers before the one that compresses.
    let apart: usize = chains.iter().map(|steps| model.build(steps, Wanted::Saliency).expect("a graph").graph.calls()).sum();
    assert!(all.graph.calls() < apart * 2 / 3, "{} calls of {apart}", all.graph.calls());
    let mut given = inputs(&model);
    given.retain(|name, _| !name.starts_with("decoder"));
    let outputs = all.graph.run_reference(&given).expect("a run");
    assert_eq!(outputs["features.0"], run("")["features"]);
    for (index, name) in names.iter().enumerate() {
        assert_eq!(outputs[&format!("features.{}", index + 1)], run(name)["features"], "{name}");
    }
    let losses = space.table(&adaptive::losses(&outputs, names.len()).expect("equal shapes"));
    assert!(losses.iter().all(|losses| losses.len() == space.shares.len() && losses[0] == 0.0 && losses[4] > losses[2]), "{losses:?}");
    let plans = adaptive::plans(&space, &losses, &[1.0, 0.8]).expect("budgets that can be met");
    let named = ["constant:1", "share:1", "searched:1", "constant:0.8", "share:0.8", "searched:0.8"];
    assert_eq!(plans.iter().map(|plan| plan.name.as_str()).collect::<Vec<_>>(), named);
    assert!(plans[..3].iter().all(|plan| plan.compression.is_empty() && plan.lengths == [17; 3] && plan.cost == 1.0));
    for plan in &plans[3..] {
        assert!(plan.cost > 0.5 && plan.cost <= 0.8, "{}: {}", plan.name, plan.cost);
        assert_eq!(run(&plan.compression)["tokens"].integers(), &plan.lengths[2..], "{}", plan.compression);
    }
    assert!(space.check(&[1.0, 0.8]).is_ok());
    assert!(matches!(space.check(&[0.8, 0.1]), Err(tokenpress::Error::Budget { .. })));
}

#[test]
fn thresholds_merge_as_many_of_the_samples_as_a_schedule() {
    const SAMPLES: std::ops::Range<u32> = 90..96;
    let model = model();
    let space = adaptive::space(&model);
    let losses = [vec![0.0, 0.2, 0.3, 0.4, 0.5], vec![0.0; 5], vec![0.0, 0.1, 0.2, 0.3, 0.9]];
    let steps = |text: &str| if text.is_empty() { Vec::new() } else { chain(text, model.layers).expect("a chain") };
    let similarities = |before: &str, layer: usize| {
        let built = model.similarities(&steps(before), layer)?;
        Ok::<_, tokenpress::Error>(SAMPLES.map(|seed| adaptive::similarities(&run_graph(&model, &built, seed))).collect())
    };
    for plan in adaptive::plans(&space, &losses, &[0.8, 0.65]).expect("budgets that can be met") {
        let found = adaptive::calibrated(&space, &plan, similarities).expect("a run");
        assert_eq!((&found.name, &found.lengths), (&format!("thresholds of {}", plan.name), &plan.lengths));
        for wanted in [Wanted::Saliency, Wanted::ClassToken] {
            // Behind each layer that compresses, the last of them at the end.
            let counts = |compression: &str, seed: u32| {
                let built = model.build(&steps(compression), wanted).expect("a graph");
                let outputs = run_graph(&model, &built, seed);
                let count = |layer: &usize| outputs.get(&format!("lengths.{layer}")).unwrap_or(&outputs["tokens"]).integers()[0];
                let counts: Vec<u32> = built.compressing.iter().map(count).collect();
                (built.compressing, counts)
            };
            let (compressing, fixed) = counts(&plan.compression, SAMPLES.start);
            assert_eq!(adaptive::share(&space, &compressing, &fixed), plan.cost, "{}", plan.name);
            let all = SAMPLES.map(|seed| counts(&found.compression, seed)).collect::<Vec<_>>();
            assert!(all.iter().all(|(layers, _)| *layers == compressing), "{}", found.compression);
            let sums: Vec<u32> = (0..fixed.len()).map(|index| all.iter().map(|(_, counts)| counts[index]).sum()).collect();
            assert_eq!(sums, fixed.iter().map(|count| count * SAMPLES.len() as u32).collect::<Vec<_>>(), "{}", found.compression);
            assert!(all.iter().any(|(_, counts)| *counts != fixed), "every photo merges the same: {}", found.compression);
        }
    }
    let nothing = adaptive::plans(&space, &losses, &[1.0]).expect("a budget that can be met");
    let none = |_: &str, _: usize| Err("no layer merges");
    assert!(nothing.iter().all(|plan| adaptive::calibrated(&space, plan, none).is_ok_and(|found| found.compression.is_empty())));
}

#[test]
fn samples_are_spread_evenly() {
    let chosen = |samples, all| (0..all).filter(|i| budgets::is_sample(*i, samples, all)).collect::<Vec<_>>();
    assert_eq!(chosen(3, 10), [3, 6, 9]);
    assert_eq!(chosen(4, 4), [0, 1, 2, 3]);
    assert!(chosen(0, 4).is_empty());
}

#[test]
fn a_probe_finds_what_it_has_seen() {
    let feature = |i: u32| noise(i, 12).iter().zip(0..).map(|(n, k)| n / 10.0 + if i % 10 == k { 1.0 } else { 0.0 }).collect();
    let features: Vec<Vec<f32>> = (0..100).map(feature).collect();
    let labels: Vec<usize> = (0..100).map(|i| i % 10).collect();
    assert_eq!(Probe::new(&features, &labels).right(&features, &labels), 100);
}

#[test]
fn a_device_agrees() {
    let Some(adapter) = pollster::block_on(Context::adapters(wgpu::Backends::all())).into_iter().next() else { return };
    let context = pollster::block_on(Context::new(&adapter)).expect("a device");
    let model = model();
    let built = model.build(&chain("pool:layer=2", model.layers).expect("a chain"), Wanted::Saliency).expect("a graph");
    let expected = built.graph.run_reference(&inputs(&model)).expect("a run");
    let outputs = pollster::block_on(context.run(&built.graph, &inputs(&model))).expect("a run");
    assert!(largest_difference(&outputs["features"].floats(), &expected["features"].floats()) < 1e-4);
    assert!(largest_difference(&outputs["logits"].floats(), &expected["logits"].floats()) < 1e-4);
}

#[test]
fn chains_that_are_none() {
    let refusal = |text: &str| chain(text, 12).err().expect("no chain");
    assert_eq!(refusal("nothing"), "there is no method \"nothing\", only tome, topk, evit, random, pool");
    assert_eq!(refusal("topk:layer=13"), "layer=13 is no list of layers from 1 to 12, like layer=3 or layer=4/7/10");
    assert_eq!(refusal("evit:share=1"), "evit has no \"share\", only keep and layer");
    assert_eq!(refusal("topk:keep=-1"), "keep of topk must be a number from 0 on, not \"-1\"");
    assert_eq!(refusal("tome:threshold=-1.5"), "threshold of tome must be a number from -1 on, not \"-1.5\"");
    assert!(chain("tome:threshold=-1", 12).is_ok());
    assert!(refusal("tome").starts_with("tome needs"));
    assert!(METHODS.iter().all(|method| method.name == "tome" || chain(method.name, 12).is_ok()));
}

#[test]
fn budgets_that_are_none() {
    let refusal = |arguments: &[&str]| {
        let output = example::run("vit", arguments, &[]);
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    let (code, said) = refusal(&["--budget", "1.5"]);
    assert_eq!((code, said.as_str()), (Some(2), "error: --budget is a share of the layers' operations, from 0 to 1, not 1.5\n"));
    let (code, said) = refusal(&["assets/coffee.jpg", "--budget", "0.5"]);
    assert_eq!((code, said.as_str()), (Some(2), "error: --budget needs a folder with more photos than --samples 24, not 1\n"));
}

#[test]
fn missing_weights_are_one_sentence() {
    let output = example::run("vit", &["--weights", "/nowhere/weights.safetensors"], &[]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(said, "error: there are no weights at /nowhere/weights.safetensors: scripts/fetch-models gets them\n");
}
