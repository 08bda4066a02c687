//! Place decides: neighbours become one token, whatever they hold.

mod audio;
pub(crate) mod bottleneck;
mod c_abstractor;
mod deepseek_ocr;
pub(crate) mod faster;
pub(crate) mod join;
mod llava_next;
mod llava_video;
pub(crate) mod newline;
mod packed_images;
mod pixel_unshuffle;
pub(crate) mod projector;
mod projectors;
mod tile_tags;

pub use audio::{average_frames, stack_frames};
pub use bottleneck::{Bottleneck, BottleneckOutput, NormalizedConvolution};
pub use c_abstractor::{CAbstractor, CAbstractorOutput};
pub use deepseek_ocr::deepseek_ocr_compressor;
pub use faster::Faster;
pub use join::Join;
pub use llava_next::{LlavaNext, Unpadding};
pub use llava_video::{LlavaVideo, PoolMode};
pub use newline::Newline;
pub use packed_images::{Sequences, mistral3_packed, nvlm_dynamic_resolution, pack_sequences, qwen2_vl_patch_order};
#[allow(deprecated, reason = "the old name of LearnedNorm")]
pub use projector::Norm;
pub use projector::{Layer, LearnedNorm, Projector, ProjectorOutput};
pub use tile_tags::nvlm_tile_tags;
