"""The style sheet of the report: light and dark after the reader's own setting."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #fbfaf8; --card: #ffffff; --ink: #22252a; --soft: #666d76; --line: #e3e1dc; --track: #eeece7;
  --c0: #8a94a3; --c1: #4f6d9c; --c2: #d99323; --c3: #1f8a70; --c4: #b0413e; --c5: #7a5195;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #17191c; --card: #1f2226; --ink: #e6e4df; --soft: #9aa1ab; --line: #33373d; --track: #2b2f35;
    --c0: #97a1b0; --c1: #7b9bd0; --c2: #e5ab4b; --c3: #3fb597; --c4: #dd7470; --c5: #ab86c6;
  }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 32px 28px 64px; max-width: 1680px; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; }
h1 { font-size: 28px; margin: 0; letter-spacing: -0.01em; }
h2 { font-size: 19px; margin: 44px 0 6px; }
h3 { font-size: 14px; margin: 0 0 6px; font-weight: 600; }
p { margin: 4px 0 12px; max-width: 90ch; }
.soft, caption { color: var(--soft); }
.facts { display: flex; flex-wrap: wrap; gap: 6px 28px; margin: 12px 0 0; padding: 0; list-style: none; }
.facts b { display: block; font-size: 21px; font-weight: 600; line-height: 1.25; }
.facts li { color: var(--soft); font-size: 13px; }
.facts b { color: var(--ink); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 14px 16px; }
.scroll { overflow-x: auto; }
.scroll + .scroll { margin-top: 26px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; font-size: 12.5px; color: var(--soft); }
th, td { padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
tbody tr:last-child > * { border-bottom: 0; }
td.number, th.number { text-align: right; }
td.bar { width: 34%; min-width: 140px; }
td.wrap { white-space: normal; }
.meter { display: block; height: 9px; border-radius: 2px; background: var(--track); overflow: hidden; }
.meter i { display: block; height: 100%; background: var(--c1); }
code { font: 12.5px ui-monospace, "SF Mono", Menlo, "DejaVu Sans Mono", monospace; }
.grid-cards { display: grid; gap: 14px; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); }
.grid-charts { display: grid; gap: 14px; grid-template-columns: repeat(auto-fill, minmax(360px, 1fr)); }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { font-size: 11px; fill: var(--soft); font-variant-numeric: tabular-nums; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .track { fill: var(--track); }
.curve { fill: none; stroke-width: 2; stroke-linejoin: round; }
.curve.raw { stroke: var(--soft); stroke-width: 1; opacity: 0.3; }
.dot { stroke: var(--card); stroke-width: 2; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; padding: 0; margin: 0 0 12px; list-style: none;
  font-size: 13px; }
.legend i, .swatch { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 6px;
  vertical-align: -1px; border: 1px solid rgb(128 128 128 / 0.4); }
.ignored { background: repeating-linear-gradient(135deg, #fff 0 3px, #969696 3px 6px); }
.row { margin: 0 0 16px; }
.row header { display: flex; flex-wrap: wrap; gap: 2px 14px; align-items: baseline; margin-bottom: 5px;
  font-size: 13px; }
.row header b { font-variant-numeric: tabular-nums; }
.pictures { display: grid; gap: 8px; overflow-x: auto; }
figure { margin: 0; }
figure img { display: block; width: 100%; height: auto; border-radius: 4px; }
figcaption { font-size: 12px; color: var(--soft); margin-top: 3px; font-variant-numeric: tabular-nums; }
.by-tag { display: grid; gap: 4px; }
.by-tag.several { grid-template-columns: 1fr 1fr; }
.by-tag div { min-width: 0; }
.by-tag span:not(.swatch) { display: block; font-size: 11px; color: var(--soft); overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; }
.by-tag .swatch { width: 9px; height: 9px; margin-right: 4px; }
.none { aspect-ratio: 4 / 3; border: 1px dashed var(--line); border-radius: 4px; }
summary { cursor: pointer; color: var(--soft); }
"""

SERIES = "".join(
    f".series-{n} {{ fill: var(--c{n}); background: var(--c{n}); }} .curve.series-{n} {{ stroke: var(--c{n}); "
    "fill: none; background: none; }\n"
    for n in range(6)
)
"""Rules of the colors of charts, see `report_charts.SERIES_COLORS`."""
