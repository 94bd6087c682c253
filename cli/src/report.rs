//! The report: one HTML page that needs nothing beside it.

use crate::{
    load::{Activations, Layer},
    params,
    plot::{Curve, Shapes, Stretched, Throughput},
    results::{Results, Speed},
    table::{self, Table},
};
use anyhow::Result;
use dynorm::{Norm, reference};

/// Colours of the plots by role; those of the functions in a plot of shapes begin at 1 too.
const ONE_THREAD: usize = 1;
const ALL_THREADS: usize = 2;

/// The whole page.
pub fn page(results: &Results, norms: &[Norm], activations: &Activations) -> Result<String> {
    let verdict = match results.failures().as_slice() {
        [] => "<p class=good>Every result is within its limit.</p>".to_owned(),
        failures => {
            let items: Vec<_> =
                failures.iter().map(|failure| format!("<li>{}</li>", escape(failure))).collect();
            format!("<ul class=bad>{}</ul>", items.join("\n"))
        }
    };
    let quick = if results.quick {
        "<p class=bad>Made with --quick: the speeds mean little.</p>"
    } else {
        ""
    };
    Ok(format!(
        "<!DOCTYPE html>
<html lang=en>
<head>
<meta charset=utf-8>
<meta name=viewport content=\"width=device-width\">
<title>dynorm compare</title>
<style>
{css}</style>
</head>
<body>
<h1>RMSNorm, LayerNorm and their element-wise counterparts</h1>
<p>{machine}<br>{input}<br><span class=note>dynorm {version}</span></p>
{verdict}
{quick}
<h2>Error and speed</h2>
<div class=wide>{comparison}</div>
{legend}
<h2>Throughput by size</h2>
{throughput}
<h2>Shapes</h2>
{shapes}
<h2>The activations</h2>
<div class=wide>{layers}</div>
<h2>Parameters</h2>
<div class=wide>{parameters}</div>
</body>
</html>
",
        css = include_str!("report.css"),
        machine = results.machine.in_words().map(|line| escape(&line)).join("<br>"),
        input = escape(&results.input.in_words()),
        version = results.version,
        comparison = html(&table::comparison(results)),
        legend = table::legend(results)
            .map(|line| format!("<p class=note>{}</p>\n", escape(line)))
            .collect::<String>(),
        throughput = throughput(results)?,
        shapes = shapes(norms, activations)?,
        layers = html(&table::layers(&results.input)),
        parameters = html(&table::parameters(&results.parameters)),
    ))
}

/// A plot for every function and type, a row a function.
fn throughput(results: &Results) -> Result<String> {
    let machine = &results.machine;
    let caches = [("L1d", machine.l1d), ("L2", machine.l2), ("L3", machine.l3)];
    let rates = || results.sweep.iter().flat_map(|speed| [speed.gb_per_s, speed.copy_gb_per_s]);
    // The same axis for all plots, so that they can be compared.
    let range = rates().fold(f64::INFINITY, f64::min) * 0.8..rates().fold(0.0, f64::max) * 1.25;
    let mut plots = Vec::new();
    let mut rest = results.sweep.as_slice();
    while let Some(first) = rest.first() {
        let same =
            |speed: &Speed| (speed.function, speed.element) == (first.function, first.element);
        let (plot, others) = rest.split_at(rest.iter().take_while(|speed| same(speed)).count());
        rest = others;
        let curve = |single: bool, dashed: bool| Curve {
            series: if single { ONE_THREAD } else { ALL_THREADS },
            dashed,
            points: plot
                .iter()
                .filter(|speed| (speed.threads == Some(1)) == single)
                .map(|speed| {
                    (speed.bytes as f64, if dashed { speed.copy_gb_per_s } else { speed.gb_per_s })
                })
                .collect(),
        };
        let title = format!("{} {}", first.function, first.element);
        let curves =
            [curve(true, true), curve(false, true), curve(true, false), curve(false, false)];
        plots.push(
            Throughput { title, curves: &curves, caches: &caches, range: range.clone() }.svg()?,
        );
    }
    let threads = machine.threads;
    let mut entries = vec![
        (ONE_THREAD, "", "1 thread".to_owned()),
        (ONE_THREAD, "dashed", "best copy, 1 thread".to_owned()),
    ];
    if threads > 1 {
        entries.push((ALL_THREADS, "", format!("{threads} threads")));
        entries.push((ALL_THREADS, "dashed", format!("best copy, up to {threads} threads")));
    }
    Ok(format!(
        "<p>The copy moves the same bytes between the same buffers, and is timed in turn with the \
         function. Sizes are of input and output together; both axes are logarithmic.</p>\n{}\n\
         <div class=\"plots three\">\n{}</div>",
        key(&entries),
        plots.join("\n")
    ))
}

