//! Bars and curves as SVG, to stand in a page: they take their colours from the page's style, so that it can be
//! light or dark.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::format::microseconds;

/// So many brokers have colours of their own; further ones have them again.
pub const COLOURS: usize = 6;

/// What is drawn in these colours gets the page's instead.
const INK: RGBColor = RGBColor(1, 1, 1);
const GRID: RGBColor = RGBColor(2, 2, 2);

/// Several bars that belong together: one for each broker, where there is a value.
pub struct Group {
    pub label: String,
    /// The value, and how it is written.
    pub bars: Vec<Option<(f64, String)>>,
}

/// How long a bar is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// In proportion to the longest of its group.
    OfGroup,
    /// By the logarithm, the same for all groups.
    Log,
}

/// A curve of each broker: percentile and µs.
pub type Curves = Vec<Vec<(f64, f64)>>;

const WIDTH: u32 = 950;
const LABEL_WIDTH: i32 = 310;
const VALUE_WIDTH: i32 = 100;
const BAR: i32 = 15;
const GAP: i32 = 12;
/// Sizes of text. The library takes the height of a line, about five quarters of what a page calls the size.
const TEXT: i32 = 16;
const SMALL: i32 = 14;

/// Horizontal bars.
///
/// # Errors
/// The drawing library's.
pub fn bars(groups: &[Group], scale: Scale) -> Result<String, String> {
    let group_height = |group: &Group| group.bars.len() as i32 * BAR + GAP;
    let axis_height = if scale == Scale::Log { 22 } else { 4 };
    let height = groups.iter().map(group_height).sum::<i32>() + axis_height;
    let values = || groups.iter().flat_map(|group| group.bars.iter().flatten().map(|(value, _)| *value));
    let (least, most) = values()
        .filter(|value| *value > 0.0)
        .fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(value), most.max(value)));
    // Whole powers of ten around the values, so that the shortest bar can be seen as well.
    let (low, high) =
        if least > most { (0, 1) } else { ((least.log10() - 0.05).floor() as i32, most.log10().ceil() as i32) };
    let high = high.max(low + 1);
    let room = WIDTH as i32 - LABEL_WIDTH - VALUE_WIDTH;
    let length = |value: f64, group: &Group| {
        let share = match scale {
            Scale::OfGroup => {
                value / group.bars.iter().flatten().map(|(value, _)| *value).fold(0.0, f64::max).max(1e-300)
            }
            Scale::Log => (value.max(1e-300).log10() - f64::from(low)) / f64::from(high - low),
        };
        (share.clamp(0.0, 1.0) * f64::from(room)).round() as i32
    };
    draw(WIDTH, height as u32, |root| {
        if scale == Scale::Log {
            for power in low..=high {
                let x = LABEL_WIDTH + (power - low) * room / (high - low);
                root.draw(&PathElement::new(vec![(x, 0), (x, height - axis_height)], GRID.stroke_width(1)))?;
                let label = power_label(power);
                root.draw(&Text::new(label, (x, height - axis_height + 4), style(SMALL, HPos::Center, VPos::Top)))?;
            }
        }
        let mut top = GAP / 2;
        for group in groups {
            let bars = group.bars.len() as i32;
            let middle = top + bars * BAR / 2;
            let label = style(TEXT, HPos::Right, VPos::Center);
            root.draw(&Text::new(group.label.clone(), (LABEL_WIDTH - 10, middle), label))?;
            for (index, bar) in group.bars.iter().enumerate() {
                let y = top + index as i32 * BAR;
                let (end, text) = match bar {
                    Some((value, text)) => (LABEL_WIDTH + length(*value, group).max(1), text.clone()),
                    None => (LABEL_WIDTH, "–".to_owned()),
                };
                root.draw(&Rectangle::new([(LABEL_WIDTH, y + 1), (end, y + BAR - 1)], colour(index).filled()))?;
                let value = style(SMALL, HPos::Left, VPos::Center);
                root.draw(&Text::new(text, (end + 5, y + BAR / 2), value))?;
            }
            top += group_height(group);
        }
        Ok(())
    })
}

/// The farthest percentile that is shown has so many nines.
const FAR: f64 = 5.0;

