//! Golden cases: published systems' own outputs in safetensors files, run on the reference and on adapters.
//!
//! A case is found by the `system` and `case` in its metadata; its inputs are the tensors `in.*`, its parameters the
//! other metadata, or the tensors' sizes where a key is absent. Every tensor `out.*` is compared.

mod abstractor;
mod attention;
mod blocks;
mod cache;
mod diversity;
mod image_tokens;
mod layout;
mod llama_vid;
mod pooling;
mod projector;
mod runs;
mod tome;
mod transformer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use tokenpress::compare::Comparison;
use tokenpress::readback::{Context, HostTensors};
use tokenpress::{Graph, HostTensor, Shape, Tensor};

/// Why a case could not be run.
pub type Failure = Box<dyn std::error::Error>;

/// One file.
pub struct Golden {
    /// The file's stem.
    pub name: String,
    pub system: String,
    pub case: String,
    pub bytes: Vec<u8>,
    metadata: BTreeMap<String, serde_json::Value>,
    tolerance: Tolerance,
}

/// How near an output must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tolerance {
    /// Bit-equal.
    Exact,
    /// `|a - b| <= absolute + relative |b|` for floats; integers exact.
    Near { relative: f64, absolute: f64 },
}

impl Tolerance {
    /// From the sentence in a file's metadata.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let after = |key: &str| -> Result<Option<f64>, Failure> {
            let Some(rest) = text.split(key).nth(1) else { return Ok(None) };
            let number = rest.split([' ', ';', ',']).find(|s| !s.is_empty()).ok_or("no number behind rtol or atol")?;
            Ok(Some(number.parse()?))
        };
        match (after("rtol")?, after("atol")?) {
            (None, None) if text.contains("<=") => {
                // floats |a-b| <= absolute + relative |b|
                let bound = text.split("<=").nth(1).unwrap_or_default();
                let mut numbers = bound.split(['+', '|', ';']).map(|number| number.trim().parse::<f64>());
                match (numbers.next(), numbers.next()) {
                    (Some(absolute), Some(relative)) => Ok(Self::Near { relative: relative?, absolute: absolute? }),
                    _ => Err(format!("what does the tolerance {text:?} mean?").into()),
                }
            }
            (None, None) if text.contains("exact") || text.contains("bitwise") => Ok(Self::Exact),
            (None, None) if text.is_empty() => Ok(Self::Near { relative: 1e-4, absolute: 1e-5 }),
            (None, None) => Err(format!("what does the tolerance {text:?} mean?").into()),
            (relative, absolute) => Ok(Self::Near { relative: relative.unwrap_or(0.0), absolute: absolute.unwrap_or(0.0) }),
        }
    }

    /// Judges one output. Dimensions of 1 do not count.
    pub fn compare(self, expected: &HostTensor, actual: &HostTensor) -> Result<Comparison, Failure> {
        let squeezed = |shape: Shape| shape.dims().iter().copied().filter(|d| *d != 1).collect::<Vec<_>>();
        if squeezed(expected.shape()) != squeezed(actual.shape()) || expected.desc().elem != actual.desc().elem {
            return Err(format!("expected {}, got {}", expected.desc(), actual.desc()).into());
        }
        let actual = actual.clone().reshaped(expected.shape());
        match self {
            Self::Near { relative, absolute } if expected.desc().elem.is_float() => {
                let bounds: Vec<f64> = expected.floats().iter().map(|e| absolute + relative * f64::from(e.abs())).collect();
                Ok(Comparison::within(expected, &actual, &bounds))
            }
            _ => Ok(Comparison::exact(expected, &actual)),
        }
    }
}

