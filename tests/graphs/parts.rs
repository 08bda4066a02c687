//! A model whose layers are the application's own: one plan in parts, with other work between them.

use std::collections::BTreeMap;

use crate::support::{adapters, data};
use tokenpress::methods::{Protect, ToMe};
use tokenpress::readback::{Context, HostTensors};
use tokenpress::{Bindings, Elem, Error, Graph, HostTensor, TensorView, TokenMap, Tokens};

const LAYERS: usize = 3;
const LENGTHS: [u32; 3] = [33, 20, 1];
const SHAPE: [u32; 3] = [3, 33, 8];

/// A merge in every layer, and at the end a row for every token again. `apart`: each layer's tokens are an output, and the next one's an
/// input, as where the layers are the application's. Gives the graph, and where its parts begin and end.
fn model(apart: bool) -> Result<(Graph, Vec<usize>), Error> {
    let mut graph = Graph::new();
    let mut borders = vec![0];
    let (x, lengths) = (graph.input("x 0", SHAPE, Elem::F32), graph.input("lengths", [3], Elem::U32));
    let mut tokens = Tokens::ragged(&mut graph, x, lengths)?;
    let mut map = TokenMap::identity(&mut graph, &tokens)?;
    for layer in 1..=LAYERS {
        let keys = graph.input(&format!("keys {layer}"), [3, 2, tokens.capacity(), 4], Elem::F32);
        let out = ToMe { merge: 6, protect: Protect::CLASS, ..Default::default() }.build(&mut graph, &tokens, keys)?;
        map = map.then(&mut graph, &out.map)?;
        tokens = out.tokens;
        if apart {
            graph.output(&format!("merged {layer}"), tokens.x)?;
            tokens.x = graph.input(&format!("x {layer}"), tokens.x.shape(), Elem::F32);
        }
        borders.push(graph.calls());
    }
    let dense = map.unmerge(&mut graph, tokens.x, None)?;
    for (name, tensor) in [("dense", dense), ("sizes", tokens.size), ("lengths'", tokens.lengths)] {
        graph.output(name, tensor)?;
    }
    borders.push(graph.calls());
    Ok((graph, borders))
}

/// Runs the model in parts, all tensors in one buffer. The layers between them do nothing but copy.
fn in_parts(context: &Context, inputs: &HostTensors) -> Result<HostTensors, Error> {
    let (graph, borders) = model(true)?;
    let arena = context.buffer(&[0; 1 << 20]);
    let mut offset = 0;
    let place = |(name, desc): (&str, tokenpress::Desc)| {
        offset = ((offset / 4 + 1) | 1) * 4; // an odd element
        let view = TensorView::new(&arena, offset, desc.shape, desc.elem);
        offset += desc.bytes();
        (name.to_owned(), view)
    };
    let views: BTreeMap<_, _> = graph.inputs().chain(graph.outputs()).map(place).collect();
    inputs.iter().for_each(|(name, tensor)| context.queue.write_buffer(&arena, views[name].offset(), tensor.bytes()));
    let plan = graph.plan(&context.gpu, &views.clone().into_iter().collect::<Bindings>())?;
    let between = context.buffer(&[0; 1 << 16]);
    let mut encoder = context.device.create_command_encoder(&Default::default());
    for (part, border) in borders.windows(2).enumerate() {
        plan.record_calls(border[0]..border[1], &mut encoder.begin_compute_pass(&Default::default()));
        if let Some(merged) = views.get(&format!("merged {}", part + 1)) {
            let (next, bytes) = (&views[&format!("x {}", part + 1)], merged.desc().bytes());
            encoder.copy_buffer_to_buffer(&arena, merged.offset(), &between, 0, bytes);
            encoder.copy_buffer_to_buffer(&between, 0, &arena, next.offset(), bytes);
        }
    }
    context.queue.submit([encoder.finish()]);
    let download = |name: &str| Ok((name.to_owned(), pollster::block_on(context.download(&views[name]))?));
    ["dense", "sizes", "lengths'"].into_iter().map(download).collect()
}

#[test]
fn a_model_in_parts_gives_what_it_gives_as_a_whole() {
    let (whole, _) = model(false).expect("shapes agree");
    let inputs: HostTensors = whole
        .inputs()
        .filter(|(_, desc)| desc.elem == Elem::F32)
        .enumerate()
        .map(|(seed, (name, desc))| {
            let values = data::normal(seed as u64, desc.shape.elements() as usize);
            (name.to_owned(), HostTensor::f32(desc.shape, values))
        })
        .chain([("lengths".to_owned(), HostTensor::u32([3], LENGTHS.to_vec()))])
        .collect();
    for adapter in adapters::all() {
        let expected = pollster::block_on(adapter.context.run(&whole, &inputs)).expect("a run");
        let parts = in_parts(&adapter.context, &inputs).expect("a run");
        assert_eq!(parts, expected, "{}", adapter.name);
        assert_eq!(parts["lengths'"].integers(), [33 - 3 * 6, 5, 1], "{}", adapter.name);
        // No row has tokens after its own.
        let dense = parts["dense"].floats();
        for (row, live) in LENGTHS.into_iter().enumerate() {
            let row = &dense[row * 33 * 8..][..33 * 8];
            assert!(row[live as usize * 8..].iter().all(|number| *number == 0.0), "{}", adapter.name);
            assert!(row[..live as usize * 8].iter().all(|number| *number != 0.0), "{}", adapter.name);
        }
    }
}