/// A plot for every layer: what its RMSNorm gives, and what the element-wise functions give.
fn shapes(norms: &[Norm], activations: &Activations) -> Result<String> {
    let elementwise: Vec<Norm> =
        norms.iter().copied().filter(|norm| norm.is_elementwise()).collect();
    let plots: Vec<String> = activations
        .layers
        .iter()
        .map(|layer| shape(&elementwise, layer, activations.channels))
        .collect::<Result<_>>()?;
    let mut entries = vec![(0, "dots", "rms_norm of the activations".to_owned())];
    entries.extend(
        elementwise.iter().enumerate().map(|(i, norm)| (i + 1, "", norm.name().to_owned())),
    );
    Ok(format!(
        "<p>Each function with the parameters of the table below; dyt and derf times sqrt(C), \
         which belongs to their weight, so that all have the same slope at 0. The dots are what \
         RMSNorm makes of the activations themselves: it has no one curve, because its slope is \
         each row's own. Behind them: how often an x occurs (height logarithmic). The axis of x \
         is logarithmic on either side of the typical magnitude.</p>\n{}\n\
         <div class=\"plots two\">\n{}</div>",
        key(&entries),
        plots.join("\n")
    ))
}

fn shape(norms: &[Norm], layer: &Layer, channels: usize) -> Result<String> {
    /// Dots of one plot, at most.
    const DOTS: usize = 700;
    let x: Vec<f64> = layer.values.iter().map(|&x| f64::from(x)).collect();
    let rms_norm = params::fitted(Norm::RmsNorm { eps: 0.0 }, &layer.values, channels);
    let y = reference::forward(rms_norm, &x, None, None, 0.0, channels);
    // All outliers, and of the others some, at a step that has no factor in common with C.
    let scale = params::median_mean_square(&layer.values, channels).sqrt();
    let step = (x.len() / DOTS).max(1) | 1;
    let shown =
        x.iter().zip(&y).enumerate().filter(|(i, (x, _))| i % step == 0 || x.abs() > 20.0 * scale);
    let dots: Vec<_> = shown.map(|(_, (&x, &y))| (x, y)).collect();

    let axis = Stretched { scale, reach: 1.2 * x.iter().fold(0.0_f64, |max, x| max.max(x.abs())) };
    let curve = |(i, &norm): (usize, &Norm)| {
        let fitted = params::fitted(norm, &layer.values, channels);
        let gain = params::gain(norm, channels);
        let at = |x: f64| (x, gain * reference::forward(fitted, &[x], None, None, 0.0, 1)[0]);
        Curve { series: i + 1, dashed: false, points: axis.steps(400).map(at).collect() }
    };
    let curves: Vec<Curve> = norms.iter().enumerate().map(curve).collect();
    let height = (channels as f64).sqrt() * 1.1;
    let title = layer.name.clone();
    Shapes { title, curves: &curves, dots: &dots, values: &layer.values, axis, height }.svg()
}

/// What the colours mean: series, kind of line, name.
fn key(entries: &[(usize, &str, String)]) -> String {
    let entry = |(series, kind, name): &(usize, &str, String)| {
        format!(
            "<span><i class=\"{kind}\" style=\"border-color: var(--s{series})\"></i>{}</span>",
            escape(name)
        )
    };
    format!("<p class=key>{}</p>", entries.iter().map(entry).collect::<Vec<_>>().join(" "))
}

fn html(table: &Table) -> String {
    let row = |cells: &Vec<String>, tag: &str| {
        let cells: Vec<_> =
            cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect();
        format!("<tr>{}</tr>", cells.join(""))
    };
    let rows: Vec<_> = table.rows.iter().map(|cells| row(cells, "td")).collect();
    format!("<table>\n{}\n{}\n</table>", row(&table.head, "th"), rows.join("\n"))
}

/// Text that HTML shows as it is.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_files_are_escaped() {
        assert_eq!(escape("a<b> & c"), "a&lt;b&gt; &amp; c");
        let table = Table { head: vec!["<h>".to_owned()], rows: vec![vec!["1".to_owned()]] };
        assert_eq!(
            html(&table),
            "<table>\n<tr><th>&lt;h&gt;</th></tr>\n<tr><td>1</td></tr>\n</table>"
        );
    }
}
