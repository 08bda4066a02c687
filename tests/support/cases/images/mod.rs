mod heat_map;
mod patches;
mod pixel_unshuffle;

use crate::support::Case;

pub fn cases() -> Vec<Case> {
    [heat_map::cases(), patches::cases(), pixel_unshuffle::cases()].into_iter().flatten().collect()
}
