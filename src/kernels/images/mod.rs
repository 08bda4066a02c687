//! Images and tokens: pixels into tokens, back, and what is shown over them, in buffers and in textures.

mod heat_map;
mod patches;
pub(crate) mod pixel_unshuffle;
mod texture_copy;

pub use heat_map::HeatMap;
pub use patches::{Patches, Resize, Sampling};
pub use pixel_unshuffle::{ChannelOrder, PixelUnshuffle, TokenOrder};
pub(crate) use texture_copy::{TEXTURE_COPY, texture_copy};

use crate::device::Shader;

/// The shaders of this room.
pub(super) fn shaders() -> Vec<&'static Shader> {
    let one = [&patches::PATCHES, &patches::OF_TEXTURE, &pixel_unshuffle::MOVE, &pixel_unshuffle::TRANSPOSE, &texture_copy::READ];
    one.into_iter().chain(&texture_copy::WRITE).chain(&heat_map::OF_BUFFER).chain(&heat_map::OF_TEXTURE).collect()
}
