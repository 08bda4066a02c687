//! Runs a graph on a device, and says what each kernel took.

use tokenpress::readback::{Context, HostTensors};
use tokenpress::verify::{Placement, Reference};
use tokenpress::{Bindings, Error, Graph};

use crate::device::time;

/// One kernel of a graph, all its calls together.
#[derive(Default)]
pub(crate) struct Line {
    pub(crate) kernel: &'static str,
    pub(crate) calls: usize,
    /// Median time of a run's calls together.
    pub(crate) seconds: Option<f64>,
    /// Compulsory: every input and output once.
    pub(crate) bytes: u64,
    /// The largest difference from the reference, given the same inputs.
    pub(crate) difference: Option<f64>,
    /// Elements that differ by more than rounding explains.
    pub(crate) failures: usize,
}

impl Line {
    fn of<'a>(lines: &'a mut Vec<Self>, kernel: &'static str) -> &'a mut Self {
        let index = lines.iter().position(|l| l.kernel == kernel).unwrap_or_else(|| {
            lines.push(Self { kernel, ..Self::default() });
            lines.len() - 1
        });
        &mut lines[index]
    }
}

/// Calls and bytes of each kernel.
pub(crate) fn price(graph: &Graph, capabilities: &tokenpress::Capabilities) -> Result<Vec<Line>, Error> {
    let mut lines = Vec::new();
    for step in graph.cost(capabilities)?.steps {
        let line = Line::of(&mut lines, step.kernel);
        line.calls += 1;
        line.bytes += step.work.bytes;
    }
    Ok(lines)
}

/// Runs the graph on the device: its outputs, and a line for each kernel.
pub(crate) fn run(context: &Context, graph: &Graph, inputs: &HostTensors) -> Result<(HostTensors, Vec<Line>), Error> {
    let mut lines = price(graph, context.gpu.capabilities())?;
    let mut bindings = Bindings::new();
    for (name, tensor) in inputs {
        bindings = bindings.bind(name, context.upload(tensor));
    }
    let views: Vec<_> = graph.outputs().map(|(name, desc)| (name.to_owned(), context.empty(desc))).collect();
    for (name, view) in &views {
        bindings = bindings.bind(name, view.clone());
    }
    let plan = graph.plan(&context.gpu, &bindings)?;
    for (call, seconds) in time(context, &plan)?.into_iter().enumerate() {
        *Line::of(&mut lines, plan.calls()[call]).seconds.get_or_insert(0.0) += seconds;
    }
    for step in pollster::block_on(Reference::new(graph, inputs)?.steps(context, &context.gpu, Placement::default()))? {
        let line = Line::of(&mut lines, step.kernel);
        for (_, comparison) in &step.outputs {
            let error = comparison.worst.map_or(0.0, |w| w.error());
            line.difference = Some(line.difference.unwrap_or(0.0).max(error));
            line.failures += comparison.failures;
        }
    }
    let mut outputs = HostTensors::new();
    for (name, view) in views {
        outputs.insert(name, pollster::block_on(context.download(&view))?);
    }
    Ok((outputs, lines))
}

/// The lines as a table.
pub(crate) fn table(lines: &[Line]) -> String {
    let time = |seconds: Option<f64>| seconds.map_or("-".to_owned(), |s| format!("{:.3} ms", s * 1e3));
    let mebibytes = |bytes: u64| format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20));
    let difference = |line: &Line| match line.difference {
        None => "-".to_owned(),
        Some(_) if line.failures > 0 => format!("{} elements are wrong", line.failures),
        Some(0.0) => "0".to_owned(),
        Some(difference) => format!("{difference:.1e}"),
    };
    let mut rows = vec![["kernel", "calls", "time", "bytes moved", "difference"].map(str::to_owned)];
    for line in lines {
        rows.push([line.kernel.to_owned(), line.calls.to_string(), time(line.seconds), mebibytes(line.bytes), difference(line)]);
    }
    let total = Line {
        kernel: "all",
        calls: lines.iter().map(|l| l.calls).sum(),
        seconds: lines.iter().map(|l| l.seconds).sum(),
        bytes: lines.iter().map(|l| l.bytes).sum(),
        difference: lines.iter().filter_map(|l| l.difference).reduce(f64::max),
        failures: lines.iter().map(|l| l.failures).sum(),
    };
    rows.push([total.kernel.to_owned(), total.calls.to_string(), time(total.seconds), mebibytes(total.bytes), difference(&total)]);
    let widths: Vec<usize> = (0..5).map(|c| rows.iter().map(|r| r[c].len()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        if index == 1 || index == rows.len() - 1 {
            text += &format!("{}\n", "-".repeat(widths.iter().sum::<usize>() + 2 * 4));
        }
        let [kernel, numbers @ ..] = row;
        text += &format!("{kernel:<0$}", widths[0]);
        for (number, width) in numbers.iter().zip(&widths[1..]) {
            text += &format!("  {number:>width$}");
        }
        text += "\n";
    }
    text
}
