//! What the tests of video methods share, and their options.

mod difffp;
mod dycoke;
mod evs;
mod fastvid;
mod framefusion;
mod holitom;
mod omnizip;
mod scissor;
mod sttm;
mod vidcom2;

use crate::methods::{AToMe, DyCoke, Evs, FastAdaSp, FrameFusion, PairChoice, VidCom2};
use crate::readback::HostTensors;
use crate::{Compressed, Elem, Error, Graph, HostTensor, NONE, Tokens};

/// Tokens of a video whose places change slowly, `[batch, tokens, channels]`.
pub(crate) fn video(seed: u32, shape: [u32; 3]) -> Vec<f32> {
    let noise = |i: u32| crate::random::random_below(seed, u64::from(i), 1 << 20) as f32 / (1 << 19) as f32 - 1.0;
    let mut x: Vec<f32> = (0..shape.iter().product()).map(noise).collect();
    let step = 6 * shape[2] as usize;
    for i in step..x.len() {
        x[i] = 0.6 * x[i - step] + 0.5 * x[i];
    }
    x
}

pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// A method on a ragged batch of 48 tokens a row.
pub(crate) fn run(x: &[f32], lengths: &[u32], method: impl Fn(&mut Graph, &Tokens) -> Result<Compressed, Error>) -> HostTensors {
    let (batch, tokens) = (lengths.len() as u32, 48);
    let x = HostTensor::f32([batch, tokens, x.len() as u32 / batch / tokens], x.to_vec());
    let mut graph = Graph::new();
    let input = graph.input("x", x.shape(), Elem::F32);
    let live = graph.input("lengths", [batch], Elem::U32);
    let tokens = Tokens::ragged(&mut graph, input, live).expect("shapes agree");
    let compressed = method(&mut graph, &tokens).expect("valid options");
    graph.output("x'", compressed.tokens.x).expect("a name");
    graph.output("representative", compressed.map.representative).expect("a name");
    graph.output("kept", compressed.map.lengths).expect("a name");
    let inputs = [("x".to_owned(), x), ("lengths".to_owned(), HostTensor::u32([batch], lengths.to_vec()))].into();
    graph.run_reference(&inputs).expect("the graph's own inputs")
}

/// The positions that it keeps of each row.
pub(crate) fn positions(out: &HostTensors) -> Vec<Vec<u32>> {
    let width = out["representative"].shape().dims()[1] as usize;
    let rows = out["representative"].integers().chunks(width).zip(out["kept"].integers());
    rows.map(|(row, &kept)| {
        assert!(row[kept as usize..].iter().all(|i| *i == NONE));
        row[..kept as usize].to_vec()
    })
    .collect()
}

#[test]
fn options_out_of_range_are_errors() {
    let mut graph = Graph::new();
    let tokens = graph.tokens("x", [1, 8, 4], Elem::F32).expect("rank 3");
    let places = graph.constant(HostTensor::u32([1, 8], vec![0; 8]));
    let mut argument = |build: &dyn Fn(&mut Graph) -> Option<Error>| match build(&mut graph) {
        Some(Error::Value { argument, .. }) => argument,
        other => panic!("{other:?}"),
    };
    let evs = |tokens_per_frame, prune| Evs { tokens_per_frame, prune, floor: 0 };
    assert_eq!(argument(&|graph| evs(0, 0.5).build(graph, &tokens).err()), "evs: tokens_per_frame");
    assert_eq!(argument(&|graph| evs(2, f64::NAN).build(graph, &tokens).err()), "evs: prune");
    let dycoke = DyCoke { tokens_per_frame: 2, merge: -0.1 };
    assert_eq!(argument(&|graph| dycoke.build(graph, &tokens).err()), "dycoke: merge");
    let frame_fusion = FrameFusion { most: 1.5, ..Default::default() };
    assert_eq!(argument(&|graph| frame_fusion.merge(graph, &tokens, places).err()), "framefusion: most");
    let vidcom2 = VidCom2 { tokens_per_frame: 2, base: 2.0 };
    assert_eq!(argument(&|graph| vidcom2.build(graph, &tokens).err()), "vidcom2: base");
    let atome = AToMe { choice: PairChoice::Merge(1.1), ..Default::default() };
    assert_eq!(argument(&|graph| atome.build(graph, &tokens, tokens.x).err()), "atome: ratio");
    let fastadasp = FastAdaSp { choice: PairChoice::Keep(f64::NAN) };
    assert_eq!(argument(&|graph| fastadasp.build(graph, &tokens, tokens.x, None).err()), "fastadasp: ratio");
}