/// A shape; dimensions beyond the crate's rank are joined with the last that it has.
pub fn shape(dims: &[usize]) -> Result<Shape, Failure> {
    let d = |i: usize| u32::try_from(dims[i]);
    Ok(match dims.len() {
        0 => [1].into(),
        1 => [d(0)?].into(),
        2 => [d(0)?, d(1)?].into(),
        3 => [d(0)?, d(1)?, d(2)?].into(),
        4 => [d(0)?, d(1)?, d(2)?, d(3)?].into(),
        5 => [d(0)?, d(1)?, d(2)?, d(3)?, d(4)?].into(),
        _ => [d(0)?, d(1)?, d(2)?, d(3)?, u32::try_from(dims[4..].iter().product::<usize>())?].into(),
    })
}

impl Golden {
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Self::parse(name, std::fs::read(path)?)
    }

    /// A file's contents.
    pub fn parse(name: String, bytes: Vec<u8>) -> Result<Self, Failure> {
        let (_, header) = SafeTensors::read_metadata(&bytes)?;
        let texts = header.metadata().clone().unwrap_or_default();
        let parse = |text: String| serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text));
        let text = |key: &str| texts.get(key).cloned().unwrap_or_default();
        let (system, case, tolerance) = (text("system"), text("case"), text("tolerance"));
        let tolerance = Tolerance::parse(&tolerance)?;
        let metadata = texts.into_iter().map(|(key, text)| (key, parse(text))).collect();
        Ok(Self { name, system, case, metadata, tolerance, bytes })
    }

    /// Every tensor whose name starts with a prefix, by the rest of its name. Signed integers keep their bits.
    fn tensors(&self, prefix: &str) -> Result<HostTensors, Failure> {
        let file = SafeTensors::deserialize(&self.bytes)?;
        let mut tensors = HostTensors::new();
        for (name, view) in file.iter().filter_map(|(name, view)| Some((name.strip_prefix(prefix)?, view))) {
            let shape = shape(view.shape())?;
            let words = view.data().chunks_exact(4).map(|c| [c[0], c[1], c[2], c[3]]);
            let tensor = match view.dtype() {
                Dtype::F32 => HostTensor::f32(shape, words.map(f32::from_le_bytes).collect()),
                Dtype::I32 | Dtype::U32 => HostTensor::u32(shape, words.map(u32::from_le_bytes).collect()),
                Dtype::U8 | Dtype::BOOL => HostTensor::u32(shape, view.data().iter().map(|&b| u32::from(b)).collect()),
                other => return Err(format!("{name} is of type {other:?}").into()),
            };
            tensors.insert(name.to_owned(), tensor);
        }
        Ok(tensors)
    }

    /// An input.
    pub fn input(&self, name: &str) -> Result<HostTensor, Failure> {
        self.optional_input(name)?.ok_or_else(|| format!("no tensor in.{name}").into())
    }

    pub fn optional_input(&self, name: &str) -> Result<Option<HostTensor>, Failure> {
        Ok(self.tensors(&format!("in.{name}"))?.remove(""))
    }

    fn value(&self, key: &str) -> Option<&serde_json::Value> {
        self.metadata.get(key)
    }

    pub fn number(&self, key: &str) -> Option<f64> {
        self.value(key)?.as_f64()
    }

    /// A parameter that the tensors do not tell.
    pub fn count(&self, key: &str) -> Result<u32, Failure> {
        let value = self.value(key).ok_or_else(|| format!("no parameter {key}"))?;
        value.as_u64().and_then(|v| u32::try_from(v).ok()).ok_or_else(|| format!("the parameter {key} is {value}").into())
    }

    /// A flag, false where it is absent.
    pub fn flag(&self, key: &str) -> bool {
        matches!(self.value(key), Some(serde_json::Value::Bool(true)) | Some(serde_json::Value::Number(_))) && self.number(key) != Some(0.0)
    }

    pub fn numbers(&self, key: &str) -> Option<Vec<f64>> {
        self.value(key)?.as_array()?.iter().map(serde_json::Value::as_f64).collect()
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.value(key)?.as_str()
    }

    /// Whether some case of this kind can be run.
    pub fn is_known(&self) -> bool {
        handler(&self.system, &self.case).is_some()
    }

    /// Runs the case on one side: every output with its judgement.
    pub fn run(&self, side: Side<'_>) -> Result<BTreeMap<String, Comparison>, Failure> {
        let handler = handler(&self.system, &self.case).ok_or_else(|| format!("no method for {} {}", self.system, self.case))?;
        let actual = handler(self, side)?;
        let expected = self.tensors("out.")?;
        if expected.is_empty() {
            return Err("the file has no outputs".into());
        }
        let mut judged = BTreeMap::new();
        for (name, expected) in expected {
            let actual = actual.get(&name).ok_or_else(|| format!("{name} was not computed"))?;
            let comparison = self.tolerance.compare(&expected, actual).map_err(|e| format!("{name}: {e}"))?;
            judged.insert(name, comparison);
        }
        Ok(judged)
    }

    /// As [`Golden::run`], an error where an output is wrong.
    pub fn check(&self, side: Side<'_>) -> Result<(), String> {
        let judged = self.run(side).map_err(|e| e.to_string())?;
        let wrong: Vec<_> = judged.iter().filter(|(_, c)| !c.passed()).map(|(name, c)| format!("{name}: {c:?}")).collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }
}

