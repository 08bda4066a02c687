//! Which tokens of a row are of a kind: those that a method must not touch, those of an image.

mod image_range;
mod images;
mod protect;
mod protected;

pub(crate) use image_range::ImageRange;
pub use images::Images;
pub use protect::Protect;
pub(crate) use protected::{Protected, marks_of_rows, of_two_counts};
