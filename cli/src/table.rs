//! Tables: one set of cells for the terminal and for the report.

use crate::results::{Input, Parameters, Results, Speed};

/// What the columns of [`comparison`] mean, one line each.
pub fn legend(results: &Results) -> impl Iterator<Item = &'static str> {
    LEGEND.into_iter().chain(results.machine.gpu.is_some().then_some(GPU_LEGEND))
}

const LEGEND: [&str; 3] = [
    "error: the largest of the function alone against f64, in ulps of the type; in rms_norm and \
     layer_norm, elements below their row's root mean square count in ulps of that.",
    "ps/element, GB/s: with weight; ideal traffic, each input byte read once and each output byte \
     written once.",
    "of copy: speed as a share of the best copy of the same bytes in the same round, median and \
     quartiles.",
];

const GPU_LEGEND: &str = "GPU: L2 and DRAM are the device's own; calls and device-to-device copies \
     are captured into a graph and timed between events; in DRAM they rotate over tensors of more \
     than four times L2.";

/// Rows of text cells under a head.
pub struct Table {
    /// The columns' names.
    pub head: Vec<String>,
    /// As many cells a row as the head has.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Columns as wide as they must be, two spaces apart; text to the left, numbers to the right.
    pub fn to_text(&self) -> String {
        let lines = || std::iter::once(&self.head).chain(&self.rows);
        let width =
            |column: usize| lines().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let mut text = String::new();
        for row in lines() {
            let mut line = String::new();
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                line += &if column < 2 {
                    format!("{cell:<width$}  ")
                } else {
                    format!("{cell:>width$}  ")
                };
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

/// One line for every function, type and number of threads: error, and speed by memory.
pub fn comparison(results: &Results) -> Table {
    let mut memories: Vec<&str> = Vec::new();
    for speed in &results.speed {
        if !memories.contains(&speed.memory) {
            memories.push(speed.memory);
        }
    }
    let mut head: Vec<String> =
        ["function", "type", "threads", "error, ulp", "limit"].map(str::to_owned).to_vec();
    for memory in &memories {
        head.extend([
            format!("{memory}: ps/element"),
            "GB/s".to_owned(),
            "of copy (quartiles)".to_owned(),
        ]);
    }
    let rows = results.checks.iter().filter(|check| !check.weighted).map(|check| {
        let mut row = vec![
            check.function.to_owned(),
            check.element.to_owned(),
            check.threads.map_or_else(|| "GPU".to_owned(), |threads| threads.to_string()),
            format!("{:.3}", check.worst_ulp),
            format!("{:.3}", check.limit_ulp),
        ];
        for memory in &memories {
            let same = |speed: &&Speed| {
                (speed.function, speed.element, speed.threads, speed.memory)
                    == (check.function, check.element, check.threads, *memory)
            };
            row.extend(results.speed.iter().find(same).map_or_else(Default::default, cells));
        }
        row
    });
    Table { rows: rows.collect(), head }
}

/// One line for every layer.
pub fn layers(input: &Input) -> Table {
    let head = ["tensor", "in the file", "rows", "rms of the median row", "largest |x|", "weight"];
    let rows = input.layers.iter().map(|layer| {
        vec![
            layer.name.clone(),
            layer.stored.clone(),
            layer.rows.to_string(),
            format!("{:.4}", layer.median_rms),
            layer.max.to_string(),
            if layer.has_weight { "its own" } else { "ones" }.to_owned(),
        ]
    });
    Table { head: head.map(str::to_owned).to_vec(), rows: rows.collect() }
}

/// One line for every function and layer.
pub fn parameters(parameters: &[Parameters]) -> Table {
    let rows = parameters
        .iter()
        .map(|one| vec![one.function.to_owned(), one.layer.clone(), one.values.clone()]);
    Table {
        head: ["function", "tensor", "parameters"].map(str::to_owned).to_vec(),
        rows: rows.collect(),
    }
}

/// Time, throughput and share of the copy.
fn cells(speed: &Speed) -> [String; 3] {
    let share = speed.copy_share;
    [
        // A GPU takes less than one.
        format!("{:.*}", if speed.threads.is_some() { 1 } else { 4 }, speed.ps_per_element),
        format!("{:.1}", speed.gb_per_s),
        format!("{:.2} ({:.2}-{:.2})", share.median, share.low, share.high),
    ]
}

/// The caches' sizes; 0 is unknown.
pub fn caches(sizes: [usize; 3]) -> String {
    let [l1d, l2, l3] = sizes.map(|size| if size > 0 { bytes(size) } else { "unknown".to_owned() });
    format!("L1d {l1d}, L2 {l2}, L3 {l3}")
}

/// `bytes` in the largest binary unit that leaves at least 1.
pub fn bytes(bytes: usize) -> String {
    let units = ["B", "KiB", "MiB", "GiB"];
    let unit = (bytes.max(1).ilog2() / 10).min(3);
    let value = bytes as f64 / f64::from(1_u32 << (10 * unit));
    // Whole numbers without a fraction.
    let digits = usize::from(value.fract() != 0.0);
    format!("{value:.digits$} {}", units[unit as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let table = Table {
            head: row(["a", "b", "n"]),
            rows: vec![row(["long", "x", "1"]), row(["s", "y", "10"])],
        };
        assert_eq!(table.to_text(), "a     b   n\nlong  x   1\ns     y  10\n");
    }

    #[test]
    fn sizes_in_words() {
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(32 << 10), "32 KiB");
        assert_eq!(bytes((1 << 20) + (1 << 19)), "1.5 MiB");
    }
}
