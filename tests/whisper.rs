//! The model of `examples/whisper`, with tiny weights drawn here, and the example's refusals.
#![allow(missing_docs, reason = "a test")]

#[path = "../examples/whisper/adaptive.rs"]
mod adaptive;
#[path = "../examples/whisper/audio.rs"]
mod audio;
#[path = "../examples/shared/budgets.rs"]
#[allow(dead_code, reason = "what is printed is the example's")]
mod budgets;
#[path = "../examples/shared/chains.rs"]
#[allow(dead_code, reason = "the help is the example's")]
mod chains;
#[path = "../examples/shared/chart.rs"]
#[allow(dead_code, reason = "pictures are the example's")]
mod chart;
#[path = "../examples/shared/device.rs"]
#[allow(dead_code, reason = "adapters are the example's")]
mod device;
#[path = "support/example.rs"]
mod example;
#[path = "../examples/whisper/methods.rs"]
mod methods;
#[path = "../examples/whisper/model.rs"]
#[allow(dead_code, reason = "files are the example's")]
mod model;
#[path = "../examples/shared/runner.rs"]
#[allow(dead_code, reason = "times are the example's")]
mod runner;
#[path = "../examples/shared/stages.rs"]
#[allow(dead_code, reason = "times are the example's")]
mod stages;
#[path = "../examples/whisper/transcriber.rs"]
#[allow(dead_code, reason = "times are the example's")]
mod transcriber;
#[path = "../examples/whisper/vocabulary.rs"]
#[allow(dead_code, reason = "files are the example's")]
mod vocabulary;
#[path = "../examples/shared/weights.rs"]
#[allow(dead_code, reason = "files are the example's")]
mod weights;
#[path = "../examples/whisper/words.rs"]
mod words;

use methods::chain;
use model::Model;
use runner::Place;
use tokenpress::random::random_u32;
use tokenpress::readback::{Context, HostTensors};
use tokenpress::{HostTensor, wgpu};
use transcriber::{Heard, Transcriber};
use vocabulary::Vocabulary;

const CHANNELS: u32 = 8;
const HEADS: u32 = 2;
const BINS: u32 = 6;
const AUDIO: u32 = 20;
const TEXT: u32 = 12;
const LAYERS: [usize; 2] = [3, 2];

/// Numbers between -1/2 and 1/2.
fn noise(seed: u32, count: u32) -> Vec<f32> {
    (0..count).map(|i| random_u32(seed, i.into()) as f32 / u32::MAX as f32 - 0.5).collect()
}

fn vocabulary() -> Vocabulary {
    let pieces = [" ", "a", "b", "c", "ab", " c", "(", "-", " -", "abc"].map(|piece| piece.as_bytes().to_vec());
    Vocabulary::new(pieces.to_vec(), 10 + 8 + 1501).expect("room")
}

/// A model as its file would have it.
fn weights() -> HostTensors {
    let mut shapes: Vec<(String, Vec<u32>)> = vec![
        ("encoder.positional_embedding".into(), vec![AUDIO, CHANNELS]),
        ("decoder.positional_embedding".into(), vec![TEXT, CHANNELS]),
        ("decoder.token_embedding.weight".into(), vec![vocabulary().size, CHANNELS]),
    ];
    let mut layer = |name: String, shape: Vec<u32>, biased: bool| {
        if biased {
            shapes.push((format!("{name}.bias"), vec![shape[0]]));
        }
        shapes.push((format!("{name}.weight"), shape));
    };
    layer("encoder.conv1".into(), vec![CHANNELS, BINS, 3], true);
    layer("encoder.conv2".into(), vec![CHANNELS, CHANNELS, 3], true);
    layer("encoder.ln_post".into(), vec![CHANNELS], true);
    layer("decoder.ln".into(), vec![CHANNELS], true);
    for (part, count) in ["encoder", "decoder"].into_iter().zip(LAYERS) {
        for block in (0..count).map(|index| format!("{part}.blocks.{index}")) {
            for attention in ["attn", "cross_attn"].into_iter().filter(|name| *name == "attn" || part == "decoder") {
                layer(format!("{block}.{attention}_ln"), vec![CHANNELS], true);
                for projection in ["query", "key", "value", "out"] {
                    layer(format!("{block}.{attention}.{projection}"), vec![CHANNELS; 2], projection != "key");
                }
            }
            layer(format!("{block}.mlp_ln"), vec![CHANNELS], true);
            layer(format!("{block}.mlp.0"), vec![4 * CHANNELS, CHANNELS], true);
            layer(format!("{block}.mlp.2"), vec![CHANNELS, 4 * CHANNELS], true);
        }
    }
    let tensor = |(seed, (name, shape)): (usize, (String, Vec<u32>))| {
        let shape = tokenpress::Shape::try_from(&shape[..]).expect("few dimensions");
        (name, HostTensor::f32(shape, noise(seed as u32, shape.elements() as u32).iter().map(|v| 2.0 * v).collect()))
    };
    shapes.into_iter().enumerate().map(tensor).collect()
}

