//! What decides is similarity: what is said twice is dropped or merged.

mod atome;
mod cdpruner;
mod dart;
mod divprune;
mod fastadasp;
mod idpruner;
mod key_size;
mod pact;
mod pitome;
mod pixelprune;
mod pumer;
pub(crate) mod pumer_merge;
mod samp;
mod scope;
pub(crate) mod text_score;
mod tofu;
mod tome;
mod video;

pub use atome::{AToMe, AdjacentPairs};
pub use cdpruner::{CdPruner, CdPrunerOutput, text_similarity};
pub use dart::{Dart, DartOutput};
pub use divprune::DivPrune;
pub use fastadasp::FastAdaSp;
pub use idpruner::IdPruner;
pub use key_size::key_size;
pub use pact::Pact;
pub use pitome::PiToMe;
pub use pixelprune::PixelPrune;
pub use pumer::{PuMer, PuMerOutput};
pub use pumer_merge::PuMerMerge;
pub use samp::{Samp, SampOutput};
pub use scope::Scope;
pub use text_score::TextScore;
pub use tofu::{Fusion, ToFu};
pub use tome::ToMe;
pub use video::{
    DiffFp, DyCoke, DyCokeCache, DyCokeStep, Evs, EvsOutput, FastVid, FrameFusion, HoliTom, LlavaScissor, OmniZip, OmniZipOutput, Sttm,
    VidCom2, VidCom2Output,
};
