//! Sound in, logarithmic mel spectrograms out.

use std::f64::consts::PI;
use std::fs::File;
use std::path::Path;

use realfft::RealFftPlanner;
use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::errors::Error;
use symphonia::core::formats::TrackType;
use symphonia::core::formats::probe::Hint;
use symphonia::core::io::MediaSourceStream;
use tokenpress::HostTensor;

/// Samples in a second.
pub(crate) const RATE: usize = 16_000;
/// Samples under the window of a spectrum.
const FFT: usize = 400;
/// Samples from one spectrum to the next.
pub(crate) const HOP: usize = 160;

/// A WAV or FLAC file of 16 kHz; channels are averaged.
pub(crate) fn read(path: &Path) -> Result<Vec<f32>, String> {
    let file = File::open(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    // With overflow checks a decoder panics over a damaged file.
    let samples = std::panic::catch_unwind(|| decode(file)).unwrap_or_else(|_| Err("it is damaged".to_owned()));
    samples.map_err(|e| format!("cannot read {} as WAV or FLAC of 16 kHz: {e}", path.display()))
}

fn decode(file: File) -> Result<Vec<f32>, String> {
    let said = |e: Error| e.to_string();
    let stream = MediaSourceStream::new(Box::new(file), Default::default());
    let probe = symphonia::default::get_probe();
    let mut format = probe.probe(&Hint::new(), stream, Default::default(), Default::default()).map_err(said)?;
    let track = format.default_track(TrackType::Audio).ok_or("there is no sound in it")?;
    let parameters = track.codec_params.as_ref().and_then(|p| p.audio()).ok_or("there is no sound in it")?;
    let rate = parameters.sample_rate.unwrap_or_default();
    if rate as usize != RATE {
        return Err(format!("it has {rate} samples a second (`ffmpeg -i IN -ar 16000 OUT.wav` makes them {RATE})"));
    }
    let mut decoder = symphonia::default::get_codecs().make_audio_decoder(parameters, &AudioDecoderOptions::default()).map_err(said)?;
    let track = track.id;
    let (mut samples, mut packet_samples) = (Vec::new(), Vec::<f32>::new());
    while let Some(packet) = format.next_packet().map_err(said)? {
        if packet.track_id != track {
            continue;
        }
        let buffer = decoder.decode(&packet).map_err(said)?;
        let channels = buffer.num_planes().max(1);
        buffer.copy_to_vec_interleaved(&mut packet_samples);
        samples.extend(packet_samples.chunks(channels).map(|frame| frame.iter().sum::<f32>() / channels as f32));
    }
    Ok(samples)
}

/// What Whisper hears of so many frames, `[1, frames, bins]`: samples are cut, or filled up with silence, to `frames` hops.
///
/// ```text
/// power[t, k] = |FFT of hann * samples[160 t - 200 .. 160 t + 200]|^2     mirrored beyond both ends
/// mel         = log10(max(filters power, 1e-10))
/// y           = (max(mel, largest mel - 8) + 4) / 4
/// ```
pub(crate) fn log_mel(samples: &[f32], frames: usize, bins: usize) -> HostTensor {
    let length = frames * HOP;
    let sample = |i: isize| {
        let last = length as isize - 1;
        let mirrored = if i < 0 { -i } else { last - (i - last).abs() };
        samples.get(mirrored.max(0) as usize).map_or(0.0, |s| f64::from(*s))
    };
    let hann: Vec<f64> = (0..FFT).map(|i| 0.5 - 0.5 * (2.0 * PI * i as f64 / FFT as f64).cos()).collect();
    let transform = RealFftPlanner::<f64>::new().plan_fft_forward(FFT);
    let (mut windowed, mut spectrum) = (transform.make_input_vec(), transform.make_output_vec());
    let filters = mel_filters(bins);
    let mut mel = Vec::with_capacity(frames * bins);
    for frame in 0..frames {
        let first = (frame * HOP) as isize - (FFT / 2) as isize;
        for (i, (value, weight)) in windowed.iter_mut().zip(&hann).enumerate() {
            *value = weight * sample(first + i as isize);
        }
        // The lengths are the plan's own.
        if transform.process(&mut windowed, &mut spectrum).is_err() {
            spectrum.fill(Default::default());
        }
        let power: Vec<f64> = spectrum.iter().map(|c| c.norm_sqr()).collect();
        mel.extend(filters.iter().map(|filter| filter.iter().zip(&power).map(|(f, p)| f * p).sum::<f64>().max(1e-10).log10()));
    }
    let floor = mel.iter().copied().fold(f64::NEG_INFINITY, f64::max) - 8.0;
    let scaled = mel.iter().map(|v| ((v.max(floor) + 4.0) / 4.0) as f32).collect();
    HostTensor::f32([1, frames as u32, bins as u32], scaled)
}

/// Slaney's triangles: corners evenly spaced in mel from 0 to 8 kHz, each of area 1 over the frequencies in Hz.
fn mel_filters(bins: usize) -> Vec<Vec<f64>> {
    // Linear below 1 kHz, 15 mel of 200 / 3 Hz each; 27 mel for a factor of 6.4 above.
    let (linear, break_mel, step) = (200.0 / 3.0, 15.0, 6.4f64.ln() / 27.0);
    let hertz = |mel: f64| if mel < break_mel { mel * linear } else { 1000.0 * ((mel - break_mel) * step).exp() };
    let nyquist = RATE as f64 / 2.0;
    let highest = break_mel + (nyquist / 1000.0).ln() / step;
    let corners: Vec<f64> = (0..bins + 2).map(|i| hertz(highest * i as f64 / (bins + 1) as f64)).collect();
    let triangle = |corner: &[f64]| {
        let [low, middle, high] = [corner[0], corner[1], corner[2]];
        let at = |k: usize| {
            let frequency = k as f64 * RATE as f64 / FFT as f64;
            ((frequency - low) / (middle - low)).min((high - frequency) / (high - middle)).max(0.0) * 2.0 / (high - low)
        };
        (0..=FFT / 2).map(at).collect()
    };
    corners.windows(3).map(triangle).collect()
}
