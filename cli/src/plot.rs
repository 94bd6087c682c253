//! Plots as SVG text.
//!
//! Colours are place holders, one for each role; the page's style sheet gives the real ones,
//! for a light and for a dark screen.

use crate::table;
use anyhow::{Result, anyhow};
use plotters::{
    coord::{
        Shift,
        combinators::BindKeyPoints,
        ranged1d::{DefaultFormatting, KeyPointHint, Ranged},
    },
    prelude::*,
};
use std::{error::Error, ops::Range};

/// Axes and text.
const INK: RGBColor = RGBColor(1, 0, 0);
/// Lines of the grid.
const GRID: RGBColor = RGBColor(2, 0, 0);
/// The distribution behind a function.
const BACKGROUND: RGBColor = RGBColor(3, 0, 0);
/// The font of all text, and its size in pixels.
const FONT: (&str, u32, &RGBColor) = ("sans-serif", 12, &INK);
/// The font of titles.
const TITLE: (&str, u32, &RGBColor) = ("sans-serif", 15, &INK);

/// The colour of the `i`th series, from 0 to 9.
fn series(i: usize) -> RGBColor {
    RGBColor(10 + i as u8, 0, 0)
}

/// A line through points.
pub struct Curve {
    /// Which colour, from 0 to 9.
    pub series: usize,
    /// Whether it is broken.
    pub dashed: bool,
    /// In the units of the axes.
    pub points: Vec<(f64, f64)>,
}

/// Throughput (1e9 bytes a second) by size (bytes), both axes logarithmic.
pub struct Throughput<'a> {
    /// Above the plot.
    pub title: String,
    /// The lines; not all empty.
    pub curves: &'a [Curve],
    /// Names and sizes to mark on the axis of sizes.
    pub caches: &'a [(&'a str, usize)],
    /// The vertical axis.
    pub range: Range<f64>,
}

impl Throughput<'_> {
    /// As an `<svg>` element.
    pub fn svg(&self) -> Result<String> {
        let sizes = || self.curves.iter().flat_map(|curve| &curve.points).map(|point| point.0);
        let (least, most) = (sizes().fold(f64::INFINITY, f64::min), sizes().fold(0.0, f64::max));
        let Range { start: low, end: high } = self.range;
        // Each eight times the one before.
        let marks = (10..40).step_by(3).map(|power| 2.0_f64.powi(power));
        let marks: Vec<f64> = marks.filter(|size| (least..most).contains(size)).collect();
        let decades =
            (0..6).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10.0_f64.powi(power)));
        let decades: Vec<f64> = decades.filter(|value| self.range.contains(value)).collect();
        draw((430, 290), |area| {
            let mut chart = ChartBuilder::on(area)
                .caption(&self.title, TITLE)
                .margin(6)
                .margin_right(16)
                .x_label_area_size(36)
                .y_label_area_size(48)
                .build_cartesian_2d(
                    (least..most).log_scale().with_key_points(marks.clone()),
                    (low..high).log_scale().with_key_points(decades.clone()),
                )?;
            chart
                .configure_mesh()
                .light_line_style(TRANSPARENT)
                .bold_line_style(GRID)
                .axis_style(INK)
                .label_style(FONT)
                .x_desc("input + output")
                .y_desc("GB/s")
                .x_label_formatter(&|bytes| table::bytes(*bytes as usize))
                .y_label_formatter(&|value| value.to_string())
                .draw()?;
            for &(name, size) in self.caches {
                let size = size as f64;
                if (least..most).contains(&size) {
                    chart.draw_series(DashedLineSeries::new(
                        [(size, low), (size, high)],
                        2,
                        3,
                        INK.into(),
                    ))?;
                    chart.draw_series([Text::new(
                        name.to_owned(),
                        (size * 1.1, high * 0.93),
                        FONT.into_text_style(area),
                    )])?;
                }
            }
            draw_curves(&mut chart, self.curves)
        })
    }
}

/// An axis from `-reach` to `reach` that is linear up to about `scale` and logarithmic beyond,
/// so that the bulk of the activations and their outliers are both seen.
#[derive(Clone, Copy)]
pub struct Stretched {
    /// Where the axis turns logarithmic.
    pub scale: f64,
    /// Where the axis ends; above `scale`.
    pub reach: f64,
}

impl Stretched {
    /// `parts + 1` values that lie evenly on the axis, from one end to the other.
    pub fn steps(self, parts: u32) -> impl Iterator<Item = f64> {
        let edge = (self.reach / self.scale).asinh();
        (0..=parts).map(move |i| {
            self.scale * ((2.0 * f64::from(i) / f64::from(parts) - 1.0) * edge).sinh()
        })
    }

    /// Where `x` lies on the axis: -1 and 1 are its ends.
    fn place(self, x: f64) -> f64 {
        (x / self.scale).asinh() / (self.reach / self.scale).asinh()
    }
}

impl Ranged for Stretched {
    type ValueType = f64;
    type FormatOption = DefaultFormatting;

