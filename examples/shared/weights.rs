//! What the examples share: a model's weights, by their names in a file of safetensors.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use tokenpress::methods::Affine;
use tokenpress::readback::HostTensors;
use tokenpress::{Desc, Elem, Error, Graph, HostTensor, Shape, Tensor};

/// The folder that scripts/fetch-models fills.
pub(crate) fn cache() -> PathBuf {
    let folder = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache"))).unwrap_or_default();
    cache.join("tokenpress")
}

/// A file's bytes.
pub(crate) fn bytes(path: &Path, what: &str) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => format!("there {what} at {}: scripts/fetch-models gets them", path.display()),
        _ => format!("cannot read {}: {e}", path.display()),
    })
}

/// All tensors of a file in f32, and what else it says of its model.
pub(crate) fn read(path: &Path) -> Result<(HostTensors, HashMap<String, String>), String> {
    let bytes = bytes(path, "are no weights")?;
    let wrong = |e: safetensors::SafeTensorError| format!("{} is not a file of weights: {e}", path.display());
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(wrong)?;
    let file = SafeTensors::deserialize(&bytes).map_err(wrong)?;
    let read = |(name, view): (String, TensorView<'_>)| {
        let elem = match view.dtype() {
            Dtype::F32 => Elem::F32,
            Dtype::F16 => Elem::F16,
            Dtype::BF16 => Elem::BF16,
            other => return Err(format!("{name} in {} has elements of type {other:?}, not F32, F16 or BF16", path.display())),
        };
        let dims: Vec<u32> = view.shape().iter().map(|&d| d as u32).collect();
        let shape = Shape::try_from(&dims[..]).map_err(|e| format!("{name} in {}: {e}", path.display()))?;
        let tensor = HostTensor::from_bytes(Desc { shape, elem }, view.data()).map_err(|error| error.to_string())?;
        Ok((name, HostTensor::f32(shape, tensor.floats())))
    };
    let tensors = file.tensors().into_iter().map(read).collect::<Result<_, _>>()?;
    Ok((tensors, header.metadata().clone().unwrap_or_default()))
}

/// Writes tensors as safetensors.
pub(crate) fn save(path: &Path, tensors: &[(&str, &HostTensor)]) -> Result<(), String> {
    let wrong = |e: safetensors::SafeTensorError| format!("cannot write {}: {e}", path.display());
    let view = |(name, tensor): &(&'_ str, &'_ HostTensor)| {
        let dtype = match tensor.desc().elem {
            Elem::F32 => Dtype::F32,
            Elem::F16 => Dtype::F16,
            Elem::BF16 => Dtype::BF16,
            Elem::U32 => Dtype::U32,
        };
        let shape: Vec<usize> = tensor.shape().dims().iter().map(|d| *d as usize).collect();
        (name.to_string(), dtype, shape, tensor.bytes().to_vec())
    };
    let owned: Vec<_> = tensors.iter().map(view).collect();
    let views = owned.iter().map(|(name, dtype, shape, bytes)| Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes)?)));
    safetensors::serialize_to_file(views.collect::<Result<Vec<_>, _>>().map_err(wrong)?, None, path).map_err(wrong)
}

/// A weight as the graph's input of its name.
pub(crate) fn weight(weights: &HostTensors, graph: &mut Graph, name: &str) -> Result<Tensor, Error> {
    let weight = weights.get(name).ok_or_else(|| Error::MissingBinding { tensor: name.to_owned() })?;
    Ok(graph.input(name, weight.shape(), Elem::F32))
}

/// `NAME.weight`, and `NAME.bias` where there is one.
pub(crate) fn affine(weights: &HostTensors, graph: &mut Graph, name: &str) -> Result<Affine, Error> {
    let bias = format!("{name}.bias");
    let bias = if weights.contains_key(&bias) { Some(weight(weights, graph, &bias)?) } else { None };
    Ok(Affine { weight: weight(weights, graph, &format!("{name}.weight"))?, bias })
}
