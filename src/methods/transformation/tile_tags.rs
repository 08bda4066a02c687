//! NVLM: a text tag in front of every tile of an image.
//!
//! Dai et al., "NVLM: Open Frontier-Class Multimodal LLMs" (2024), `https://arxiv.org/abs/2409.11402`.

use crate::checks::expect;
use crate::error::Error;
use crate::graph::{Graph, Tensor};
use crate::kernels::{concat_rows, gather_rows};
use crate::tensor::{Desc, Elem};

/// Tiles with their 1-D tags. An image of n tiles has its thumbnail last. Its first n - 1 tiles have the first n - 1 tags, and the
/// thumbnail has the last tag.
///
/// ```text
/// tagged[t] = [embedding[tag_ids[tag of t, 0]], .., embedding[tag_ids[tag of t, T - 1]], x[t, 0], .., x[t, S - 1]]
/// ```
///
/// - `x` is `[tiles, S, C]`: the tiles of all images one after the other.
/// - `images` are the numbers of tiles of the images. They must add up to all tiles, and none may be above the number of tags.
/// - `tag_ids` u32 `[tags, T]` are the text tokens of `<tile_1>`, `<tile_2>` .. and of the thumbnail's tag, all of one length.
/// - `embedding` `[V, C]` of x's element type is the language model's.
///
/// Gives `[tiles, T + S, C]`, bit for bit; an id of V or above gives zeros. `_apply_tile_tagging` in NVIDIA/Megatron-LM,
/// `megatron/core/models/multimodal/llava_model.py`, takes one image and reads its number of tiles back from the GPU.
///
/// Cost: three dispatches; one read and one write of each element of the result.
///
/// ```
/// use tokenpress::methods::nvlm_tile_tags;
/// use tokenpress::{Graph, HostTensor};
///
/// let mut graph = Graph::new();
/// // An image of one tile and its thumbnail, each of one token, and tags of one word: 0 for the tile, 2 for the thumbnail.
/// let tiles = graph.constant(HostTensor::f32([2, 1, 1], vec![1.0, 2.0]));
/// let embedding = graph.constant(HostTensor::f32([3, 1], vec![10.0, 20.0, 30.0]));
/// let tag_ids = graph.constant(HostTensor::u32([2, 1], vec![0, 2]));
/// let tagged = nvlm_tile_tags(&mut graph, tiles, embedding, tag_ids, &[2])?;
/// graph.output("tagged", tagged)?;
/// assert_eq!(graph.run_reference(&[].into())?["tagged"].floats(), [10.0, 1.0, 30.0, 2.0]);
/// # Ok::<(), tokenpress::Error>(())
/// ```
pub fn nvlm_tile_tags(graph: &mut Graph, x: Tensor, embedding: Tensor, tag_ids: Tensor, images: &[u32]) -> Result<Tensor, Error> {
    let [tiles, _, channels] = x.shape().exactly("nvlm_tile_tags: x", "[tiles, S, C]")?;
    let [vocabulary, _] = embedding.shape().exactly("nvlm_tile_tags: embedding", "[V, C]")?;
    let [tags, length] = tag_ids.shape().exactly("nvlm_tile_tags: tag_ids", "[tags, T]")?;
    expect("nvlm_tile_tags: embedding", embedding.desc(), Desc::new([vocabulary, channels], x.elem()))?;
    expect("nvlm_tile_tags: tag_ids", tag_ids.desc(), Desc::new([tags, length], Elem::U32))?;
    let together: u64 = images.iter().map(|n| u64::from(*n)).sum();
    if together != u64::from(tiles) || images.iter().any(|n| *n > tags) {
        let expected = format!("images of at most {tags} tiles, {tiles} together");
        return Err(Error::Value { argument: "nvlm_tile_tags: images", expected, actual: format!("{images:?}") });
    }
    let Some(ids) = tiles.checked_mul(length) else {
        let expected = "fewer than 2^32 text tokens".to_owned();
        return Err(Error::Shape { argument: "nvlm_tile_tags: tag_ids", expected, actual: tag_ids.shape() });
    };
    let tag_of = |(tile, n): (u32, u32)| if tile + 1 < n { tile } else { tags - 1 };
    let tag_of_tile = || images.iter().flat_map(|&n| (0..n).map(move |tile| (tile, n))).map(tag_of).collect();
    let tag_of_tile = graph.listed("nvlm_tile_tags: images", [tiles], tag_of_tile)?;
    let all_ids = graph.reshape(tag_ids, [1, tags, length])?;
    let ids_of_tiles = gather_rows(graph, all_ids, tag_of_tile, None)?;
    let ids_of_tiles = graph.reshape(ids_of_tiles, [1, ids])?;
    let embedding = graph.reshape(embedding, [1, vocabulary, channels])?;
    let text = gather_rows(graph, embedding, ids_of_tiles, None)?;
    let text = graph.reshape(text, [tiles, length, channels])?;
    Ok(concat_rows(graph, (text, None), (x, None))?.0)
}
