//! What the examples share: lines through measured points as an SVG.

/// A measured point, with the standard error of `y`.
#[derive(Clone)]
pub(crate) struct Point {
    pub(crate) label: String,
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) error: f64,
}

/// Points of one kind, and a line through them.
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<Point>,
}

impl Series {
    /// A line for each method, from the whole model, which comes first, through its points.
    pub(crate) fn by_method(points: Vec<Point>, kind: &str) -> Vec<Self> {
        let mut series: Vec<Self> = Vec::new();
        let mut points = points.into_iter();
        let Some(whole) = points.next() else { return series };
        for point in points {
            let name = point.label.split(':').next().unwrap_or_default().to_owned() + kind;
            match series.iter_mut().find(|series| series.name == name) {
                Some(series) => series.points.push(point),
                None => series.push(Self { name, points: vec![whole.clone(), point] }),
            }
        }
        series
    }
}

/// Series over the same axes.
pub(crate) struct Chart {
    pub(crate) title: String,
    /// What the axes are: from left to right, and from below to above.
    pub(crate) axes: [String; 2],
    pub(crate) series: Vec<Series>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 200.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 52.0;
const COLOURS: [&str; 12] =
    ["#1d4f91", "#c0392b", "#2a7f62", "#8e5ea2", "#d98c1f", "#17a2b8", "#7f5539", "#e377c2", "#7f7f7f", "#9aa617", "#4b3f72", "#111111"];

impl Chart {
    pub(crate) fn svg(&self) -> String {
        let all = || self.series.iter().flat_map(|series| &series.points);
        let [x_ticks, y_ticks] = [ticks(all().map(|p| [p.x; 2])), ticks(all().map(|p| [p.y - p.error, p.y + p.error]))];
        let scale = |ticks: &[f64], value: f64| match (ticks.first(), ticks.last()) {
            (Some(first), Some(last)) if last > first => (value - first) / (last - first),
            _ => 0.5,
        };
        let x = |value: f64| LEFT + scale(&x_ticks, value) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - scale(&y_ticks, value) * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"11\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        let mut text = |at: [f64; 2], style: &str, text: &str| {
            svg += &format!("<text x=\"{:.1}\" y=\"{:.1}\" {style}>{}</text>\n", at[0], at[1], escape(text));
        };
        text([12.0, 22.0], "font-size=\"13\"", &self.title);
        text([(LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 12.0], "text-anchor=\"middle\"", &self.axes[0]);
        text([12.0, TOP - 4.0], "", &self.axes[1]);
        for value in &x_ticks {
            text([x(*value), HEIGHT - BOTTOM + 16.0], "text-anchor=\"middle\"", &number(*value));
        }
        for value in &y_ticks {
            text([LEFT - 6.0, y(*value) + 4.0], "text-anchor=\"end\"", &number(*value));
        }
        for (index, (series, colour)) in self.series.iter().zip(COLOURS.iter().cycle()).enumerate() {
            text([WIDTH - RIGHT + 14.0, TOP + 14.0 + 16.0 * index as f64], &format!("fill=\"{colour}\""), &series.name);
            for point in &series.points {
                text([x(point.x) + 6.0, y(point.y) - 6.0], "font-size=\"9\"", &point.label);
            }
        }
        for value in &y_ticks {
            let (y, right) = (y(*value), WIDTH - RIGHT);
            svg += &format!("<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\n");
        }
        for (series, colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
            let line: Vec<_> = series.points.iter().map(|p| format!("{:.1},{:.1}", x(p.x), y(p.y))).collect();
            svg += &format!("<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\"/>\n", line.join(" "));
            for point in &series.points {
                let (x, low, high) = (x(point.x), y(point.y - point.error), y(point.y + point.error));
                svg += &format!("<line x1=\"{x:.1}\" y1=\"{low:.1}\" x2=\"{x:.1}\" y2=\"{high:.1}\" stroke=\"{colour}\"/>\n");
                svg += &format!("<circle cx=\"{x:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"{colour}\"/>\n", y(point.y));
            }
        }
        svg + "</svg>\n"
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Round numbers from below the least to above the largest: steps of 1, 2 or 5 by a power of ten.
fn ticks(ranges: impl Iterator<Item = [f64; 2]>) -> Vec<f64> {
    let (low, high) = ranges.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), [a, b]| (low.min(a), high.max(b)));
    if !(low.is_finite() && high.is_finite()) {
        return Vec::new();
    }
    let width = if high > low { high - low } else { high.abs().max(1.0) };
    let power = 10f64.powf((width / 5.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|step| width / step <= 6.0).unwrap_or(width);
    ((low / step).floor() as i64..=(high / step).ceil() as i64).map(|i| i as f64 * step).collect()
}

fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
