mod attention;
mod convolution;
mod deformable_sample;
mod elementwise;
mod layer_norm;
mod linear;
mod log_size;
mod merge_attention;
mod paged_attention;
mod rotate;

use crate::support::Case;

pub fn cases() -> Vec<Case> {
    let groups = [
        attention::cases(),
        convolution::cases(),
        deformable_sample::cases(),
        elementwise::cases(),
        layer_norm::cases(),
        linear::cases(),
        log_size::cases(),
        merge_attention::cases(),
        paged_attention::cases(),
        rotate::cases(),
    ];
    groups.into_iter().flatten().collect()
}
