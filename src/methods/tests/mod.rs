//! The methods' tests, by method.

mod affine;
mod cache;
mod llava_next;
mod llava_video;
mod pact;
mod pitome;
mod pixelprune;
mod projector;
mod scope;
mod video;
