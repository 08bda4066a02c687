//! Whole blocks and layers: EViT, IdleViT, FastV.
