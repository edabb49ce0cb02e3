"""How the pages look: a style sheet with the colours of `palette`."""

from .palette import DARK, LIGHT, variables

STYLE = (
    f"""
:root {{ color-scheme: light dark; {variables(LIGHT)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {variables(DARK)} }} }}
"""
    + """
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 2.5rem clamp(1rem, 4vw, 3rem) 4rem; max-width: 74rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  overflow-wrap: break-word;
}
h1, h2, h3 { line-height: 1.2; text-wrap: balance; font-weight: 650; letter-spacing: -0.01em; }
h1 { font-size: clamp(1.5rem, 1.1rem + 1.8vw, 2.3rem); margin: 0 0 0.75rem; }
h2 { font-size: 1.35rem; margin: 0 0 0.75rem; }
h3 { font-size: 1.02rem; margin: 1.5rem 0 0.5rem; }
p { margin: 0 0 0.9rem; max-width: 44rem; }
.headline { font-size: clamp(1.05rem, 1rem + 0.4vw, 1.25rem); line-height: 1.5; max-width: 52rem; }
section { margin-top: 2.75rem; padding-top: 1.75rem; border-top: 1px solid var(--rule); }
nav { display: flex; flex-wrap: wrap; gap: 0.3rem 1.1rem; margin-top: 1.75rem; font-size: 0.92rem; }
a { color: var(--blue); text-underline-offset: 0.2em; text-decoration-thickness: 1px; }
.note { border-left: 3px solid var(--orange); padding-left: 0.9rem; }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); gap: 1.25rem; }
.row.small { grid-template-columns: repeat(auto-fill, minmax(min(100%, 15rem), 1fr)); gap: 0.9rem; }
.row, .scroll { margin: 0.75rem 0 1.25rem; }
.row > .scroll { margin: 0; }
.row > * { min-width: 0; }
figure {
  margin: 0; padding: 1rem; background: var(--card); border: 1px solid var(--rule); border-radius: 10px;
}
figure svg, figure img { display: block; width: 100%; height: auto; margin: 0 auto; max-width: 35rem; }
figure svg text { font-family: inherit !important; }
figure.wide svg { max-width: 60rem; }
figure img { image-rendering: pixelated; max-width: none; }
figcaption { margin-top: 0.7rem; font-size: 0.88rem; line-height: 1.45; color: var(--soft); }
.scroll { overflow-x: auto; border: 1px solid var(--rule); border-radius: 10px; background: var(--card); }
.scroll:focus-visible, summary:focus-visible, a:focus-visible { outline: 2px solid var(--blue); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
caption { caption-side: top; text-align: left; padding: 0.8rem 0.9rem 0.35rem; color: var(--soft); font-size: 0.88rem; }
th, td { padding: 0.38rem 0.9rem; text-align: right; white-space: nowrap; font-weight: 400; }
th:first-child, td:first-child { text-align: left; }
thead th { color: var(--soft); font-size: 0.82rem; border-bottom: 1px solid var(--rule); vertical-align: bottom; }
tbody th { font-weight: 550; }
tbody tr + tr > * { border-top: 1px solid color-mix(in srgb, var(--rule) 55%, transparent); }
tr.total > * { border-top: 1px solid var(--soft) !important; font-weight: 600; }
td.text { white-space: normal; text-align: left; min-width: 16rem; }
.loss { color: var(--red); font-weight: 600; }
.soft { color: var(--soft); }
.bar { position: relative; display: inline-block; min-width: 5.5rem; padding-bottom: 5px; }
.bar::after, .bar::before { content: ""; position: absolute; left: 0; bottom: 0; height: 3px; border-radius: 2px; }
.bar::before { width: 100%; background: var(--rule); }
.bar::after { width: var(--part); background: var(--blue); }
.matrix table { width: auto; }
.matrix th, .matrix td { padding: 0.25rem 0.5rem; text-align: center; min-width: 2.1rem; }
.right { background: color-mix(in srgb, var(--blue) calc(var(--part) * 0.32), transparent); }
.wrong { background: color-mix(in srgb, var(--red) calc(10% + var(--part) * 0.25), transparent); font-weight: 600; }
details { margin: 0.75rem 0; }
summary { cursor: pointer; color: var(--blue); }
pre {
  overflow-x: auto; margin: 0 0 1rem; padding: 0.9rem 1rem; background: var(--card); border: 1px solid var(--rule);
  border-radius: 10px; font: 0.86rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace;
}
footer { margin-top: 3rem; color: var(--soft); font-size: 0.85rem; }
@media print { body { max-width: none; padding: 0; } section { break-inside: avoid-page; } }
"""
)
