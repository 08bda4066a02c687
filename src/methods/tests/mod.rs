//! The methods' tests, by method.

mod affine;
mod dycoke;
mod evs;
mod framefusion;
mod llava_next;
mod llava_video;
mod projector;
mod vidcom2;
mod video;
