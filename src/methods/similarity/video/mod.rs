//! What a video says twice, in frames and along time.

mod difffp;
mod dycoke;
mod dycoke_cache;
mod evs;
mod fastvid;
mod framefusion;
mod frames;
mod holitom;
mod omnizip;
mod scissor;
mod sttm;
mod vidcom2;

pub use difffp::DiffFp;
pub use dycoke::DyCoke;
pub use dycoke_cache::{DyCokeCache, DyCokeStep};
pub use evs::{Evs, EvsOutput};
pub use fastvid::FastVid;
pub use framefusion::FrameFusion;
pub use holitom::HoliTom;
pub use omnizip::{OmniZip, OmniZipOutput};
pub use scissor::LlavaScissor;
pub use sttm::Sttm;
pub use vidcom2::{VidCom2, VidCom2Output};
