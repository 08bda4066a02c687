//! Textures in and out of the tests.

use tokenpress::readback::Context;
use tokenpress::wgpu;

/// A texture to be loaded, of these bytes, row by row.
pub fn upload(context: &Context, format: wgpu::TextureFormat, size: [u32; 2], bytes: &[u8]) -> wgpu::Texture {
    let usage = wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST | wgpu::TextureUsages::COPY_SRC;
    let texture = context.texture(format, size, usage);
    let row = size[1] * format.block_copy_size(None).expect("a plain format");
    let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(row), rows_per_image: None };
    context.queue.write_texture(texture.as_image_copy(), bytes, layout, texture.size());
    texture
}

/// A texture to be stored to.
pub fn storage(context: &Context, format: wgpu::TextureFormat, size: [u32; 2]) -> wgpu::Texture {
    context.texture(format, size, wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_SRC)
}

/// A texture's bytes, row by row.
pub fn download(context: &Context, texture: &wgpu::Texture) -> Vec<u8> {
    pollster::block_on(context.read_texture(texture)).expect("bytes")
}
