//! The complete text of a shader, one of several.

use std::fmt;
use std::hash::{Hash, Hasher};

use super::shader::{Access, Form, Header, Include, Shader};
use super::texture::StorageFormat;

/// One text of a shader and the values of its overrides. A pipeline is made from them.
#[derive(Clone, Copy)]
pub struct Variant {
    /// The file.
    pub shader: &'static Shader,
    /// What `elem` is.
    pub header: Header,
    /// Which shared text it gets.
    pub form: Form,
    /// How inputs are declared.
    pub access: Access,
    /// Values of `override`s that differ from the file's defaults.
    pub constants: &'static [(&'static str, u32)],
}

/// Its label.
impl fmt::Debug for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Variant({})", self.label())
    }
}

impl PartialEq for Variant {
    fn eq(&self, other: &Self) -> bool {
        self.shader.is(other.shader)
            && (self.header, self.form, self.access, self.constants) == (other.header, other.form, other.access, other.constants)
    }
}

impl Eq for Variant {}

impl Hash for Variant {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.shader.name, self.header, self.form, self.access, self.constants).hash(state);
    }
}

impl Variant {
    /// The complete WGSL text, with an entry point named `main`.
    pub fn source(&self) -> String {
        let mut text = String::new();
        if self.form.is_cooperative() {
            text += "enable wgpu_cooperative_matrix;\n";
        }
        if self.form == Form::Subgroup && self.shader.needs_subgroups_of_eight() {
            // What depends on a subgroup's number is the same for the whole subgroup. Tint does not see that through the struct `Lane`.
            text += "diagnostic(off, subgroup_uniformity);\n";
        }
        text += self.header.text();
        text += include_str!("../../shaders/common/grid.wgsl");
        text += if self.form.uses_subgroups() {
            include_str!("../../shaders/common/lane_subgroup.wgsl")
        } else {
            include_str!("../../shaders/common/lane.wgsl")
        };
        for include in self.shader.includes {
            text += match (include, self.form) {
                (Include::Activation, _) => include_str!("../../shaders/common/activation.wgsl"),
                (Include::Ahead, Form::Staged) => include_str!("../../shaders/common/ahead_staged.wgsl"),
                (Include::Ahead, _) => include_str!("../../shaders/common/ahead.wgsl"),
                (Include::AttentionBases, _) => include_str!("../../shaders/score/attention_score/parts/bases.wgsl"),
                (Include::AttentionSums, _) => include_str!("../../shaders/score/attention_score/parts/sums.wgsl"),
                (Include::AttentionRows, _) => include_str!("../../shaders/score/attention_score/parts/rows.wgsl"),
                (Include::AttentionColumns, _) => include_str!("../../shaders/score/attention_score/parts/columns.wgsl"),
                (Include::AttentionPlace, _) => include_str!("../../shaders/score/attention_score/parts/place.wgsl"),
                (Include::AttentionTile, _) => include_str!("../../shaders/score/attention_score/parts/tile.wgsl"),
                (Include::ElemOrder, _) => include_str!("../../shaders/common/order/elem_order.wgsl"),
                (Include::Differences, _) => include_str!("../../shaders/common/tile/differences.wgsl"),
                (Include::Distance, _) => include_str!("../../shaders/common/distance.wgsl"),
                (Include::KeptLogits, _) => include_str!("../../shaders/score/attention_score/parts/kept_logits.wgsl"),
                (Include::HalfBits, _) => include_str!("../../shaders/common/half_bits.wgsl"),
                (Include::Interpolation, _) => include_str!("../../shaders/common/interpolation.wgsl"),
                (Include::Image, _) if self.shader.reads_texture() => include_str!("../../shaders/common/image/image_texture.wgsl"),
                (Include::Image, _) => include_str!("../../shaders/common/image/image_buffer.wgsl"),
                (Include::Shown, _) if self.shader.storage().is_some() => include_str!("../../shaders/common/image/shown_texture.wgsl"),
                (Include::Shown, _) => include_str!("../../shaders/common/image/shown_buffer.wgsl"),
                (Include::Stored, _) => match self.shader.storage() {
                    None => "",
                    Some(StorageFormat::Rgba8Unorm | StorageFormat::Bgra8Unorm) => include_str!("../../shaders/common/image/stored_8.wgsl"),
                    Some(StorageFormat::Rgba16Float) => include_str!("../../shaders/common/image/stored_16.wgsl"),
                    Some(StorageFormat::Rgba32Float | StorageFormat::R32Float) => include_str!("../../shaders/common/image/stored_32.wgsl"),
                },
                (Include::TexelPlaces, _) => include_str!("../../shaders/common/image/texel_places.wgsl"),
                (Include::MatchCandidates, _) => include_str!("../../shaders/select/bipartite_match/parts/candidates.wgsl"),
                (Include::Moves, _) => include_str!("../../shaders/common/moves.wgsl"),
                (Include::NeighbourLists, _) => include_str!("../../shaders/score/neighbours/parts/lists.wgsl"),
                (Include::NeighbourKeys, _) => include_str!("../../shaders/score/neighbours/parts/keys.wgsl"),
                (Include::Order, _) => include_str!("../../shaders/common/order/order.wgsl"),
                (Include::Pairs, _) => include_str!("../../shaders/common/pairs.wgsl"),
                (Include::Products, _) => include_str!("../../shaders/common/tile/products.wgsl"),
                (Include::Reduce, Form::Subgroup) => include_str!("../../shaders/common/order/reduce_subgroup.wgsl"),
                (Include::Reduce, _) => include_str!("../../shaders/common/order/reduce.wgsl"),
                (Include::RowFacts, Form::Subgroup) => {
                    concat!(
                        include_str!("../../shaders/common/tile/row_facts.wgsl"),
                        include_str!("../../shaders/common/tile/row_facts_subgroup.wgsl")
                    )
                }
                (Include::RowFacts, _) => {
                    concat!(
                        include_str!("../../shaders/common/tile/row_facts.wgsl"),
                        include_str!("../../shaders/common/tile/row_facts_portable.wgsl")
                    )
                }
                (Include::AttentionLogits, _) => include_str!("../../shaders/layers/attention/parts/logits.wgsl"),
                (Include::AttentionWalk, Form::Staged) => include_str!("../../shaders/layers/attention/parts/walk_staged.wgsl"),
                (Include::AttentionWalk, Form::Subgroup) => concat!(
                    include_str!("../../shaders/layers/attention/parts/walk_subgroup.wgsl"),
                    include_str!("../../shaders/layers/attention/parts/walk.wgsl"),
                ),
                (Include::AttentionWalk, _) => concat!(
                    include_str!("../../shaders/layers/attention/parts/walk_portable.wgsl"),
                    include_str!("../../shaders/layers/attention/parts/walk.wgsl"),
                ),
                (Include::LaneNumbers, form) if form.is_cooperative() => {
                    include_str!("../../shaders/common/tile/lane_numbers_cooperative.wgsl")
                }
                (Include::LaneNumbers, _) => include_str!("../../shaders/common/tile/lane_numbers.wgsl"),
                (Include::LaneSums, Form::Staged) => include_str!("../../shaders/common/lane_sums_staged.wgsl"),
                (Include::LaneSums, _) => include_str!("../../shaders/common/lane_sums.wgsl"),
                (Include::Softmax, _) => include_str!("../../shaders/common/softmax.wgsl"),
                (Include::Sort, _) => include_str!("../../shaders/common/order/sort.wgsl"),
                (Include::Strided, _) => include_str!("../../shaders/common/strided.wgsl"),
                (Include::Tile, Form::Portable) => {
                    concat!(
                        include_str!("../../shaders/common/tile/tile.wgsl"),
                        include_str!("../../shaders/common/tile/tile_portable.wgsl")
                    )
                }
                (Include::Tile, Form::Subgroup) => {
                    concat!(
                        include_str!("../../shaders/common/tile/tile.wgsl"),
                        include_str!("../../shaders/common/tile/tile_subgroup.wgsl")
                    )
                }
                (Include::Tile, Form::Staged) => {
                    concat!(
                        include_str!("../../shaders/common/tile/tile.wgsl"),
                        include_str!("../../shaders/common/tile/fours.wgsl"),
                        include_str!("../../shaders/common/tile/tile_staged.wgsl")
                    )
                }
                (Include::Tile, Form::Cooperative8) => concat!(
                    include_str!("../../shaders/common/tile/tile.wgsl"),
                    include_str!("../../shaders/common/tile/fours.wgsl"),
                    include_str!("../../shaders/common/tile/tile_cooperative.wgsl"),
                    include_str!("../../shaders/common/tile/tile_cooperative_8.wgsl"),
                ),
                (Include::Tile, Form::Cooperative16 | Form::Cooperative16Wide) => concat!(
                    include_str!("../../shaders/common/tile/tile.wgsl"),
                    include_str!("../../shaders/common/tile/fours.wgsl"),
                    include_str!("../../shaders/common/tile/tile_cooperative.wgsl"),
                    include_str!("../../shaders/common/tile/tile_cooperative_16.wgsl"),
                ),
                (Include::TopKDigits, _) => include_str!("../../shaders/select/top_k/parts/digits.wgsl"),
                (Include::TopKBins, _) => include_str!("../../shaders/select/top_k/parts/bins.wgsl"),
                (Include::Team, _) => include_str!("../../shaders/common/team/team.wgsl"),
                (Include::Alone, _) => include_str!("../../shaders/common/team/alone.wgsl"),
                (Include::TileLanes, Form::Subgroup) => include_str!("../../shaders/common/tile/tile_lanes_subgroup.wgsl"),
                (Include::TileLanes, Form::Staged | Form::Cooperative8 | Form::Cooperative16) => {
                    concat!(
                        include_str!("../../shaders/common/tile/tile_lanes_staged.wgsl"),
                        include_str!("../../shaders/common/tile/tile_lanes_of_sixteen.wgsl")
                    )
                }
                (Include::TileLanes, Form::Cooperative16Wide) => {
                    concat!(
                        include_str!("../../shaders/common/tile/tile_lanes_wide.wgsl"),
                        include_str!("../../shaders/common/tile/tile_lanes_of_sixteen.wgsl")
                    )
                }
                (Include::TileLanes, _) => include_str!("../../shaders/common/tile/tile_lanes.wgsl"),
                (Include::Wide, _) => include_str!("../../shaders/common/order/wide.wgsl"),
                (Include::Window, _) => include_str!("../../shaders/common/window.wgsl"),
            };
        }
        text += &self.shader.declarations(self.access);
        text += self.shader.source;
        text
    }

    /// The variant's name, as labels and tests show it: `top_k.select.f16.subgroup.read_write`.
    pub fn label(&self) -> String {
        let mut label = format!("{}.{}", self.shader.name, self.header.name());
        label += self.form.suffix();
        if self.access == Access::ReadWrite {
            label += ".read_write";
        }
        for (name, value) in self.constants {
            label += &format!(".{name}={value}");
        }
        label
    }
}

impl Shader {
    /// Every variant under which the crate may use this shader.
    pub fn variants(&'static self) -> Vec<Variant> {
        let mut all = Vec::new();
        for &header in self.headers {
            for form in [Form::Portable, Form::Subgroup, Form::Staged, Form::Cooperative8, Form::Cooperative16, Form::Cooperative16Wide] {
                for access in [Access::Read, Access::ReadWrite] {
                    for &constants in self.tunings {
                        if self.has_form(form, header) {
                            all.push(Variant { shader: self, header, form, access, constants });
                        }
                    }
                }
            }
        }
        all
    }
}