/// Every golden file of a folder, by name.
pub fn folder(path: &Path) -> Result<Vec<Golden>, Failure> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?;
    paths.retain(|p| p.extension().is_some_and(|e| e == "safetensors"));
    paths.sort();
    paths.iter().map(|p| Golden::read(p).map_err(|e| format!("{}: {e}", p.display()).into())).collect()
}

/// Where a case runs.
#[derive(Clone, Copy)]
pub enum Side<'a> {
    Reference,
    Gpu(&'a Context),
    /// Somewhere else.
    Other(&'a dyn Fn(&Graph, &HostTensors) -> Result<HostTensors, Failure>),
}

impl Side<'_> {
    pub fn run(self, graph: &Graph, inputs: &HostTensors) -> Result<HostTensors, Failure> {
        match self {
            Self::Reference => Ok(graph.run_reference(inputs)?),
            Self::Gpu(context) => Ok(pollster::block_on(context.run(graph, inputs))?),
            Self::Other(run) => run(graph, inputs),
        }
    }
}

/// A graph with the tensors that it is fed.
#[derive(Default)]
struct Feed {
    graph: Graph,
    inputs: HostTensors,
}

impl Feed {
    fn input(&mut self, name: &str, value: HostTensor) -> Tensor {
        let tensor = self.graph.input(name, value.shape(), value.desc().elem);
        self.inputs.insert(name.to_owned(), value);
        tensor
    }

    fn output(&mut self, name: &str, tensor: Tensor) -> Result<(), Failure> {
        Ok(self.graph.output(name, tensor)?)
    }

    fn run(self, side: Side<'_>) -> Result<HostTensors, Failure> {
        side.run(&self.graph, &self.inputs)
    }
}

