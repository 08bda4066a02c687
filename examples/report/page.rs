//! The page that a person reads: `report.md`.

use std::fmt::Write;

use serde_json::Value;

use crate::stamp::Stamp;

pub(crate) struct Results {
    pub(crate) tuning: Value,
    pub(crate) verify: Value,
    pub(crate) bench: Value,
    pub(crate) seconds: f64,
}

pub(crate) fn page(results: &Results) -> String {
    let Results { tuning, verify, bench, seconds } = results;
    let mut page = format!("# tokenpress on {}\n\n", words(&bench["adapter"]));
    let kind = words(&bench["device_type"]);
    let software = if kind == "Cpu" { " It is a software adapter: its times say nothing about a GPU." } else { "" };
    let _ = write!(
        page,
        "{}. {} by {}, driver {}, subgroups of {} to {}.{software} The report took {seconds:.0} s.\n\n",
        Stamp::now(),
        kind,
        words(&bench["backend"]),
        words(&bench["driver"]).trim(),
        bench["subgroups"][0],
        bench["subgroups"][1],
    );
    page += &yardsticks(&bench["yardsticks"]);
    page += &verified(verify);
    page += &tuned(tuning);
    page += &measured(bench);
    page
}

fn words(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A row of a table. A bar would end a cell.
fn row(cells: &[String]) -> String {
    let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "/")).collect();
    format!("| {} |\n", cells.join(" | "))
}

fn yardsticks(yardsticks: &Value) -> String {
    let names = [
        ("copy_api", "copy by the API, GB/s read and written"),
        ("copy_kernel", "copy by a kernel, GB/s read and written"),
        ("multiply_add", "multiply-adds of f32, GFLOP/s"),
        ("matrix_multiply_add", "multiply-adds of f16 by cooperative matrices, GFLOP/s"),
        ("dispatch", "one more dispatch that depends on the one before, microseconds"),
    ];
    let mut text = "## The device\n\n| | |\n|---|--:|\n".to_owned();
    for (key, name) in names {
        if let Some(number) = yardsticks[key].as_f64() {
            text += &row(&[name.to_owned(), format!("{number:.1}")]);
        }
    }
    text + "\n"
}

fn verified(verify: &Value) -> String {
    let count = |key: &str| verify[key].as_u64().unwrap_or_default();
    let mut text = format!(
        "## Right\n\n{} comparisons with the CPU reference passed, {} failed, {} were skipped.\n\n",
        count("passed"),
        count("failed"),
        count("skipped")
    );
    for failure in list(&verify["failures"]).iter().take(20) {
        let _ = writeln!(text, "- FAILED: {}, {}: {}", words(&failure["case"]), words(&failure["adapter"]), words(&failure["reason"]));
    }
    // A number's error against what rounding explains.
    let ratio = |row: &Value| Some(row["worst"]["error"].as_f64()? / row["worst"]["bound"].as_f64()?);
    let mut worst: Vec<_> = list(&verify["rows"]).iter().filter_map(|row| Some((ratio(row).filter(|r| r.is_finite())?, row))).collect();
    worst.sort_by(|a, b| b.0.total_cmp(&a.0));
    if !worst.is_empty() {
        text += "The largest errors, as parts of their bounds:\n\n| kernel | variant | of its bound |\n|---|---|--:|\n";
        for (ratio, of) in worst.iter().take(5) {
            text += &row(&[words(&of["kernel"]).to_owned(), words(&of["variant"]).to_owned(), format!("{ratio:.2}")]);
        }
        text.push('\n');
    }
    text
}

fn tuned(tuning: &Value) -> String {
    let names = |key: &str| list(&tuning[key]).iter().map(words).collect::<Vec<_>>().join(", ");
    let mut text = "## Forms\n\n".to_owned();
    for (key, what) in [("portable", "Faster in their portable form"), ("without_matrices", "Faster without cooperative matrices")] {
        let names = names(key);
        if !names.is_empty() {
            let _ = write!(text, "{what}: {names}.\n\n");
        }
    }
    if text.ends_with("Forms\n\n") {
        text += "Every shader is fastest in the form that the device gets by default.\n\n";
    }
    text
}

fn measured(bench: &Value) -> String {
    let mut text = "## Fast\n\n![parts of a copy and of the multiply-adds](bench.svg)\n\n".to_owned();
    text += "Bytes and operations are those that the definition needs.\n\n";
    text += "| kernel | case | ms | of a copy | GFLOP/s | of the multiply-adds | |\n|---|---|--:|--:|--:|--:|---|\n";
    for of in list(&bench["rows"]) {
        let number = |key: &str| of[key].as_f64().unwrap_or_default();
        let part = |key: &str, count: &str| if number(count) == 0.0 { String::new() } else { format!("{:.0} %", 100.0 * number(key)) };
        let result = match (words(&of["check"]), of["repeatable"].as_bool()) {
            ("failed", _) => "WRONG",
            (_, Some(false)) => "VARIES",
            _ => "",
        };
        let flops = if number("gigaflops") < 1.0 { String::new() } else { format!("{:.1}", number("gigaflops")) };
        text += &row(&[
            words(&of["kernel"]).to_owned(),
            words(&of["case"]).to_owned(),
            format!("{:.3}", number("median") / 1e3),
            part("of_copy", "bytes"),
            flops,
            part("of_multiply_add", "flops"),
            result.to_owned(),
        ]);
    }
    text
}
