//! The GPUs that Mesa's compilers are asked about.

use crate::figures::Compiler;

/// One GPU, and how its driver is made to believe that it is there.
#[derive(Debug)]
pub(crate) struct Chip {
    pub(crate) name: &'static str,
    pub(crate) compiler: Compiler,
    /// The one of its vendor that `--quick` takes.
    pub(crate) quick: bool,
    environment: &'static [(&'static str, &'static str)],
}

const fn chip(name: &'static str, compiler: Compiler, environment: &'static [(&'static str, &'static str)]) -> Chip {
    Chip { name, compiler, quick: false, environment }
}

const fn quick(chip: Chip) -> Chip {
    Chip { quick: true, ..chip }
}

/// By vendor, oldest first.
pub(crate) const CHIPS: &[Chip] = &[
    chip("AMD GCN4 polaris10", Compiler::Aco, &[("AMDGPU_GPU_ID", "polaris10")]),
    chip("AMD GCN5 vega20", Compiler::Aco, &[("AMDGPU_GPU_ID", "vega20")]),
    chip("AMD RDNA1 navi10", Compiler::Aco, &[("AMDGPU_GPU_ID", "navi10")]),
    chip("AMD RDNA2 navi21", Compiler::Aco, &[("AMDGPU_GPU_ID", "navi21")]),
    quick(chip("AMD RDNA3 navi31", Compiler::Aco, &[("AMDGPU_GPU_ID", "navi31")])),
    chip("AMD RDNA4 gfx1201", Compiler::Aco, &[("AMDGPU_GPU_ID", "gfx1201")]),
    quick(chip("NVIDIA Turing", Compiler::Nak, &[("NOUVEAU_CHIPSET", "0x164")])),
    chip("NVIDIA Ampere", Compiler::Nak, &[("NOUVEAU_CHIPSET", "0x172"), ("NVK_I_WANT_A_BROKEN_VULKAN_DRIVER", "1")]),
    quick(chip("Apple M1", Compiler::Agx, &[])),
    chip("Adreno 630", Compiler::Ir3, &[("FD_GPU_ID", "630")]),
    quick(chip("Adreno 740", Compiler::Ir3, &[("FD_GPU_ID", "740")])),
    chip("Adreno 830", Compiler::Ir3, &[("FD_GPU_ID", "830")]),
];

impl Chip {
    /// Mesa's names of the driver and of the shim.
    pub(crate) fn driver(&self) -> [&'static str; 2] {
        match self.compiler {
            Compiler::Aco => ["radv", "amdgpu"],
            Compiler::Nak => ["nvk", "nouveau"],
            Compiler::Agx => ["honeykrisp", "asahi"],
            Compiler::Ir3 => ["turnip", "freedreno"],
        }
    }

    /// What chooses the GPU, and makes its compiler talk. What comes from a cache would not be compiled.
    pub(crate) fn environment(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let talk = match self.compiler {
            Compiler::Aco => ("RADV_DEBUG", "shaderstats,asm"),
            Compiler::Nak => ("NAK_DEBUG", "print"),
            Compiler::Agx => ("AGX_MESA_DEBUG", "shaderdb"),
            Compiler::Ir3 => ("IR3_SHADER_DEBUG", "cs"),
        };
        self.environment.iter().copied().chain([talk, ("MESA_SHADER_CACHE_DISABLE", "true")])
    }

    /// Processes that share its variants: NVIDIA's compiler takes most of the time, with all that it prints. Their
    /// number has no factor in common with those of headers and constants, so that each gets some of every kind.
    pub(crate) fn parts(&self) -> usize {
        if self.compiler == Compiler::Nak { 5 } else { 1 }
    }

    /// What an invocation's registers are called.
    pub(crate) fn registers(&self) -> &'static str {
        match self.compiler {
            Compiler::Aco => "VGPRs of 32 bits, at most 256",
            Compiler::Nak => "GPRs of 32 bits, at most 255",
            Compiler::Agx => "of 16 bits, at most 256",
            Compiler::Ir3 => "of four times 32 bits",
        }
    }

    /// What occupancy counts.
    pub(crate) fn occupancy(&self) -> &'static str {
        match self.compiler {
            Compiler::Aco => "waves of a SIMD",
            Compiler::Nak => "warps of an SM",
            Compiler::Agx => "threads of a core",
            Compiler::Ir3 => "waves of a core",
        }
    }
}
