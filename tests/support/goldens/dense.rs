//! The dense parts of a transformer block in f64, which this crate does not compute: what the cases of whole blocks
//! put between the kernels.

use tokenpress::HostTensor;

use super::{Failure, Golden};

/// Rows of numbers `[batch, tokens, channels]`.
#[derive(Debug, Clone)]
pub struct Rows {
    pub batch: usize,
    pub tokens: usize,
    pub channels: usize,
    pub values: Vec<f64>,
}

impl Rows {
    pub fn of(tensor: &HostTensor) -> Result<Self, Failure> {
        let [batch, tokens, channels] = tensor.shape().exactly("rows", "[B, N, C]")?.map(|d| d as usize);
        Ok(Self { batch, tokens, channels, values: tensor.floats().into_iter().map(f64::from).collect() })
    }

    pub fn tensor(&self) -> HostTensor {
        let shape = [self.batch, self.tokens, self.channels].map(|d| d as u32);
        HostTensor::f32(shape, self.values.iter().map(|v| *v as f32).collect())
    }

    fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.channels)
    }

    fn map(&self, channels: usize, row: impl Fn(&[f64]) -> Vec<f64>) -> Self {
        Self { channels, values: self.rows().flat_map(row).collect(), ..*self }
    }

    pub fn plus(&self, other: &Self) -> Self {
        Self { values: self.values.iter().zip(&other.values).map(|(a, b)| a + b).collect(), ..*self }
    }

    /// `(x - mean) / sqrt(variance + 1e-5) * weight + bias`
    fn layer_norm(&self, weight: &[f64], bias: &[f64]) -> Self {
        self.map(self.channels, |row| {
            let count = row.len() as f64;
            let mean = row.iter().sum::<f64>() / count;
            let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
            let scale = 1.0 / (variance + 1e-5).sqrt();
            row.iter().zip(weight).zip(bias).map(|((v, w), b)| (v - mean) * scale * w + b).collect()
        })
    }

    /// `x weight^T + bias`, weight `[out, in]`.
    fn linear(&self, weight: &[f64], bias: &[f64]) -> Self {
        self.map(bias.len(), |row| {
            weight.chunks_exact(self.channels).zip(bias).map(|(w, b)| row.iter().zip(w).map(|(x, w)| x * w).sum::<f64>() + b).collect()
        })
    }

    fn gelu(&self) -> Self {
        self.map(self.channels, |row| row.iter().map(|x| 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2))).collect())
    }

    /// Rows `index[b][..]` of each batch row.
    pub fn gather(&self, index: &[Vec<usize>]) -> Self {
        let row = |b: usize, i: usize| &self.values[(b * self.tokens + i) * self.channels..][..self.channels];
        let values = index.iter().enumerate().flat_map(|(b, list)| list.iter().flat_map(move |&i| row(b, i).iter().copied())).collect();
        Self { tokens: index.first().map_or(0, Vec::len), values, ..*self }
    }
}

/// The error function, to f64's own precision: its series about 0, and the continued fraction of its complement.
fn erf(x: f64) -> f64 {
    let scale = 2.0 / std::f64::consts::PI.sqrt();
    if x.abs() < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..80 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return scale * sum;
    }
    let z = x.abs();
    let fraction = (1..=120).rev().fold(z, |tail, n| z + f64::from(n) / 2.0 / tail);
    x.signum() * (1.0 - (-z * z).exp() / (fraction * std::f64::consts::PI.sqrt()))
}

/// The weights of a block, as PyTorch names them.
pub struct Block<'a> {
    golden: &'a Golden,
    heads: usize,
}

/// Heads of a projection, `[batch, heads, tokens, channels]`.
#[derive(Debug, Clone)]
pub struct Heads {
    pub batch: usize,
    pub heads: usize,
    pub tokens: usize,
    pub channels: usize,
    pub values: Vec<f64>,
}

impl Heads {
    pub fn tensor(&self) -> HostTensor {
        let shape = [self.batch, self.heads, self.tokens, self.channels].map(|d| d as u32);
        HostTensor::f32(shape, self.values.iter().map(|v| *v as f32).collect())
    }

    fn row(&self, batch: usize, head: usize, token: usize) -> &[f64] {
        &self.values[((batch * self.heads + head) * self.tokens + token) * self.channels..][..self.channels]
    }

