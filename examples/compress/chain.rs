//! From a chain of methods to the graph that compresses a photo.

use tokenpress::kernels::{PixelUnshuffle, linear};
use tokenpress::{Error, Graph, HostTensor, Tensor};

use crate::methods::{Layout, METHODS, Method, Patches, Request, State};
use crate::picture::CHANNELS;

/// How much is to be left, and how.
pub(crate) struct Wish {
    /// Share of the tokens that is left.
    pub(crate) keep: Option<f64>,
    /// Number of tokens to merge away or drop, instead.
    pub(crate) merge: Option<u32>,
    /// Side of a patch in pixels.
    pub(crate) patch: u32,
    /// Layers over which merging is spread.
    pub(crate) layers: u32,
    /// Patches are compared after projecting them to so many numbers.
    pub(crate) width: Option<u32>,
}

/// The methods of a chain, and the share that each of them asks for.
pub(crate) type Chain = Vec<(&'static Method, Option<f64>)>;

pub(crate) fn chain(text: &str) -> Result<Chain, String> {
    let link = |link: &str| {
        let (name, share) = link.split_once(':').map_or((link, None), |(name, share)| (name, Some(share)));
        let names: Vec<_> = METHODS.iter().map(|m| m.name).collect();
        let unknown = || format!("there is no method {name:?}, only {}", names.join(", "));
        let method = METHODS.iter().find(|m| m.name == name).ok_or_else(unknown)?;
        let number = |share: &str| match share.parse::<f64>() {
            Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
            _ => Err(format!("the share of {name} must be above 0 and at most 1, not {share}")),
        };
        Ok((method, share.map(number).transpose()?))
    };
    text.split('+').map(link).collect()
}

/// The largest number of tokens whose pairs the CPU reference compares in reasonable time.
const MOST_COMPARED: u32 = 16384;

/// A method of the chain, with what it finds and what it leaves.
pub(crate) struct Planned {
    pub(crate) method: &'static Method,
    share: f64,
    before: Layout,
    after: Layout,
}

pub(crate) fn stages(wish: &Wish, chain: &Chain, patches: Patches) -> Result<Vec<Planned>, String> {
    let mut layout = Layout::grid(patches.rows, patches.columns);
    let count = layout.count;
    if let Some(merge) = wish.merge.filter(|merge| *merge >= count) {
        return Err(format!("--merge {merge} leaves nothing of {count} tokens"));
    }
    let whole = wish.merge.map_or(wish.keep.unwrap_or(0.25), |merge| f64::from(count - merge) / f64::from(count));
    let named: f64 = chain.iter().filter_map(|(_, share)| *share).product();
    let unnamed = chain.iter().filter(|(method, share)| method.shares && share.is_none()).count();
    let rest = if unnamed < 2 { whole / named } else { (whole / named).powf(1.0 / unnamed as f64) };
    if unnamed > 0 && rest > 1.0 {
        let name = |(method, share): &(&Method, Option<f64>)| match share {
            Some(share) => format!("{}:{share}", method.name),
            None => method.name.to_owned(),
        };
        let names: Vec<_> = chain.iter().map(name).collect();
        return Err(format!("{} keeps less than {whole} of the tokens already", names.join("+")));
    }
    let mut stages = Vec::new();
    for (method, share) in chain {
        let (before, share) = (layout, share.unwrap_or(rest));
        if method.compares && before.count > MOST_COMPARED {
            return Err(format!(
                "{} patches are more than {MOST_COMPARED}, as many as {} compares here: take a larger --patch",
                before.count, method.name
            ));
        }
        layout = (method.left)(before, share)?;
        stages.push(Planned { method, share, before, after: layout });
    }
    Ok(stages)
}

/// Photo `[1, height, width, 4]` to the tokens, the parents, and the photo again.
pub(crate) fn build(wish: &Wish, stages: &[Planned], patches: Patches) -> Result<Graph, Error> {
    let mut graph = Graph::new();
    let side = wish.patch;
    let [height, width] = [patches.rows * side, patches.columns * side];
    let photo = graph.input("photo", [1, height, width, CHANNELS], tokenpress::Elem::F32);
    // A patch is a block of pixels: cutting is space to depth.
    let cut = PixelUnshuffle { factor: [side, side], ..Default::default() };
    let pixels = cut.unshuffle_tokens(&mut graph, photo, [height, width])?;
    let project = |graph: &mut Graph, x: Tensor| match (wish.width, x.shape().dims().last()) {
        (Some(width), Some(&channels)) => {
            let matrix = graph.constant(projection(width, channels));
            linear(graph, x, matrix, None)
        }
        _ => Ok(x),
    };
    let mut state = State::new(&mut graph, pixels)?;
    for &Planned { method, share, before, after } in stages {
        let request = Request { project: &project, share, before, after, layers: wish.layers };
        let stage = (method.build)(&mut graph, &request, &state)?;
        state = state.then(&mut graph, stage)?;
    }
    let restored = state.restored(&mut graph)?;
    let restored = cut.shuffle_tokens(&mut graph, restored, [height, width])?;
    graph.output("tokens", state.tokens.x)?;
    graph.output("parent", state.map.parent)?;
    graph.output("restored", restored)?;
    Ok(graph)
}

/// A fixed matrix of signs, `[width, channels]`: inner products are kept on average.
fn projection(width: u32, channels: u32) -> HostTensor {
    let scale = 1.0 / (width as f32).sqrt();
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut sign = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if state >> 63 == 0 { scale } else { -scale }
    };
    HostTensor::f32([width, channels], (0..width * channels).map(|_| sign()).collect())
}