fn model() -> Model {
    Model::new(weights(), [HEADS; 2]).expect("whole")
}

fn mel(seed: u32) -> HostTensor {
    HostTensor::f32([1, 2 * AUDIO, BINS], noise(seed, 2 * AUDIO * BINS).iter().map(|v| 3.0 * v).collect())
}

/// The encoder's outputs on the reference with this compression.
fn encode(compress: &str) -> HostTensors {
    let model = model();
    let steps = if compress.is_empty() { Vec::new() } else { chain(compress, model.layers).expect("a chain") };
    let inputs = [("mel".to_owned(), mel(99))];
    runner::reference(&model.encoder(&steps).expect("a graph").graph, model.weights(), inputs).expect("a run")
}

fn transcribe(place: &Place, model: &Model, compress: &str, windows: &[HostTensor], batch: usize) -> Heard {
    let steps = if compress.is_empty() { Vec::new() } else { chain(compress, model.layers).expect("a chain") };
    Transcriber::new(place, model, &vocabulary(), &steps, batch).and_then(|t| t.transcribe(windows, &|| ())).expect("a run")
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The published model in plain loops, over rows of numbers, without a cache.
struct Plain(HostTensors);

type Rows = Vec<Vec<f64>>;

impl Plain {
    fn read(&self, name: &str) -> Vec<f64> {
        self.0.get(name).map_or_else(Vec::new, |tensor| tensor.floats().iter().map(|v| f64::from(*v)).collect())
    }

    fn table(&self, name: &str) -> Rows {
        self.read(name).chunks(CHANNELS as usize).map(<[f64]>::to_vec).collect()
    }

    fn linear(&self, name: &str, x: &Rows) -> Rows {
        let (weight, bias) = (self.read(&format!("{name}.weight")), self.read(&format!("{name}.bias")));
        let dot = |row: &[f64], weight: &[f64]| row.iter().zip(weight).map(|(a, b)| a * b).sum::<f64>();
        let apply = |row: &Vec<f64>| {
            let outputs = weight.chunks(row.len()).enumerate();
            outputs.map(|(o, weight)| dot(row, weight) + bias.get(o).copied().unwrap_or(0.0)).collect()
        };
        x.iter().map(apply).collect()
    }

    fn norm(&self, name: &str, x: &Rows) -> Rows {
        let (weight, bias) = (self.read(&format!("{name}.weight")), self.read(&format!("{name}.bias")));
        let apply = |row: &Vec<f64>| {
            let mean = row.iter().sum::<f64>() / row.len() as f64;
            let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / row.len() as f64;
            row.iter().zip(weight.iter().zip(&bias)).map(|(v, (w, b))| (v - mean) / (variance + 1e-5).sqrt() * w + b).collect()
        };
        x.iter().map(apply).collect()
    }

    fn attention(&self, name: &str, x: &Rows, source: &Rows, causal: bool) -> Rows {
        let [queries, keys, values] =
            [("query", x), ("key", source), ("value", source)].map(|(part, rows)| self.linear(&format!("{name}.{part}"), rows));
        let channels = (CHANNELS / HEADS) as usize;
        let row = |i: usize| {
            let head = |c: usize| {
                let part = c / channels * channels..(c / channels + 1) * channels;
                let seen = if causal { i + 1 } else { keys.len() };
                let dot = |key: &Vec<f64>| part.clone().map(|c| queries[i][c] * key[c]).sum::<f64>();
                let shares: Vec<f64> = keys[..seen].iter().map(|key| (dot(key) / (channels as f64).sqrt()).exp()).collect();
                shares.iter().zip(&values).map(|(share, value)| share * value[c]).sum::<f64>() / shares.iter().sum::<f64>()
            };
            (0..CHANNELS as usize).map(head).collect()
        };
        self.linear(&format!("{name}.out"), &(0..x.len()).map(row).collect())
    }

    fn blocks(&self, part: &str, count: usize, mut x: Rows, heard: Option<&Rows>) -> Rows {
        let sum = |a: Rows, b: Rows| a.iter().zip(&b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a + b).collect()).collect::<Rows>();
        for block in (0..count).map(|index| format!("{part}.blocks.{index}")) {
            let normal = self.norm(&format!("{block}.attn_ln"), &x);
            x = sum(x, self.attention(&format!("{block}.attn"), &normal, &normal, heard.is_some()));
            if let Some(heard) = heard {
                let normal = self.norm(&format!("{block}.cross_attn_ln"), &x);
                x = sum(x, self.attention(&format!("{block}.cross_attn"), &normal, heard, false));
            }
            let wide = self.linear(&format!("{block}.mlp.0"), &self.norm(&format!("{block}.mlp_ln"), &x));
            x = sum(x, self.linear(&format!("{block}.mlp.2"), &gelu(wide)));
        }
        x
    }

    fn encode(&self, mel: &HostTensor) -> Rows {
        let mut x: Rows = mel.floats().chunks(BINS as usize).map(|row| row.iter().map(|v| f64::from(*v)).collect()).collect();
        for (name, stride) in [("encoder.conv1", 1), ("encoder.conv2", 2)] {
            let channels = x[0].len();
            let at = |frame: usize, c: usize, tap: usize| (frame + tap).checked_sub(1).and_then(|i| x.get(i)).map_or(0.0, |row| row[c]);
            let window = |frame: usize| (0..channels).flat_map(|c| [0, 1, 2].map(|tap| at(frame, c, tap))).collect();
            x = gelu(self.linear(name, &(0..x.len()).step_by(stride).map(window).collect()));
        }
        let positions = self.table("encoder.positional_embedding");
        for (row, position) in x.iter_mut().zip(&positions) {
            row.iter_mut().zip(position).for_each(|(v, p)| *v += p);
        }
        self.norm("encoder.ln_post", &self.blocks("encoder", LAYERS[0], x, None))
    }

    /// Of what follows these tokens.
    fn logits(&self, tokens: &[u32], heard: &Rows) -> Vec<f32> {
        let (embedding, positions) = (self.table("decoder.token_embedding.weight"), self.table("decoder.positional_embedding"));
        let embed = |(token, position): (&u32, &Vec<f64>)| embedding[*token as usize].iter().zip(position).map(|(a, b)| a + b).collect();
        let x =
            self.norm("decoder.ln", &self.blocks("decoder", LAYERS[1], tokens.iter().zip(&positions).map(embed).collect(), Some(heard)));
        let last = x.last().expect("a prompt");
        embedding.iter().map(|row| row.iter().zip(last).map(|(a, b)| a * b).sum::<f64>() as f32).collect()
    }
}

