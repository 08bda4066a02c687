/// <reference types="@webgpu/types" />

/** An input or an output. Its elements lie without gaps, the last dimension's side by side. */
export interface TensorData {
  name: string;
  elem: 'f32' | 'f16' | 'bf16' | 'u32';
  shape: number[];
  bytes: number;
}

/** Bytes of the tensor's buffer of this name, of the constants, or of the workspace. */
export interface BindingData {
  buffer: { tensor: string } | 'constants' | 'workspace';
  offset: number;
  size: number;
}

/** A plan as data: `tokenpress::PlanData` as JSON. */
export interface PlanData {
  tokenpress: string;
  features: GPUFeatureName[];
  limits: {
    maxStorageBufferBindingSize: number;
    maxBufferSize: number;
    maxStorageBuffersPerShaderStage: number;
    maxComputeWorkgroupsPerDimension: number;
    minStorageBufferOffsetAlignment: number;
  };
  inputs: TensorData[];
  outputs: TensorData[];
  constants: number[];
  workspace: number;
  shaders: { label: string; code: string; bindings: GPUBufferBindingType[] }[];
  pipelines: { shader: number; constants: Record<string, number> }[];
  dispatches: { kernel: string; pipeline: number; workgroups: [number, number]; uniforms: number[]; bindings: BindingData[] }[];
}

/** What of a plan a device or an adapter lacks, in words; empty if it can run the plan. */
export function lacks(plan: PlanData, of: { features: ReadonlySet<string>; limits: GPUSupportedLimits }): string[];

/** A device descriptor with the features and limits that a plan needs beyond WebGPU's defaults. Throws what `lacks` says. */
export function requirements(plan: PlanData, adapter: GPUAdapter): GPUDeviceDescriptor;

/** A plan on a device: its pipelines, buffers and bind groups. */
export class Runner {
  /** Buffers of the inputs and outputs, by name. */
  readonly buffers: Record<string, GPUBuffer>;
  /**
   * Compiles a plan. `given` has buffers of the caller's for some inputs and outputs, of STORAGE usage and at least the tensor's bytes. The
   * others are made here.
   */
  static create(device: GPUDevice, plan: PlanData, given?: Record<string, GPUBuffer>): Promise<Runner>;
  /** Records the plan into a command encoder, in a pass of its own, or into the caller's compute pass. It allocates nothing. */
  record(into: GPUCommandEncoder | GPUComputePassEncoder): void;
  /** The numbers of an input or output. bf16 comes as its bits; so does f16 where the host has no Float16Array. */
  read(name: string): Promise<Float32Array | Uint32Array | Uint16Array>;
  /** Frees what the plan made for itself. The tensors' buffers stay. */
  destroy(): void;
}
