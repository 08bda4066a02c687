//! Caches of keys and values: what a language model may forget of its context.
//!
//! A [`Cache`] holds the keys and values of one layer. A **score** says how much each token of each head matters, a **budget** how many
//! stay, and [`Evict`], [`AdaKV`], [`TopP`] or [`ChunkKV`] compact the cache to them. Scores, budgets and evictions go together as you like.
//! [`Quest`] evicts nothing: it attends to the pages that a query may need.
//! [`ThinK`] prunes channels of the keys in place of tokens.
//! [`MergeEvicted`] merges what went into what stayed, [`CaM`] spreads it, and [`Evicted::forgotten`] measures it.
//!
//! | score, f32 `[B, Hkv, N]`, larger is kept | decides by |
//! |---|---|
//! | [`random_scores`] | nothing: a control |
//! | [`recency`] | place; with sinks it is StreamingLLM |
//! | [`key_norm`] | small keys (Knorm) |
//! | [`key_diff`] | keys unlike the mean direction (KeyDiff) |
//! | [`q_filter`] | keys against the main direction of a model's queries (Q-Filters) |
//! | [`tova`] | the last query's attention |
//! | [`SnapKV`] | the last queries' attention, smoothed along the tokens |
//! | [`ObservedAttention`] | the attention of all queries (H2O) |
//! | [`ExpectedAttention`] | the attention of queries to come |
//! | [`LagKV`] | keys and values against the ranges of the tokens after them |
//! | [`RKV`] | the last queries' attention, less what other keys say already (R-KV) |
//! | [`CriticalKV`] | another score, and what the token's value does to the output |

mod budget;
mod cam;
mod channels;
mod critical;
mod evict;
mod expected;
mod forgotten;
mod lagkv;
mod merge;
mod observed;
mod plain;
mod quest;
mod rkv;
mod snapkv;
mod state;
mod top_p;

pub use budget::{AlwaysKept, CacheBudget};
pub use cam::CaM;
pub use channels::{PrunedChannels, ThinK};
pub use critical::CriticalKV;
pub use evict::{AdaKV, ChunkKV, Evict};
pub use expected::ExpectedAttention;
pub use forgotten::{Forgotten, forgotten};
pub use lagkv::LagKV;
pub use merge::{MergeEvicted, MergeRule, MergeThreshold, MergedCache};
pub use observed::{ObservedAttention, tova};
pub use plain::{key_diff, key_norm, q_filter, random_scores, recency};
pub use quest::{PageBounds, Quest};
pub use rkv::RKV;
pub use snapkv::{Smoothing, SnapKV};
pub use state::{Cache, Evicted};
pub use top_p::TopP;