fn gelu(x: Rows) -> Rows {
    // erf by its series, which these small numbers need few terms of.
    let erf = |z: f64| {
        let term = |(sum, term): (f64, f64), n: u32| (sum + term / f64::from(2 * n + 1), -term * z * z / f64::from(n + 1));
        (0..120).fold((0.0, z), term).0 * 2.0 / std::f64::consts::PI.sqrt()
    };
    let apply = |v: f64| 0.5 * v * (1.0 + erf((v / 2f64.sqrt()).clamp(-4.0, 4.0)));
    x.into_iter().map(|row| row.into_iter().map(apply).collect()).collect()
}

#[test]
fn the_model_is_whisper() {
    let plain = Plain(weights());
    let heard = plain.encode(&mel(99));
    let features: Vec<f32> = heard.iter().flatten().map(|v| *v as f32).collect();
    assert!(largest_difference(&encode("")["features"].floats(), &features) < 1e-5);
    let said = transcribe(&Place::Reference, &model(), "", &[mel(99)], 1);
    let prompt = vocabulary().prompt();
    assert!(largest_difference(&said.logits, &plain.logits(&prompt, &heard)) < 1e-5);
    // Each token is the best of those allowed, of what follows all before it: the cache forgets nothing.
    let suppressed = vocabulary().suppressed();
    assert!(!said.tokens[0].is_empty() && said.tokens[0].len() <= TEXT as usize / 2);
    for (i, token) in said.tokens[0].iter().enumerate() {
        let logits = plain.logits(&[&prompt[..], &said.tokens[0][..i]].concat(), &heard);
        let allowed = logits.iter().zip(0..).filter(|(_, token)| !suppressed[i.min(1)].contains(token));
        let best = allowed.max_by(|a, b| a.0.total_cmp(b.0)).map(|(_, token)| token);
        assert_eq!(Some(*token), best, "token {i} of {:?}", said.tokens[0]);
    }
}

