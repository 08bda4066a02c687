//! Textures in and out of the tests.

use tokenpress::readback::Context;
use tokenpress::wgpu;

/// A texture that can be read, written, copied and rendered to as far as its format allows it.
pub fn texture(context: &Context, format: wgpu::TextureFormat, [h, w]: [u32; 2], usage: wgpu::TextureUsages) -> wgpu::Texture {
    context.device.create_texture(&wgpu::TextureDescriptor {
        label: None,
        size: wgpu::Extent3d { width: w, height: h, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format,
        usage,
        view_formats: &[],
    })
}

/// Bytes of a texel.
fn size(format: wgpu::TextureFormat) -> u32 {
    format.block_copy_size(None).expect("a plain format")
}

/// A texture to be loaded, of these bytes, row by row.
pub fn upload(context: &Context, format: wgpu::TextureFormat, [h, w]: [u32; 2], bytes: &[u8]) -> wgpu::Texture {
    let usage = wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST | wgpu::TextureUsages::COPY_SRC;
    let texture = texture(context, format, [h, w], usage);
    let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(w * size(format)), rows_per_image: None };
    context.queue.write_texture(texture.as_image_copy(), bytes, layout, texture.size());
    texture
}

/// A texture to be stored to.
pub fn storage(context: &Context, format: wgpu::TextureFormat, size: [u32; 2]) -> wgpu::Texture {
    texture(context, format, size, wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_SRC)
}

/// A texture's bytes, row by row.
pub fn download(context: &Context, texture: &wgpu::Texture) -> Vec<u8> {
    let (w, h) = (texture.width(), texture.height());
    let row = w * size(texture.format());
    let pitch = row.next_multiple_of(wgpu::COPY_BYTES_PER_ROW_ALIGNMENT);
    let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
    let buffer = context.device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: u64::from(pitch) * u64::from(h),
        usage,
        mapped_at_creation: false,
    });
    let mut encoder = context.device.create_command_encoder(&Default::default());
    let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(pitch), rows_per_image: None };
    encoder.copy_texture_to_buffer(texture.as_image_copy(), wgpu::TexelCopyBufferInfo { buffer: &buffer, layout }, texture.size());
    context.queue.submit([encoder.finish()]);
    let bytes = pollster::block_on(context.read(&buffer)).expect("bytes");
    bytes.chunks(pitch as usize).flat_map(|line| &line[..row as usize]).copied().collect()
}