/// Latency over percentiles, both so scaled that the far end can be seen.
///
/// # Errors
/// The drawing library's.
pub fn curves(title: &str, curves: &Curves) -> Result<String, String> {
    let points = || curves.iter().flatten().filter(|(_, us)| *us > 0.0);
    // The longest of all latencies is at 100 %, which is infinitely far away: it is drawn where the rest ends.
    let inner = points().filter(|(percentile, _)| *percentile < 100.0).map(|(percentile, _)| nines(*percentile));
    let far = inner.fold(1.0, f64::max).min(FAR).ceil();
    let least = points().map(|(_, us)| *us).fold(f64::MAX, f64::min).min(1e9);
    let most = points().map(|(_, us)| *us).fold(0.0, f64::max).max(least * 2.0);
    draw(465, 270, |root| {
        let mut chart = ChartBuilder::on(root)
            .caption(title, style(TEXT, HPos::Left, VPos::Top))
            .margin(6)
            .margin_right(18)
            .x_label_area_size(26)
            .y_label_area_size(66)
            .build_cartesian_2d(0.0..far, (least * 0.8..most * 1.25).log_scale())?;
        chart
            .configure_mesh()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(INK)
            .label_style(style(SMALL, HPos::Left, VPos::Top))
            .x_labels(far as usize + 1)
            .y_labels(6)
            .x_label_formatter(&|nines| percentile_label(*nines))
            .y_label_formatter(&|us| microseconds(*us))
            .draw()?;
        for (index, curve) in curves.iter().enumerate() {
            let points = curve.iter().filter(|(_, us)| *us > 0.0);
            let points = points.map(|(percentile, us)| (nines(*percentile).min(far), *us));
            chart.draw_series(LineSeries::new(points, colour(index).stroke_width(2)))?;
        }
        Ok(())
    })
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

fn draw(width: u32, height: u32, paint: impl FnOnce(&Area<'_>) -> Drawn) -> Result<String, String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        paint(&root).and_then(|()| root.present()).map_err(|error| format!("a plot: {error}"))?;
    }
    Ok(with_page_colours(svg))
}

fn style<'a>(size: i32, horizontal: HPos, vertical: VPos) -> TextStyle<'a> {
    TextStyle::from(("sans-serif", size).into_font()).color(&INK).pos(Pos::new(horizontal, vertical))
}

/// The colour that stands for a broker's.
fn colour(index: usize) -> RGBColor {
    RGBColor(3, (index % COLOURS) as u8, 0)
}

fn with_page_colours(svg: String) -> String {
    let hex = |colour: RGBColor| format!("#{:02X}{:02X}{:02X}", colour.0, colour.1, colour.2);
    let mut svg = svg.replace(&hex(INK), "currentColor").replace(&hex(GRID), "var(--grid)");
    for index in 0..COLOURS {
        svg = svg.replace(&hex(colour(index)), &format!("var(--b{index})"));
    }
    svg.replace("font-family=\"sans-serif\"", "font-family=\"inherit\"")
}

/// How many nines a percentile has: 90 has one, 99 two.
fn nines(percentile: f64) -> f64 {
    -(1.0 - percentile / 100.0).max(1e-9).log10()
}

fn percentile_label(nines: f64) -> String {
    match nines.round() as usize {
        0 => "0 %".into(),
        1 => "90 %".into(),
        2 => "99 %".into(),
        more => format!("99.{} %", "9".repeat(more - 2)),
    }
}

/// A power of ten as nanoseconds or microseconds are written; the unit is in the title.
fn power_label(power: i32) -> String {
    super::format::scaled(10f64.powi(power)).replace(".00", "").replace(".0", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_spread_by_their_nines() {
        for (percentile, expected) in [(0.0, 0.0), (90.0, 1.0), (99.0, 2.0), (99.9, 3.0), (100.0, 9.0)] {
            assert!((nines(percentile) - expected).abs() < 1e-9, "{percentile}");
        }
        assert_eq!([0.0, 1.0, 2.0, 4.0].map(percentile_label), ["0 %", "90 %", "99 %", "99.99 %"]);
        assert_eq!([0, 1, 3, 4, 6].map(power_label), ["1", "10", "1,000", "10 k", "1 M"]);
    }

    #[test]
    fn plots_have_labels_and_the_pages_colours() {
        let group = |label: &str, bars| Group { label: label.into(), bars };
        let groups = [
            group("first", vec![Some((100.0, "a hundred".into())), Some((1.0, "one".into()))]),
            group("second", vec![None, Some((30.0, "thirty".into()))]),
        ];
        for scale in [Scale::OfGroup, Scale::Log] {
            let svg = bars(&groups, scale).expect("drawn");
            for text in ["first", "a hundred", "thirty", "currentColor", "var(--b0)", "var(--b1)"] {
                assert!(svg.contains(text), "{scale:?} {text}");
            }
            assert!(!svg.contains("#01") && !svg.contains("#02") && !svg.contains("#03"), "{svg}");
        }
        let empty = bars(&[group("x", vec![None])], Scale::Log).expect("drawn");
        assert!(empty.contains("–"));
        let svg = curves("a title", &vec![vec![(0.0, 10.0), (99.0, 70.0), (100.0, 900.0)], vec![]]).expect("drawn");
        assert!(svg.contains("a title") && svg.contains("99 %") && svg.contains("var(--b0)"), "{svg}");
        assert!(curves("nothing", &vec![vec![]]).is_ok());
    }
}
