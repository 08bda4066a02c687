//! What decides is similarity: what is said twice is dropped or merged.

mod atome;
mod cdpruner;
mod dart;
mod divprune;
mod dycoke;
mod dycoke_cache;
mod evs;
mod fastadasp;
mod framefusion;
mod idpruner;
mod key_size;
mod pumer;
pub(crate) mod pumer_merge;
mod samp;
pub(crate) mod text_score;
mod tome;
mod vidcom2;
pub(crate) mod video;

pub use atome::{AToMe, AdjacentPairs};
pub use cdpruner::{CdPruner, CdPrunerOutput, text_similarity};
pub use dart::{Dart, DartOutput};
pub use divprune::DivPrune;
pub use dycoke::DyCoke;
pub use dycoke_cache::{DyCokeCache, DyCokeStep};
pub use evs::{Evs, EvsOutput};
pub use fastadasp::FastAdaSp;
pub use framefusion::FrameFusion;
pub use idpruner::IdPruner;
pub use key_size::key_size;
pub use pumer::{PuMer, PuMerOutput};
pub use pumer_merge::PuMerMerge;
pub use samp::{Samp, SampOutput};
pub use text_score::TextScore;
pub use tome::ToMe;
pub use vidcom2::{VidCom2, VidCom2Output};