#[test]
fn compression_of_nothing_changes_nothing() {
    let (whole, same) = (encode(""), encode("atome:threshold=1.5"));
    assert_eq!(same["features"], whole["features"]);
    assert_eq!(same["audio.lengths"].integers(), [AUDIO]);
    assert_eq!(encode("pool:k=1")["features"], whole["features"]);
}

#[test]
fn tokens_behind_every_method() {
    let left = |compress: &str| {
        let outputs = encode(compress);
        assert!(outputs["cross.1.values"].floats().iter().all(|v| v.is_finite()));
        let length = outputs["audio.lengths"].integers()[0];
        // Every token is one of those that are left.
        let sizes: f32 = outputs["audio.bias"].floats()[..length as usize].iter().map(|bias| bias.exp()).sum();
        assert!((sizes - AUDIO as f32).abs() < 1e-3, "{compress}: {sizes}");
        (0..3).filter_map(|layer| outputs.get(&format!("lengths.{layer}"))).map(|t| t.integers()[0]).collect::<Vec<_>>()
    };
    assert_eq!(left("atome:ratio=0.25"), [15, 12, 9]);
    assert_eq!(left("atome:ratio=0.5,layer=2"), [10]);
    assert_eq!(left("atome:threshold=0,layer=1/3").len(), 2);
    assert_eq!(left("pool:k=3"), [7]);
    assert_eq!(left("pool:k=2,layer=1/2+atome:layer=2,ratio=0.2"), [10, 4]);
}

#[test]
fn a_device_hears_the_same() {
    let Some(adapter) = pollster::block_on(Context::adapters(wgpu::Backends::all())).into_iter().next() else { return };
    let model = model();
    let device = Place::new(Some(pollster::block_on(Context::new(&adapter)).expect("a device")), model.weights());
    let windows: Vec<_> = (0..3).map(mel).collect();
    for compress in ["", "atome:ratio=0.3"] {
        // Two windows at once, and then the third beside the first batch's second.
        let heard = transcribe(&device, &model, compress, &windows, 2);
        let expected = transcribe(&Place::Reference, &model, compress, &windows, 1);
        assert!(largest_difference(&heard.logits, &expected.logits) < 1e-4);
        let end = vocabulary().end();
        let texts = |heard: &Heard| {
            let until_end = |tokens: &Vec<u32>| tokens.iter().copied().take_while(|token| *token != end).collect::<Vec<_>>();
            heard.tokens.iter().map(until_end).collect::<Vec<_>>()
        };
        assert_eq!(texts(&heard), texts(&expected));
        assert_eq!(heard.lengths, expected.lengths);
    }
}

