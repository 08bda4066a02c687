//! The report as a picture: each case as a part of a copy, and the roofline of those that compute.

use crate::report::Report;
use crate::row::Row;

const WIDTH: f64 = 980.0;
const BAR: f64 = 15.0;
const LEFT: f64 = 470.0;
const ROOF: f64 = 420.0;

/// An SVG of both.
pub(crate) fn svg(report: &Report) -> String {
    // What computes less than this for a byte is bound by memory on every device.
    let (computing, moving): (Vec<&Row>, Vec<&Row>) = report.rows.iter().partition(|row| row.flops > 8 * row.bytes);
    let bars = moving.len() as f64 * BAR;
    let height = 90.0 + bars + 60.0 + ROOF;
    let title = format!("{}: {}", escape(&report.adapter), escape(&report.yardsticks.to_string()));
    let mut body = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"10\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"12\" y=\"20\" font-size=\"12\">{title}</text>\n\
         <text x=\"12\" y=\"44\" font-size=\"13\" font-weight=\"bold\">Bytes a second, as a part of the copy kernel's</text>\n"
    );
    body += &bars_of(&moving, 56.0);
    body += &roofline(report, &computing, 56.0 + bars + 50.0);
    body + "</svg>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn bars_of(rows: &[&Row], top: f64) -> String {
    let scale = (WIDTH - LEFT - 60.0) / rows.iter().map(|r| r.of_copy).fold(1.0, f64::max);
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let y = top + index as f64 * BAR;
        let (label, part) = (escape(&format!("{} {}", row.kernel, row.case)), 100.0 * row.of_copy);
        text += &format!("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{label}</text>\n", LEFT - 6.0, y + BAR - 4.0);
        let (width, colour) = (row.of_copy * scale, if row.of_copy >= 0.85 { "#2a7f62" } else { "#c07a2c" });
        text += &format!("<rect x=\"{LEFT}\" y=\"{}\" width=\"{width:.1}\" height=\"{}\" fill=\"{colour}\"/>\n", y + 2.0, BAR - 4.0);
        text += &format!("<text x=\"{:.1}\" y=\"{}\">{part:.0} %</text>\n", LEFT + width + 4.0, y + BAR - 4.0);
    }
    let (x, end) = (LEFT + scale, top + rows.len() as f64 * BAR);
    text + &format!("<line x1=\"{x:.1}\" y1=\"{top}\" x2=\"{x:.1}\" y2=\"{end}\" stroke=\"#888\" stroke-dasharray=\"3 3\"/>\n")
}

fn roofline(report: &Report, rows: &[&Row], top: f64) -> String {
    let (left, right, bottom) = (60.0, WIDTH - 260.0, top + ROOF - 40.0);
    let intensity = |row: &Row| row.flops as f64 / row.bytes.max(1) as f64;
    let most = rows.iter().map(|r| intensity(r)).fold(100.0, f64::max) * 2.0;
    let peak = report.yardsticks.multiply_add;
    let least = rows.iter().map(|r| r.gigaflops).fold(peak / 100.0, f64::min) / 2.0;
    let x = |value: f64| left + (value.log10() / most.log10()).clamp(0.0, 1.0) * (right - left);
    let y = |value: f64| bottom - ((value / least).log10() / (2.0 * peak / least).log10()).clamp(0.0, 1.0) * (bottom - top - 14.0);
    let mut text = format!(
        "<text x=\"12\" y=\"{}\" font-size=\"13\" font-weight=\"bold\">Roofline: GFLOP/s over operations for each byte</text>\n\
         <rect x=\"{left}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#888\"/>\n",
        top,
        top + 14.0,
        right - left,
        bottom - top - 14.0
    );
    let points: Vec<String> = (0..=60)
        .map(|i| most.powf(f64::from(i) / 60.0))
        .map(|v| format!("{:.1},{:.1}", x(v), y((v * report.yardsticks.copy_kernel).min(peak))))
        .collect();
    text += &format!("<polyline points=\"{}\" fill=\"none\" stroke=\"#1d4f91\" stroke-width=\"2\"/>\n", points.join(" "));
    for (index, row) in rows.iter().enumerate() {
        let (cx, cy) = (x(intensity(row)), y(row.gigaflops));
        text += &format!("<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"4\" fill=\"#c0392b\"/>\n");
        text += &format!("<text x=\"{:.1}\" y=\"{:.1}\">{}</text>\n", cx + 6.0, cy + 3.0, index + 1);
        let label = escape(&format!("{} {} {}: {:.0} GFLOP/s", index + 1, row.kernel, row.case, row.gigaflops));
        text += &format!("<text x=\"{}\" y=\"{:.1}\" font-size=\"8\">{label}</text>\n", right + 8.0, top + 22.0 + index as f64 * 12.0);
    }
    for value in [1.0, 10.0, 100.0, 1000.0].into_iter().filter(|v| *v <= most) {
        text += &format!("<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{value}</text>\n", x(value), bottom + 14.0);
    }
    for power in -2..6 {
        let value = 10f64.powi(power);
        if value >= least && value <= 2.0 * peak {
            text += &format!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>\n", left - 4.0, y(value) + 3.0);
        }
    }
    text
}
