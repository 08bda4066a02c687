//! Targets: files that the examples read. Whatever is in them, reading gives a sentence or a value.

use std::fs;
use std::path::PathBuf;

use tokenpress::HostTensor;

use crate::generator::Generator;
use crate::support::adapters::Adapter;

/// A file of this process, that is removed when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, bytes: &[u8]) -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("tokenpress-fuzz-{}-{name}", std::process::id()));
        fs::write(&path, bytes).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.0);
    }
}

/// Cut short, with bytes changed, put in or doubled; or anything at all.
fn spoil(g: &mut Generator, mut bytes: Vec<u8>) -> Vec<u8> {
    if g.chance(0.1) {
        return (0..g.below(300)).map(|_| g.next() as u8).collect();
    }
    for _ in 0..g.below(4) {
        let at = g.below(bytes.len().max(1) as u32) as usize;
        match g.below(5) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] = g.pick(&[0, 1, 0x7f, 0x80, 0xff, b'"', b'{']),
            2 if at < bytes.len() => bytes[at] ^= 1 << g.below(8),
            3 if at + 4 <= bytes.len() => {
                let number = g.pick(&[0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX]);
                bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
            }
            _ => {
                let tail = bytes[at.min(bytes.len())..].to_vec();
                bytes.extend(tail);
            }
        }
    }
    bytes
}

/// A WAV file of 16 kHz or another rate.
fn wav(g: &mut Generator) -> Vec<u8> {
    let samples = g.below(400);
    let (channels, rate, bits) =
        (g.pick(&[1u16, 1, 2, 0, 9]), g.pick(&[16_000u32, 16_000, 8_000, 0, u32::MAX]), g.pick(&[16u16, 16, 8, 24, 0]));
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + 2 * samples).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16u32.to_le_bytes());
    bytes.extend(1u16.to_le_bytes());
    bytes.extend(channels.to_le_bytes());
    bytes.extend(rate.to_le_bytes());
    bytes.extend(rate.wrapping_mul(2).to_le_bytes());
    bytes.extend(2u16.to_le_bytes());
    bytes.extend(bits.to_le_bytes());
    bytes.extend(b"data");
    bytes.extend((2 * samples).to_le_bytes());
    bytes.extend((0..2 * samples).map(|_| g.next() as u8));
    bytes
}

/// The head of a FLAC file, which decoders look at closely.
fn flac(g: &mut Generator) -> Vec<u8> {
    let mut bytes = b"fLaC\x80\x00\x00\x22\x10\x00\x10\x00".to_vec();
    bytes.extend((0..30 + g.below(300)).map(|_| g.next() as u8));
    bytes
}

/// Sound, as the example that transcribes it reads it.
pub(crate) fn audio(g: &mut Generator, _: Option<&Adapter>) -> Result<(), String> {
    let (name, bytes) = if g.coin() { ("x.wav", wav(g)) } else { ("x.flac", flac(g)) };
    let bytes = spoil(g, bytes);
    let file = Scratch::new(name, &bytes)?;
    if let Ok(samples) = crate::audio::read(&file.0) {
        _ = crate::audio::log_mel(&samples, 8, 80);
    }
    Ok(())
}

/// Weights, as all examples with a model read them.
pub(crate) fn weights(g: &mut Generator, _: Option<&Adapter>) -> Result<(), String> {
    let whole = Scratch::new("whole.safetensors", &[])?;
    let (a, b) = (HostTensor::f32([2, 3], vec![1.0; 6]), HostTensor::u32([4], vec![7; 4]));
    crate::weights::save(&whole.0, &[("a", &a), ("b", &b)])?;
    let bytes = fs::read(&whole.0).map_err(|e| e.to_string())?;
    let bytes = spoil(g, bytes);
    let file = Scratch::new("x.safetensors", &bytes)?;
    _ = crate::weights::read(&file.0);
    Ok(())
}

/// A vocabulary, as the example that transcribes reads it.
pub(crate) fn vocabulary(g: &mut Generator, _: Option<&Adapter>) -> Result<(), String> {
    let piece = |g: &mut Generator| g.pick(&["IQ==", "aGk=", "IGk=", "w6k=", "4oCU", "KA=="]);
    let lines: Vec<String> = (0..g.below(40)).map(|i| format!("{} {i}\n", piece(g))).collect();
    let bytes = spoil(g, lines.concat().into_bytes());
    let file = Scratch::new("x.tiktoken", &bytes)?;
    let size = g.number(100).saturating_add(1500);
    if let Ok(vocabulary) = crate::vocabulary::Vocabulary::read(&file.0, size) {
        let tokens: Vec<u32> = (0..10).map(|_| g.number(60)).collect();
        _ = (vocabulary.text(&tokens), vocabulary.encode("p1"), vocabulary.suppressed(), vocabulary.end(), vocabulary.prompt());
    }
    Ok(())
}