    /// Rows `index[b][..]` of every head.
    pub fn gather(&self, index: &[Vec<usize>]) -> Self {
        let mut values = Vec::new();
        for (b, list) in index.iter().enumerate() {
            for head in 0..self.heads {
                for &token in list {
                    values.extend_from_slice(self.row(b, head, token));
                }
            }
        }
        Self { tokens: index.first().map_or(0, Vec::len), values, ..*self }
    }
}

impl<'a> Block<'a> {
    pub fn of(golden: &'a Golden) -> Result<Self, Failure> {
        Ok(Self { golden, heads: golden.count("heads")? as usize })
    }

    fn weight(&self, name: &str) -> Result<Vec<f64>, Failure> {
        Ok(self.golden.input(&format!("w.{name}"))?.floats().into_iter().map(f64::from).collect())
    }

    /// Zeros where a layer has no bias.
    fn bias(&self, name: &str, len: usize) -> Result<Vec<f64>, Failure> {
        let bias = self.golden.optional_input(&format!("w.{name}"))?;
        Ok(bias.map_or(vec![0.0; len], |b| b.floats().into_iter().map(f64::from).collect()))
    }

    fn norm(&self, name: &str, x: &Rows) -> Result<Rows, Failure> {
        Ok(x.layer_norm(&self.weight(&format!("{name}.weight"))?, &self.bias(&format!("{name}.bias"), x.channels)?))
    }

    fn linear(&self, name: &str, x: &Rows) -> Result<Rows, Failure> {
        let weight = self.weight(&format!("{name}.weight"))?;
        let outputs = weight.len() / x.channels;
        Ok(x.linear(&weight, &self.bias(&format!("{name}.bias"), outputs)?))
    }

    /// Queries, keys and values of the normalised rows.
    pub fn qkv(&self, x: &Rows) -> Result<[Heads; 3], Failure> {
        let projected = self.linear("attn.qkv", &self.norm("norm1", x)?)?;
        let (heads, channels) = (self.heads, x.channels / self.heads);
        Ok([0, 1, 2].map(|part| {
            let mut values = Vec::new();
            for b in 0..x.batch {
                for head in 0..heads {
                    for token in 0..x.tokens {
                        let row = &projected.values[(b * x.tokens + token) * projected.channels..][..projected.channels];
                        values.extend_from_slice(&row[(part * heads + head) * channels..][..channels]);
                    }
                }
            }
            Heads { batch: x.batch, heads, tokens: x.tokens, channels, values }
        }))
    }

    /// The projected output of softmax attention.
    pub fn attention(&self, [q, k, v]: &[Heads; 3]) -> Result<Rows, Failure> {
        let width = self.heads * q.channels;
        let mut values = vec![0.0; q.batch * q.tokens * width];
        for b in 0..q.batch {
            for head in 0..self.heads {
                for i in 0..q.tokens {
                    let dot = |j: usize| q.row(b, head, i).iter().zip(k.row(b, head, j)).map(|(a, c)| a * c).sum::<f64>();
                    let logits: Vec<f64> = (0..k.tokens).map(|j| dot(j) / (q.channels as f64).sqrt()).collect();
                    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let total: f64 = logits.iter().map(|l| (l - largest).exp()).sum();
                    let row = &mut values[(b * q.tokens + i) * width + head * q.channels..][..q.channels];
                    for (j, logit) in logits.iter().enumerate() {
                        let weight = (logit - largest).exp() / total;
                        row.iter_mut().zip(v.row(b, head, j)).for_each(|(out, value)| *out += weight * value);
                    }
                }
            }
        }
        self.linear("attn.proj", &Rows { batch: q.batch, tokens: q.tokens, channels: width, values })
    }

    /// `x + mlp(norm2 x)`
    pub fn feed_forward(&self, x: &Rows) -> Result<Rows, Failure> {
        let hidden = self.linear("mlp.fc1", &self.norm("norm2", x)?)?.gelu();
        Ok(x.plus(&self.linear("mlp.fc2", &hidden)?))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn erf_has_its_known_values() {
        for (x, expected) in [
            (0.0, 0.0),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (-2.0, -0.995_322_265_018_952_7),
            (2.49, 0.999_570_712_132_266_1),
            (2.51, 0.999_614_294_518_275_8),
            (6.0, 1.0),
        ] {
            assert!((super::erf(x) - expected).abs() < 1e-15, "erf({x}) = {}", super::erf(x));
        }
    }
}
