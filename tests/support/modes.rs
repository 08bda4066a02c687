//! An adapter as the cases see it, and the ways to run them there.

use std::sync::Mutex;

use tokenpress::device::{Form, Include, Shader};
use tokenpress::kernels::shaders;
use tokenpress::readback::Context;
use tokenpress::verify::Placement;
use tokenpress::{Error, Policy, Tuning, wgpu};

use super::open::open;

/// The shaders with a form for GPUs that a subject has, a staged one or one in which eight invocations share a row: a kernel's name, or the
/// label of a variant.
pub fn staged_shaders(subject: &str) -> impl Iterator<Item = &'static Shader> {
    let within = |whole: &str, part: &str| whole.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let of_subject = move |shader: &&'static Shader| within(shader.name, subject) || within(subject, shader.name);
    let shared = |shader: &'static Shader| shader.tunings.iter().any(|tuning| tuning.contains(&("SHARE", 8)));
    let staged = |shader: &'static Shader| shader.variants().iter().any(|variant| variant.form == Form::Staged);
    shaders().into_iter().filter(of_subject).filter(move |shader| staged(shader) || shared(shader))
}

/// One adapter and its device. Tests on one device take turns.
pub struct Adapter {
    /// Short: `lavapipe`, `swiftshader`, `llvmpipe-gl`, or the adapter's own name and backend. wgpu has no name in a browser: the page gives one.
    pub name: String,
    pub context: Context,
    pub turn: Mutex<()>,
}

impl Adapter {
    pub async fn open(adapter: &wgpu::Adapter) -> Result<Self, Error> {
        let context = open(adapter).await?;
        Ok(Self { name: short_name(&context.info), context, turn: Mutex::new(()) })
    }

    pub fn f16(&self) -> bool {
        self.context.gpu.capabilities().f16
    }

    pub fn subgroups(&self) -> bool {
        self.context.gpu.capabilities().subgroups
    }

    pub fn matrices(&self) -> bool {
        self.context.gpu.capabilities().cooperative_matrix.is_some()
    }

    /// What it lacks to run a subject's cases in a mode, if anything.
    pub fn lacks(&self, mode: &Mode, subject: &str) -> Option<&'static str> {
        if mode.staged() {
            return self.takes_minutes(subject).then_some("time: it compiles for minutes");
        }
        let matrices = (mode.matrices() && !self.matrices()).then_some("cooperative matrices");
        matrices.or((!mode.portable() && !self.subgroups()).then_some("SUBGROUP"))
    }

    /// SwiftShader compiles tiles of products in their form for GPUs, 128 invocations with barriers in nested loops, for minutes and in
    /// gigabytes, but those of `linear`.
    pub fn takes_minutes(&self, subject: &str) -> bool {
        let mut staged = staged_shaders(subject).peekable();
        let quick = subject.starts_with("linear") || (staged.peek().is_some() && !staged.any(|s| s.includes.contains(&Include::TileLanes)));
        self.name == "swiftshader" && !quick
    }
}

pub fn short_name(info: &wgpu::AdapterInfo) -> String {
    let name = info.name.to_lowercase();
    match info.backend {
        wgpu::Backend::Vulkan if name.contains("llvmpipe") => "lavapipe".to_owned(),
        wgpu::Backend::Vulkan if name.contains("swiftshader") => "swiftshader".to_owned(),
        wgpu::Backend::Gl if name.contains("llvmpipe") => "llvmpipe-gl".to_owned(),
        backend => {
            let name = if name.is_empty() { "gpu".to_owned() } else { name };
            let word: String = name.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
            format!("{}-{}", word.trim_matches('-'), format!("{backend:?}").to_lowercase())
        }
    }
}

/// One way to run a case: which variants are forced, and where the tensors lie.
pub struct Mode {
    pub name: &'static str,
    /// Slow cases, and those of methods, run in it too.
    pub always: bool,
    pub policy: Policy,
    pub placement: Placement,
}

impl Mode {
    /// Whether it forces the portable form of every shader.
    pub fn portable(&self) -> bool {
        self.policy.tuning == Tuning::PORTABLE
    }

    /// Whether it runs tiles of products in their form for GPUs.
    pub fn staged(&self) -> bool {
        self.policy.tuning == Tuning::STAGED
    }

    /// Whether it runs shaders with cooperative matrices where there are any.
    pub fn matrices(&self) -> bool {
        self.policy.tuning == Tuning::default()
    }

    /// Whether a call that the plan makes in f32 runs in this mode: the others differ in kernels that run in f32 too.
    pub fn stands_for_all(&self) -> bool {
        self.name == MODES[0].name || self.placement.apart
    }

    /// Where the tensors of this case of many lie: as the mode says, and for every other one aligned, so that loads of one number and of four run in
    /// every mode.
    pub fn placement_of(&self, case: usize) -> Placement {
        let gap = if case % 2 == 1 { 4 } else { self.placement.gap };
        Placement { gap, ..self.placement }
    }
}

/// Together they run every variant, with tensors apart and in one buffer, aligned and not.
pub const MODES: [Mode; 9] = [
    Mode {
        name: "subgroup.read",
        always: true,
        policy: Policy::AUTO.with_tuning(Tuning::WITHOUT_MATRICES),
        placement: Placement { gap: 1, one_buffer: false, apart: false },
    },
    Mode {
        name: "subgroup.read_write",
        always: false,
        policy: Policy::POOLED.with_tuning(Tuning::WITHOUT_MATRICES),
        placement: Placement { gap: 3, one_buffer: true, apart: false },
    },
    Mode {
        name: "portable.read",
        always: false,
        policy: Policy::forced(true, false),
        placement: Placement { gap: 0, one_buffer: false, apart: false },
    },
    Mode {
        name: "portable.read_write",
        always: true,
        policy: Policy::forced(true, true),
        placement: Placement { gap: 4, one_buffer: true, apart: false },
    },
    Mode {
        name: "staged.read",
        always: false,
        policy: Policy::AUTO.with_tuning(Tuning::STAGED),
        placement: Placement { gap: 1, one_buffer: false, apart: false },
    },
    Mode {
        name: "staged.read_write",
        always: false,
        policy: Policy::POOLED.with_tuning(Tuning::STAGED),
        placement: Placement { gap: 2, one_buffer: true, apart: false },
    },
    Mode {
        name: "strided.read",
        always: false,
        policy: Policy::AUTO.with_tuning(Tuning::WITHOUT_MATRICES),
        placement: Placement { gap: 1, one_buffer: false, apart: true },
    },
    Mode { name: "matrices.read", always: false, policy: Policy::AUTO, placement: Placement { gap: 1, one_buffer: false, apart: false } },
    Mode {
        name: "matrices.read_write",
        always: false,
        policy: Policy::POOLED,
        placement: Placement { gap: 2, one_buffer: true, apart: false },
    },
];
