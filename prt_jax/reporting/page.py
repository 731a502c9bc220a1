"""What every HTML report looks like: the page's template, its style, and a histogram as SVG."""

import string

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1c1c1c; max-width: 1400px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.5em; margin-bottom: 0 } h2 { font-size: 1.15em; margin-top: 2em }
.subtitle { color: #666; margin-top: 0 } .charts { display: flex; flex-wrap: wrap; gap: 1em }
table { border-collapse: collapse } th, td { padding: .3em .8em; border-bottom: 1px solid #ddd; vertical-align: top }
th { text-align: left; font-weight: 600 } thead th { border-bottom: 2px solid #555 }
th small { display: block; font-weight: 400; color: #666 } .missing { color: #a33c00 }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
figure { overflow-x: auto } figure { margin: 0 } figcaption { color: #444 }
pre { background: #f5f5f5; padding: 1em; overflow-x: auto; font-size: 12px }
"""

PAGE = string.Template(f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>$title</title><style>{STYLE}</style></head><body>
<h1>$title</h1><p class="subtitle">$subtitle</p>
<table><thead><tr><th>result</th><th>here</th><th>95% interval</th><th>n</th><th>published</th><th>better</th></tr>
</thead><tbody>$rows</tbody></table>
<p>Published: $published.</p><ul>$missing$notes</ul>$curves
<h2>Every input</h2><div class="charts">$charts</div>
<h2>The least robust inputs, worst first</h2>
<figure><img alt="least robust inputs" src="$worst"><figcaption>Labels: row in the validation set, robustness. A robust
restorer's last column is black.</figcaption></figure>
<h2>The first inputs, chosen by nobody</h2><figure><img alt="first inputs" src="$first"></figure>
<h2>How this was measured</h2><p>$machine</p>
<details><summary>Protocol</summary><pre>$protocol</pre></details>
<details><summary>Config</summary><pre>$config</pre></details>
</body></html>
""")

COMPARE_PAGE = string.Template(f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>$title</title><style>{STYLE}</style></head><body>
<h1>$title</h1><ul>$warnings</ul>
<table><thead><tr>$header</tr></thead><tbody>$rows</tbody></table>
<h2>Runs</h2><ol>$runs</ol>
</body></html>
""")

WIDTH, HEIGHT, BOTTOM, LEFT = 520, 200, 40, 44


def histogram(counts: dict, title: str) -> str:
  """An SVG histogram of {"edges": [n + 1], "counts": [n]}, the last bin holding everything beyond."""
  edges, heights = counts["edges"], counts["counts"]
  tallest = max(heights) or 1
  plot_width, plot_height = WIDTH - LEFT - 10, HEIGHT - BOTTOM - 10
  bar = plot_width / len(heights)
  bars = "".join(
    f'<rect x="{LEFT + i * bar:.1f}" y="{10 + plot_height * (1 - count / tallest):.1f}" width="{bar - 1:.1f}" '
    f'height="{plot_height * count / tallest:.1f}" fill="#0072b2"><title>{edges[i]:.3g} to {edges[i + 1]:.3g}: '
    f"{count}</title></rect>"
    for i, count in enumerate(heights)
  )
  ticks = "".join(
    f'<text x="{LEFT + plot_width * i / 4:.0f}" y="{HEIGHT - 24}" text-anchor="middle">'
    f"{edges[0] + (edges[-1] - edges[0]) * i / 4:.3g}{'+' if i == 4 else ''}</text>"
    for i in range(5)
  )
  base = 10 + plot_height
  return (
    f'<svg width="{WIDTH}" height="{HEIGHT}" font-size="12" font-family="sans-serif" role="img" aria-label="{title}">'
    f'<line x1="{LEFT}" y1="{base}" x2="{WIDTH - 10}" y2="{base}" stroke="#555"/>{bars}{ticks}'
    f'<text x="{LEFT - 6}" y="20" text-anchor="end">{tallest}</text>'
    f'<text x="{LEFT - 6}" y="{base}" text-anchor="end">0</text>'
    f'<text x="{LEFT + plot_width / 2:.0f}" y="{HEIGHT - 5}" text-anchor="middle">{title}</text></svg>'
  )
