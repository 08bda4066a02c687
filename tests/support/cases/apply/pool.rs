use tokenpress::kernels::{PaddedWindows, Pool, Windows};
use tokenpress::{Elem, Graph, HostTensor};

use crate::support::{Case, data};

const OVERLAPPING: Windows = Windows::Strided { size: [3, 2], stride: [2, 1], partial: false };
const PARTIAL: Windows = Windows::Strided { size: [3, 4], stride: [2, 3], partial: true };
const APART: Windows = Windows::Strided { size: [1, 2], stride: [3, 3], partial: true };

/// Padding that differs at the ends, and a last window that is cut.
const PADDED: PaddedWindows = PaddedWindows { before: [1, 2], after: [2, 1], partial: true, ..PaddedWindows::new([3, 4], [2, 3]) };
/// Places that lie apart; some windows are padding alone.
const DILATED: PaddedWindows =
    PaddedWindows { dilation: [2, 3], before: [3, 2], after: [1, 4], count_padding: true, ..PaddedWindows::new([2, 2], [1, 2]) };

fn case(pool: Pool, elem: Elem, [b, h, w, c]: [u32; 4], lengths: Option<Vec<u32>>, values: &[f32], what: &str) -> Case {
    let mut graph = Graph::new();
    let x = graph.input("x", [b, h, w, c], elem);
    let name = format!("{pool:?}, {elem}[{b},{h},{w},{c}] {what}, lengths {lengths:?}");
    let mut inputs: tokenpress::readback::HostTensors = [("x".to_owned(), data::tensor([b, h, w, c], elem, values))].into();
    let lengths = lengths.map(|lengths| {
        inputs.insert("lengths".to_owned(), HostTensor::u32([b], lengths));
        graph.input("lengths", [b], Elem::U32)
    });
    let pooled = pool.build(&mut graph, x, [h, w], lengths).expect("valid options");
    graph.output("pooled", pooled).expect("a name");
    Case { subject: "pool", name, heavy: false, graph, inputs }
}

/// Windows of every kind, and interpolations, to about half the size.
fn pools([h, w]: [u32; 2]) -> [Pool; 9] {
    let outputs = [h.div_ceil(2), w.div_ceil(2)];
    [
        Pool::Average(Windows::cells(2)),
        Pool::Average(Windows::Adaptive { outputs }),
        Pool::Average(Windows::Padded(PADDED)),
        Pool::Average(Windows::Padded(DILATED)),
        Pool::Max(PARTIAL),
        Pool::Max(Windows::Padded(DILATED)),
        Pool::Bilinear(outputs),
        Pool::BilinearAligned(outputs),
        Pool::BilinearAntialiased(outputs),
    ]
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut push = |pool, elem, dims: [u32; 4], lengths: Option<Vec<u32>>, what: &str| {
        let len = dims.iter().product::<u32>() as usize;
        let values = match what {
            "awkward" => data::awkward(91, len),
            "ties" => data::ties(92, len),
            "zeros of both signs" => (0..len).map(|i| if i % 3 == 0 { -0.0 } else { 0.0 }).collect(),
            "extremes" => data::extremes(94, len, elem),
            "the largest" => vec![if elem == Elem::F16 { 65504.0 } else { f32::MAX }; len],
            "large" => vec![if elem == Elem::F16 { 60000.0 } else { 1e37 }; len],
            _ => data::normal(93, len),
        };
        let case = case(pool, elem, dims, lengths, &values, what);
        if case.is_ragged() {
            cases.push(case.broken_behind(&[("x", dims[2], dims[3])]));
        }
        cases.push(case);
    };
    for elem in [Elem::F32, Elem::F16] {
        // Odd sizes, channels by one and by four.
        for dims in [[2, 27, 7, 3], [1, 9, 33, 8]] {
            for pool in pools([dims[1], dims[2]]) {
                push(pool, elem, dims, None, "normal");
            }
        }
        for dims in [[2, 9, 7, 3], [1, 9, 8, 8]] {
            for pool in [Pool::Max(Windows::cells(2)), Pool::Average(PARTIAL), Pool::Max(Windows::Adaptive { outputs: [4, 5] })] {
                push(pool, elem, dims, None, "ties");
            }
        }
        for what in ["awkward", "ties", "zeros of both signs", "large", "extremes", "the largest"] {
            for pool in pools([5, 6]) {
                push(pool, elem, [2, 5, 6, 4], None, what);
            }
        }
        // Sequences, of which rows live in part.
        for pool in pools([1, 40]) {
            push(pool, elem, [6, 1, 40, 5], Some(vec![40, 0, 1, 2, 29, 99]), "normal");
        }
    }
    for windows in [OVERLAPPING, PARTIAL, APART, Windows::cells(1), Windows::cells(3)] {
        push(Pool::Average(windows), Elem::F32, [3, 10, 8, 4], Some(vec![8, 3, 7]), "normal");
        push(Pool::Max(windows), Elem::F32, [1, 10, 8, 3], None, "ties");
    }
    // Every way to count padding and to end.
    for (partial, count_padding) in [(false, false), (false, true), (true, false), (true, true)] {
        for windows in [PADDED, DILATED, PaddedWindows { after: [0, 2], ..PaddedWindows::sequence(3, 3) }] {
            let windows = Windows::Padded(PaddedWindows { partial, count_padding, ..windows });
            push(Pool::Average(windows), Elem::F32, [3, 7, 8, 4], Some(vec![8, 3, 0]), "normal");
            push(Pool::Max(windows), Elem::F32, [3, 6, 7, 3], Some(vec![7, 1, 4]), "awkward");
        }
    }
    // More outputs than tokens; all tokens to one; as many.
    for outputs in [[7, 9], [1, 1], [3, 4], [0, 4]] {
        push(Pool::Max(Windows::Adaptive { outputs }), Elem::F32, [2, 3, 4, 4], None, "normal");
        push(Pool::Average(Windows::Adaptive { outputs }), Elem::F32, [2, 3, 4, 4], Some(vec![2, 4]), "normal");
        for pool in [Pool::Bilinear(outputs), Pool::BilinearAligned(outputs), Pool::BilinearAntialiased(outputs)] {
            push(pool, Elem::F32, [2, 3, 4, 4], Some(vec![1, 3]), "awkward");
        }
    }
    // Nothing at all, and windows larger than the grid.
    for dims in [[1, 1, 1, 1], [0, 4, 4, 4], [2, 0, 4, 4], [2, 4, 0, 4], [2, 4, 4, 0], [1, 3, 3, 2]] {
        for pool in [
            Pool::Average(Windows::cells(4)),
            Pool::Max(PARTIAL),
            Pool::Max(Windows::Padded(PADDED)),
            Pool::Bilinear([2, 2]),
            Pool::BilinearAligned([2, 2]),
            Pool::BilinearAntialiased([2, 2]),
        ] {
            push(pool, Elem::F32, dims, None, "normal");
        }
    }
    // One that takes several workgroups in each of the batch: a frame of SigLIP.
    push(Pool::Bilinear([14, 14]), Elem::F32, [2, 27, 27, 64], None, "normal");
    cases
}