    fn map(&self, x: &f64, (left, right): (i32, i32)) -> i32 {
        left + (f64::from(right - left) * (self.place(*x) + 1.0) / 2.0).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        let powers = (-6..9).map(|power| 10.0_f64.powi(power));
        powers
            .filter(|x| (self.scale..self.reach).contains(x))
            .flat_map(|x| [-x, x])
            .chain([0.0])
            .collect()
    }

    fn range(&self) -> Range<f64> {
        -self.reach..self.reach
    }
}

/// Functions over a layer's activations.
pub struct Shapes<'a> {
    /// Above the plot.
    pub title: String,
    /// The functions.
    pub curves: &'a [Curve],
    /// What the layer's own norm gives: its input and output.
    pub dots: &'a [(f64, f64)],
    /// The activations.
    pub values: &'a [f32],
    /// The horizontal axis.
    pub axis: Stretched,
    /// The vertical axis ends at `-height` and `height`.
    pub height: f64,
}

impl Shapes<'_> {
    /// As an `<svg>` element.
    pub fn svg(&self) -> Result<String> {
        let height = self.height;
        draw((650, 340), |area| {
            let mut chart = ChartBuilder::on(area)
                .caption(&self.title, TITLE)
                .margin(6)
                .margin_right(16)
                .x_label_area_size(36)
                .y_label_area_size(48)
                .build_cartesian_2d(self.axis, -height..height)?;
            chart.draw_series(self.bars())?;
            chart
                .configure_mesh()
                .light_line_style(TRANSPARENT)
                .bold_line_style(GRID)
                .axis_style(INK)
                .label_style(FONT)
                .x_desc("x")
                .y_desc("f(x)")
                .x_label_formatter(&|x| x.to_string())
                .y_label_formatter(&|y| y.to_string())
                .draw()?;
            chart.draw_series(
                self.dots.iter().map(|&dot| Circle::new(dot, 2, series(0).filled())),
            )?;
            draw_curves(&mut chart, self.curves)
        })
    }

    /// The distribution of the values: counts in equal parts of the axis. Drawn by their
    /// logarithm, because the few in the tails are what the functions differ on.
    fn bars(&self) -> Vec<Rectangle<(f64, f64)>> {
        const PARTS: u32 = 120;
        let mut counts = [0_u32; PARTS as usize];
        for &x in self.values {
            let part = (self.axis.place(f64::from(x)) + 1.0) / 2.0 * f64::from(PARTS);
            counts[(part.max(0.0) as usize).min(counts.len() - 1)] += 1;
        }
        let most = counts.iter().copied().max().unwrap_or(0);
        let share = |count: u32| f64::from(count + 1).ln() / f64::from(most + 1).ln();
        let edges: Vec<f64> = self.axis.steps(PARTS).collect();
        let bar = |(edges, count): (&[f64], u32)| {
            let top = self.height * (1.9 * share(count) - 1.0);
            Rectangle::new([(edges[0], -self.height), (edges[1], top)], BACKGROUND.filled())
        };
        edges.windows(2).zip(counts).filter(|(_, count)| *count > 0).map(bar).collect()
    }
}

/// The area that is drawn on.
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// An SVG of `size` pixels.
fn draw(
    size: (u32, u32),
    plot: impl FnOnce(&Area) -> Result<(), Box<dyn Error>>,
) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        plot(&area)
            .and_then(|()| Ok(area.present()?))
            .map_err(|error| anyhow!("cannot draw a plot: {error}"))?;
    }
    Ok(svg)
}

/// Draws the curves in their order.
fn draw_curves<'a, X, Y>(
    chart: &mut ChartContext<SVGBackend<'a>, Cartesian2d<X, Y>>,
    curves: &[Curve],
) -> Result<(), Box<dyn Error>>
where
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    for curve in curves {
        let (points, style) = (curve.points.iter().copied(), series(curve.series).stroke_width(2));
        if curve.dashed {
            chart.draw_series(DashedLineSeries::new(points, 6, 4, style))?;
        } else {
            chart.draw_series(LineSeries::new(points, style))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plots_are_whole_svg_elements_with_their_titles() {
        let curve = |points| Curve { series: 1, dashed: true, points };
        let throughput = Throughput {
            title: "rms_norm f32".to_owned(),
            curves: &[curve(vec![(16384.0, 100.0), (1e8, 20.0)])],
            caches: &[("L2", 1 << 20)],
            range: 5.0..500.0,
        };
        let axis = Stretched { scale: 1.0, reach: 100.0 };
        let points = axis.steps(50).map(|x| (x, x.tanh())).collect();
        let shapes = Shapes {
            title: "one layer".to_owned(),
            curves: &[curve(points)],
            dots: &[(1.0, 0.5)],
            values: &[0.0, 1.0, -100.0],
            axis,
            height: 2.0,
        };
        for (svg, words) in [
            (throughput.svg().unwrap(), ["rms_norm f32", "4 MiB"]),
            (shapes.svg().unwrap(), ["one layer", "-10"]),
        ] {
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
            assert!(words.iter().all(|word| svg.contains(word)), "{words:?}");
        }
    }
}
