mod assign_tokens;
mod concat_rows;
mod convert;
mod copy;
pub mod gather_rows;
mod group_tokens;
mod invert_index;
mod lookup;
mod merge_tokens;
mod pool;
pub mod unfold;

use crate::support::Case;

pub fn cases() -> Vec<Case> {
    let groups = [
        assign_tokens::cases(),
        concat_rows::cases(),
        convert::cases(),
        copy::cases(),
        gather_rows::cases(),
        group_tokens::cases(),
        invert_index::cases(),
        lookup::cases(),
        merge_tokens::cases(),
        pool::cases(),
        unfold::cases(),
    ];
    groups.into_iter().flatten().collect()
}