#[test]
fn a_searched_schedule_is_within_its_budget() {
    let (model, windows) = (model(), [mel(1), mel(2)]);
    let space = adaptive::space(&model);
    let new = |steps: &[methods::Step]| Transcriber::new(&Place::Reference, &model, &vocabulary(), steps, 1);
    let chains: Vec<_> = space.alone().iter().map(|name| chain(name, model.layers).expect("a chain")).collect();
    let losses = space.table(&adaptive::losses(&new, &chains, &windows, &|| ()).expect("a run"));
    assert!(losses.iter().all(|losses| losses.len() == space.shares.len() && losses[0] == 0.0 && losses[4] > 0.0), "{losses:?}");
    let plans = adaptive::plans(&space, &losses, &[0.7]).expect("a budget that can be met");
    assert_eq!(plans.iter().map(|plan| plan.name.as_str()).collect::<Vec<_>>(), ["constant:0.7", "searched:0.7"]);
    for plan in plans {
        assert!(plan.cost > 0.4 && plan.cost <= 0.7, "{}: {}", plan.name, plan.cost);
        assert_eq!(encode(&plan.compression)["audio.lengths"].integers(), &plan.lengths[2..], "{}", plan.compression);
    }
}

#[test]
fn logits_of_what_was_said() {
    let (model, windows) = (model(), [mel(3), mel(4), mel(5)]);
    let whole = Transcriber::new(&Place::Reference, &model, &vocabulary(), &[], 1).expect("a graph");
    let heard = whole.transcribe(&windows, &|| ()).expect("a run");
    let mut texts = heard.tokens;
    texts[1].truncate(2);
    let logits = whole.logits(&windows, &texts).expect("a run");
    let size = model.vocabulary as usize;
    assert_eq!(logits[0].floats()[..size], heard.logits);
    let suppressed = vocabulary().suppressed();
    for (text, logits) in texts.iter().zip(&logits) {
        assert_eq!(logits.shape().dims(), [text.len() as u32, model.vocabulary]);
        for (i, (token, logits)) in text.iter().zip(logits.floats().chunks(size)).enumerate() {
            let allowed = logits.iter().zip(0u32..).filter(|(_, token)| !suppressed[i.min(1)].contains(token));
            assert_eq!(Some(*token), allowed.max_by(|a, b| a.0.total_cmp(b.0)).map(|(_, token)| token));
        }
    }
    let Some(adapter) = pollster::block_on(Context::adapters(wgpu::Backends::all())).into_iter().next() else { return };
    let device = Place::new(Some(pollster::block_on(Context::new(&adapter)).expect("a device")), model.weights());
    // Two windows at once, whose texts differ in length, and then the third beside the first batch's second.
    let together = Transcriber::new(&device, &model, &vocabulary(), &[], 2).and_then(|t| t.logits(&windows, &texts)).expect("a run");
    for (alone, together) in logits.iter().zip(&together) {
        assert!(largest_difference(&alone.floats(), &together.floats()) < 1e-4);
    }
}

#[test]
fn a_spectrogram_shows_where_a_tone_is() {
    let tone = |hertz: f32| (0..4800).map(|i| (i as f32 / 16e3 * hertz * std::f32::consts::TAU).sin()).collect::<Vec<_>>();
    // 80 bins to 8 kHz: 45.2 mel, of which 1 kHz are 15.
    for (hertz, mel) in [(1000.0, 15.0), (6400.0, 42.0)] {
        let loud = audio::log_mel(&tone(hertz), 40, 80).floats();
        let frame = &loud[10 * 80..11 * 80];
        let best = (0..80).max_by(|a, b| frame[*a].total_cmp(&frame[*b])).expect("bins");
        assert!((best as f32 - (mel / 45.245 * 81.0 - 1.0)).abs() < 0.6, "{hertz} Hz are in bin {best}");
        // Behind the tone there is silence, 8 below the loudest.
        let largest = loud.iter().copied().fold(f32::MIN, f32::max);
        assert!((loud[35 * 80] - (largest - 2.0)).abs() < 1e-6);
    }
}

