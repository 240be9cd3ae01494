//! Two sorts of drawings as SVG: bars beside each other, and lines over two logarithmic axes.

use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const TITLE: f64 = 42.0;
const FONT: &str = "font-family=\"sans-serif\" font-size=\"13\" fill=\"#222\"";
/// Can be told apart also by those who see fewer colours.
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];

/// One bar below the other, each as long as its value.
pub(crate) fn bars(title: &str, unit: &str, values: &[(&str, f64)]) -> String {
    let (left, right, row) = (170.0, 130.0, 30.0);
    let most = values.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let mut drawing = Drawing::new(title, TITLE + row * values.len() as f64 + 8.0);
    for (at, (name, value)) in values.iter().enumerate() {
        let top = TITLE + row * at as f64;
        let long = (value / most * (WIDTH - left - right)).max(1.0);
        let colour = COLOURS[at % COLOURS.len()];
        drawing.text(left - 8.0, top + 16.0, "end", name);
        drawing
            .draw(&format!("<rect x=\"{left}\" y=\"{top:.1}\" width=\"{long:.1}\" height=\"22\" fill=\"{colour}\"/>"));
        drawing.text(left + long + 6.0, top + 16.0, "start", &format!("{} {unit}", short(*value)));
    }
    drawing.finish()
}

/// One line of a drawing: its name, and its points.
pub(crate) type Line<'a> = (&'a str, Vec<(f64, f64)>);

/// Lines through points. Both axes are logarithmic; points that have no place on them are left out.
pub(crate) fn lines(title: &str, across: &str, unit: &str, lines: &[Line<'_>]) -> String {
    let (left, right, tall) = (70.0, 190.0, 260.0);
    let points = || lines.iter().flat_map(|(_, points)| points).filter(|(x, y)| *x > 0.0 && *y > 0.0);
    let across_axis = Axis::over(points().map(|(x, _)| *x), left, WIDTH - right);
    let up_axis = Axis::over(points().map(|(_, y)| *y), TITLE + tall, TITLE + 10.0);
    let mut drawing = Drawing::new(title, TITLE + tall + 44.0);
    for power in across_axis.powers() {
        let x = across_axis.place(power);
        drawing.rule(x, TITLE + 10.0, x, TITLE + tall);
        drawing.text(x, TITLE + tall + 18.0, "middle", &short(power));
    }
    for power in up_axis.powers() {
        let y = up_axis.place(power);
        drawing.rule(left, y, WIDTH - right, y);
        drawing.text(left - 8.0, y + 4.0, "end", &short(power));
    }
    drawing.text((left + WIDTH - right) / 2.0, TITLE + tall + 36.0, "middle", across);
    drawing.text(left - 8.0, TITLE, "end", unit);
    for (at, (name, points)) in lines.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let place = |(x, y): &(f64, f64)| (across_axis.place(*x), up_axis.place(*y));
        let places: Vec<_> = points.iter().filter(|(x, y)| *x > 0.0 && *y > 0.0).map(place).collect();
        let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let path = path.join(" ");
        drawing.draw(&format!("<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"));
        for (x, y) in places {
            drawing.draw(&format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"));
        }
        let (x, y) = (WIDTH - right + 14.0, TITLE + 22.0 + 20.0 * at as f64);
        drawing.draw(&format!("<rect x=\"{x}\" y=\"{:.1}\" width=\"10\" height=\"10\" fill=\"{colour}\"/>", y - 10.0));
        drawing.text(x + 16.0, y, "start", name);
    }
    drawing.finish()
}

/// A logarithmic axis of whole powers of ten.
struct Axis {
    first: i32,
    last: i32,
    from: f64,
    to: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (least, most) =
            values.fold((f64::MAX, f64::MIN_POSITIVE), |(least, most), value| (least.min(value), most.max(value)));
        let (first, last) =
            if least > most { (0, 1) } else { (least.log10().floor() as i32, most.log10().ceil() as i32) };
        Self { first, last: last.max(first + 1), from, to }
    }

    fn powers(&self) -> impl Iterator<Item = f64> {
        (self.first..=self.last).map(|power| 10_f64.powi(power))
    }

    fn place(&self, value: f64) -> f64 {
        let share = (value.log10() - f64::from(self.first)) / f64::from(self.last - self.first);
        self.from + (self.to - self.from) * share
    }
}

struct Drawing(String);

impl Drawing {
    fn new(title: &str, height: f64) -> Self {
        let size = format!("width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\"");
        let mut drawing = Self(format!("<svg xmlns=\"http://www.w3.org/2000/svg\" {size}>\n"));
        // A page may be dark.
        drawing.draw("<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>");
        drawing.text(10.0, 22.0, "start", title);
        drawing
    }

    fn draw(&mut self, shape: &str) {
        self.0 += shape;
        self.0.push('\n');
    }

    fn rule(&mut self, x1: f64, y1: f64, x2: f64, y2: f64) {
        self.draw(&format!("<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#ddd\"/>"));
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _ = writeln!(self.0, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {FONT}>{text}</text>");
    }

    fn finish(mut self) -> String {
        self.0 += "</svg>\n";
        self.0
    }
}

/// A number as people write it: three digits that count, thousands apart.
fn short(value: f64) -> String {
    if value > 0.0 && value < 100.0 {
        let digits = (2 - value.log10().floor() as i32).clamp(0, 6) as usize;
        let text = format!("{value:.digits$}");
        let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        return text.into();
    }
    let digits = format!("{:.0}", value.abs());
    let parts: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|part| std::str::from_utf8(part).ok()).collect();
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let written = [0.0, 0.25, 1.0, 9.876, 12.34, 1000.0, 1_234_567.8].map(short);
        assert_eq!(written, ["0", "0.25", "1", "9.88", "12.3", "1,000", "1,234,568"]);
    }

    #[test]
    fn the_longest_bar_ends_before_its_number_and_names_are_escaped() {
        let drawing = bars("a & b", "s", &[("one", 1.0), ("two", 2.0)]);
        assert!(
            drawing.contains("a &amp; b") && drawing.contains("width=\"340.0\"") && drawing.contains("width=\"170.0\"")
        );
    }

    #[test]
    fn a_point_lies_between_the_powers_of_ten_around_it() {
        let axis = Axis::over([3.0, 300.0].into_iter(), 0.0, 300.0);
        assert_eq!(axis.powers().collect::<Vec<_>>(), [1.0, 10.0, 100.0, 1000.0]);
        assert!((axis.place(100.0) - 200.0).abs() < 1e-9);
    }

    #[test]
    fn what_has_no_place_on_the_axes_is_left_out() {
        let drawing = lines("t", "n", "ms", &[("none", vec![(0.0, 1.0), (1.0, 0.0)]), ("some", vec![(1.0, 2.0)])]);
        assert_eq!(drawing.matches("<circle").count(), 1);
    }
}
