//! The published systems, each a short function over the graph.

mod affine;
mod atome;
mod audio;
mod c_abstractor;
mod d_abstractor;
mod deepseek_ocr;
mod evit;
mod fastadasp;
mod fastv;
mod idlevit;
mod llava_video;
mod pixel_unshuffle;
mod projector;
mod prune;
mod runs;
mod tile_tags;
mod tome;

pub use affine::{Affine, Projections};
pub use atome::{AToMe, AdjacentPairs};
pub use audio::{average_frames, stack_frames};
pub use c_abstractor::{Bottleneck, BottleneckOutput, CAbstractor, CAbstractorOutput, NormalizedConvolution};
pub use d_abstractor::{DAbstractor, DAbstractorOutput, DeformableLayer, InitialQueries};
pub use deepseek_ocr::deepseek_ocr_compressor;
pub use evit::{EVit, EVitOutput};
pub use fastadasp::FastAdaSp;
pub use fastv::{FastV, FastVOutput};
pub use idlevit::{IdleVit, IdleVitOutput};
pub use llava_video::{Faster, LlavaVideo, Newline, PoolMode};
pub use pixel_unshuffle::{mistral3_packed, nvlm_dynamic_resolution, qwen2_vl_patch_order};
pub use projector::{Join, Layer, Norm, Projector, ProjectorOutput};
pub use prune::{Prune, Pruned};
pub use runs::{PairChoice, Runs};
pub use tile_tags::nvlm_tile_tags;
pub use tome::{Matching, Merging, Protect, ToMe};