#[test]
fn files_of_sound() {
    let write = |rate: u32| {
        let path = std::env::temp_dir().join(format!("tokenpress-whisper-{}-{rate}.wav", std::process::id()));
        let samples: Vec<u8> = [100i16, 300, -200, -400].iter().flat_map(|s| s.to_le_bytes()).collect();
        let mut wav = [&b"RIFF"[..], &44u32.to_le_bytes(), b"WAVEfmt ", &16u32.to_le_bytes()].concat();
        // Two channels of 16 bits.
        wav.extend([&1u16.to_le_bytes()[..], &2u16.to_le_bytes(), &rate.to_le_bytes(), &(4 * rate).to_le_bytes()].concat());
        wav.extend([&4u16.to_le_bytes()[..], &16u16.to_le_bytes(), b"data", &8u32.to_le_bytes(), &samples].concat());
        std::fs::write(&path, wav).expect("a temporary file");
        let read = audio::read(&path);
        std::fs::remove_file(&path).expect("it is there");
        read
    };
    assert_eq!(write(16_000), Ok(vec![200.0 / 32768.0, -300.0 / 32768.0]));
    assert!(write(44_100).expect_err("another rate").contains("it has 44100 samples a second"));
    assert!(audio::read("/nowhere".as_ref()).expect_err("no file").starts_with("cannot read /nowhere: "));
}

#[test]
fn text_of_tokens() {
    let vocabulary = vocabulary();
    assert_eq!(vocabulary.encode("abc"), [9]);
    assert_eq!(vocabulary.encode("cab c"), [3, 4, 5]);
    assert_eq!(vocabulary.text(&[5, 4, vocabulary.prompt()[1], 3, vocabulary.end(), 1]), "cabc");
    let [first, later] = vocabulary.suppressed();
    // A bracket, a dash behind a space, the start, and five before the one that says that there are no times.
    assert_eq!(later, [6, 8, 11, 12, 13, 14, 15, 16]);
    assert_eq!(first, [6, 8, 11, 12, 13, 14, 15, 16, 0, 10]);
    assert!(Vocabulary::new(vec![Vec::new(); 20], 1520).is_err());
}

#[test]
fn errors_in_words() {
    let words = |text| words::words(text);
    assert_eq!(words("Hello, old-fashioned WORLD's 42."), ["hello", "old", "fashioned", "worlds", "42"]);
    assert_eq!(words::errors(&words("a b c d"), &words("a x c d e")), 2);
    assert_eq!(words::errors(&words("a b"), &[]), 2);
    assert_eq!(words::errors(&[], &words("a")), 1);
}

#[test]
fn chains_that_are_none() {
    let refusal = |text: &str| chain(text, 4).err().expect("no chain");
    assert_eq!(refusal("tome:r=8"), "there is no method \"tome\", only atome, pool");
    assert_eq!(refusal("atome:layer=5"), "layer=5 is no list of layers from 1 to 4, like layer=3 or layer=4/7/10");
    assert!(refusal("atome").starts_with("atome needs either"));
    assert!(refusal("atome:ratio=0.1,threshold=0.9").starts_with("atome needs either"));
    let model = model();
    let late = chain("atome:layer=1,ratio=0.2+pool:layer=2", model.layers).expect("a chain");
    assert!(model.encoder(&late).err().expect("no graph").to_string().contains("a place before atome"));
}

#[test]
fn missing_weights_are_one_sentence() {
    let output = example::run("whisper", &["--weights", "/nowhere/weights.safetensors", "speech.wav"], &[]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(said, "error: there are no weights at /nowhere/weights.safetensors: scripts/fetch-models gets them\n");
}
