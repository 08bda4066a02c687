//! Caches of keys and values: what a language model may forget of its context.
//!
//! A [`Cache`] holds the keys and values of one layer. A **score** says how much each token of each head matters, a **budget** how many
//! stay, and [`Evict`], [`AdaKV`] or [`ChunkKV`] compact the cache to them. Scores, budgets and evictions go together as you like.
//!
//! | score, f32 `[B, Hkv, N]`, larger is kept | decides by |
//! |---|---|
//! | [`random_scores`] | nothing: a control |
//! | [`recency`] | place; with sinks it is StreamingLLM |
//! | [`key_norm`] | small keys (Knorm) |
//! | [`key_diff`] | keys unlike the mean direction (KeyDiff) |
//! | [`tova`] | the last query's attention |
//! | [`SnapKV`] | the last queries' attention, smoothed along the tokens |
//! | [`ObservedAttention`] | the attention of all queries (H2O) |
//! | [`ExpectedAttention`] | the attention of queries to come |
//! | [`LagKV`] | keys and values against the ranges of the tokens after them |

mod budget;
mod evict;
mod expected;
mod lagkv;
mod observed;
mod plain;
mod snapkv;
mod state;

pub use budget::{AlwaysKept, CacheBudget};
pub use evict::{AdaKV, ChunkKV, Evict};
pub use expected::ExpectedAttention;
pub use lagkv::LagKV;
pub use observed::{ObservedAttention, tova};
pub use plain::{key_diff, key_norm, random_scores, recency};
pub use snapkv::{Smoothing, SnapKV};
pub use state::{Cache, Evicted};
