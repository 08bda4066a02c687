//! Learned or textual queries ask for what they need.

pub(crate) mod content;
mod d_abstractor;
pub(crate) mod deformable_layer;
pub(crate) mod initial_queries;
mod llama_vid;
mod perceiver;
mod qformer;
pub(crate) mod qformer_layer;

pub use content::Content;
pub use d_abstractor::{DAbstractor, DAbstractorOutput};
pub use deformable_layer::DeformableLayer;
pub use initial_queries::InitialQueries;
pub use llama_vid::{LlamaVid, LlamaVidOutput};
pub use perceiver::{PerceiverLayer, PerceiverResampler};
pub use qformer::{QFormer, QFormerInputs, QFormerOutput};
pub use qformer_layer::QFormerLayer;
