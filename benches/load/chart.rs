//! The report as a picture: a bar of CPU time a request for each lane, user space and kernel, with the quartiles of the
//! rounds.

use std::fmt::Write;

use crate::report::{LaneReport, Report};

const WIDTH: f64 = 900.0;
const LABELS: f64 = 190.0;
/// The label after a bar.
const FIGURES: f64 = 250.0;
const ROW: f64 = 26.0;
const TITLE: f64 = 44.0;
const USER: &str = "#2f6fb3";
const SYSTEM: &str = "#a9c7e6";

/// An SVG of all reports, one below the other.
pub(crate) fn draw(reports: &[Report]) -> String {
    let height: f64 = reports.iter().map(height).sum::<f64>() + 30.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let mut top = 0.0;
    for report in reports {
        section(&mut svg, report, top);
        top += self::height(report);
    }
    let legend = top + 8.0;
    for (left, colour, text) in [(LABELS, USER, "user space"), (LABELS + 110.0, SYSTEM, "kernel")] {
        rectangle(&mut svg, [left, legend, 12.0, 12.0], colour);
        text_at(&mut svg, left + 18.0, legend + 11.0, "start", text);
    }
    text_at(&mut svg, LABELS + 190.0, legend + 11.0, "start", "line: quartiles of the rounds");
    svg.push_str("</svg>\n");
    svg
}

fn height(report: &Report) -> f64 {
    TITLE + ROW * report.lanes.len() as f64
}

fn section(svg: &mut String, report: &Report, top: f64) {
    let tls = if report.tls { ", HTTPS" } else { "" };
    let pace = report.rate.map_or_else(String::new, |rate| format!(", {rate} requests/s"));
    let title = format!("{}{tls}{pace}: CPU µs a request, median of {} rounds", report.mix.name(), report.rounds);
    append(svg, format_args!("<text x=\"8\" y=\"{}\" font-weight=\"bold\">{title}</text>\n", top + 28.0));
    let most = report.lanes.iter().map(|lane| lane.cpu.high.max(lane.cpu.median)).fold(f64::MIN_POSITIVE, f64::max);
    let scale = (WIDTH - LABELS - FIGURES) / most;
    for (index, lane) in report.lanes.iter().enumerate() {
        row(svg, lane, scale, top + TITLE + ROW * index as f64);
    }
}

fn row(svg: &mut String, lane: &LaneReport, scale: f64, top: f64) {
    let middle = top + ROW / 2.0 - 2.0;
    text_at(svg, LABELS - 8.0, middle + 5.0, "end", &escape(&lane.name));
    // The medians of the parts need not add up to that of the whole, which is what counts.
    let parts = lane.user.median + lane.system.median;
    let user = if parts > 0.0 { lane.cpu.median * lane.user.median / parts } else { 0.0 };
    rectangle(svg, [LABELS, top, user * scale, ROW - 6.0], USER);
    rectangle(svg, [LABELS + user * scale, top, (lane.cpu.median - user) * scale, ROW - 6.0], SYSTEM);
    let (low, high) = (LABELS + lane.cpu.low * scale, LABELS + lane.cpu.high * scale);
    append(svg, format_args!("<path d=\"M{low:.1} {middle:.1}H{high:.1}\" stroke=\"black\" stroke-width=\"1.5\"/>\n"));
    let figures = format!("{:.1}  p50 {:.0}  p99 {:.0} µs", lane.cpu.median, lane.p50.median, lane.p99.median);
    text_at(svg, LABELS + lane.cpu.median.max(lane.cpu.high) * scale + 8.0, middle + 5.0, "start", &figures);
}

fn rectangle(svg: &mut String, [left, top, width, height]: [f64; 4], colour: &str) {
    append(
        svg,
        format_args!(
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>\n"
        ),
    );
}

fn text_at(svg: &mut String, left: f64, base: f64, anchor: &str, text: &str) {
    append(svg, format_args!("<text x=\"{left:.1}\" y=\"{base:.1}\" text-anchor=\"{anchor}\">{text}</text>\n"));
}

fn append(svg: &mut String, what: std::fmt::Arguments<'_>) {
    svg.write_fmt(what).expect("a string takes all that is written");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
