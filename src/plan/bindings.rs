//! Which buffers a plan reads and writes.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use crate::device::{Gpu, Place, TensorView, Texels, TextureView};
use crate::error::Error;
use crate::graph::{Graph, Source};
use crate::tensor::TensorId;

/// Which buffers a plan reads and writes.
#[derive(Debug, Clone, Default)]
pub struct Bindings {
    pub(super) tensors: BTreeMap<String, TensorView>,
    pub(super) textures: BTreeMap<String, TextureView>,
    pub(super) workspace: Option<(wgpu::Buffer, u64, u64)>,
}

impl Bindings {
    /// Nothing bound.
    pub fn new() -> Self {
        Self::default()
    }

    /// Binds an input or output of the graph by its name.
    pub fn bind(mut self, name: &str, view: TensorView) -> Self {
        self.textures.remove(name);
        self.tensors.insert(name.to_owned(), view);
        self
    }

    /// Binds an input or output of the graph to a texture. [`TextureView`] says which shapes and formats go together.
    pub fn bind_texture(mut self, name: &str, view: TextureView) -> Self {
        self.tensors.remove(name);
        self.textures.insert(name.to_owned(), view);
        self
    }

    /// Puts intermediate tensors into the caller's memory. Without it the plan makes a buffer of its own.
    ///
    /// `size` is at least [`Graph::workspace_size`], or [`Graph::workspace_size_of`] if a bound tensor does not lie at a multiple of 16
    /// bytes. `offset` is a multiple of the device's storage alignment. Two plans may share a workspace if they are recorded one after
    /// the other.
    pub fn workspace(mut self, buffer: &wgpu::Buffer, offset: u64, size: u64) -> Self {
        self.workspace = Some((buffer.clone(), offset, size));
        self
    }
}

/// Binds views by their names.
///
/// ```
/// use tokenpress::{Bindings, Graph, TensorView, wgpu};
///
/// /// All inputs and outputs of a graph, one after the other in one buffer.
/// fn packed(graph: &Graph, buffer: &wgpu::Buffer) -> Bindings {
///     let mut offset = 0;
///     let views = graph.inputs().chain(graph.outputs()).map(|(name, desc)| {
///         let view = TensorView::new(buffer, offset, desc.shape, desc.elem);
///         offset += desc.bytes().next_multiple_of(16);
///         (name, view)
///     });
///     views.collect()
/// }
/// ```
impl<N: Into<String>> FromIterator<(N, TensorView)> for Bindings {
    fn from_iter<I: IntoIterator<Item = (N, TensorView)>>(views: I) -> Self {
        Self { tensors: views.into_iter().map(|(name, view)| (name.into(), view)).collect(), ..Self::default() }
    }
}

/// The caller's views of a graph's inputs and outputs.
#[derive(Default)]
pub(super) struct Externals<'a> {
    pub(super) views: HashMap<TensorId, &'a TensorView>,
    pub(super) textures: HashMap<TensorId, BoundTexture<'a>>,
    pub(super) names: HashMap<TensorId, String>,
}

/// The caller's texture that holds an input or output.
pub(super) struct BoundTexture<'a> {
    view: &'a TextureView,
    texels: Texels,
    is_output: bool,
}

impl BoundTexture<'_> {
    /// A view of wgpu's, as a plan reads or writes it.
    pub(super) fn create(&self) -> wgpu::TextureView {
        self.view.create(self.is_output)
    }
}

impl<'a> Externals<'a> {
    pub(super) fn resolve(graph: &Graph, bindings: &'a Bindings) -> Result<Self, Error> {
        graph.check_names(bindings.tensors.keys().chain(bindings.textures.keys()))?;
        let mut externals = Self::default();
        let inputs = graph.sources().iter().enumerate().filter_map(|(index, source)| match source {
            Source::Input(name) => Some((name, TensorId(index as u32), graph.descs()[index])),
            _ => None,
        });
        let outputs = graph.output_tensors().iter().map(|(name, tensor)| (name, tensor.id(), tensor.desc()));
        let both = inputs.map(|input| (input, false)).chain(outputs.map(|output| (output, true)));
        for ((name, id, desc), is_output) in both {
            externals.names.insert(id, name.clone());
            if let Some(view) = bindings.textures.get(name) {
                let texels = view.validate(name, desc, is_output)?;
                externals.textures.insert(id, BoundTexture { view, texels, is_output });
                continue;
            }
            let view = bindings.tensors.get(name).ok_or_else(|| Error::MissingBinding { tensor: name.clone() })?;
            view.validate(name, desc, is_output)?;
            externals.views.insert(id, view);
        }
        let written: Vec<_> = graph.output_tensors().iter().map(|(_, tensor)| tensor.id()).collect();
        for (index, output) in written.iter().enumerate() {
            let others = externals.names.keys().filter(|id| !written[..=index].contains(id));
            for other in others {
                externals.disjoint(*output, *other)?;
            }
        }
        Ok(externals)
    }

    pub(super) fn disjoint(&self, first: TensorId, second: TensorId) -> Result<(), Error> {
        if let (Some(a), Some(b)) = (self.textures.get(&first), self.textures.get(&second)) {
            if a.view.overlaps(b.view) {
                let expected = "texels of its own, since they are written".to_owned();
                return Err(Error::Texture { tensor: self.name(first), expected, actual: format!("those of {:?}", self.name(second)) });
            }
        }
        let (Some(a), Some(b)) = (self.views.get(&first), self.views.get(&second)) else { return Ok(()) };
        if a.buffer() == b.buffer() && overlaps(&a.range(), &b.range()) {
            let (first, second) = (self.name(first), self.name(second));
            return Err(Error::Overlap { first, first_range: a.range(), second, second_range: b.range() });
        }
        Ok(())
    }

    /// Where each bound tensor lies, its address modulo the storage alignment.
    pub(super) fn residues(&self, gpu: &Gpu) -> HashMap<TensorId, Place> {
        let alignment = u64::from(gpu.capabilities().storage_alignment);
        let residue = |id: &TensorId| {
            let place = self.place(*id);
            (*id, Place { address: place.address % alignment, ..place })
        };
        self.names.keys().map(residue).collect()
    }

    /// Where a tensor lies: dense and at 0 of a buffer if the plan places it.
    pub(super) fn place(&self, id: TensorId) -> Place {
        let texels = self.textures.get(&id).map(|texture| texture.texels);
        self.views.get(&id).map_or_else(|| Place { texels, ..Place::default() }, |view| view.place())
    }

    pub(super) fn name(&self, id: TensorId) -> String {
        self.names.get(&id).cloned().unwrap_or_default()
    }
}

pub(super) fn overlaps(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Elem;

    #[test]
    fn views_are_collected_by_name() {
        let (device, _) = wgpu::Device::noop(&Default::default());
        let usage = wgpu::BufferUsages::STORAGE;
        let buffer = device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 64, usage, mapped_at_creation: false });
        let view = |offset| TensorView::new(&buffer, offset, [2], Elem::F32);
        let bindings: Bindings = [("x", view(0)), ("y", view(16)), ("x", view(32))].into_iter().collect();
        let offsets: Vec<_> = bindings.tensors.iter().map(|(name, view)| (name.as_str(), view.offset())).collect();
        // As with `bind`, the last view of a name counts.
        assert_eq!(offsets, [("x", 32), ("y", 16)]);
    }
}