type Handler = fn(&Golden, Side<'_>) -> Result<HostTensors, Failure>;

/// How each kind of case is run.
fn handler(system: &str, case: &str) -> Option<Handler> {
    Some(match (system, case) {
        ("internvl", "pixel_shuffle") => layout::internvl,
        ("nvlm", "pixel_shuffle") => layout::nvlm,
        ("nvlm", "pixel_shuffle_dynamic_res") => layout::nvlm_dynamic,
        ("nvlm", "tile_tags") => layout::nvlm_tags,
        ("pixel_unshuffle", "c_dy_dx") => layout::channel_first,
        ("gemma3", "avg_pool_projector") => projector::gemma3,
        ("mistral3", "patch_merger") => projector::mistral3,
        ("llava_video", "get_2dPool") => pooling::llava_video,
        ("honeybee", "adaptive_avg_pool2d") => pooling::adaptive_average,
        ("attention_importance", "column_reduce") => attention::column_reduce,
        ("attention_importance", "row_set_importance") => attention::row_set,
        ("honeybee", "layernorm2d") => abstractor::layer_norm,
        ("honeybee", "regnet_bottleneck") => abstractor::bottleneck,
        ("honeybee", "c_abstractor") => abstractor::c_abstractor,
        ("honeybee", "d_abstractor") => abstractor::d_abstractor,
        ("conv", "depthwise_3x3") => abstractor::depthwise,
        ("deformable_attention", "multi_scale_deformable_attention") => abstractor::deformable,
        ("tome", "bipartite_soft_matching") => tome::bipartite,
        ("tome", "kth_bipartite_soft_matching") => tome::kth,
        ("tome", "three_layers_wavg_source") => tome::chain,
        ("tome", "parse_r") => tome::parse_r,
        ("tomesd", "bipartite_soft_matching_random2d") => tome::random2d,
        ("atome", "disjoint_pairs_ratio") => runs::disjoint,
        ("atome", "overlapping_atome") => runs::fastadasp,
        ("atome", "threshold_overlap" | "threshold_pairs") => runs::threshold,
        ("fastadasp", "overlapping_merge_ave" | "overlapping_merge_weighted") => runs::fastadasp,
        ("fastadasp", "runs_mean_ragged") => runs::runs,
        ("samp", "merge_then_dpp") => runs::samp,
        ("divprune", "max_min_selection") => diversity::divprune,
        ("cdpruner", "conditional_dpp") => diversity::cdpruner,
        ("btp", "attn_prune") => diversity::btp_attention,
        ("btp", "div_prune") => diversity::btp_diversity,
        ("btp", "get_div_initial_indices") => diversity::btp_spatial,
        ("btp", "stage1_selection" | "stage2_selection") => diversity::btp_stage,
        ("vispruner", "important_plus_diverse") => diversity::vispruner,
        ("tome", "patched_vit") => tome::vit,
        ("cross_attention", "multihead") => transformer::cross_attention,
        ("qformer", "bert_model_queries" | "bert_model_queries_text") => transformer::qformer,
        ("llamavid", "token_generation") => llama_vid::tokens,
        ("evit", "block") => blocks::evit,
        ("idlevit", "block_inference") => blocks::idlevit,
        ("fastv", "last_row_topk") => blocks::fastv,
        ("prumerge", "token_prune_merge_advanced") => image_tokens::prumerge,
        ("prumerge_plus", "token_prune_merge_advanced_plus") => image_tokens::prumerge,
        ("visionzip", "dominant_contextual") => image_tokens::visionzip,
        ("pyramiddrop", "rank_drop") => image_tokens::pyramiddrop,
        ("sparsevlm", "raters_and_score") => image_tokens::sparsevlm,
        ("sparsevlm", "cluster_and_merge_dpc_knn") => image_tokens::clusters,
        ("mustdrop", "conditional_pooling") => image_tokens::windows,
        ("mustdrop", "dual_attention_filter_stages") => image_tokens::dual_attention,
        ("pumer", _) => image_tokens::pumer,
        ("knorm", "kvpress") => cache::knorm,
        ("keydiff", "kvpress") => cache::keydiff,
        ("streaming_llm", "kvpress") => cache::streaming,
        ("snapkv", "author" | "kvpress") => cache::snapkv,
        ("h2o", "author_prefill") | ("observed_attention", "kvpress") => cache::observed,
        ("tova", "kvpress") => cache::last_query,
        ("ada_kv", "kvpress_given" | "kvpress_knorm") => cache::ada,
        ("chunk_kv", "kvpress_knorm") => cache::chunks,
        ("lagkv", "kvpress_scores") => cache::lagkv,
        ("expected_attention", "kvpress") => cache::expected,
        ("rotate", "kvpress_rerotation") => cache::rerotation,
        ("pyramid_kv", "kvpress_budgets") => cache::pyramid,
        _ => return None,
    })
}
