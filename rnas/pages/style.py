"""The style sheet of the page: system fonts, light and dark, one column that fits a phone."""

STYLE = """
:root { color-scheme: light dark; --paper: #fdfdfc; --card: #ffffff; --ink: #1d2125; --quiet: #5f666d;
  --line: #e2e4e7; --accent: #0a5c94; --note: #fff6e0; --note-line: #e3b341; --bad: #b23c17;
  --good: #1a7f4b; --warn: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171a; --card: #1b1f23; --ink: #e6e8ea;
  --quiet: #9aa2a9; --line: #30363c; --accent: #6cb6ec; --note: #2b2413; --note-line: #8a6a1f; --bad: #f08a66;
  --good: #62c793; --warn: #e3b341; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 58rem; margin: 0 auto; padding: 2.5rem 1.25rem 5rem; }
h1, h2 { font-family: Charter, "Bitstream Charter", "Iowan Old Style", "Source Serif 4", Georgia, serif;
  font-weight: 600; line-height: 1.2; text-wrap: balance; }
h1 { font-size: clamp(1.75rem, 1.2rem + 2.6vw, 2.6rem); margin: .4rem 0 1rem; letter-spacing: -.01em; }
h2 { font-size: 1.45rem; margin: 3.5rem 0 .75rem; padding-top: 1.1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; line-height: 1.3; margin: 2rem 0 .5rem; }
details h3 { margin-top: 1.4rem; }
p { margin: .75rem 0; max-width: 42rem; }
a { color: var(--accent); text-underline-offset: .15em; }
.eyebrow { margin: 0; color: var(--quiet); font-size: .85rem; letter-spacing: .04em; }
.lead { font-size: 1.12rem; line-height: 1.55; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; margin: 1.5rem 0 0; font-size: .9rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: .75rem;
  margin: 1.75rem 0; padding: 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .9rem 1rem; }
.tile dt { color: var(--quiet); font-size: .82rem; }
.tile dd { margin: 0; font-size: .85rem; color: var(--quiet); font-variant-numeric: tabular-nums;
  display: flex; justify-content: space-between; gap: .5rem; }
.tile dd.student { display: block; color: var(--ink); font-size: 1.85rem; line-height: 1.35;
  font-weight: 600; letter-spacing: -.02em; white-space: nowrap; }
.note { background: var(--note); border-left: 4px solid var(--note-line); border-radius: .3rem;
  padding: .7rem 1rem; margin: 1rem 0; max-width: 52rem; }
.note ul { margin: .2rem 0; padding-left: 1.2rem; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: .4rem; }
th, td { text-align: left; padding: .4rem .7rem .4rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { font-weight: 500; }
thead th { color: var(--quiet); font-size: .8rem; vertical-align: bottom;
  border-bottom: 1px solid var(--quiet); }
tr > :last-child { padding-right: 0; }
.accuracy th, .accuracy td { white-space: nowrap; }
.accuracy { font-size: .84rem; }
.accuracy th:first-child { position: sticky; left: 0; background: var(--paper); white-space: normal;
  min-width: 6.5rem; }
.accuracy tbody tr:first-child th { font-weight: 700; color: var(--accent); }
.stages tbody tr:first-child th { font-weight: 500; color: inherit; }
.stages tbody tr:last-child th { font-weight: 700; color: var(--accent); }
small { display: block; color: var(--quiet); font-size: .72rem; font-weight: 400; }
caption small { display: inline; margin-left: .6rem; }
.none { color: var(--quiet); }
figure { margin: 1.25rem 0; }
figcaption { color: var(--quiet); font-size: .85rem; line-height: 1.45; margin-top: .4rem;
  max-width: 42rem; }
.plot { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: .6rem; }
.plot img { display: block; margin: 0 auto; mix-blend-mode: multiply; height: auto; }
.plot.fit img { width: 100%; min-width: 32rem; max-width: 46rem; }
.plot.wide img { max-width: none; }
/* Plots are drawn once, on white: in the dark their lightness is turned over and their hue kept. */
@media (prefers-color-scheme: dark) { .plot img { filter: invert(1) hue-rotate(180deg);
  mix-blend-mode: screen; } }
.examples { display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr));
  gap: 1.1rem 1.25rem; }
.examples figure { margin: 0; }
.examples img { width: 100%; height: auto; image-rendering: pixelated; display: block; }
.fooled { color: var(--bad); font-weight: 600; }
.held { color: var(--good); font-weight: 600; }
.warned { color: var(--warn); font-weight: 600; }
.fooled, .held, .warned { white-space: nowrap; }
.checks th { min-width: 7rem; }
.checks td:nth-child(4) { overflow-wrap: anywhere; }
.worst { font-size: 1.12rem; line-height: 1.5; }
dl.facts { display: grid; grid-template-columns: minmax(7rem, 11rem) 1fr; gap: .45rem 1.25rem;
  font-size: .95rem; }
dl.facts dt { color: var(--quiet); }
dl.facts dd { margin: 0; overflow-wrap: anywhere; }
details .plot { border: 0; padding: .4rem 0 0; }
details { margin: .75rem 0; border: 1px solid var(--line); border-radius: .6rem; padding: .55rem .9rem;
  background: var(--card); }
summary { cursor: pointer; font-weight: 500; }
code, pre { font: .85em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .8rem 1rem;
  white-space: pre-wrap; }
pre code { font-size: 1em; }
@media (max-width: 34rem) { main { padding: 1.5rem 1rem 3rem; }
  dl.facts { grid-template-columns: 1fr; gap: 0; } dl.facts dd { margin-bottom: .6rem; }
  .tiles { grid-template-columns: 1fr 1fr; gap: .5rem; }
  .tile { padding: .65rem .75rem; } .tile dd.student { font-size: 1.45rem; } }
@media print { nav { display: none; } details { border: 0; } .plot, .tile, figure { break-inside: avoid; } }
"""
