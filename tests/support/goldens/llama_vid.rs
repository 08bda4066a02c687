//! LLaMA-VID's tokens of each frame.

use tokenpress::methods::{Content, LlamaVid};
use tokenpress::readback::HostTensors;

use super::{Failure, Feed, Golden, Side};

pub fn tokens(golden: &Golden, side: Side<'_>) -> Result<HostTensors, Failure> {
    let mut feed = Feed::default();
    let content = match golden.text("compress").map(|text| text.split_once(':').unwrap_or((text, ""))) {
        Some(("mean", _)) => Content::Mean,
        Some(("grid", cells)) => Content::Grid(cells.parse()?),
        _ => Content::All,
    };
    let several = golden.optional_input("w.proj.weight")?.is_none();
    let mut projector = Vec::new();
    for layer in 0.. {
        let name = if several { format!("proj.{}", 2 * layer) } else { "proj".to_owned() };
        if golden.optional_input(&format!("w.{name}.weight"))?.is_none() || (!several && layer > 0) {
            break;
        }
        projector.push(feed.affine(golden, &name)?);
    }
    let model = LlamaVid { key: feed.affine(golden, "key")?, value: feed.affine(golden, "val")?, projector, content };
    let frames = feed.input("vis", golden.input("vis")?);
    let text = feed.input("text_q", golden.input("text_q")?);
    let side_length = golden.count("grid")?;
    let output = model.build(&mut feed.graph, frames, [side_length; 2], text, None)?;
    for (name, tensor) in [("y", output.tokens), ("context", output.context), ("content", output.content), ("weights", output.weights)] {
        feed.output(name, tensor)?;
    }
    feed.run(side)
}
