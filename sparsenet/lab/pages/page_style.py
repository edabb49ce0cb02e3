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
  margin: 0 auto; padding: 2.5rem clamp(1rem, 4vw, 3rem) 4rem; max-width: 82rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  overflow-wrap: break-word;
}
h1, h2 { line-height: 1.2; text-wrap: balance; font-weight: 650; letter-spacing: -0.01em; }
h1 { font-size: clamp(1.5rem, 1.1rem + 1.8vw, 2.3rem); margin: 0 0 0.75rem; }
h2 { font-size: 1.35rem; margin: 0 0 0.75rem; }
p { margin: 0 0 0.9rem; max-width: 44rem; }
.headline { font-size: clamp(1.05rem, 1rem + 0.4vw, 1.25rem); line-height: 1.5; max-width: 52rem; }
section { margin-top: 2.75rem; padding-top: 1.75rem; border-top: 1px solid var(--rule); }
nav { display: flex; flex-wrap: wrap; gap: 0.3rem 1.1rem; margin-top: 1.75rem; font-size: 0.92rem; }
a { color: var(--blue); text-underline-offset: 0.2em; text-decoration-thickness: 1px; }
.note { border-left: 3px solid var(--orange); padding-left: 0.9rem; }
.row {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); gap: 1.25rem;
  align-items: start; margin: 0.75rem 0 1.25rem;
}
.row.small { grid-template-columns: repeat(auto-fill, minmax(min(100%, 15rem), 1fr)); gap: 0.9rem; }
figure {
  margin: 0.75rem 0 1.25rem; padding: 1rem; min-width: 0; max-width: 100%;
  background: var(--card); border: 1px solid var(--rule); border-radius: 10px;
}
figure:not(.table) { max-width: 42rem; }
.row > figure { margin: 0; }
figcaption { font-size: 0.88rem; line-height: 1.45; color: var(--soft); }
svg + figcaption, img + figcaption { margin-top: 0.7rem; }
figure svg, figure img { display: block; width: 100%; height: auto; margin: 0 auto; max-width: 34rem; }
figure svg text { font-family: inherit !important; }
.enlarged { image-rendering: pixelated; }
.table { padding: 0.8rem 0 0.25rem; }
.table figcaption { padding: 0 1rem 0.3rem; }
.narrow, .matrix { width: fit-content; }
.scroll { overflow-x: auto; }
.scroll:focus-visible, a:focus-visible, pre:focus-visible { outline: 2px solid var(--blue); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.38rem 0.6rem; text-align: right; white-space: nowrap; font-weight: 400; }
th:first-child { text-align: left; padding-left: 1rem; position: sticky; left: 0; background: var(--card); }
th:last-child, td:last-child { padding-right: 1rem; }
thead th { color: var(--soft); font-size: 0.82rem; border-bottom: 1px solid var(--rule); vertical-align: bottom; }
tbody th { font-weight: 550; white-space: normal; min-width: 5rem; max-width: 13rem; }
tbody tr + tr > * { border-top: 1px solid color-mix(in srgb, var(--rule) 55%, transparent); }
tr.total > * { border-top: 1px solid var(--soft) !important; font-weight: 600; }
.narrow td { text-align: left; }
.loss { color: var(--red); font-weight: 600; }
.soft { color: var(--soft); }
.bar { position: relative; display: inline-block; min-width: 5.5rem; padding-bottom: 5px; }
.bar::after, .bar::before { content: ""; position: absolute; left: 0; bottom: 0; height: 3px; border-radius: 2px; }
.bar::before { width: 100%; background: var(--rule); }
.bar::after { width: var(--part); background: var(--blue); }
.matrix th, .matrix td { padding: 0.25rem 0.45rem; text-align: center; min-width: 2.1rem; max-width: none; }
.matrix table { width: auto; margin: 0 1rem 0.6rem 0.4rem; }
.right { background: color-mix(in srgb, var(--blue) calc(var(--part) * 0.32), transparent); }
.wrong { background: color-mix(in srgb, var(--red) calc(10% + var(--part) * 0.25), transparent); font-weight: 600; }
pre {
  white-space: pre-wrap; margin: 0 0 1rem; padding: 0.9rem 1rem;
  background: var(--card); border: 1px solid var(--rule); border-radius: 10px;
  font: 0.88rem/1.6 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace;
}
@media print { body { max-width: none; padding: 0; } section { break-inside: avoid-page; } }
"""
)
