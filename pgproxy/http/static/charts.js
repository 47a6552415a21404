"use strict";
// The three charts, drawn by uPlot from the points that the stream brings. Colours come from the style sheet.

const Charts = (() => {
  const KEPT = 900;
  const HEIGHT = 200;
  const points = [];
  const charts = [];
  let minutes = 5;
  let nodes = [];

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const number = (digits) => (_plot, value) => (value == null ? "–" : value.toFixed(value >= 100 ? 0 : digits));

  const line = (label, color, value, more = {}) =>
    ({ label, color, value, digits: 1, width: 1.5, ...more });

  const definitions = () => [
    { id: "chart-rate", series: [
      line("route", "--series-1", (p) => p.route, { fill: true }),
      line("scatter", "--series-2", (p) => p.scatter),
      line("one node", "--series-3", (p) => p.node),
      line("errors", "--series-bad", (p) => p.errors),
    ] },
    { id: "chart-latency", series: [
      line("p50", "--series-1", (p) => p.p50_ms, { digits: 2 }),
      line("p99", "--series-2", (p) => p.p99_ms, { digits: 2 }),
    ] },
    { id: "chart-heartbeat", series: nodes.map((name, at) =>
      line(name, ["--series-1", "--series-2", "--series-3", "--series-4"][at % 4], (p) => p.heartbeat_ms[name], { digits: 2 })) },
  ];

  const axis = (more) => ({
    stroke: css("--dim"), font: "11px system-ui, sans-serif", ticks: { show: false },
    grid: { stroke: css("--grid"), width: 1 }, ...more,
  });

  function build() {
    while (charts.length) charts.pop().plot.destroy();
    for (const { id, series } of definitions()) {
      const place = document.getElementById(id);
      const plot = new uPlot({
        width: place.clientWidth, height: HEIGHT, padding: [12, 18, 0, 0],
        cursor: { y: false, points: { size: 6 } },
        legend: { live: true },
        scales: { x: { range: () => span() }, y: { range: (_plot, _low, high) => [0, Math.max(high * 1.12, 1)] } },
        axes: [
          axis({ space: 48, size: 28, values: (_plot, ticks) => ticks.map((at) => clock(at)) }),
          axis({ size: 44, values: (_plot, ticks) => ticks.map(short) }),
        ],
        series: [
          { label: "time", value: (_plot, at) => (at == null ? "–" : clock(at, true)) },
          ...series.map((s) => ({
            label: s.label, stroke: css(s.color), width: s.width, spanGaps: false, points: { show: false },
            fill: s.fill ? css(s.color) + "22" : undefined, value: number(s.digits),
          })),
        ],
      }, [[], ...series.map(() => [])], place);
      charts.push({ plot, series, place });
    }
    draw();
  }

  function span() {
    const end = points.length ? points[points.length - 1].at : Date.now() / 1000;
    return [end - minutes * 60, end];
  }

  function draw() {
    const [from] = span();
    const shown = points.filter((point) => point.at >= from - 2);
    const times = shown.map((point) => point.at);
    for (const { plot, series } of charts) {
      plot.setData([times, ...series.map((s) => shown.map(s.value))]);
      const pointed = plot.cursor.left != null && plot.cursor.left >= 0;
      if (!pointed && times.length) plot.setLegend({ idx: times.length - 1 }); // nobody points: show what is now
    }
  }

  function clock(at, seconds = false) {
    const time = new Date(at * 1000);
    const parts = [time.getHours(), time.getMinutes(), ...(seconds || minutes < 2 ? [time.getSeconds()] : [])];
    return parts.map((part) => String(part).padStart(2, "0")).join(":");
  }

  const short = (value) => (value >= 1e6 ? value / 1e6 + " M" : value >= 1e4 ? value / 1e3 + " k" : String(+value.toPrecision(6)));

  function resize() {
    for (const { plot, place } of charts) plot.setSize({ width: place.clientWidth, height: HEIGHT });
  }

  addEventListener("resize", resize);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", build);

  return {
    start(names, history) {
      nodes = names;
      points.splice(0, points.length, ...history);
      build();
    },
    add(point) {
      points.push(point);
      if (points.length > KEPT) points.shift();
      draw();
    },
    range(value) {
      minutes = value;
      draw();
    },
  };
})();
